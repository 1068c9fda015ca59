//! The CustomResourceDefinition, made from the types; `generated/` holds the same bytes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::core::CustomResourceExt;
use serde_json::Value;

use crate::SorchaPeerNetwork;

/// The definition that a cluster is given.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = SorchaPeerNetwork::crd();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy(schema);
        }
    }
    crd
}

/// Undoes two habits of the derive: a field with a default is not nullable (the API server replaces null by the
/// default only then), and the line breaks of comments are not part of descriptions.
fn tidy(schema: &mut JSONSchemaProps) {
    if schema.default.is_some() {
        schema.nullable = None;
    }
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
}

/// The definition as YAML: the bytes of `generated/sorchapeernetworks.sorcha.org.yaml`.
pub fn crd_yaml() -> String {
    let yaml = serde_saphyr::to_string(&crd()).expect("a definition made of maps, lists and scalars is YAML");
    format!("# Made from crds/src by `sorcha-operator crd`; do not edit.\n{yaml}")
}

/// The OpenAPI schema of a whole manifest, as the API server applies it.
pub(crate) fn manifest_schema() -> Value {
    let mut crd = serde_json::to_value(crd()).expect("a definition is JSON");
    crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .map(Value::take)
        .expect("the derive writes a schema for the one version")
}

/// The OpenAPI schema of `spec`, for those who must say something about every field.
pub fn spec_schema() -> Value {
    let mut schema = manifest_schema();
    schema.pointer_mut("/properties/spec").map(Value::take).expect("the manifest has a spec")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_definition_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/generated/sorchapeernetworks.sorcha.org.yaml");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == crd_yaml(),
            "crds/generated is out of date; run `cargo run -p sorcha-operator -- crd > {path}`"
        );
    }

    /// Every field below a schema with its path, whether it must be given, and its own schema.
    fn fields(path: &str, schema: &Value, visit: &mut impl FnMut(&str, bool, &Value)) {
        let required =
            |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|it| it == name));
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            visit(&path, required(name), property);
            fields(&path, property, visit);
            fields(&format!("{path}[]"), &property["items"], visit);
        }
    }

    #[test]
    fn every_field_is_described_with_a_sentence() {
        let mut count = 0;
        for part in ["spec", "status"] {
            let schema = &manifest_schema()["properties"][part];
            fields(part, schema, &mut |path, _, field| {
                let description = field["description"].as_str().unwrap_or_default();
                assert!(
                    description.ends_with('.') && description.contains(' '),
                    "{path} is described as {description:?}"
                );
                count += 1;
            });
        }
        assert!(count > 100, "{count} fields were found");
    }

    #[test]
    fn every_field_says_its_default() {
        fields("spec", &spec_schema(), &mut |path, required, field| {
            let description = field["description"].as_str().unwrap_or_default().to_lowercase();
            assert!(required || description.contains("default"), "{path}: {description}");
            let default = match &field["default"] {
                Value::Null | Value::Object(_) | Value::Array(_) => return,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let told = format!("default {}", default.to_lowercase());
            let at = description.find(&told).map(|at| &description[at + told.len()..]);
            let ends = at.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()));
            assert!(ends, "{path} has the default {default} and says: {description}");
        });
    }

    #[test]
    fn every_number_says_its_unit() {
        /// What is counted.
        const COUNTED: [&str; 3] = ["peers", "links", "submissions"];
        /// How durations are written.
        const TIMES: [&str; 4] = ["ms to ", "s to ", "m to ", "h to "];
        let mut count = 0;
        fields("spec", &spec_schema(), &mut |path, _, field| {
            let description = field["description"].as_str().unwrap_or_default();
            let says = |words: &[&str]| words.iter().any(|word| description.contains(word));
            let is_time = field["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms|"));
            let fits = if field["x-kubernetes-int-or-string"] == true {
                says(&["in bytes", "in cores"])
            } else if field["type"] == "integer" {
                let most = field["maximum"].as_f64().unwrap_or_default();
                says(&["in seconds"])
                    || COUNTED.iter().any(|word| description.contains(&format!("to {most} {word}")))
            } else if is_time {
                says(&TIMES)
            } else {
                return;
            };
            assert!(fits, "{path} does not say its unit: {description}");
            count += 1;
        });
        assert!(count >= 20, "{count} numbers were found");
    }

    #[test]
    fn every_text_and_list_is_bounded() {
        fn walk(path: &str, schema: &Value) {
            if schema["type"] == "string" || schema["x-kubernetes-int-or-string"] == true {
                assert!(
                    schema["maxLength"].is_number() || schema["enum"].is_array(),
                    "{path} has no greatest length"
                );
            }
            if schema["type"] == "integer" {
                assert!(
                    schema["minimum"].is_number() && schema["maximum"].is_number(),
                    "{path} has no range"
                );
            }
            if schema["type"] == "array" {
                assert!(schema["maxItems"].is_number(), "{path} has no greatest number of items");
                walk(&format!("{path}[]"), &schema["items"]);
            }
            if schema["additionalProperties"].is_object() {
                assert!(schema["maxProperties"].is_number(), "{path} has no greatest number of entries");
                walk(&format!("{path}.*"), &schema["additionalProperties"]);
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                walk(&format!("{path}.{name}"), property);
            }
        }
        walk("spec", &spec_schema());
    }
}
