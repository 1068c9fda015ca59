//! What is reported about a network: figures and conditions from what was observed and planned. Reads no clock: the
//! time is that of the observation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use sorcha_crds::SorchaPeerNetworkStatus;

use crate::names;
use crate::observed::ObservedNetwork;
use crate::plan::{Concern, Finding, NetworkPlan};
use crate::validate::{Invalid, Validated};

/// The status of a network that was planned. `before` keeps the times of conditions that have not changed.
pub fn status(
    network: &Validated,
    plan: &NetworkPlan,
    seen: &ObservedNetwork,
    before: Option<&SorchaPeerNetworkStatus>,
) -> SorchaPeerNetworkStatus {
    let pods = || seen.pools.values().flat_map(|pool| pool.pods.values());
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let (existing, ready) = (pods().count(), pods().filter(|pod| pod.is_ready).count());
    let wanted = network.peers() as usize;
    let settled = ready >= wanted && existing == wanted;
    let told = format!("{ready} of {wanted} peers are ready.");
    let mut conditions = Conditions::new(before, network.generation, seen.now_unix_ms);
    conditions.add("Ready", settled, if settled { "AllPeersReady" } else { "PeersNotReady" }, told.clone());
    conditions.add("Progressing", !settled, if settled { "Settled" } else { "PeersStarting" }, told);
    conditions.of_findings(
        "Degraded",
        true,
        Concern::Trouble,
        &plan.findings,
        ("AsWanted", "Nothing stands still."),
    );
    conditions.of_findings(
        "CertificatesReady",
        false,
        Concern::Certificates,
        &plan.findings,
        ("AllValid", "Every peer has a valid certificate."),
    );
    SorchaPeerNetworkStatus {
        observed_generation: network.generation,
        replicas: count(existing),
        ready_replicas: count(ready),
        peers: count(existing),
        peers_ready: count(ready),
        pools: Vec::new(),
        selector: Some(names::selector_text(&network.name)),
        conditions: conditions.made,
    }
}

/// The status of a manifest that cannot be planned: the figures stay, the condition says why.
pub fn status_invalid(
    invalid: &Invalid,
    generation: Option<i64>,
    now_unix_ms: i64,
    before: Option<&SorchaPeerNetworkStatus>,
) -> SorchaPeerNetworkStatus {
    let mut conditions = Conditions::new(before, generation, now_unix_ms);
    conditions.add("Ready", false, "InvalidManifest", invalid.to_string());
    conditions.add("Progressing", false, "InvalidManifest", "Correct the manifest first.".to_owned());
    SorchaPeerNetworkStatus {
        observed_generation: generation,
        conditions: conditions.made,
        ..before.cloned().unwrap_or_default()
    }
}

/// An Event that a change of status is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should act.
    pub is_warning: bool,
    /// In CamelCase.
    pub reason: String,
    /// As a sentence.
    pub note: String,
}

/// The Events that a change from the old status to the new one is worth: one for each condition whose status or
/// reason is another.
pub fn events(before: Option<&SorchaPeerNetworkStatus>, after: &SorchaPeerNetworkStatus) -> Vec<Note> {
    let known = |condition: &Condition| {
        before.into_iter().flat_map(|before| &before.conditions).any(|old| {
            old.type_ == condition.type_ && old.status == condition.status && old.reason == condition.reason
        })
    };
    let told = after.conditions.iter().filter(|condition| !known(condition));
    told.map(|condition| Note {
        is_warning: condition.type_ == "Degraded" && condition.status == "True",
        reason: condition.reason.clone(),
        note: condition.message.clone(),
    })
    .collect()
}

struct Conditions<'a> {
    before: Option<&'a SorchaPeerNetworkStatus>,
    generation: Option<i64>,
    now: Time,
    made: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    fn new(before: Option<&'a SorchaPeerNetworkStatus>, generation: Option<i64>, now_unix_ms: i64) -> Self {
        // conditions carry whole seconds
        let now = Timestamp::from_second(now_unix_ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { before, generation, now: Time(now), made: Vec::new() }
    }

    /// True (or false) where there is a finding of this kind, with the first one's reason and all sentences.
    fn of_findings(
        &mut self,
        type_: &str,
        when_found: bool,
        concern: Concern,
        findings: &[Finding],
        (reason, message): (&str, &str),
    ) {
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.concerns == concern).collect();
        match found.first() {
            Some(first) => {
                let told: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
                self.add(type_, when_found, first.reason, told.join(" "));
            }
            None => self.add(type_, !when_found, reason, message.to_owned()),
        }
    }

    /// The time of the last transition moves only when the status does.
    fn add(&mut self, type_: &str, holds: bool, reason: &str, message: String) {
        let status = if holds { "True" } else { "False" };
        let same = self.before.and_then(|before| {
            before.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == status)
        });
        self.made.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: same
                .map_or_else(|| self.now.clone(), |condition| condition.last_transition_time.clone()),
        });
    }
}
