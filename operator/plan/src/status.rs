//! What is reported about a network, from what was observed of it.
//!
//! Thin for now: the figures and the two conditions that follow from them. The clock is the caller's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use sorcha_crds::SorchaPeerNetworkStatus;

use crate::names;
use crate::validate::{Invalid, Validated};

/// What was observed of the peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedPeers {
    /// Peers that exist.
    pub existing: u32,
    /// Peers that are ready.
    pub ready: u32,
}

/// The status of a valid network. `before` keeps the times of conditions that have not changed.
pub fn status(
    network: &Validated,
    peers: ObservedPeers,
    before: Option<&SorchaPeerNetworkStatus>,
    now: &Time,
) -> SorchaPeerNetworkStatus {
    let wanted = network.replicas;
    let ready = peers.ready >= wanted && peers.existing == wanted;
    let told = format!("{} of {wanted} peers are ready.", peers.ready);
    let reason = if ready { "AllPeersReady" } else { "PeersNotReady" };
    let mut conditions = Conditions { before, generation: network.generation, now, made: Vec::new() };
    conditions.add("Ready", ready, reason, told.clone());
    conditions.add("Progressing", !ready, if ready { "Settled" } else { "PeersStarting" }, told);
    SorchaPeerNetworkStatus {
        observed_generation: network.generation,
        replicas: peers.existing.try_into().unwrap_or(i32::MAX),
        ready_replicas: peers.ready.try_into().unwrap_or(i32::MAX),
        selector: Some(names::selector_text(&network.name)),
        conditions: conditions.made,
    }
}

/// The status of a manifest that cannot be planned: the figures stay, the condition says why.
pub fn status_invalid(
    invalid: &Invalid,
    generation: Option<i64>,
    before: Option<&SorchaPeerNetworkStatus>,
    now: &Time,
) -> SorchaPeerNetworkStatus {
    let mut conditions = Conditions { before, generation, now, made: Vec::new() };
    conditions.add("Ready", false, "InvalidManifest", invalid.to_string());
    conditions.add("Progressing", false, "InvalidManifest", "Correct the manifest first.".to_owned());
    SorchaPeerNetworkStatus {
        observed_generation: generation,
        conditions: conditions.made,
        ..before.cloned().unwrap_or_default()
    }
}

struct Conditions<'a> {
    before: Option<&'a SorchaPeerNetworkStatus>,
    generation: Option<i64>,
    now: &'a Time,
    made: Vec<Condition>,
}

impl Conditions<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        serde_json::from_value(serde_json::json!(format!("2026-01-01T00:00:{second:02}Z"))).expect("a time")
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let manifest = sorcha_crds::load(sorcha_crds::QUICKSTART).expect("the example is right");
        let network = crate::validate(&manifest).expect("the example is right");
        let peers = |ready| ObservedPeers { existing: 5, ready };
        let ready_since = |status: &SorchaPeerNetworkStatus| {
            let ready =
                status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("always told");
            (ready.status.clone(), ready.last_transition_time.clone())
        };
        let first = status(&network, peers(3), None, &at(1));
        assert_eq!(ready_since(&first), ("False".to_owned(), at(1)));
        let second = status(&network, peers(4), Some(&first), &at(2));
        assert_eq!(ready_since(&second), ("False".to_owned(), at(1)));
        let third = status(&network, peers(5), Some(&second), &at(3));
        assert_eq!(ready_since(&third), ("True".to_owned(), at(3)));
        let invalid =
            Invalid { problems: vec![sorcha_crds::Problem::new("spec.replicas", "-1 is below 0.")] };
        let fourth = status_invalid(&invalid, Some(2), Some(&third), &at(4));
        assert_eq!(ready_since(&fourth), ("False".to_owned(), at(4)));
        assert_eq!((fourth.replicas, fourth.observed_generation), (5, Some(2)));
    }
}
