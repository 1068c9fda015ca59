//! The operator's chart as Helm renders it: which rights it gives, and how it starts the operator.
//!
//! Tests take both from here, so that a right that is missing or a variable of another name shows.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::apiserver::built;
use crate::programs;

/// Name of the release, of the operator's account and of its Lease.
pub const RELEASE: &str = "sorcha-operator";

/// Helm as `cargo xtask assets` keeps it, else that of PATH; an error says that there is none.
pub fn helm() -> Result<PathBuf, String> {
    let kept = built("helm3/helm").filter(|helm| helm.is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = || std::env::split_paths(&path).map(|at| at.join("helm")).find(|helm| helm.is_file());
    kept.or_else(installed).ok_or_else(|| "no Helm here: run `cargo xtask assets`, or install it".to_owned())
}

/// All objects of a release in a namespace, for a server's version, with values as `--set-json` takes them.
pub fn render(version: &str, namespace: &str, values: &[&str]) -> anyhow::Result<Vec<Value>> {
    let helm = helm().map_err(anyhow::Error::msg)?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/sorcha-operator");
    let mut command = Command::new(helm);
    command.args(["template", RELEASE]).arg(chart).args([
        "--namespace",
        namespace,
        "--kube-version",
        version,
    ]);
    for value in values {
        command.args(["--set-json", value]);
    }
    let text = programs::run(&mut command)?.ok()?.text();
    let documents = text.split("\n---\n").filter(|document| document.lines().any(|line| !is_comment(line)));
    documents.map(|document| Ok(serde_saphyr::from_str(document)?)).collect()
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#') || line == "---"
}

/// How the chart starts the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Arguments.
    pub args: Vec<String>,
    /// Variables; of those that differ from pod to pod, the pod's name is left for the caller to give.
    pub environment: Vec<(String, String)>,
    /// The variable that carries the pod's name.
    pub pod_name: Option<String>,
}

impl Start {
    /// As the Deployment among the objects says.
    pub fn read(objects: &[Value], namespace: &str) -> anyhow::Result<Self> {
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
        let deployment = deployment.context("the chart has no Deployment")?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let args = container["args"].as_array().into_iter().flatten().filter_map(text).collect();
        let mut start = Self { args, environment: Vec::new(), pod_name: None };
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = text(&variable["name"]).context("a variable has a name")?;
            match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => start.pod_name = Some(name),
                Some("metadata.namespace") => start.environment.push((name, namespace.to_owned())),
                Some(other) => anyhow::bail!("{name} comes from {other}: teach the tests"),
                None => start.environment.push((name, text(&variable["value"]).unwrap_or_default())),
            }
        }
        Ok(start)
    }
}
