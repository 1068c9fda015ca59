//! The PodMonitor (monitoring.coreos.com/v1), by which a Prometheus that the Prometheus Operator runs finds the peers.

use serde_json::{Value, json};

use super::{json, metadata};
use crate::names;
use crate::observed::ObservedNetwork;
use crate::validate::Validated;

/// None where the cluster does not know the kind, or the manifest wants none.
pub(super) fn build(network: &Validated, seen: &ObservedNetwork) -> Option<Value> {
    let monitoring = &network.spec.monitoring;
    if !seen.has_pod_monitors || !monitoring.pod_monitor {
        return None;
    }
    let mut metadata = metadata(names::network(&network.name), network, seen);
    // the network's own labels come last: objects are found again by them
    let mut labels = monitoring.labels.clone();
    labels.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(labels);
    Some(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": json(&metadata),
        "spec": {
            "selector": {"matchLabels": names::selector(&network.name)},
            "podMetricsEndpoints": [{"port": "admin", "path": "/metrics", "interval": monitoring.interval}],
        },
    }))
}
