//! What is known of the networks: watches fill a cache, the cache gives each network's view of itself.
//!
//! Knows the API server's side only: what follows from it is decided in `sorcha-operator-plan`, and what the peers
//! say of themselves is asked in `peers`.

pub mod cache;
mod demand;
mod discovery;
mod gather;
mod pod;
mod slim;
mod watch;

pub use cache::{Cache, Network, NetworkKey};
pub use demand::{Demand, is_short};
pub use gather::Surroundings;
pub use watch::{Watches, run};
