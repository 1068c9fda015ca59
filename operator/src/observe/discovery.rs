//! Whether the cluster knows a kind.

use kube::Client;

use crate::backoff::jittered;
use crate::kind::Kind;

/// Whether it does; none where the API server does not answer.
pub(super) async fn knows(client: &Client, kind: Kind) -> Option<bool> {
    let asked = client.list_api_group_resources(kind.api_version());
    match tokio::time::timeout(crate::api::DEADLINE, asked).await.ok()? {
        Ok(list) => Some(list.resources.iter().any(|resource| resource.name == kind.plural())),
        Err(kube::Error::Api(status)) if status.code == 404 => Some(false),
        Err(_) => None,
    }
}

/// Waits until the cluster does not know the kind any more.
pub(super) async fn gone(client: &Client, kind: Kind) {
    loop {
        tokio::time::sleep(jittered(super::watch::DISCOVERY)).await;
        if knows(client, kind).await == Some(false) {
            return;
        }
    }
}
