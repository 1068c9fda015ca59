//! One look at one network: observe, validate, plan, check, apply, report. Each stage is a module of its own; this
//! one holds what is remembered between looks and says when the next one is.

mod error;
mod execute;
mod look;
mod peers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sorcha_crds::{SorchaPeerNetwork, SorchaPeerNetworkStatus};
use sorcha_operator_plan::observed::{DrainSeen, Foreign, Refused};

use crate::api::{Class, Objects};
use crate::backoff::Backoff;
use crate::ca::Authorities;
use crate::health::Sources;
use crate::observe::{Cache, Demand, NetworkKey};
use crate::peers::Peers;
use crate::queue::Next;
use crate::report::Reporter;

pub use error::PassError;
use look::Pass;

/// What is remembered of a network from look to look. Bounded by the number of networks; small where all is well.
#[derive(Debug, Default)]
struct Memory {
    backoff: Backoff,
    foreign: Vec<Foreign>,
    refused: Vec<Refused>,
    /// Generation of the manifest for which something was refused.
    refused_generation: Option<i64>,
    /// What was written last with the manifest's resource version by it, until the watch shows it.
    status: Option<(String, Box<SorchaPeerNetworkStatus>)>,
    /// What was written last, and when, of which an earlier definition in the cluster took a part alone.
    incomplete: Option<(Instant, Box<SorchaPeerNetworkStatus>)>,
    /// By uid of the pod: what peers answered that were told to drain.
    drains: HashMap<Box<str>, DrainSeen>,
}

/// What everybody who looks shares.
pub struct Tools {
    /// The way to the API server.
    pub objects: Objects,
    /// What watches have told.
    pub cache: Arc<Cache>,
    /// Which watches work.
    pub sources: Arc<Sources>,
    /// What is read only when something is missing.
    pub demand: Demand,
    /// Certificates.
    pub authorities: Arc<Authorities>,
    /// The peers.
    pub peers: Arc<Peers>,
    /// Events.
    pub reporter: Reporter,
    /// Image of networks that are new and name none.
    pub image_default: String,
    /// How often a network is looked at though nothing happens.
    pub resync: Duration,
}

/// Looks at networks, each at most once at a time.
pub struct Desk {
    tools: Tools,
    memories: Mutex<HashMap<NetworkKey, Memory>>,
}

/// How a look went.
#[derive(Debug)]
pub struct Look {
    /// When to look again; none where the network is gone.
    pub next: Option<Next>,
    /// Objects and statuses that were written.
    pub writes: usize,
    /// What was found, for metrics; none where the look ended before its end.
    pub found: Option<Found>,
    /// Why it ended before its end.
    pub error: Option<PassError>,
}

/// Figures of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Peers that the manifest asks for.
    pub wanted: u32,
    /// Peers that are ready.
    pub ready: u32,
    /// End of the first certificate to end, in milliseconds since the Unix epoch.
    pub certificate_end_unix_ms: Option<i64>,
    /// Conditions that hold, by type.
    pub conditions: Vec<(String, bool)>,
}

impl Desk {
    /// Nothing is remembered yet.
    pub fn new(tools: Tools) -> Self {
        Self { tools, memories: Mutex::default() }
    }

    /// One look.
    pub async fn look(&self, key: &NetworkKey) -> Look {
        let memories = || self.memories.lock().expect("nobody panics while holding it");
        let network = self.tools.cache.network(key);
        let manifest = network.as_ref().and_then(|network| network.manifest.clone());
        let (Some(network), Some(manifest)) = (network, manifest) else {
            memories().remove(key);
            self.tools.authorities.forget(&key.namespace, &key.name);
            return Look { next: None, writes: 0, found: None, error: None };
        };
        // its objects have it as their owner and go by themselves
        if is_going(&manifest) {
            let next = Some(Next::After(self.tools.resync));
            return Look { next, writes: 0, found: None, error: None };
        }
        let mut memory = memories().remove(key).unwrap_or_default();
        let mut pass = Pass::new(&self.tools, key, &manifest, &mut memory);
        let outcome = pass.run(&network).await;
        let (writes, found) = (pass.writes, pass.found.take());
        let (next, error) = match outcome {
            Ok(again) => {
                // what is refused is asked for less and less often
                if memory.refused.is_empty() {
                    memory.backoff.reset();
                }
                let again = again.unwrap_or(self.tools.resync).min(self.tools.resync);
                (Next::After(crate::backoff::jittered(again)), None)
            }
            Err(error) => {
                // it gets on: nothing is gained by waiting longer and longer
                if writes > 0 {
                    memory.backoff.reset();
                }
                (memory.wait_after(&error), Some(error))
            }
        };
        memories().insert(key.clone(), memory);
        Look { next: Some(next), writes, found, error }
    }
}

impl Memory {
    /// A peer that does not answer may do so as soon as its pod changes.
    fn wait_after(&mut self, error: &PassError) -> Next {
        match (self.wait(error.class()), error) {
            (Next::NotBefore(wait), PassError::Peer(_)) => Next::After(wait),
            (next, _) => next,
        }
    }

    /// After a refusal everything that happens may be the remedy; after other failures nothing shortens the wait.
    fn wait(&mut self, class: Class) -> Next {
        let wait = self.backoff.after(class, &mut rand::rng());
        if class == Class::Refused { Next::After(wait) } else { Next::NotBefore(wait) }
    }
}

fn is_going(manifest: &SorchaPeerNetwork) -> bool {
    manifest.metadata.deletion_timestamp.is_some()
}
