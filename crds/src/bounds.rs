//! The schema's ranges, lengths and patterns, applied to a manifest without an API server.
//!
//! Reads them from the schema itself, so that a field with a new bound is held to it everywhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;

use crate::crd::spec_schema;
use crate::load::{Problem, excerpt};
use crate::{SorchaPeerNetworkSpec, quantity};

/// What text of each pattern looks like, as the end of "... is not".
const PATTERNS: &[(&str, &str)] = &[
    (quantity::PATTERN, "a size: write a number and a unit, such as 64Mi, 20Gi, 500m or 2"),
    (r"^[0-9]{1,9}(ms|s|m|h)$", "a duration: write a number and a unit, such as 500ms, 15s, 10m or 2h"),
    (
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "a DNS label: use lower-case letters, digits and hyphens, and begin and end with a letter or digit",
    ),
    (
        r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "one word: use letters, digits, hyphens, underscores and dots, and begin and end with a letter or digit",
    ),
    (
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "an object's name: use lower-case letters, digits, hyphens and dots, and begin and end with a letter or digit",
    ),
    (
        r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
        "a DNS name: use lower-case letters, digits, hyphens and dots, such as ledger.example",
    ),
    (
        r"^[a-z]([-a-z0-9]*[a-z])?$",
        "a pool's name: use lower-case letters, digits and hyphens, and begin and end with a letter",
    ),
    (r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", "a container image: write it as example.org/sorcha-peer:1.0"),
    (
        r"^(environment|none|http://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]{1,5})?/?)$",
        "a proxy: write http://host:port, environment or none; names and passwords belong in spec.proxy.credentialsSecret",
    ),
    (
        r"^[-*A-Za-z0-9._:/\[\]]+$",
        "a host: write a name, .name for all below it, an address, or a block of them such as 10.0.0.0/8",
    ),
    (
        r"^[a-z0-9_:,=-]+$",
        "a log level: write error, warn, info, debug, trace or a filter such as info,sorcha_peer=debug",
    ),
];

/// How the pattern of an exposed peer's address ends: it alone has a place for the ordinal.
const EXPOSED: &str = "an address of peers: write host:port with {ordinal} once in the host or at the end of the port, \
                       such as peer-{ordinal}.ledger.example:7450 or node.example:3045{ordinal}";

/// How an address begins to be told apart from the other patterns: it alone ends in a port.
const ADDRESS: &str = "an address: write host:port with a port from 1 to 65535, such as peers.example.org:7450, \
                       192.0.2.1:7450 or [2001:db8::1]:7450";

/// Every value of the spec that is outside what its schema allows, in the schema's order of fields.
pub fn violations(spec: &SorchaPeerNetworkSpec) -> Vec<Problem> {
    let value = serde_json::to_value(spec).expect("a spec is made of maps, lists and scalars");
    let mut problems = Vec::new();
    walk("spec", &value, &SCHEMA, &mut problems);
    problems
}

/// Made once: manifests are checked at every look at a network.
static SCHEMA: LazyLock<Json> = LazyLock::new(spec_schema);

/// The patterns of the schema, compiled once.
static REGEXES: LazyLock<BTreeMap<String, Regex>> = LazyLock::new(|| {
    fn collect(schema: &Json, found: &mut BTreeMap<String, Regex>) {
        if let Some(pattern) = schema["pattern"].as_str() {
            let regex =
                Regex::new(pattern).expect("patterns of our own schema compile; a test compiles each");
            found.insert(pattern.to_owned(), regex);
        }
        let properties =
            schema["properties"].as_object().into_iter().flat_map(|properties| properties.values());
        properties.chain(schema.get("items")).for_each(|schema| collect(schema, found));
    }
    let mut found = BTreeMap::new();
    collect(&SCHEMA, &mut found);
    found
});

fn walk(path: &str, value: &Json, schema: &Json, problems: &mut Vec<Problem>) {
    match value {
        Json::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            let range = format!("give a whole number from {} to {}.", shown(least), shown(most));
            if least.is_some_and(|least| number < least) {
                let message = format!("{number} is below {}: {range}", shown(least));
                problems.push(Problem::new(path, message));
            } else if most.is_some_and(|most| number > most) {
                let message = format!("{number} is above {}: {range}", shown(most));
                problems.push(Problem::new(path, message));
            }
        }
        Json::String(text) => problems.extend(text_problem(text, schema).map(|m| Problem::new(path, m))),
        Json::Array(items) => {
            let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
            if items.len() as u64 > most {
                let message = format!("has {} entries; at most {most} are taken.", items.len());
                problems.push(Problem::new(path, message));
            }
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if schema["x-kubernetes-list-type"] == "set" && items[..index].contains(item) {
                    problems.push(Problem::new(&path, format!("{item} is given twice: take one away.")));
                }
                walk(&path, item, &schema["items"], problems);
            }
            for key in
                schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Json::as_str)
            {
                for (index, item) in items.iter().enumerate() {
                    if items[..index].iter().any(|earlier| earlier[key] == item[key]) {
                        let message = format!("{} is given twice: take one away.", item[key]);
                        problems.push(Problem::new(format!("{path}[{index}].{key}"), message));
                    }
                }
            }
        }
        Json::Object(fields) => {
            let most = schema["maxProperties"].as_u64().unwrap_or(u64::MAX);
            if fields.len() as u64 > most {
                let message = format!("has {} entries; at most {most} are taken.", fields.len());
                problems.push(Problem::new(path, message));
            }
            for (name, field) in fields {
                let property = &schema["properties"][name];
                let any = &schema["additionalProperties"];
                let schema = if property.is_null() { any } else { property };
                walk(&format!("{path}.{name}"), field, schema, problems);
            }
        }
        Json::Null | Json::Bool(_) => {}
    }
}

fn shown(bound: Option<f64>) -> String {
    bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string())
}

fn text_problem(text: &str, schema: &Json) -> Option<String> {
    let length = text.chars().count() as u64;
    if let Some(least) = schema["minLength"].as_u64()
        && length == 0
        && least > 0
    {
        return Some("\"\" is empty: give a value, or leave the field out.".to_owned());
    }
    if let Some(most) = schema["maxLength"].as_u64()
        && length > most
    {
        return Some(format!("{} has more than {most} characters: shorten it.", excerpt(text)));
    }
    let pattern = schema["pattern"].as_str()?;
    (!REGEXES[pattern].is_match(text)).then(|| format!("{} is not {}.", excerpt(text), meaning(pattern)))
}

fn meaning(pattern: &str) -> &'static str {
    let other = if pattern.contains("ordinal") { EXPOSED } else { ADDRESS };
    PATTERNS.iter().find(|(known, _)| *known == pattern).map_or(other, |(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_schema_compiles_and_is_explained() {
        fn check(path: &str, schema: &Json) {
            if let Some(pattern) = schema["pattern"].as_str() {
                assert!(Regex::new(pattern).is_ok(), "{path}");
                let explained = PATTERNS.iter().any(|(known, _)| *known == pattern);
                let address = path == "spec.bootstrap.addresses[]" || path.ends_with("expose.address");
                assert!(explained || address, "{path}: explain {pattern}");
            }
            check_children(path, schema);
        }
        fn check_children(path: &str, schema: &Json) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                check(&format!("{path}.{name}"), property);
            }
            if schema["items"].is_object() {
                check(&format!("{path}[]"), &schema["items"]);
            }
        }
        check("spec", &spec_schema());
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(violations(&SorchaPeerNetworkSpec::default()), []);
    }
}
