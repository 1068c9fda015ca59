//! One look at one network: observe, validate, plan, check, apply, report. Each stage is a module of its own; this
//! one passes values between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use sorcha_crds::{SorchaPeerNetwork, SorchaPeerNetworkStatus};
use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::observed::{Foreign, ObservedNetwork, Refused};
use sorcha_operator_plan::status::{self, ObservedPeers};
use sorcha_operator_plan::{ObservedCluster, Validated, plan, validate};

use crate::api::{ApiError, Class, Objects};
use crate::apply::{ApplyError, Executor, Target};
use crate::backoff::{Backoff, jittered};
use crate::ca::{Authorities, CaError};
use crate::health::Sources;
use crate::observe::{Cache, Network, NetworkKey, Surroundings};
use crate::peers::Peers;
use crate::queue::Next;
use crate::report::{self, Reporter};

/// Why a look ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// Objects were not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Certificates were not read or issued.
    #[error(transparent)]
    Certificates(#[from] CaError),
    /// The status was not written.
    #[error(transparent)]
    Report(ApiError),
    /// A mistake of this program.
    #[error("the plan contradicts itself, a mistake of this program: {0}")]
    Broken(String),
}

impl PassError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Apply(error) => error.class(),
            Self::Certificates(error) => error.class(),
            Self::Report(error) => error.class(),
            Self::Broken(_) => Class::Refused,
        }
    }

    /// The stage, for metrics.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Certificates(_) => "certificates",
            Self::Report(_) => "report",
            Self::Broken(_) => "check",
        }
    }
}

/// What is remembered of a network from look to look. Bounded by the number of networks; small where all is well.
#[derive(Debug, Default)]
struct Memory {
    backoff: Backoff,
    foreign: Vec<Foreign>,
    refused: Vec<Refused>,
    /// What was written last with the manifest's resource version by it, until the watch shows it.
    status: Option<(String, Box<SorchaPeerNetworkStatus>)>,
}

/// What everybody who looks shares.
pub struct Tools {
    /// The way to the API server.
    pub objects: Objects,
    /// What watches have told.
    pub cache: Arc<Cache>,
    /// Which watches work.
    pub sources: Arc<Sources>,
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
    /// Why it ended before its end.
    pub error: Option<PassError>,
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
            self.tools.authorities.forget(key);
            self.tools.peers.forget(key);
            return Look { next: None, writes: 0, error: None };
        };
        // its objects have it as their owner and go by themselves
        if manifest.metadata.deletion_timestamp.is_some() {
            return Look { next: Some(Next::After(self.tools.resync)), writes: 0, error: None };
        }
        let mut memory = memories().remove(key).unwrap_or_default();
        let mut pass = Pass { tools: &self.tools, key, manifest: &manifest, memory: &mut memory, writes: 0 };
        let outcome = pass.run(network).await;
        let writes = pass.writes;
        let (next, error) = match outcome {
            Ok(again) => {
                memory.backoff.reset();
                (Next::After(again.unwrap_or(self.tools.resync).min(self.tools.resync)), None)
            }
            Err(error) => (memory.wait(error.class()), Some(error)),
        };
        memories().insert(key.clone(), memory);
        Look { next: Some(next), writes, error }
    }
}

impl Memory {
    /// After a refusal everything that happens may be the remedy; after other failures nothing shortens the wait.
    fn wait(&mut self, class: Class) -> Next {
        let wait = self.backoff.after(class, &mut rand::rng());
        if class == Class::Refused { Next::After(wait) } else { Next::NotBefore(wait) }
    }
}

/// A look that is under way.
struct Pass<'a> {
    tools: &'a Tools,
    key: &'a NetworkKey,
    manifest: &'a SorchaPeerNetwork,
    memory: &'a mut Memory,
    writes: usize,
}

impl Pass<'_> {
    /// Returns when to look again at the latest.
    async fn run(&mut self, network: Network) -> Result<Option<Duration>, PassError> {
        let validated = match validate(self.manifest) {
            Ok(validated) => validated,
            Err(invalid) => {
                let now = Time(Timestamp::now());
                let generation = self.manifest.metadata.generation;
                let status = status::status_invalid(&invalid, generation, self.status_before(), &now);
                self.report(&status).await?;
                return Ok(None);
            }
        };
        let uid = self.manifest.metadata.uid.as_deref().unwrap_or_default();
        let mut seen = self.observe(network, &validated, uid).await?;
        let cluster = ObservedCluster {
            image_default: seen.image_default.clone(),
            ..ObservedCluster::empty(&validated)
        };
        let plan = plan(&validated, &cluster);
        if let Some(broken) = check_network(&plan, &validated).first() {
            return Err(PassError::Broken(broken.to_string()));
        }
        let target = Target { key: self.key, uid };
        let executor = Executor { objects: &self.tools.objects, cache: &self.tools.cache, target };
        let applied = executor.apply(&plan.objects.to_json(), &[]).await?;
        self.writes += applied.written.len();
        let is_refused = !applied.refused.is_empty();
        seen.foreign = applied.foreign;
        seen.refused = applied.refused;
        self.memory.foreign.clone_from(&seen.foreign);
        self.memory.refused.clone_from(&seen.refused);
        let pods = || seen.pools.values().flat_map(|pool| pool.pods.values());
        let peers = ObservedPeers {
            existing: pods().count() as u32,
            ready: pods().filter(|pod| pod.is_ready).count() as u32,
        };
        let now = Time(Timestamp::now());
        let status = status::status(&validated, peers, self.status_before(), &now);
        self.report(&status).await?;
        if is_refused {
            let (Next::After(wait) | Next::NotBefore(wait)) = self.memory.wait(Class::Refused);
            return Ok(Some(wait));
        }
        Ok((!seen.foreign.is_empty()).then(|| jittered(FOREIGN)))
    }

    async fn observe(
        &self,
        network: Network,
        validated: &Validated,
        uid: &str,
    ) -> Result<ObservedNetwork, PassError> {
        let surroundings = Surroundings {
            now_unix_ms: Timestamp::now().as_millisecond(),
            image_default: self.tools.image_default.clone(),
            has_pod_monitors: self.tools.sources.has_pod_monitors(),
        };
        let mut seen = network.observed(self.key, uid, &surroundings);
        seen.authority = self.tools.authorities.observe(self.key, validated, &network.secrets()).await?;
        seen.foreign.clone_from(&self.memory.foreign);
        seen.refused.clone_from(&self.memory.refused);
        Ok(seen)
    }

    /// The status as it is: what was written last, while the watch has not shown it.
    fn status_before(&mut self) -> Option<&SorchaPeerNetworkStatus> {
        let number = |version: Option<&str>| version.and_then(|it| it.parse::<u64>().ok());
        let shown = number(self.manifest.metadata.resource_version.as_deref());
        if let Some((written, _)) = &self.memory.status
            && shown >= number(Some(written))
        {
            self.memory.status = None;
        }
        match &self.memory.status {
            Some((_, status)) => Some(status),
            None => self.manifest.status.as_ref(),
        }
    }

    async fn report(&mut self, after: &SorchaPeerNetworkStatus) -> Result<(), PassError> {
        let before = self.status_before().cloned();
        let written = report::status(&self.tools.objects, self.key, before.as_ref(), after).await;
        let Some(version) = written.map_err(PassError::Report)? else { return Ok(()) };
        self.writes += 1;
        self.memory.status = Some((version, Box::new(after.clone())));
        for occurrence in report::transitions(before.as_ref(), after) {
            self.tools.reporter.tell(self.manifest, &occurrence).await;
        }
        Ok(())
    }
}

/// How often a name that somebody else's object bears is looked at again (a guess: a person removes it).
const FOREIGN: Duration = Duration::from_secs(30);
