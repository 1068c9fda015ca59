//! Pod template and configuration file of a pool, pinned: as long as the fields of the manifest that they are made from
//! stay as they are, what was rendered once is taken again, so that a new version of the operator changes no pod.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sorcha_crds::SorchaPeerNetworkSpec;

use crate::kubernetes::{config_map, pod_template};
use crate::observed::{ObservedNetwork, Rendered};
use crate::validate::{Pool, Validated};

/// Fields of the spec that reach template or configuration file of every pool, by their path. A test holds that these
/// are all.
const OF_SPEC: &[&str] = &[
    "/image",
    "/site",
    "/bootstrap",
    "/discovery",
    "/retention",
    "/links",
    "/proxy",
    "/limits",
    "/tls/trustDomain",
    "/log",
    "/shutdown/deadline",
];

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
    Rendered { inputs, image_default, template, config }
}

/// Digest of what template and file are made from. Values that are the default are left out, so that a field that a
/// later version knows, and the manifest does not set, changes nothing.
fn inputs(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> String {
    let default = SorchaPeerNetworkSpec::default();
    let mut spec = chosen(&network.spec, OF_SPEC);
    prune(&mut spec, &chosen(&default, OF_SPEC));
    let own = |pool: &Pool| {
        let Pool { name: _, replicas: _, resources, storage: _, placement, pod_template, expose } = pool;
        let address = expose.as_ref().and_then(|expose| expose.address.as_ref());
        json!({"resources": resources, "placement": placement, "podTemplate": pod_template, "address": address})
    };
    let usual = Pool {
        name: String::new(),
        replicas: 0,
        resources: None,
        storage: default.storage,
        placement: default.placement,
        pod_template: None,
        expose: None,
    };
    let mut of_pool = own(pool);
    prune(&mut of_pool, &own(&usual));
    let inputs = json!([network.name, network.network_id, seen.namespace, pool.name, spec, of_pool]);
    hex::encode(Sha256::digest(inputs.to_string().as_bytes()))
}

/// The values at these paths.
fn chosen(spec: &SorchaPeerNetworkSpec, paths: &[&str]) -> Value {
    let spec = serde_json::to_value(spec).expect("a spec is made of maps, lists and scalars");
    let value = |path: &&str| ((*path).to_owned(), spec.pointer(path).cloned().unwrap_or_default());
    paths.iter().map(value).collect::<serde_json::Map<_, _>>().into()
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
