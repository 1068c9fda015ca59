//! `values.yaml`, its schema and the ways to set values that the tests render: none forgets a value of another.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::Value;
use sorcha_e2e::helm;

use crate::{KUBERNETES, matrix, read, with_every_helm};

/// Helm's own, for charts that are parts of others.
const HELMS_OWN: &str = "global";

fn yaml(path: &str) -> anyhow::Result<Value> {
    Ok(helm::documents(&read(path)?)?.into_iter().next().unwrap_or_default())
}

fn schema() -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&read("charts/sorcha-operator/values.schema.json")?)?)
}

/// The fixed fields of a place in the schema; none where anything may stand.
fn fields(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    schema["properties"].as_object().filter(|_| schema["additionalProperties"] == false)
}

/// Sees a value: its path, what the schema says of it, what some files set there.
type See<'a> = &'a mut dyn FnMut(&str, &Value, &[Option<&Value>]);

/// Calls with each value that the schema knows.
fn each_value(path: &str, schema: &Value, files: &[Option<&Value>], see: See<'_>) {
    let Some(fields) = fields(schema) else { return see(path, schema, files) };
    for (name, below) in fields.iter().filter(|(name, _)| *name != HELMS_OWN) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let files: Vec<Option<&Value>> = files.iter().map(|file| file.and_then(|at| at.get(name))).collect();
        each_value(&path, below, &files, see);
    }
}

#[test]
fn every_value_is_set_to_something_else_in_the_matrix() -> anyhow::Result<()> {
    let mut files = vec![yaml("charts/sorcha-operator/values.yaml")?];
    for (_, args) in matrix()?.iter().filter(|(_, args)| !args.is_empty()) {
        files.push(helm::documents(&std::fs::read_to_string(&args[1])?)?.remove(0));
    }
    let files: Vec<Option<&Value>> = files.iter().map(Some).collect();
    let mut forgotten = Vec::new();
    each_value("", &schema()?, &files, &mut |path, _, set| {
        let is_set = set[1..].iter().flatten().any(|value| Some(*value) != set[0]);
        // One of a few places that may stay empty; what stands in one of them is as good as in another.
        let is_a_sort_of_affinity = path.starts_with("affinity.");
        if !is_set && !is_a_sort_of_affinity {
            forgotten.push(path.to_owned());
        }
    });
    ensure!(
        forgotten.is_empty(),
        "no file in charts/sorcha-operator/ci sets {}: set each to something else than its default",
        forgotten.join(", ")
    );
    Ok(())
}

#[test]
fn values_and_schema_name_the_same() -> anyhow::Result<()> {
    let (values, schema) = (yaml("charts/sorcha-operator/values.yaml")?, schema()?);
    let mut wrong = BTreeSet::new();
    each_value("", &schema, &[Some(&values)], &mut |path, _, set| {
        if set[0].is_none() && !path.starts_with("affinity.") {
            wrong.insert(format!("{path} stands in the schema alone"));
        }
    });
    // The other way round Helm itself looks: the schema refuses what it does not name.
    for (name, value) in values.as_object().into_iter().flatten() {
        if fields(&schema).is_none_or(|fields| !fields.contains_key(name)) {
            wrong.insert(format!("{name} ({value}) stands in values.yaml alone"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

#[test]
fn the_schema_says_in_a_sentence_what_each_value_is() -> anyhow::Result<()> {
    let mut silent = Vec::new();
    each_value("", &schema()?, &[], &mut |path, schema, _| {
        let said = schema["description"].as_str().unwrap_or_default();
        if !said.ends_with('.') && !path.starts_with("affinity.") {
            silent.push(path.to_owned());
        }
    });
    ensure!(silent.is_empty(), "no sentence: {silent:?}");
    Ok(())
}

/// Helm refuses these values, and names the one at fault.
fn check_refused(helm: &helm::Helm, set: &[&str], names: &str) -> anyhow::Result<()> {
    let args: Vec<&str> = set.iter().flat_map(|one| ["--set-json", one]).collect();
    let Err(error) = helm.template(KUBERNETES[0], &args) else { anyhow::bail!("{set:?} is taken") };
    let error = format!("{error:#}");
    ensure!(error.contains(names), "{set:?}: no '{names}' in: {error}");
    Ok(())
}

#[test]
fn wrong_values_are_refused_by_name() -> anyhow::Result<()> {
    with_every_helm("wrong_values_are_refused_by_name", |helm| {
        let check = |set: &str, names: &str| check_refused(helm, &[set], names);
        check("replica=3", "'replica'")?;
        check(r#"image.tags="1""#, "'tags'")?;
        check("replicas=0", "/replicas")?;
        check(r#"replicas="2""#, "/replicas")?;
        check(r#"image.digest="sha256:12""#, "/image/digest")?;
        check(r#"image.pullPolicy="Sometimes""#, "/image/pullPolicy")?;
        check(r#"watchNamespaces=["Ledger"]"#, "/watchNamespaces/0")?;
        check(r#"watchNamespaces=["a","a"]"#, "/watchNamespaces")?;
        check(r#"log.format="xml""#, "/log/format")?;
        check(r#"resources.limits.memory="lots""#, "/resources/limits/memory")?;
        check(r#"tolerations=[{"kee":"a"}]"#, "'kee'")?;
        check("networkPolicy.apiServerPorts=[]", "/networkPolicy/apiServerPorts")?;
        check(r#"networkPolicy.apiServerCidrs=["here"]"#, "/networkPolicy/apiServerCidrs/0")?;
        check(r#"podDisruptionBudget.maxUnavailable="some""#, "/podDisruptionBudget/maxUnavailable")?;
        check(r#"smokeTest.storageSize="1 GB""#, "/smokeTest/storageSize")?;
        check(r#"monitoring={"podMonitor":true,"serviceMonitor":true}"#, "/monitoring")?;
        let lonely = ["monitoring.serviceMonitor=true", "service.enabled=false"];
        check_refused(helm, &lonely, "set service.enabled, or monitoring.podMonitor instead")
    })
}
