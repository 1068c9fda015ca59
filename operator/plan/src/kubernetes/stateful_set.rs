//! The StatefulSet of a pool. Pods start together (Parallel) and are replaced by the operator alone (OnDelete), one at a
//! time across the network.

use serde_json::{Value, json};

use super::{json, pool_metadata};
use crate::names::{self, ANNOTATION_RENDERED};
use crate::observed::{ObservedNetwork, Rendered};
use crate::scale::Scale;
use crate::validate::{Pool, Validated};

/// As JSON: the template is taken as it was rendered, perhaps by another version.
pub(super) fn build(
    network: &Validated,
    seen: &ObservedNetwork,
    pool: &Pool,
    rendered: &Rendered,
    scale: &Scale,
) -> Value {
    let name = names::pool(&network.name, &pool.name);
    let mut metadata = pool_metadata(name, network, seen, pool);
    let pinned = serde_json::to_string(rendered).expect("what was rendered is JSON");
    metadata.annotations = Some([(ANNOTATION_RENDERED.to_owned(), pinned)].into());
    let mut spec = immutable(network, pool);
    spec["replicas"] = scale.replicas.get(&pool.name).copied().unwrap_or(pool.replicas).into();
    spec["updateStrategy"] = json!({"type": "OnDelete"});
    let keep = |keep| if keep { "Retain" } else { "Delete" };
    let retain = &pool.storage.retain;
    spec["persistentVolumeClaimRetentionPolicy"] = json!({"whenDeleted": keep(retain.on_delete), "whenScaled": keep(retain.on_scale_down || scale.nobody_stays)});
    spec["template"] = rendered.template.clone();
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": json(&metadata), "spec": spec})
}

/// The fields of the spec that cannot change.
pub(crate) fn immutable(network: &Validated, pool: &Pool) -> Value {
    json!({
        "selector": {"matchLabels": names::pool_selector(&network.name, &pool.name)},
        "serviceName": names::pool(&network.name, &pool.name),
        "podManagementPolicy": "Parallel",
        "volumeClaimTemplates": [claim(network, pool)],
    })
}

fn claim(network: &Validated, pool: &Pool) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": pool.storage.size}},
    });
    if let Some(class) = &pool.storage.class_name {
        spec["storageClassName"] = class.as_str().into();
    }
    let labels = names::pool_selector(&network.name, &pool.name);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "state", "labels": labels},
        "spec": spec,
    })
}
