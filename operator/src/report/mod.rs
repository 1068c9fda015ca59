//! What is told of a network: its status, and Events when something changes. Written only where it differs.

mod event;

use serde_json::json;
use sorcha_crds::SorchaPeerNetworkStatus;

use crate::api::{ApiError, Objects};
use crate::kind::Kind;
use crate::observe::NetworkKey;

pub use event::Reporter;

/// A status that was written.
#[derive(Debug)]
pub struct Written {
    /// The manifest's new resource version.
    pub version: String,
    /// The API server's words where its definition lacks fields of the status, which were left out.
    pub lacking: Option<String>,
}

/// Writes the status where it differs from what is there. Where the definition in the cluster is an earlier one, what
/// it knows is written all the same.
pub async fn status(
    objects: &Objects,
    key: &NetworkKey,
    before: Option<&SorchaPeerNetworkStatus>,
    after: &SorchaPeerNetworkStatus,
) -> Result<Option<Written>, ApiError> {
    if before == Some(after) {
        return Ok(None);
    }
    let object = json!({
        "apiVersion": sorcha_crds::API_VERSION,
        "kind": sorcha_crds::KIND,
        "metadata": {"name": &*key.name, "namespace": &*key.namespace},
        "status": after,
    });
    let kind = Kind::SorchaPeerNetwork;
    let (live, lacking) = match objects.apply_status(kind, &key.namespace, &object).await {
        Err(error) if error.is_undeclared_field() => {
            let change = json!({"status": after});
            (objects.merge_status(kind, &key.namespace, &key.name, &change).await?, Some(error.to_string()))
        }
        outcome => (outcome?, None),
    };
    let version = live["metadata"]["resourceVersion"].as_str();
    Ok(version.map(|version| Written { version: version.to_owned(), lacking }))
}
