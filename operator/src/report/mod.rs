//! What is told of a network: its status, and Events when something changes. Written only where it differs.

mod event;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use sorcha_crds::SorchaPeerNetworkStatus;

use crate::api::{ApiError, Objects};
use crate::kind::Kind;
use crate::observe::NetworkKey;

pub use event::{Occurrence, Reporter};

/// Writes the status where it differs from what is there. Returns the manifest's new resource version when it was.
pub async fn status(
    objects: &Objects,
    key: &NetworkKey,
    before: Option<&SorchaPeerNetworkStatus>,
    after: &SorchaPeerNetworkStatus,
) -> Result<Option<String>, ApiError> {
    if before == Some(after) {
        return Ok(None);
    }
    let object = json!({
        "apiVersion": sorcha_crds::API_VERSION,
        "kind": sorcha_crds::KIND,
        "metadata": {"name": &*key.name, "namespace": &*key.namespace},
        "status": after,
    });
    let live = objects.apply_status(Kind::SorchaPeerNetwork, &key.namespace, &object).await?;
    Ok(live["metadata"]["resourceVersion"].as_str().map(str::to_owned))
}

/// What has happened between two statuses, for Events: a condition that changed its state or its reason.
pub fn transitions(
    before: Option<&SorchaPeerNetworkStatus>,
    after: &SorchaPeerNetworkStatus,
) -> Vec<Occurrence> {
    let known = |type_: &str| -> Option<&Condition> {
        before?.conditions.iter().find(|condition| condition.type_ == type_)
    };
    let changed = after.conditions.iter().filter(|condition| {
        known(&condition.type_)
            .is_none_or(|before| before.status != condition.status || before.reason != condition.reason)
    });
    // that something has begun to move, or has not begun yet, is said by its objects
    let telling = changed.filter(|condition| match (condition.type_.as_str(), condition.status.as_str()) {
        ("Ready" | "Linked" | "CertificatesReady", "True") | ("Degraded", "True") => true,
        ("Ready" | "Linked" | "CertificatesReady", "False") => {
            known(&condition.type_).is_some_and(|before| before.status == "True")
                || condition.reason.starts_with("Invalid")
        }
        ("Degraded", "False") => known("Degraded").is_some_and(|before| before.status == "True"),
        _ => false,
    });
    telling
        .map(|condition| {
            let is_good = (condition.type_ == "Degraded") != (condition.status == "True");
            Occurrence {
                is_warning: !is_good,
                reason: condition.reason.clone(),
                note: condition.message.clone(),
            }
        })
        .collect()
}
