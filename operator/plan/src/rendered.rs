//! Pod template and configuration file of a pool, pinned: as long as the fields of the manifest that they are made from
//! stay as they are, what was rendered once is taken again, so that a new version of the operator changes no pod.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sorcha_crds::SorchaPeerNetworkSpec;

use crate::kubernetes::{config_map, pod_template};
use crate::observed::{ObservedNetwork, Rendered};
use crate::validate::{Pool, Validated};

/// Fields of the spec that reach neither template nor configuration file, by their path.
const ELSEWHERE: &[&str] = &["replicas", "storage"];

/// What was rendered last where its inputs are the same, else anew.
pub(crate) fn decide(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> Rendered {
    let inputs = inputs(network, seen, pool);
    let before = seen.pools.get(&pool.name).and_then(|pool| pool.rendered.as_ref());
    match before {
        Some(before) if before.inputs == inputs => before.clone(),
        _ => anew(network, seen, pool, inputs, before),
    }
}

fn anew(
    network: &Validated,
    seen: &ObservedNetwork,
    pool: &Pool,
    inputs: String,
    before: Option<&Rendered>,
) -> Rendered {
    let pinned = before.and_then(|before| before.image_default.clone());
    let default = pinned.unwrap_or_else(|| seen.image_default.clone());
    let image_default = network.spec.image.is_none().then_some(default);
    let image = network.spec.image.as_deref().or(image_default.as_deref()).unwrap_or_default();
    let config = sorcha_peer_config::to_yaml(&config_map::config(network, seen, pool));
    let template = pod_template::build(network, seen, pool, image, &config_map::hash(&config));
    let template = serde_json::to_value(template).expect("Kubernetes objects are JSON");
    Rendered { inputs, image_default, template, config }
}

/// Digest of what template and file are made from. Values that are the default are left out, so that a field that a
/// later version knows, and the manifest does not set, changes nothing.
fn inputs(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> String {
    let json = |spec: &SorchaPeerNetworkSpec| serde_json::to_value(spec).expect("a spec is JSON");
    let mut spec = json(&network.spec);
    prune(&mut spec, &json(&SorchaPeerNetworkSpec::default()));
    for path in ELSEWHERE {
        if let Some(fields) = spec.as_object_mut() {
            fields.remove(*path);
        }
    }
    let inputs = json!([network.name, network.network_id, seen.namespace, pool.name, spec]);
    hex::encode(Sha256::digest(inputs.to_string().as_bytes()))
}

/// Takes away what is the default.
fn prune(value: &mut Value, default: &Value) {
    let (Some(fields), Some(defaults)) = (value.as_object_mut(), default.as_object()) else { return };
    for (name, default) in defaults {
        if let Some(field) = fields.get_mut(name) {
            prune(field, default);
        }
    }
    fields.retain(|name, field| Some(&*field) != defaults.get(name) && *field != json!({}));
}
