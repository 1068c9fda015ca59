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

const IMAGE: Effect = Effect::Ignored(Reason {
    field: "spec.image",
    message: "is ignored on this machine: the peers run the sorcha-peer program found here, not an image.",
});
const RESOURCES: Effect = Effect::Ignored(Reason {
    field: "spec.resources",
    message: "is ignored on this machine: the peers share its processors and memory without requests or limits.",
});
const STORAGE: Effect = Effect::Ignored(Reason {
    field: "spec.storage",
    message: "is ignored on this machine: the peers keep their data in folders on its disk, without volumes.",
});

/// Every field of the spec that holds a value, by its path below `spec`, in alphabetical order.
pub const FIELDS: &[(&str, Effect)] = &[
    ("bootstrap.addresses", Effect::Honoured),
    ("discovery.forgetAfter", Effect::Honoured),
    ("discovery.heartbeatInterval", Effect::Honoured),
    ("discovery.refreshInterval", Effect::Honoured),
    ("image", IMAGE),
    ("limits.bodyBytesMax", Effect::Honoured),
    ("limits.cacheBytesMax", Effect::Honoured),
    ("limits.linksMax", Effect::Honoured),
    ("limits.submissionsMax", Effect::Honoured),
    ("log.format", Effect::Honoured),
    ("log.level", Effect::Honoured),
    ("networkId", Effect::Honoured),
    ("replicas", Effect::Honoured),
    ("resources.limits.cpu", RESOURCES),
    ("resources.limits.ephemeral-storage", RESOURCES),
    ("resources.limits.memory", RESOURCES),
    ("resources.requests.cpu", RESOURCES),
    ("resources.requests.ephemeral-storage", RESOURCES),
    ("resources.requests.memory", RESOURCES),
    ("shutdown.deadline", Effect::Honoured),
    ("site", Effect::Honoured),
    ("storage.className", STORAGE),
    ("storage.size", STORAGE),
    ("tls.trustDomain", Effect::Honoured),
];

/// One notice for each group of ignored fields that the manifest sets to something else than its default.
pub(crate) fn notices(spec: &SorchaPeerNetworkSpec) -> Vec<Notice> {
    let json = |spec| serde_json::to_value(spec).expect("a spec is made of maps, lists and scalars");
    let (written, default): (Json, Json) = (json(spec), json(&SorchaPeerNetworkSpec::default()));
    let mut notices: Vec<Notice> = Vec::new();
    for (path, effect) in FIELDS {
        let Effect::Ignored(reason) = effect else { continue };
        let pointer = format!("/{}", path.replace('.', "/"));
        let told = notices.iter().any(|notice| notice.field == reason.field);
        if !told && written.pointer(&pointer) != default.pointer(&pointer) {
            notices.push(Notice { field: reason.field.to_owned(), message: reason.message.to_owned() });
        }
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(path: &str, schema: &Json, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if property["properties"].is_object() {
                leaves(&path, property, found);
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
        assert_eq!(fields, ["spec.image", "spec.resources", "spec.storage"]);
        assert_eq!(notices(&SorchaPeerNetworkSpec::default()), []);
    }
}
