//! The plan of a network: manifest and observed state in; objects, processes and status out.
//!
//! Pure: this crate calls no Kubernetes API, starts no process, reads no clock. `operator render`,
//! `operator local` and `operator run` consume the same plan, which leaves no choice to its execution.

pub mod processes;
