//! The plan of a network: manifest and observed state in; objects, processes and status out.
//!
//! Pure: this crate calls no Kubernetes API, starts no process, reads no clock. `operator render`,
//! `operator local` and `operator run` consume the same plan, which leaves no choice to its execution.

mod certificates;
pub mod check;
pub mod coverage;
mod duration;
pub mod kubernetes;
mod members;
pub mod names;
pub mod observed;
mod peer_config;
pub mod plan;
mod pod_template;
pub mod processes;
mod prune;
mod refresh;
pub mod render;
mod rendered;
mod rollout;
mod scale;
pub mod status;
pub mod step;
pub mod validate;
mod volumes;

pub use check::Broken;
pub use observed::ObservedNetwork;
pub use plan::{Concern, Finding, NetworkPlan, plan};
pub use processes::{ObservedMachine, ProcessPlan, plan_processes};
pub use validate::{Invalid, Validated, validate};
