//! The order of a look: observe, validate, plan, check, apply, report.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use sorcha_crds::{SorchaPeerNetwork, SorchaPeerNetworkStatus};
use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::observed::{Foreign, ObjectName, ObservedNetwork, Refused};
use sorcha_operator_plan::status::{self, Note};
use sorcha_operator_plan::{Invalid, NetworkPlan, Validated, plan, validate};
use tracing::warn;

use super::error::of_authority;
use super::{Found, Memory, PassError, Tools};
use crate::api::Class;
use crate::apply::Target;
use crate::ca::{CaError, Realm};
use crate::kind::Kind;
use crate::observe::{Network, NetworkKey, Surroundings, is_short};
use crate::report;

/// How often a name that somebody else's object bears is looked at again (a guess: a person removes it).
const FOREIGN: Duration = Duration::from_secs(30);

/// How often a network is looked at of which pods are missing: why they are not made is told by nobody's watch.
const SHORT: Duration = Duration::from_secs(10);

/// How often a network is looked at at least of which something is refused: its peers may run (a guess).
const REFUSED: Duration = Duration::from_secs(60);

/// When a status is written again of which an earlier definition took a part alone: it may have been brought up to date
/// (a guess).
const COMPLETE_AFTER: Duration = Duration::from_secs(600);

/// A look that is under way.
pub(super) struct Pass<'a> {
    pub(super) tools: &'a Tools,
    pub(super) key: &'a NetworkKey,
    pub(super) manifest: &'a SorchaPeerNetwork,
    pub(super) memory: &'a mut Memory,
    pub(super) writes: usize,
    pub(super) found: Option<Found>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        tools: &'a Tools,
        key: &'a NetworkKey,
        manifest: &'a SorchaPeerNetwork,
        memory: &'a mut Memory,
    ) -> Self {
        Self { tools, key, manifest, memory, writes: 0, found: None }
    }

    /// Returns when to look again at the latest.
    pub(super) async fn run(&mut self, network: &Network) -> Result<Option<Duration>, PassError> {
        let validated = match validate(self.manifest) {
            Ok(validated) => validated,
            Err(invalid) => return self.invalid(&invalid).await,
        };
        let realm = Realm::of(&self.key.namespace, &validated);
        let mut seen = self.observe(network, &validated, &realm).await?;
        let mut decided = plan(&validated, &seen);
        if let Ok(plan) = &decided
            && self.ensure(&realm, plan, &mut seen).await?
        {
            seen.authority = self.authority(network, &realm).await?;
            decided = sorcha_operator_plan::plan(&validated, &seen);
        }
        let plan = match decided {
            Ok(plan) => plan,
            Err(invalid) => return self.invalid(&invalid).await,
        };
        if let Some(broken) = check_network(&plan, &validated).first() {
            return Err(PassError::Broken(broken.to_string()));
        }
        let before = (seen.foreign.clone(), seen.refused.clone());
        let done = self.execute(&realm, &plan, &mut seen).await;
        // what was found while the plan was carried out is told as well
        let told = if before == (seen.foreign.clone(), seen.refused.clone()) {
            plan
        } else {
            sorcha_operator_plan::plan(&validated, &seen).unwrap_or(plan)
        };
        let status = status::status(&validated, &told, &seen, self.status_before());
        self.found = Some(found(&validated, &seen, &status));
        let reported = self.report(&status).await;
        let again = done?;
        reported?;
        // nothing else was done, so nothing else is waited for
        if !seen.refused.is_empty()
            && let Some(wait) = again
        {
            return Ok(Some(wait.min(REFUSED)));
        }
        let short =
            seen.pools.values().any(|pool| pool.is_settled && is_short(pool.replicas, pool.pods.len()));
        let again =
            [again, told.again_after, (!seen.foreign.is_empty()).then_some(FOREIGN), short.then_some(SHORT)];
        Ok(again.into_iter().flatten().min())
    }

    async fn invalid(&mut self, invalid: &Invalid) -> Result<Option<Duration>, PassError> {
        let now = Timestamp::now().as_millisecond();
        let generation = self.manifest.metadata.generation;
        let status = status::status_invalid(invalid, generation, now, self.status_before());
        self.report(&status).await?;
        Ok(None)
    }

    /// True when Secrets were written: then the network is planned again. What cannot be issued is told in `seen`.
    async fn ensure(
        &mut self,
        realm: &Realm,
        plan: &NetworkPlan,
        seen: &mut ObservedNetwork,
    ) -> Result<bool, PassError> {
        let now = Timestamp::now();
        let ensured = self.tools.authorities.ensure(realm, &plan.authority, &plan.certificates, now).await;
        match ensured {
            Ok(written) => {
                self.writes += written.len();
                for written in written.iter().filter(|written| !written.issued.is_empty()) {
                    tracing::info!(network = %self.key, secret = written.secret, peers = ?written.issued, "issued");
                }
                Ok(!written.is_empty())
            }
            Err(error) if of_authority(&error) == Class::Refused => {
                tell_refused(error, plan, seen);
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn authority(
        &self,
        network: &Network,
        realm: &Realm,
    ) -> Result<sorcha_operator_plan::observed::ObservedAuthority, PassError> {
        Ok(self.tools.authorities.observe(realm, &network.secrets(), Timestamp::now()).await?)
    }

    async fn observe(
        &mut self,
        network: &Network,
        validated: &Validated,
        realm: &Realm,
    ) -> Result<ObservedNetwork, PassError> {
        let surroundings = Surroundings {
            now_unix_ms: Timestamp::now().as_millisecond(),
            image_default: self.tools.image_default.clone(),
            has_pod_monitors: self.tools.sources.has_pod_monitors(),
        };
        let uid = self.uid();
        let mut seen = network.observed(self.key, uid, &surroundings);
        seen.authority = self.authority(network, realm).await?;
        let target = Target { key: self.key, uid };
        seen.foreign = target.still_foreign(&self.tools.objects, &self.memory.foreign).await?;
        if self.memory.refused_generation == self.manifest.metadata.generation {
            seen.refused.clone_from(&self.memory.refused);
        }
        self.tools.demand.complete(&mut seen, validated, &network.classes()).await;
        self.ask_peers(realm, &mut seen).await;
        Ok(seen)
    }

    pub(super) fn uid(&self) -> &'a str {
        self.manifest.metadata.uid.as_deref().unwrap_or_default()
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
        self.memory.incomplete.take_if(|(written, _)| written.elapsed() >= COMPLETE_AFTER);
        match (&self.memory.status, &self.memory.incomplete) {
            (Some((_, status)), _) | (None, Some((_, status))) => Some(status),
            (None, None) => self.manifest.status.as_ref(),
        }
    }

    async fn report(&mut self, after: &SorchaPeerNetworkStatus) -> Result<(), PassError> {
        let before = self.status_before().cloned();
        let written = report::status(&self.tools.objects, self.key, before.as_ref(), after).await;
        let Some(written) = written.map_err(PassError::Report)? else { return Ok(()) };
        self.writes += 1;
        self.memory.status = Some((written.version, Box::new(after.clone())));
        self.memory.incomplete = None;
        if let Some(lacking) = written.lacking {
            self.memory.incomplete = Some((Instant::now(), Box::new(after.clone())));
            warn!(network = %self.key, "the definition is older than the operator: {lacking}");
            let note = format!(
                "The definition of SorchaPeerNetwork in this cluster is older than the operator, so that fields of the \
                 status are missing ({lacking}). Bring it up to date: sorcha-operator crd | kubectl apply \
                 --server-side --filename -."
            );
            self.tell(true, "DefinitionIsOlder", &note).await;
        }
        for note in status::events(before.as_ref(), after) {
            self.tools.reporter.tell(self.manifest, &note).await;
        }
        Ok(())
    }

    pub(super) async fn tell(&self, is_warning: bool, reason: &str, note: &str) {
        let note = Note { is_warning, reason: reason.to_owned(), note: note.to_owned() };
        self.tools.reporter.tell(self.manifest, &note).await;
    }
}

/// As an object that is in the way, or that is not taken.
fn tell_refused(error: CaError, plan: &NetworkPlan, seen: &mut ObservedNetwork) {
    let object = |name: &str| ObjectName { kind: Kind::Secret.name().to_owned(), name: name.to_owned() };
    if let CaError::Foreign { secret, owner } = error {
        seen.foreign.retain(|foreign| foreign.object.name != secret);
        seen.foreign.push(Foreign { object: object(&secret), owner });
        return;
    }
    let secret = match &error {
        CaError::NoAuthority { secret, .. } | CaError::TooLarge { secret, .. } => secret,
        _ => &plan.authority.secret,
    };
    let reason = match &error {
        CaError::Api { source, .. } => match &**source {
            kube::Error::Api(status) => status.reason.clone(),
            _ => "Failed".to_owned(),
        },
        CaError::TooLarge { .. } => "TooLarge".to_owned(),
        _ => "NotIssued".to_owned(),
    };
    let refused = Refused { object: object(secret), reason, message: crate::cli::chain(&error) };
    seen.refused.retain(|it| it.object != refused.object);
    seen.refused.push(refused);
}

fn found(network: &Validated, seen: &ObservedNetwork, status: &SorchaPeerNetworkStatus) -> Found {
    let pods = seen.pools.values().flat_map(|pool| pool.pods.values());
    let ends = seen.authority.certificates.values().map(|certificate| certificate.not_after_unix_ms);
    Found {
        wanted: network.peers(),
        ready: pods.filter(|pod| pod.is_ready).count() as u32,
        certificate_end_unix_ms: ends.min(),
        conditions: status.conditions.iter().map(|it| (it.type_.clone(), it.status == "True")).collect(),
    }
}
