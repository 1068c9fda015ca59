//! What is told of a network: its status, and Events when something changes. Written only where it differs.

mod event;

use serde_json::json;
use sorcha_crds::SorchaPeerNetworkStatus;

use crate::api::{ApiError, Objects};
use crate::kind::Kind;
use crate::observe::NetworkKey;

pub use event::Reporter;

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
