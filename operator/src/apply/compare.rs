//! Whether an object as it is differs from what is wanted, in the fields that the operator owns. Pure.
//!
//! Defaults that the API server fills in are no difference, nor are fields of others. A field that the operator owns
//! and no longer wants is one; so is a wanted field that it does not own (any more), because somebody else has taken
//! it. Who owns what stands in `metadata.managedFields` (structured-merge-diff's `FieldsV1`: `f:` a field, `k:` an
//! element of a list by its keys, `v:` an element of a set, `.` the thing itself).

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sorcha_crds::Size;
use sorcha_operator_plan::names::MANAGER;

/// Annotation with a digest of what was applied last: tells a changed wish from an unchanged one where a default of
/// the API server makes the objects differ anyway, also after a restart of the operator.
pub const ANNOTATION_APPLIED: &str = "sorcha.org/applied";

/// Characters of the digest: 64 bits, enough to tell two versions of an object apart.
const DIGEST_CHARACTERS: usize = 16;

/// Digest of an object. Maps are ordered, so the same object gives the same digest.
pub fn digest(object: &Value) -> String {
    let mut digest = hex::encode(Sha256::digest(object.to_string().as_bytes()));
    digest.truncate(DIGEST_CHARACTERS);
    digest
}

/// The object with its own digest as an annotation.
pub fn sealed(object: &Value) -> Value {
    let digest = digest(object);
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        annotations[ANNOTATION_APPLIED] = Value::String(digest);
    }
    object
}

/// The first field that differs, such as `spec.replicas`; none where nothing is to be written.
pub fn difference(wanted: &Value, live: &Value) -> Option<String> {
    let Some(owned) = owned_fields(live) else { return Some("metadata.managedFields".to_owned()) };
    let (Some(wanted), Some(live)) = (wanted.as_object(), live.as_object()) else {
        return Some(String::new());
    };
    let mut path = Vec::new();
    for (field, wanted) in wanted {
        // identity: the same, or it would be another object
        if field == "apiVersion" || field == "kind" {
            continue;
        }
        path.push(field.clone());
        let owned = owned.get(&format!("f:{field}"));
        let differs = if field == "metadata" {
            metadata(wanted, live.get(field), owned, &mut path)
        } else {
            value(wanted, live.get(field), owned, &mut path)
        };
        if differs {
            return Some(path.join("."));
        }
        path.pop();
    }
    unwanted(owned, wanted.keys())
}

/// What the operator's applies own of an object.
fn owned_fields(live: &Value) -> Option<&Map<String, Value>> {
    let managers = live["metadata"]["managedFields"].as_array()?;
    let ours = managers.iter().find(|entry| {
        entry["manager"] == MANAGER && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    })?;
    ours["fieldsV1"].as_object()
}

/// Name and namespace are not owned by anybody.
fn metadata(wanted: &Value, live: Option<&Value>, owned: Option<&Value>, path: &mut Vec<String>) -> bool {
    let mut wanted = wanted.clone();
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.remove("name");
        wanted.remove("namespace");
    }
    value(&wanted, live, owned, path)
}

/// True where they differ; `path` then ends in the field.
fn value(wanted: &Value, live: Option<&Value>, owned: Option<&Value>, path: &mut Vec<String>) -> bool {
    // nothing is wanted here: the API server drops empty things
    if is_empty(wanted) && live.is_none_or(is_empty) {
        return false;
    }
    let (Some(live), Some(owned)) = (live, owned.and_then(Value::as_object)) else { return true };
    let is_leaf = owned.is_empty();
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) if !is_leaf => {
            for (field, wanted) in wanted {
                path.push(field.clone());
                if value(wanted, live.get(field), owned.get(&format!("f:{field}")), path) {
                    return true;
                }
                path.pop();
            }
            descend(unwanted(owned, wanted.keys()), path)
        }
        (Value::Array(wanted), Value::Array(live)) if !is_leaf => elements(wanted, live, owned, path),
        _ => !covers(wanted, live, path.iter().any(|field| holds_quantities(field))),
    }
}

/// Lists whose elements are told apart by keys, and sets.
fn elements(wanted: &[Value], live: &[Value], owned: &Map<String, Value>, path: &mut Vec<String>) -> bool {
    let mut found = 0;
    for (owned, below) in owned {
        let (keys, element) = match owned.split_once(':') {
            Some(("k", keys)) => (serde_json::from_str(keys).unwrap_or(Value::Null), None),
            Some(("v", element)) => (Value::Null, serde_json::from_str::<Value>(element).ok()),
            _ => continue,
        };
        path.push(owned.clone());
        if let Some(element) = element {
            if !wanted.contains(&element) || !live.contains(&element) {
                return true;
            }
        } else {
            let Some(wanted) = wanted.iter().find(|it| has_keys(it, &keys)) else { return true };
            let live = live.iter().find(|it| has_keys(it, &keys));
            if value(wanted, live, Some(below), path) {
                return true;
            }
        }
        found += 1;
        path.pop();
    }
    found < wanted.len()
}

/// Keys that an element leaves out are defaults of the API server, such as `protocol: TCP`.
fn has_keys(element: &Value, keys: &Value) -> bool {
    let Some(keys) = keys.as_object() else { return false };
    keys.iter().all(|(key, value)| element.get(key).is_none_or(|it| it == value))
}

/// An owned field that is not wanted any more.
fn unwanted<'a>(owned: &Map<String, Value>, wanted: impl Iterator<Item = &'a String>) -> Option<String> {
    let wanted: Vec<&str> = wanted.map(String::as_str).collect();
    let fields = owned.keys().filter_map(|key| key.strip_prefix("f:"));
    fields.into_iter().find(|field| !wanted.contains(field)).map(str::to_owned)
}

fn descend(field: Option<String>, path: &mut Vec<String>) -> bool {
    field.is_some_and(|field| {
        path.push(field);
        true
    })
}

/// A value that is owned as a whole: equal but for defaults within it, and for another spelling of a Quantity.
fn covers(wanted: &Value, live: &Value, quantity: bool) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(field, wanted)| {
            let quantity = quantity || holds_quantities(field);
            match live.get(field) {
                Some(live) => covers(wanted, live, quantity),
                None => is_empty(wanted),
            }
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(wanted, live)| covers(wanted, live, quantity))
        }
        (wanted, live) => wanted == live || (quantity && is_same_quantity(wanted, live)),
    }
}

/// Fields below which Kubernetes reads Quantities and writes them in its own spelling.
fn holds_quantities(field: &str) -> bool {
    matches!(field, "requests" | "limits" | "storage" | "sizeLimit" | "divisor" | "overhead")
}

/// `1024Mi` and `1Gi` are the same; so are `500m` and `0.5`.
fn is_same_quantity(wanted: &Value, live: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => Size::new(text).thousandths(),
        Value::Number(number) => Size::new(number.to_string()).thousandths(),
        _ => None,
    };
    match (amount(wanted), amount(live)) {
        (Some(wanted), Some(live)) => wanted == live,
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(array) => array.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is wanted of a StatefulSet, cut to what matters here.
    fn wanted() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "a", "namespace": "n", "labels": {"l": "1"}},
            "spec": {
                "replicas": 3,
                "template": {"spec": {
                    "containers": [{
                        "name": "peer",
                        "image": "i",
                        "env": [{"name": "SIZE", "value": "1024Mi"}],
                        "ports": [{"containerPort": 7450}],
                        "resources": {"requests": {"memory": "1024Mi", "cpu": "500m"}},
                    }],
                    "securityContext": {},
                }},
                "volumeClaimTemplates": [{"metadata": {"name": "state"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}],
            },
        })
    }

    /// The same as an API server gives it: defaults filled in, Quantities in its spelling, who owns what.
    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
                "labels": {"l": "1", "foreign": "x"},
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:foreign": {}}}}},
                    {"manager": "sorcha-operator", "operation": "Apply", "subresource": "status", "fieldsV1": {}},
                    {"manager": "sorcha-operator", "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:l": {}}},
                        "f:spec": {
                            "f:replicas": {},
                            "f:template": {"f:spec": {
                                "f:containers": {"k:{\"name\":\"peer\"}": {
                                    ".": {}, "f:name": {}, "f:image": {},
                                    "f:env": {"k:{\"name\":\"SIZE\"}": {".": {}, "f:name": {}, "f:value": {}}},
                                    "f:ports": {"k:{\"containerPort\":7450,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                                    "f:resources": {"f:requests": {"f:cpu": {}, "f:memory": {}}},
                                }},
                                "f:securityContext": {},
                            }},
                            "f:volumeClaimTemplates": {},
                        },
                    }},
                ],
            },
            "spec": {
                "replicas": 3,
                "revisionHistoryLimit": 10,
                "template": {"spec": {
                    "restartPolicy": "Always",
                    "containers": [
                        {
                            "name": "peer",
                            "image": "i",
                            "imagePullPolicy": "IfNotPresent",
                            "env": [{"name": "SIZE", "value": "1024Mi"}],
                            "ports": [{"containerPort": 7450, "protocol": "TCP"}],
                            "resources": {"requests": {"memory": "1Gi", "cpu": "0.5"}},
                        },
                        {"name": "injected", "image": "mesh"},
                    ],
                    "securityContext": {},
                }},
                "volumeClaimTemplates": [{
                    "metadata": {"name": "state"},
                    "spec": {"volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}},
                    "status": {"phase": "Pending"},
                }],
            },
            "status": {"replicas": 3},
        })
    }

    fn set(object: &mut Value, pointer: &str, value: Value) {
        *object.pointer_mut(pointer).expect("the fixture has it") = value;
    }

    fn differs(change: impl FnOnce(&mut Value, &mut Value)) -> Option<String> {
        let (mut wanted, mut live) = (wanted(), live());
        change(&mut wanted, &mut live);
        difference(&wanted, &live)
    }

    const CONTAINER: &str = "/spec/template/spec/containers/0";
    const OURS: &str = "/metadata/managedFields/2/fieldsV1";

    #[test]
    fn defaults_spellings_and_fields_of_others_are_no_difference() {
        assert_eq!(differs(|_, _| {}), None);
    }

    #[test]
    fn an_edited_field_is_a_difference() {
        let field = |change: fn(&mut Value, &mut Value)| differs(change).expect("it differs");
        assert_eq!(field(|_, live| set(live, "/spec/replicas", json!(2))), "spec.replicas");
        let memory = format!("{CONTAINER}/resources/requests/memory");
        let told = differs(|_, live| set(live, &memory, json!("2Gi"))).expect("it differs");
        assert!(told.ends_with("resources.requests.memory"), "{told}");
        // as text these are two values
        let value = format!("{CONTAINER}/env/0/value");
        assert!(differs(|_, live| set(live, &value, json!("1Gi"))).is_some());
        let storage = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
        assert!(differs(|_, live| set(live, storage, json!("2Gi"))).is_some());
        assert!(differs(|_, live| set(live, storage, json!("1024Mi"))).is_none());
    }

    #[test]
    fn a_removed_field_or_element_is_a_difference() {
        assert!(differs(|_, live| set(live, "/metadata/labels", json!({"foreign": "x"}))).is_some());
        assert!(differs(|_, live| set(live, &format!("{CONTAINER}/env"), json!([]))).is_some());
        let containers = "/spec/template/spec/containers";
        assert!(differs(|_, live| set(live, containers, json!([{"name": "injected"}]))).is_some());
    }

    #[test]
    fn what_is_not_wanted_any_more_is_a_difference() {
        assert!(differs(|wanted, _| set(wanted, &format!("{CONTAINER}/env"), json!([]))).is_some());
        assert!(differs(|wanted, _| set(wanted, "/metadata/labels", json!({}))).is_some());
        assert!(differs(|wanted, _| set(wanted, "/spec/volumeClaimTemplates", json!([]))).is_some());
    }

    #[test]
    fn a_new_wish_is_a_difference_and_so_is_a_field_that_somebody_took() {
        let port = json!([{"containerPort": 7450}, {"containerPort": 7451}]);
        assert!(differs(|wanted, _| set(wanted, &format!("{CONTAINER}/ports"), port)).is_some());
        let taken = json!({"f:other": {}});
        assert!(differs(|_, live| set(live, &format!("{OURS}/f:metadata/f:labels"), taken)).is_some());
        assert!(differs(|_, live| set(live, "/metadata/managedFields", json!([]))).is_some());
    }

    #[test]
    fn the_digest_tells_wishes_apart_and_is_kept_on_the_object() {
        let (one, mut other) = (wanted(), wanted());
        assert_eq!(digest(&one), digest(&wanted()));
        set(&mut other, "/spec/replicas", json!(4));
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(sealed(&one)["metadata"]["annotations"][ANNOTATION_APPLIED], digest(&one));
    }
}
