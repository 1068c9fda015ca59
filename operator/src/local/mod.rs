//! A network as supervised processes on this machine, from the same manifest and plan as in a cluster.
//!
//! A file per step: `load` the manifest, `observe` the machine, plan and check (in `sorcha-operator-plan`), write
//! `files` and `certificates`, then `supervise`: a `fleet` of tasks, one per `peer`. What happens is an `event`, told
//! by `report`. Nothing here decides names, ports or configuration: the plan does.

mod backoff;
mod binary;
mod certificates;
mod endpoints;
mod error;
mod event;
mod files;
mod fleet;
mod leftover;
mod load;
mod lock;
mod log;
mod observe;
mod peer;
mod report;
mod state;
mod status;
mod supervise;
mod watch;

pub use error::LocalError;
pub use report::Format;
pub use supervise::{Options, run};
