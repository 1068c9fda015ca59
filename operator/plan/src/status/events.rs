//! Which Events a change of status is worth: what a person would want to be told of, once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sorcha_crds::SorchaPeerNetworkStatus;

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

/// The Events that a change from the old status to the new one is worth: troubles that begin or become others, and
/// states that are reached. A change of words alone is worth none.
pub fn events(before: Option<&SorchaPeerNetworkStatus>, after: &SorchaPeerNetworkStatus) -> Vec<Note> {
    let old = |type_: &str| before?.conditions.iter().find(|condition| condition.type_ == type_);
    let mut notes: Vec<Note> = Vec::new();
    for condition in &after.conditions {
        let old = old(&condition.type_);
        let same = old.is_some_and(|old| old.status == condition.status && old.reason == condition.reason);
        let Some(is_warning) = worth(condition, old).filter(|_| !same) else { continue };
        // a trouble that two conditions tell of is one
        if notes.iter().all(|note| note.reason != condition.reason) {
            let (reason, note) = (condition.reason.clone(), condition.message.clone());
            notes.push(Note { is_warning, reason, note });
        }
    }
    notes
}

/// Whether it is told, and as a warning.
fn worth(condition: &Condition, old: Option<&Condition>) -> Option<bool> {
    let was = |status: &str| old.is_some_and(|old| old.status == status);
    match (condition.type_.as_str(), condition.status.as_str()) {
        ("Ready" | "Progressing", "True") => Some(false),
        ("Progressing", "False") => (condition.reason == "Paused").then_some(false),
        ("Degraded", "True") => Some(true),
        ("Degraded", "False") => was("True").then_some(false),
        ("CertificatesReady", "False") => (condition.reason != "Issuing").then_some(true),
        ("Linked", "False") => was("True").then_some(true),
        ("Linked", "True") => was("False").then_some(false),
        _ => None,
    }
}
