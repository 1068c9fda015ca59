//! All checks that run no test, in the order in which they fail fastest.

use anyhow::Result;

use crate::shell::{Workspace, run as run_command, say, step};
use crate::{generate, tidy};

/// Everything; stops at the first that fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    step("formatting (cargo fmt --check)", || {
        run_command(&mut workspace.cargo(["fmt", "--all", "--check"]))
    })?;
    step("tidy", || tidy::run(workspace))?;
    step("clippy", || clippy(workspace))?;
    step("documentation (rustdoc)", || documentation(workspace))?;
    step("generated files", || generate::run(workspace, &generate::Args { check: true }))?;
    step("cargo-deny", || deny(workspace))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run_command(&mut workspace.cargo(args))
}

fn documentation(workspace: &Workspace) -> Result<()> {
    let mut doc = workspace.cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(workspace: &Workspace) -> Result<()> {
    let installed =
        workspace.cargo(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        say(
            "cargo-deny is not installed (`cargo install --locked cargo-deny`): licences and sources were checked \
             by tidy, known vulnerabilities were not",
        );
        return Ok(());
    }
    run_command(&mut workspace.cargo(["deny", "--workspace", "check"]))
}
