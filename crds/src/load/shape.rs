//! Whether a document has the schema's fields and types. Knows the schema's language, not its content.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value as Json;

use super::node::{Node, Value};
use super::{Problem, header_problems};
use crate::crd::manifest_schema;

/// Names as different as this are still taken for a slip: one letter in three, and two at least (a guess).
const SLIP_SHARE: usize = 3;

/// Everything that is wrong with the document's shape, in its order.
pub(super) fn problems(document: &Node) -> Vec<Problem> {
    let Value::Map(fields) = &document.value else {
        let message = format!("{} is no manifest; it begins with `apiVersion:`.", document.value);
        return vec![Problem::at(document.line, "manifest", message)];
    };
    let mut problems = header_problems(fields);
    if !problems.is_empty() {
        return problems;
    }
    let mut schema = manifest_schema();
    schema["properties"]["metadata"] = schemars::schema_for!(ObjectMeta).to_value();
    for field in ["apiVersion", "kind"] {
        schema["properties"][field] = serde_json::json!({"type": "string"});
    }
    let mut walk = Walk { schema: &schema, problems: &mut problems };
    walk.node("", document, &schema);
    if !fields.iter().any(|(key, node)| key.name == "metadata" && has_name(node)) {
        problems
            .push(Problem::new("metadata.name", "is missing; the network and its peers are named after it."));
    }
    if !fields.iter().any(|(key, node)| key.name == "spec" && node.value != Value::Null) {
        problems.push(Problem::new("spec", "is missing; write `spec: {}` for a network with every default."));
    }
    problems
}

fn has_name(metadata: &Node) -> bool {
    let Value::Map(fields) = &metadata.value else { return true };
    fields.iter().any(|(key, node)| key.name == "name" && node.value != Value::Null)
}

struct Walk<'a> {
    schema: &'a Json,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn node(&mut self, path: &str, node: &Node, schema: &Json) {
        if node.value == Value::Null {
            return;
        }
        if let Some(choices) = schema["enum"].as_array() {
            if !choices.iter().any(|choice| matches!(&node.value, Value::Text(text) if choice == text)) {
                let choices: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
                self.report(node, path, format!("{} is not one of {}.", node.value, choices.join(", ")));
            }
            return;
        }
        match type_of(schema) {
            "object" => match &node.value {
                Value::Map(fields) => {
                    for (key, value) in fields {
                        self.field(path, key, value, schema);
                    }
                }
                _ => self.wrong_type(path, node, "a group of fields, each on a line of its own and indented"),
            },
            "array" => match &node.value {
                Value::List(items) => {
                    for (index, item) in items.iter().enumerate() {
                        let path = format!("{path}[{index}]");
                        if item.value == Value::Null {
                            self.wrong_type(&path, item, "an entry; take the empty one away");
                        }
                        self.node(&path, item, &schema["items"]);
                    }
                }
                _ => self.wrong_type(path, node, "a list: one `- entry` on each line"),
            },
            "integer" => self.integer(path, node, schema),
            "boolean" if !matches!(node.value, Value::Bool(_)) => {
                self.wrong_type(path, node, "true or false");
            }
            "string" if !matches!(node.value, Value::Text(_)) => {
                let way_out = match node.value {
                    Value::List(_) | Value::Map(_) => "text".to_owned(),
                    _ => format!("text; write \"{}\" in quotes", node.value),
                };
                self.wrong_type(path, node, &way_out);
            }
            "size" if !matches!(node.value, Value::Text(_) | Value::Integer(_)) => {
                self.wrong_type(path, node, "a size such as 64Mi, 500m or 2");
            }
            _ => {}
        }
    }

    fn field(&mut self, path: &str, key: &super::node::Key, value: &Node, schema: &Json) {
        let here = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        let empty = serde_json::Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        if let Some(property) = properties.get(&key.name) {
            self.node(&here, value, property);
        } else if schema["additionalProperties"].is_object() {
            self.node(&here, value, &schema["additionalProperties"]);
        } else if !properties.is_empty() {
            let message = unknown(&key.name, path, properties, self.schema);
            self.problems.push(Problem::at(key.line, here, message));
        }
    }

    fn integer(&mut self, path: &str, node: &Node, schema: &Json) {
        let fits = match node.value {
            Value::Integer(number) if schema["format"] == "int64" => i64::try_from(number).is_ok(),
            Value::Integer(number) => i32::try_from(number).is_ok(),
            // the parser gives whole numbers beyond 128 bits, or in exponent form, as floating point
            Value::Number(number) if number.fract() == 0.0 => false,
            _ => return self.wrong_type(path, node, "a whole number"),
        };
        if !fits {
            let range = match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
                (Some(least), Some(most)) => format!("give a whole number from {least} to {most}."),
                _ => "give a smaller number.".to_owned(),
            };
            self.report(node, path, format!("{} is out of range: {range}", node.value));
        }
    }

    fn wrong_type(&mut self, path: &str, node: &Node, wanted: &str) {
        let shown = match &node.value {
            Value::List(_) | Value::Map(_) => String::new(),
            value => format!("{value} is "),
        };
        let message = format!("{shown}{}, but this must be {wanted}.", node.value.kind());
        self.report(node, path, message);
    }

    fn report(&mut self, node: &Node, path: &str, message: String) {
        let path = if path.is_empty() { "manifest" } else { path };
        self.problems.push(Problem::at(node.line, path, message));
    }
}

/// The schema's type; `size` for quantities; empty where anything goes. schemars writes optional types as lists.
fn type_of(schema: &Json) -> &str {
    if schema["x-kubernetes-int-or-string"] == true {
        return "size";
    }
    match &schema["type"] {
        Json::String(name) => name,
        Json::Array(names) => {
            names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or("")
        }
        _ => "",
    }
}

/// Says that there is no such field, and which was meant.
fn unknown(name: &str, path: &str, siblings: &serde_json::Map<String, Json>, whole: &Json) -> String {
    if let Some(near) = nearest(name, siblings.keys().map(String::as_str)) {
        return format!("there is no such field; did you mean `{near}`?");
    }
    let mut elsewhere = Vec::new();
    find(name, "spec", &whole["properties"]["spec"], &mut elsewhere);
    if let [place] = elsewhere.as_slice() {
        return format!("there is no such field here; it belongs to `{place}`.");
    }
    let place = if path.is_empty() { "A manifest" } else { path };
    let known: Vec<&str> = siblings.keys().map(String::as_str).collect();
    format!("there is no such field. {place} has: {}.", known.join(", "))
}

/// The name that was probably meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = name.to_lowercase().replace(['_', '-'], "");
    known
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len() / SLIP_SHARE).clamp(1, 3) && *distance < candidate.len()
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// The groups of fields that have a field of this name.
fn find(name: &str, path: &str, schema: &Json, found: &mut Vec<String>) {
    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
        if field == name {
            found.push(path.to_owned());
        }
        find(name, &format!("{path}.{field}"), property, found);
    }
}
