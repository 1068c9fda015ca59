//! One look at one network: observe, validate, plan, check, apply, report. Each stage is a module of its own; this
//! one passes values between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use sorcha_crds::{SorchaPeerNetwork, SorchaPeerNetworkStatus};
use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::observed::{Foreign, ObservedNetwork, ObservedPod, Refused};
use sorcha_operator_plan::status::{self, Note};
use sorcha_operator_plan::step::{PeerAddress, Step};
use sorcha_operator_plan::{Invalid, NetworkPlan, Validated, names, plan, validate};

use crate::api::{ApiError, Class, Objects};
use crate::apply::{ApplyError, Executor, Target};
use crate::backoff::Backoff;
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
    /// A peer did not do what it was told.
    #[error("{0}")]
    Peer(String),
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
            Self::Peer(_) => Class::Unavailable,
            Self::Broken(_) => Class::Refused,
        }
    }

    /// The stage, for metrics.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Certificates(_) => "certificates",
            Self::Peer(_) => "peer",
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
            Err(invalid) => return self.invalid(&invalid).await,
        };
        let uid = self.manifest.metadata.uid.as_deref().unwrap_or_default();
        let mut seen = self.observe(&network, &validated, uid).await?;
        let mut decided = plan(&validated, &seen);
        if let Ok(plan) = &decided
            && self.ensure(&validated, plan).await?
        {
            seen.authority = self.tools.authorities.observe(self.key, &validated, &network.secrets()).await?;
            decided = sorcha_operator_plan::plan(&validated, &seen);
        }
        let plan = match decided {
            Ok(plan) => plan,
            Err(invalid) => return self.invalid(&invalid).await,
        };
        if let Some(broken) = check_network(&plan, &validated).first() {
            return Err(PassError::Broken(broken.to_string()));
        }
        let done = self.execute(&validated, &plan, uid, &mut seen).await;
        let status = status::status(&validated, &plan, &seen, self.status_before());
        let reported = self.report(&status).await;
        let again = done?;
        reported?;
        let again = again.or(plan.again_after);
        Ok(if seen.foreign.is_empty() { again } else { Some(again.map_or(FOREIGN, |it| it.min(FOREIGN))) })
    }

    async fn invalid(&mut self, invalid: &Invalid) -> Result<Option<Duration>, PassError> {
        let now = Timestamp::now().as_millisecond();
        let generation = self.manifest.metadata.generation;
        let status = status::status_invalid(invalid, generation, now, self.status_before());
        self.report(&status).await?;
        Ok(None)
    }

    async fn ensure(&mut self, validated: &Validated, plan: &NetworkPlan) -> Result<bool, PassError> {
        let authorities = &self.tools.authorities;
        let wrote = authorities.ensure(self.key, validated, &plan.authority, &plan.certificates).await?;
        self.writes += usize::from(wrote);
        Ok(wrote)
    }

    async fn observe(
        &self,
        network: &Network,
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
        let target = Target { key: self.key, uid };
        seen.foreign = target.still_foreign(&self.tools.objects, &self.memory.foreign).await?;
        seen.refused.clone_from(&self.memory.refused);
        self.ask(validated, &mut seen).await;
        Ok(seen)
    }

    /// Asks every peer that has an address.
    async fn ask(&self, validated: &Validated, seen: &mut ObservedNetwork) {
        let mut pods: Vec<&mut ObservedPod> =
            seen.pools.values_mut().flat_map(|pool| pool.pods.values_mut()).collect();
        pods.retain(|pod| pod.address.is_some() && !pod.is_terminating);
        let address = |pod: &ObservedPod| PeerAddress {
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            uri: names::peer_uri(&validated.spec.tls.trust_domain, &validated.network_id, &pod.name),
            address: pod.address.expect("those without were left out"),
        };
        let peers: Vec<PeerAddress> = pods.iter().map(|pod| address(pod)).collect();
        if peers.is_empty() {
            return;
        }
        let answers = self.tools.peers.ask(self.key, validated, &peers).await;
        for (pod, answer) in pods.into_iter().zip(answers) {
            pod.peer = answer.peer;
            pod.drain = answer.drain;
        }
    }

    /// Carries out the plan; `seen` is then what it was found to be. Returns when to look again.
    async fn execute(
        &mut self,
        validated: &Validated,
        plan: &NetworkPlan,
        uid: &str,
        seen: &mut ObservedNetwork,
    ) -> Result<Option<Duration>, PassError> {
        let target = Target { key: self.key, uid };
        let executor = Executor { objects: &self.tools.objects, cache: &self.tools.cache, target };
        let (before, after): (Vec<&Step>, Vec<&Step>) =
            plan.steps.iter().partition(|step| step.is_before_objects());
        let objects = plan.objects.to_json();
        let recreated: Vec<&str> = before
            .iter()
            .filter_map(|step| match step {
                Step::RecreateSet { set, .. } => Some(set.as_str()),
                _ => None,
            })
            .collect();
        let mut applied = executor.judge(&objects, &recreated).await?;
        if applied.refused.is_empty() {
            for step in before {
                self.step(&executor, validated, step).await?;
            }
            executor.write(&objects, &mut applied).await?;
        }
        self.writes += applied.written.len();
        let strangers = applied.foreign.len();
        seen.foreign.extend(applied.foreign);
        seen.refused = applied.refused;
        self.memory.foreign.clone_from(&seen.foreign);
        self.memory.refused.clone_from(&seen.refused);
        if !seen.refused.is_empty() {
            let (Next::After(wait) | Next::NotBefore(wait)) = self.memory.wait(Class::Refused);
            return Ok(Some(wait));
        }
        // what others have in the way changes the plan
        if strangers > 0 {
            return Ok(Some(Duration::ZERO));
        }
        for step in after {
            self.step(&executor, validated, step).await?;
        }
        Ok(None)
    }

    async fn step(
        &mut self,
        executor: &Executor<'_>,
        validated: &Validated,
        step: &Step,
    ) -> Result<(), PassError> {
        let (key, peers) = (self.key, &self.tools.peers);
        match step {
            Step::RecreateSet { set, uid, why } => {
                executor.recreate_set(set, uid, why).await?;
                self.tell(false, "StatefulSetRecreated", why).await;
            }
            Step::GrowClaim { claim, size } => executor.grow_claim(claim, size).await?,
            Step::ReplacePod { pod, uid, why } => {
                if executor.replace_pod(pod, uid, why).await? {
                    self.tell(false, "PeerReplaced", why).await;
                }
            }
            Step::Prune(object) => {
                executor.prune(object).await?;
            }
            Step::Reload(peer) => {
                return peers.reload(key, validated, peer).await.map_err(PassError::Peer);
            }
            Step::Drain { peer, leaving, leave } => {
                let drained = peers.drain(key, validated, peer, leaving, *leave).await;
                return drained.map(|_| ()).map_err(PassError::Peer);
            }
            Step::Resume(peer) => {
                return peers.resume(key, validated, peer).await.map_err(PassError::Peer);
            }
        }
        self.writes += 1;
        Ok(())
    }

    async fn tell(&self, is_warning: bool, reason: &str, note: &str) {
        let note = Note { is_warning, reason: reason.to_owned(), note: note.to_owned() };
        self.tools.reporter.tell(self.manifest, &note).await;
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
        for note in status::events(before.as_ref(), after) {
            self.tools.reporter.tell(self.manifest, &note).await;
        }
        Ok(())
    }
}

/// How often a name that somebody else's object bears is looked at again (a guess: a person removes it).
const FOREIGN: Duration = Duration::from_secs(30);
