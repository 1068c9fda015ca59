//! The definition as a whole: accepted, small, explained, shown in columns, scalable.

use std::collections::BTreeSet;

use anyhow::Context as _;

use crate::{Space, definition, manifest, on_every_server};

/// Largest definition in bytes. `kubectl apply` without `--server-side` keeps a copy in an annotation of 256 KiB at
/// most; less than half of that leaves room.
const DEFINITION_BYTES_MAX: usize = 100_000;

#[test]
fn the_definition_is_accepted_and_stays_small() -> anyhow::Result<()> {
    on_every_server("the_definition_is_accepted_and_stays_small", |space: &Space| {
        let text = definition()?;
        anyhow::ensure!(text.len() < DEFINITION_BYTES_MAX, "the definition has {} bytes", text.len());
        let said = space.apply(&text)?.ok()?;
        anyhow::ensure!(said.err.is_empty(), "the server warns: {}", said.err);

        let held = space.get("crd/sorchapeernetworks.sorcha.org")?;
        let conditions = held["status"]["conditions"].as_array().context("it has conditions")?;
        let is = |kind: &str| {
            conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
        };
        anyhow::ensure!(is("Established") && is("NamesAccepted"), "{conditions:?}");
        anyhow::ensure!(!is("NonStructuralSchema"), "{conditions:?}");
        Ok(())
    })
}

#[test]
fn every_field_is_explained() -> anyhow::Result<()> {
    on_every_server("every_field_is_explained", |space: &Space| {
        let mut open = vec!["spn".to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(path) = open.pop() {
            let said = space.kubectl(&["explain", &path])?.ok()?.text();
            anyhow::ensure!(!said.contains("<no description>"), "a field has no description:\n{said}");
            let fields = said.split_once("FIELDS:").map_or("", |(_, fields)| fields);
            for line in fields.lines() {
                // `  replicas\t<integer>`; descriptions stand deeper.
                let Some((name, kind)) = line.strip_prefix("  ").and_then(|rest| rest.split_once('\t'))
                else {
                    continue;
                };
                if name.starts_with(' ') || (path == "spn" && name == "metadata") {
                    continue;
                }
                let field = format!("{path}.{name}");
                if kind.contains("Object>") || kind.contains("Condition>") {
                    open.push(field.clone());
                }
                seen.insert(field);
            }
        }
        for field in
            ["spn.spec.discovery.forgetAfter", "spn.spec.resources.limits.cpu", "spn.status.conditions"]
        {
            anyhow::ensure!(seen.contains(field), "{field} is not explained; seen: {seen:?}");
        }
        Ok(())
    })
}

#[test]
fn a_network_is_scaled_as_any_other_workload() -> anyhow::Result<()> {
    on_every_server("a_network_is_scaled_as_any_other_workload", |space: &Space| {
        space.apply(&manifest("scaled", "replicas: 3"))?.ok()?;
        let status =
            r#"{"status":{"replicas":3,"readyReplicas":2,"selector":"app.kubernetes.io/instance=scaled"}}"#;
        let patch = ["patch", "spn/scaled", "--subresource=status", "--type=merge", "--patch", status];
        space.kubectl(&patch)?.ok()?;
        space.kubectl(&["scale", "spn/scaled", "--replicas=7"])?.ok()?;

        anyhow::ensure!(space.get("spn/scaled")?["spec"]["replicas"] == 7);
        let path =
            format!("/apis/sorcha.org/v1alpha1/namespaces/{}/sorchapeernetworks/scaled/scale", space.name);
        let scale = space.server.kubectl(&["get", "--raw", &path])?.ok()?.json()?;
        anyhow::ensure!(scale["spec"]["replicas"] == 7, "{scale}");
        anyhow::ensure!(scale["status"]["replicas"] == 3, "{scale}");
        anyhow::ensure!(scale["status"]["selector"] == "app.kubernetes.io/instance=scaled", "{scale}");

        let said = space.kubectl(&["scale", "spn/scaled", "--replicas=10001"])?;
        anyhow::ensure!(said.code != Some(0) && said.err.contains("10000"), "{}", said.err);
        Ok(())
    })
}

#[test]
fn the_columns_say_how_a_network_is() -> anyhow::Result<()> {
    on_every_server("the_columns_say_how_a_network_is", |space: &Space| {
        space.apply(&manifest("ledger", "networkId: main"))?.ok()?;
        let condition = |kind: &str, status: &str| {
            serde_json::json!({
                "type": kind, "status": status, "reason": "Tested", "message": "A test says so.",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let status = serde_json::json!({"status": {
            "observedGeneration": 1, "peers": 3, "peersReady": 2,
            "conditions": [condition("Ready", "False"), condition("Linked", "True")],
        }});
        let status = status.to_string();
        let patch = ["patch", "spn/ledger", "--subresource=status", "--type=merge", "--patch", &status];
        space.kubectl(&patch)?.ok()?;

        let words = |args: &[&str]| -> anyhow::Result<Vec<Vec<String>>> {
            let said = space.kubectl(args)?.ok()?.text();
            Ok(said.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
        };
        let short = words(&["get", "spn"])?;
        anyhow::ensure!(short[0] == ["NAME", "READY", "PEERS", "UP", "LINKED", "AGE"], "{short:?}");
        anyhow::ensure!(short[1][..5] == ["ledger", "False", "3", "2", "True"], "{short:?}");
        let wide = words(&["get", "sorcha", "-o", "wide"])?;
        anyhow::ensure!(wide[0][5] == "NETWORK" || wide[0][6] == "NETWORK", "{wide:?}");
        anyhow::ensure!(wide[1].contains(&"main".to_owned()), "{wide:?}");
        Ok(())
    })
}

#[test]
fn status_and_spec_are_written_apart() -> anyhow::Result<()> {
    on_every_server("status_and_spec_are_written_apart", |space: &Space| {
        space.apply(&manifest("apart", "replicas: 3"))?.ok()?;
        let both = r#"{"spec":{"replicas":9},"status":{"replicas":2}}"#;
        let patch = ["patch", "spn/apart", "--subresource=status", "--type=merge", "--patch", both];
        space.kubectl(&patch)?.ok()?;
        let held = space.get("spn/apart")?;
        anyhow::ensure!(held["spec"]["replicas"] == 3 && held["status"]["replicas"] == 2, "{held}");
        anyhow::ensure!(held["metadata"]["generation"] == 1, "a status is no new generation: {held}");
        space.kubectl(&["patch", "spn/apart", "--type=merge", "--patch", both])?.ok()?;
        let held = space.get("spn/apart")?;
        anyhow::ensure!(held["spec"]["replicas"] == 9 && held["status"]["replicas"] == 2, "{held}");
        anyhow::ensure!(held["metadata"]["generation"] == 2, "{held}");
        Ok(())
    })
}
