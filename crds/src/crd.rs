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

    #[test]
    fn every_field_is_described_with_a_sentence() {
        fn walk(path: &str, schema: &Value) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                let description = property["description"].as_str().unwrap_or_default();
                assert!(description.ends_with('.'), "{path} is described as {description:?}");
                walk(&path, property);
                walk(&format!("{path}[]"), &property["items"]);
            }
        }
        walk("spec", &spec_schema());
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
