//! The Helm chart: what it takes from the rest of the repository, and its checks.
//!
//! Knows what the checks need and where that is kept; the checks themselves are tests (`e2e/tests/chart`).

pub(crate) mod template;
pub(crate) mod values;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::assets;
use crate::shell::{Workspace, run as run_command, say};

/// Strict schemas of every supported Kubernetes, from PyPI.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";

/// Lies in the directory of the schemas once they are whole, and says which they are.
const STAMP: &str = ".stamp";

/// Check the Helm chart: lint, rendering with every value, strict schemas; and with API servers, installing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds Helm 3 and 4 (needs Go, some minutes the first time) and fetches schemas from PyPI (needs Python 3 with venv)
into the directory of `cargo xtask assets`; a second call has nothing to do. Then runs the tests of e2e/tests/chart,
which `cargo xtask test` runs too.")]
pub(crate) struct Args {
    /// Only fetch and build what the checks need.
    #[arg(long)]
    prepare: bool,
}

/// Prepares, then checks.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    assets::helm()?;
    schemas(&assets::directory()?.join("schemas"))?;
    if args.prepare {
        return Ok(());
    }
    run_command(&mut workspace.cargo(["build", "--quiet", "--workspace", "--bins"]))?;
    let mut tests = workspace.cargo(["test", "--package", "sorcha-e2e", "--test", "chart"]);
    run_command(tests.env("SORCHA_BIN_DIR", workspace.target_directory()?.join("debug")))
}

/// A Python environment with the schemas.
fn schemas(directory: &Path) -> Result<()> {
    let stamp = directory.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == SCHEMAS) {
        return Ok(());
    }
    say(&format!("schemas: fetching {SCHEMAS}"));
    // `--clear`: what an interrupted call has left is of no use.
    run_command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory))
        .context("the schemas need Python 3 with venv (Debian: apt-get install python3-venv)")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SCHEMAS];
    run_command(Command::new(directory.join("bin/python")).args(pip))?;
    std::fs::write(stamp, SCHEMAS)?;
    Ok(())
}
