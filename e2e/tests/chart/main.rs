//! The Helm chart of the operator: linted, rendered by Helm 3 and 4 with every value, held against strict schemas, and
//! installed, upgraded and removed on real API servers. `cargo xtask chart --prepare` fetches what that needs; each
//! test is skipped without.

mod install;
mod lint;
mod objects;
mod smoke;
mod strict;
mod values;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use sorcha_e2e::helm::{self, Helm};

/// The oldest and newest Kubernetes that the chart is rendered for.
const KUBERNETES: [&str; 2] = ["1.33.0", "1.37.0"];

/// Runs a check with each Helm that there is; skips the test where there is none.
fn with_every_helm(test: &str, check: impl Fn(&Helm) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let helms = match helm::helms()? {
        Ok(helms) => helms,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    for helm in &helms {
        check(helm).with_context(|| format!("with Helm {}", helm.version()))?;
    }
    Ok(())
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A file of the repository, as text.
fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(repository(path)).with_context(|| format!("{path} cannot be read"))
}

/// Ways to set the values: the files that lie in the chart's `ci`, by name, and none at all. Together they set every
/// value (`values.rs` sees to it).
fn matrix() -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let mut all = vec![("default".to_owned(), Vec::new())];
    let mut files = Vec::new();
    for entry in std::fs::read_dir(helm::chart().join("ci"))? {
        files.push(entry?.path());
    }
    files.sort();
    for file in files {
        let name = file.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        all.push((name, vec!["--values".to_owned(), file.to_string_lossy().into_owned()]));
    }
    Ok(all)
}

/// The chart's objects for one way to set the values.
fn rendered(helm: &Helm, kubernetes: &str, more: &[String]) -> anyhow::Result<Vec<Value>> {
    helm.template(kubernetes, &more.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The objects of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}
