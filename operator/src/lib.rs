//! The operator of Sorcha networks: everything that acts on a plan.
//!
//! `local` runs the plan of a manifest as supervised processes on this machine; `cli` is the command line. The
//! plan itself is made in `sorcha-operator-plan`, which does no IO. This crate never imports the peer: it
//! starts the peer's binary, writes its configuration file and speaks HTTP with it.

pub mod api;
pub mod apply;
pub mod backoff;
pub mod ca;
pub mod cli;
pub mod client;
pub mod controller;
pub mod health;
pub mod kind;
pub mod lease;
pub mod limit;
pub mod local;
pub mod metrics;
pub mod observe;
pub mod operator;
pub mod pass;
pub mod peers;
pub mod queue;
pub mod report;
pub mod serve;
pub mod smoke;
