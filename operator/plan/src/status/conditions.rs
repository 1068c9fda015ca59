//! Conditions as Kubernetes wants them: the time of the last transition moves only when the status does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use sorcha_crds::SorchaPeerNetworkStatus;

/// Longest message of a condition, in bytes: Kubernetes takes 32,768; nobody reads that much.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No,
    Unknown,
}

pub(super) struct Conditions<'a> {
    before: Option<&'a SorchaPeerNetworkStatus>,
    generation: Option<i64>,
    now: Time,
    made: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(
        before: Option<&'a SorchaPeerNetworkStatus>,
        generation: Option<i64>,
        now_unix_ms: i64,
    ) -> Self {
        // conditions carry whole seconds
        let now = Timestamp::from_second(now_unix_ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { before, generation, now: Time(now), made: Vec::new() }
    }

    fn old(&self, type_: &str) -> Option<&'a Condition> {
        self.before?.conditions.iter().find(|condition| condition.type_ == type_)
    }

    pub(super) fn add(&mut self, type_: &str, holds: Holds, reason: &str, message: &str) {
        let status = match holds {
            Holds::Yes => "True",
            Holds::No => "False",
            Holds::Unknown => "Unknown",
        };
        let same = self.old(type_).filter(|condition| condition.status == status);
        let last_transition_time =
            same.map_or_else(|| self.now.clone(), |condition| condition.last_transition_time.clone());
        let end = (0..=MESSAGE_BYTES_MAX.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
        self.made.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message[..end.unwrap_or(0)].to_owned(),
            observed_generation: self.generation,
            last_transition_time,
        });
    }

    /// As it was.
    pub(super) fn keep(&mut self, type_: &str) {
        self.made.extend(self.old(type_).cloned());
    }

    pub(super) fn made(self) -> Vec<Condition> {
        self.made
    }
}
