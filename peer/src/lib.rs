//! The Sorcha peer: everything around the pure core that touches the world.
//!
//! The driver (`driver`) is one loop: await an input, hand it to the core, drain the outputs, start the
//! effects. Transports, store, verification and the local APIs run beside it and speak to it in values.

pub mod api;
pub mod cli;
pub mod clock;
pub mod driver;
pub mod effects;
pub mod log;
pub mod metrics;
pub mod node;
mod random;
pub mod run;
pub mod store;
pub mod tls;
pub mod transport;
pub mod verify;
