//! Whose an object is. Pure.

use serde_json::Value;
use sorcha_operator_plan::names::{LABEL_NETWORK, MANAGER};

use super::Target;

/// Somebody else's words for himself; none where the object is the network's: it controls it, or nobody does and it
/// carries the network's labels.
pub(super) fn stranger(live: &Value, target: &Target<'_>) -> Option<String> {
    let metadata = &live["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let controller = owners.into_iter().find(|owner| owner["controller"] == true);
    if let Some(controller) = controller {
        if controller["uid"] == target.uid {
            return None;
        }
        let text = |field: &str| controller[field].as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text("kind"), text("name"));
        // the objects of a network that was deleted go a moment later
        let gone = kind == sorcha_crds::KIND && name == *target.key.name;
        return Some(if gone {
            format!("an earlier {kind} {name}, whose objects are still being deleted")
        } else {
            format!("{kind} {name}")
        });
    }
    let labels = &metadata["labels"];
    if labels["app.kubernetes.io/managed-by"] == MANAGER && labels[LABEL_NETWORK] == *target.key.name {
        return None;
    }
    let manager = labels["app.kubernetes.io/managed-by"].as_str();
    let managers = metadata["managedFields"].as_array().and_then(|it| it.first()?["manager"].as_str());
    Some(manager.or(managers).unwrap_or("somebody").to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::NetworkKey;

    #[test]
    fn an_object_is_ours_by_owner_or_by_labels_where_nobody_owns_it() {
        let key = NetworkKey { namespace: "a".into(), name: "ledger".into() };
        let target = Target { key: &key, uid: "u1" };
        let labels = json!({"app.kubernetes.io/managed-by": MANAGER, LABEL_NETWORK: "ledger"});
        let owned = |uid: &str, name: &str| {
            json!({"metadata": {"labels": labels, "ownerReferences": [
            {"uid": uid, "kind": "SorchaPeerNetwork", "name": name, "controller": true}]}})
        };
        let of = |live: Value| stranger(&live, &target);
        assert_eq!(of(owned("u1", "ledger")), None);
        assert_eq!(of(json!({"metadata": {"labels": labels}})), None, "its owner was taken away by hand");
        assert_eq!(of(owned("u2", "other")).as_deref(), Some("SorchaPeerNetwork other"));
        assert!(of(owned("u0", "ledger")).is_some_and(|it| it.contains("still being deleted")));
        assert_eq!(of(json!({"metadata": {}})).as_deref(), Some("somebody"));
        let helm = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}});
        assert_eq!(of(helm).as_deref(), Some("Helm"));
    }
}
