//! `sorcha-operator run` against real API servers of the oldest and the newest supported Kubernetes, with their real
//! controllers, a stand-in for the node, and the rights that the chart gives. `cargo xtask assets` builds the servers;
//! without them each test is skipped.

mod election;
mod faults;
mod harness;
mod monitoring;
mod objects;
mod peers;
mod quiet;
mod rights;
mod space;
mod trouble;
