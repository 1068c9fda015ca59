//! `kubectl` as a client: one cluster, one user, JSON in and out.
//!
//! Knows nothing of what is asked.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::layout::Layout;

/// Where it is and whom it asks.
#[derive(Debug, Clone)]
pub(super) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// From this machine.
    pub(super) fn new(layout: &Layout) -> Self {
        Self { program: layout.program("kubectl").into(), kubeconfig: layout.kubeconfig() }
    }

    /// From inside the node.
    pub(super) fn of_node(layout: &Layout) -> Self {
        Self { program: layout.program("kubectl").into(), kubeconfig: layout.credentials("admin").into() }
    }

    /// Not started yet.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // The preferences of whoever calls are none of the node's.
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("KUBERC", "off");
        command
    }

    /// What it says; an error with its own words where it fails.
    pub(super) fn run(&self, args: &[&str]) -> Result<String> {
        self.finish(self.command(args).stdin(Stdio::null()), None)
    }

    /// With `-o json`.
    pub(super) fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&[args, &["-o", "json"]].concat())?)?)
    }

    /// One object, or a list of them.
    pub(super) fn apply(&self, object: &Value) -> Result<()> {
        let mut command = self.command(&["apply", "-f", "-"]);
        self.finish(command.stdin(Stdio::piped()), Some(&object.to_string())).map(drop)
    }

    /// A merge patch.
    pub(super) fn patch(&self, kind: &str, name: &str, namespace: Option<&str>, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let mut args = vec!["patch", kind, name, "--type", "merge", "-p", &patch];
        args.extend(namespace.iter().flat_map(|namespace| ["-n", namespace]));
        self.run(&args).map(drop)
    }

    /// A merge patch of the status.
    pub(super) fn patch_status(
        &self,
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        patch: &Value,
    ) -> Result<()> {
        let patch = patch.to_string();
        let mut args = vec!["patch", kind, name, "--type", "merge", "--subresource", "status", "-p", &patch];
        args.extend(namespace.iter().flat_map(|namespace| ["-n", namespace]));
        self.run(&args).map(drop)
    }

    fn finish(&self, command: &mut Command, input: Option<&str>) -> Result<String> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input.as_bytes())?;
        }
        let done = child.wait_with_output()?;
        if !done.status.success() {
            bail!("kubectl: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}
