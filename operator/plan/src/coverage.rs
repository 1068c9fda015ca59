//! What local mode does with every field of a manifest: honours it, or ignores it with a notice. Nothing is ignored
//! in silence; a test walks the schema, so that a new field needs an entry here.

use serde_json::Value as Json;
use sorcha_crds::SorchaPeerNetworkSpec;

use crate::processes::Notice;

/// What local mode does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// As in a cluster.
    Honoured,
    /// Not done; the reason is told when the manifest sets the field.
    Ignored(Reason),
}

/// Why a group of fields is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The group, such as `spec.resources`.
    pub field: &'static str,
    /// As a sentence.
    pub message: &'static str,
}

/// A group of fields that is ignored for this reason; in pools the same, told of `spec.pools`.
const fn ignored(field: &'static str, message: &'static str) -> Effect {
    Effect::Ignored(Reason { field, message })
}

const IMAGE: Effect = ignored(
    "spec.image",
    "is ignored on this machine: the peers run the sorcha-peer program found here, not an image.",
);
const RESOURCES: Effect = ignored(
    "spec.resources",
    "is ignored on this machine: the peers share its processors and memory without requests or limits.",
);
const STORAGE: Effect = ignored(
    "spec.storage",
    "is ignored on this machine: the peers keep their data in folders on its disk, without volumes.",
);
const PLACEMENT: Effect = ignored("spec.placement", "is ignored on this machine: it is the only node.");
const POD_TEMPLATE: Effect = ignored(
    "spec.podTemplate",
    "is ignored on this machine: the peers are processes without pods; start applications beside them yourself.",
);
const EXPOSE: Effect =
    ignored("spec.expose", "is ignored on this machine: the peers listen on its loopback address only.");
const DELIVERY: Effect = ignored(
    "spec.tls.delivery",
    "is ignored on this machine: keys and certificates are files in the peers' folders.",
);
const AUTHORITY: Effect = ignored(
    "spec.tls.retainAuthority",
    "is ignored on this machine: the certificate authority stays in the network's folder.",
);
const DRAIN: Effect = ignored(
    "spec.shutdown.drainDeadline",
    "is ignored on this machine: a peer that is scaled away keeps its folder, with what it holds.",
);
const MONITORING: Effect =
    ignored("spec.monitoring", "is ignored on this machine: no Prometheus is told of the peers.");
const NETWORK_POLICY: Effect = ignored(
    "spec.networkPolicy",
    "is ignored on this machine: the peers listen on its loopback address only.",
);
const PAUSED: Effect =
    ignored("spec.paused", "is ignored on this machine: stop the command, and the network stops with it.");
const PROXY_CREDENTIALS: Effect = ignored(
    "spec.proxy.credentialsSecret",
    "is ignored on this machine, which has no Secrets: leave spec.proxy out, and set \
     HTTPS_PROXY=http://name:password@host:port for the command.",
);
const POOLS: Effect = ignored(
    "spec.pools",
    "runs on this machine as peers of their own, of which only name and replicas count: the rest needs a cluster.",
);

/// Every field of the spec that holds a value, by its path below `spec`, in alphabetical order.
pub const FIELDS: &[(&str, Effect)] = &[
    ("bootstrap.addresses", Effect::Honoured),
    ("discovery.forgetAfter", Effect::Honoured),
    ("discovery.heartbeatInterval", Effect::Honoured),
    ("discovery.refreshInterval", Effect::Honoured),
    ("expose.address", EXPOSE),
    ("expose.annotations", EXPOSE),
    ("expose.type", EXPOSE),
    ("image", IMAGE),
    ("limits.bodyBytesMax", Effect::Honoured),
    ("limits.cacheBytesMax", Effect::Honoured),
    ("limits.linksMax", Effect::Honoured),
    ("limits.submissionsMax", Effect::Honoured),
    ("limits.submitBytesMax", Effect::Honoured),
    ("links.climbAfter", Effect::Honoured),
    ("links.compression", Effect::Honoured),
    ("links.rungs", Effect::Honoured),
    ("log.format", Effect::Honoured),
    ("log.level", Effect::Honoured),
    ("monitoring.interval", MONITORING),
    ("monitoring.labels", MONITORING),
    ("monitoring.podMonitor", MONITORING),
    ("networkId", Effect::Honoured),
    ("networkPolicy.enabled", NETWORK_POLICY),
    ("networkPolicy.metricsFrom[].namespaceLabels", NETWORK_POLICY),
    ("networkPolicy.metricsFrom[].podLabels", NETWORK_POLICY),
    ("paused", PAUSED),
    ("placement.nodeSelector", PLACEMENT),
    ("placement.priorityClassName", PLACEMENT),
    ("placement.spread.nodes", PLACEMENT),
    ("placement.spread.zones", PLACEMENT),
    ("placement.tolerations[].effect", PLACEMENT),
    ("placement.tolerations[].key", PLACEMENT),
    ("placement.tolerations[].operator", PLACEMENT),
    ("placement.tolerations[].tolerationSeconds", PLACEMENT),
    ("placement.tolerations[].value", PLACEMENT),
    ("podTemplate", POD_TEMPLATE),
    ("pools[].expose.address", POOLS),
    ("pools[].expose.annotations", POOLS),
    ("pools[].expose.type", POOLS),
    ("pools[].name", Effect::Honoured),
    ("pools[].placement.nodeSelector", POOLS),
    ("pools[].placement.priorityClassName", POOLS),
    ("pools[].placement.spread.nodes", POOLS),
    ("pools[].placement.spread.zones", POOLS),
    ("pools[].placement.tolerations[].effect", POOLS),
    ("pools[].placement.tolerations[].key", POOLS),
    ("pools[].placement.tolerations[].operator", POOLS),
    ("pools[].placement.tolerations[].tolerationSeconds", POOLS),
    ("pools[].placement.tolerations[].value", POOLS),
    ("pools[].podTemplate", POOLS),
    ("pools[].replicas", Effect::Honoured),
    ("pools[].resources.limits.cpu", POOLS),
    ("pools[].resources.limits.ephemeral-storage", POOLS),
    ("pools[].resources.limits.memory", POOLS),
    ("pools[].resources.requests.cpu", POOLS),
    ("pools[].resources.requests.ephemeral-storage", POOLS),
    ("pools[].resources.requests.memory", POOLS),
    ("pools[].storage.className", POOLS),
    ("pools[].storage.retain.onDelete", POOLS),
    ("pools[].storage.retain.onScaleDown", POOLS),
    ("pools[].storage.size", POOLS),
    ("proxy.credentialsSecret", PROXY_CREDENTIALS),
    ("proxy.except", Effect::Honoured),
    ("proxy.url", Effect::Honoured),
    ("replicas", Effect::Honoured),
    ("resources.limits.cpu", RESOURCES),
    ("resources.limits.ephemeral-storage", RESOURCES),
    ("resources.limits.memory", RESOURCES),
    ("resources.requests.cpu", RESOURCES),
    ("resources.requests.ephemeral-storage", RESOURCES),
    ("resources.requests.memory", RESOURCES),
    ("retention.age", Effect::Honoured),
    ("retention.bytes", Effect::Honoured),
    ("shutdown.deadline", Effect::Honoured),
    ("shutdown.drainDeadline", DRAIN),
    ("site", Effect::Honoured),
    ("storage.className", STORAGE),
    ("storage.retain.onDelete", STORAGE),
    ("storage.retain.onScaleDown", STORAGE),
    ("storage.size", STORAGE),
    ("tls.delivery", DELIVERY),
    ("tls.retainAuthority", AUTHORITY),
    ("tls.trustDomain", Effect::Honoured),
];

/// One notice for each group of ignored fields that the manifest sets to something else than its default.
pub(crate) fn notices(spec: &SorchaPeerNetworkSpec) -> Vec<Notice> {
    let written = serde_json::to_value(spec).expect("a spec is made of maps, lists and scalars");
    let pool = sorcha_crds::Pool::default();
    let default = SorchaPeerNetworkSpec { pools: vec![pool], ..SorchaPeerNetworkSpec::default() };
    let default = serde_json::to_value(default).expect("a spec is made of maps, lists and scalars");
    let mut notices: Vec<Notice> = Vec::new();
    for (path, effect) in FIELDS {
        let Effect::Ignored(reason) = effect else { continue };
        let usual = values(path, &default).pop();
        let told = notices.iter().any(|notice| notice.field == reason.field);
        if !told && values(path, &written).into_iter().any(|value| Some(value) != usual) {
            notices.push(Notice { field: reason.field.to_owned(), message: reason.message.to_owned() });
        }
    }
    notices
}

/// All values at a path; `[]` stands for every item of a list.
fn values<'a>(path: &str, spec: &'a Json) -> Vec<&'a Json> {
    let mut found = vec![spec];
    for name in path.split('.') {
        let (name, each) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        found = found.into_iter().filter_map(|value| value.get(name)).collect();
        if each {
            found = found.into_iter().filter_map(Json::as_array).flatten().collect();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(path: &str, schema: &Json, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if property["properties"].is_object() {
                leaves(&path, property, found);
            } else if property["items"]["properties"].is_object() {
                leaves(&format!("{path}[]"), &property["items"], found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn local_mode_has_an_answer_for_every_field() {
        let mut found = Vec::new();
        leaves("", &sorcha_crds::spec_schema(), &mut found);
        found.sort();
        let known: Vec<&str> = FIELDS.iter().map(|(path, _)| *path).collect();
        assert_eq!(found, known, "FIELDS must name each field of the schema, and none besides");
    }

    #[test]
    fn what_is_ignored_is_said_once_for_each_group() {
        let manifest = sorcha_crds::load(sorcha_crds::EVERYTHING).expect("the example is right");
        let fields: Vec<String> = notices(&manifest.spec).into_iter().map(|notice| notice.field).collect();
        let told = [
            "spec.expose",
            "spec.image",
            "spec.monitoring",
            "spec.networkPolicy",
            "spec.placement",
            "spec.podTemplate",
            "spec.pools",
            "spec.proxy.credentialsSecret",
            "spec.resources",
            "spec.shutdown.drainDeadline",
            "spec.storage",
            "spec.tls.retainAuthority",
        ];
        assert_eq!(fields, told);
        assert_eq!(notices(&SorchaPeerNetworkSpec::default()), []);
    }
}
