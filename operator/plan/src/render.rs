//! Plans as text. The same plan gives the same bytes.

use serde_json::{Value, json};

use crate::plan::NetworkPlan;

/// All objects as YAML documents divided by `---`, in the order in which they are applied.
pub fn to_yaml(plan: &NetworkPlan) -> String {
    let document = |object: &Value| {
        let yaml = serde_saphyr::to_string(object).expect("objects are made of maps, lists and scalars");
        format!("---\n{yaml}")
    };
    plan.objects.to_json().iter().map(document).collect()
}

/// All objects as one JSON `List`, in the order in which they are applied.
pub fn to_json(plan: &NetworkPlan) -> String {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": plan.objects.to_json()});
    let mut text = serde_json::to_string_pretty(&list).expect("objects are JSON");
    text.push('\n');
    text
}
