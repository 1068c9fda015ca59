//! The plan of a network: manifest and observed state in; objects, processes and status out.
//!
//! Pure: this crate calls no Kubernetes API, starts no process, reads no clock. `operator render`,
//! `operator local` and `operator run` consume the same plan, which leaves no choice to its execution.

pub mod coverage;
mod duration;
pub mod names;
pub mod peer_config;
pub mod processes;
pub mod validate;

pub use validate::{Invalid, Validated, validate};
