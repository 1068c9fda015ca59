//! Everything that we write for a cluster, against the strict schemas of the oldest and the newest Kubernetes: the chart
//! with every value, the objects of every example; and the examples against our own definition.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sorcha_e2e::programs::{self, Said};
use sorcha_e2e::{apiserver, helm};

use crate::{KUBERNETES, matrix, read, rendered, repository, with_every_helm};

/// Kinds of the Prometheus operator are not Kubernetes' own; a test of real objects would need its definitions.
const UNKNOWN: [&str; 1] = ["monitoring.coreos.com/v1"];

/// Python with the schemas, as `cargo xtask chart --prepare` makes it.
fn python() -> Option<PathBuf> {
    let directory = apiserver::built("schemas")?;
    directory.join(".stamp").is_file().then(|| directory.join("bin/python"))
}

/// Nothing is wrong with any of the objects, each given with where it is from.
fn check(python: &PathBuf, objects: &[(String, Value)]) -> anyhow::Result<()> {
    let wrong = wrong(python, objects)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong, a line each.
fn wrong(python: &PathBuf, objects: &[(String, Value)]) -> anyhow::Result<Vec<String>> {
    let definition = helm::documents(&read("crds/generated/sorchapeernetworks.sorcha.org.yaml")?)?;
    let asked = json!({
        "definition": definition[0],
        "versions": KUBERNETES,
        "unknown": UNKNOWN,
        "objects": objects,
    });
    let mut child = Command::new(python)
        .arg(repository("e2e/tests/chart/strict.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("Python does not start")?;
    // It reads all before it writes anything.
    child.stdin.take().context("its input is piped")?.write_all(asked.to_string().as_bytes())?;
    let said = Said::from(child.wait_with_output()?).ok()?;
    let mut lines: Vec<String> = said.text().lines().map(str::to_owned).collect();
    let checks = lines.pop().and_then(|line| line.strip_suffix(" checks")?.parse::<usize>().ok());
    let known =
        objects.iter().filter(|(_, object)| !UNKNOWN.iter().any(|group| object["apiVersion"] == **group));
    ensure!(checks >= Some(known.count()), "only {checks:?} checks were made of {} objects", objects.len());
    Ok(lines)
}

macro_rules! python_or_skip {
    ($test:expr) => {
        match python() {
            Some(python) => python,
            None => sorcha_e2e::skip!($test, "no schemas here: run `cargo xtask chart --prepare`"),
        }
    };
}

#[test]
fn the_chart_fits_strict_schemas_with_every_value() -> anyhow::Result<()> {
    let test = "the_chart_fits_strict_schemas_with_every_value";
    let python = python_or_skip!(test);
    with_every_helm(test, |helm| {
        let mut objects = Vec::new();
        for (name, more) in matrix()? {
            for object in rendered(helm, KUBERNETES[0], &more)? {
                objects.push((name.clone(), object));
            }
        }
        check(&python, &objects)
    })
}

#[test]
fn every_example_and_its_objects_fit_strict_schemas() -> anyhow::Result<()> {
    let python = python_or_skip!("every_example_and_its_objects_fit_strict_schemas");
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(repository("crds/examples"))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for document in helm::documents(&std::fs::read_to_string(&file)?)? {
            objects.push((name.clone(), document));
        }
        let said = programs::operator(&["render", "-f", &file.to_string_lossy()])?.ok()?;
        for object in helm::documents(&said.text())? {
            objects.push((format!("objects of {name}"), object));
        }
    }
    check(&python, &objects)
}

#[test]
fn a_slip_of_the_pen_is_found() -> anyhow::Result<()> {
    let python = python_or_skip!("a_slip_of_the_pen_is_found");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "imagePullPolice": "Never"}]}});
    let network = json!({"apiVersion": "sorcha.org/v1alpha1", "kind": "SorchaPeerNetwork",
        "metadata": {"name": "a"}, "spec": {"storage": {"sice": "1Gi"}}});
    let unheard = json!({"apiVersion": "apps/v1", "kind": "StatefulThing", "metadata": {"name": "a"}});
    let objects = [pod, network, unheard].map(|object| ("here".to_owned(), object));
    let wrong = wrong(&python, &objects)?.join("\n");
    for part in ["imagePullPolice", "sice", "kind statefulthing"] {
        ensure!(wrong.to_lowercase().contains(&part.to_lowercase()), "'{part}' is not found:\n{wrong}");
    }
    Ok(())
}
