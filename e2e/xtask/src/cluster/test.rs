//! The tests of the cluster tier, on the test node or on the cluster of whoever calls.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::layout::Layout;
use super::up;
use crate::assets;
use crate::shell::{Workspace, output, run as run_command, say};

/// Test the operator and the network on the node, or on the cluster of KUBECONFIG.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Only the short ones: installation, a network, a transaction, an upgrade.
    #[arg(long)]
    smoke: bool,
    /// A cluster that is there and has the images [default: KUBECONFIG, else the test node]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Clients that tests on another's cluster need.
const CLIENTS: [&str; 2] = ["kubectl", "helm"];

/// PATH with what `cargo xtask assets` keeps behind it, for a machine that has no clients of its own.
fn programs_path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(assets::clients()?);
    Ok(std::env::join_paths(all)?)
}

/// Whether somebody else's cluster can be tested on; an error says what is missing.
fn check_cluster(kubeconfig: &Path) -> Result<()> {
    ensure!(
        kubeconfig.is_file(),
        "there is no {}: `cargo xtask cluster up` starts a node of its own",
        kubeconfig.display()
    );
    let path = programs_path()?;
    for client in CLIENTS {
        ensure!(
            std::env::split_paths(&path).any(|at| at.join(client).is_file()),
            "there is no {client} in PATH, and tests on another's cluster need one: install it, or run \
             `cargo xtask assets`"
        );
    }
    let mut asked = Command::new("kubectl");
    asked.args(["version", "--request-timeout=10s"]).env("PATH", path).env("KUBECONFIG", kubeconfig);
    output(&mut asked).with_context(|| format!("the cluster of {} does not answer", kubeconfig.display()))?;
    Ok(())
}

/// Runs them.
pub(super) fn run(workspace: &Workspace, layout: &Layout, args: &Args) -> Result<()> {
    let given = args.kubeconfig.clone().or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
    let kubeconfig = given.unwrap_or_else(|| layout.kubeconfig());
    let is_own = kubeconfig == layout.kubeconfig();
    if is_own {
        up::run(workspace, layout, &up::Args::default())?;
    } else {
        check_cluster(&kubeconfig)?;
    }
    // The client that the tests run beside the peers of the test node.
    // Of the whole workspace, as `cargo xtask test` selects it: so features are the same, and nothing is compiled twice.
    let client = ["--bin", "sorcha-peer", "--test", "cluster"];
    run_command(workspace.cargo(["build", "--workspace"]).args(client))?;
    let mut cargo = workspace.cargo(["test", "--workspace", "--test", "cluster", "--"]);
    cargo.args(["--test-threads", "1", "--nocapture"]);
    if args.smoke {
        cargo.arg("smoke");
    }
    cargo.args(&args.filter);
    cargo.env("SORCHA_CLUSTER", &kubeconfig);
    cargo.env("SORCHA_BIN_DIR", workspace.target_directory()?.join("debug"));
    if is_own {
        cargo.env("SORCHA_CLUSTER_STATE", layout.root());
    } else {
        cargo.env("PATH", programs_path()?);
    }
    say(&format!("Testing on the cluster of {}", kubeconfig.display()));
    let outcome = run_command(&mut cargo).context("the cluster tier");
    if !is_own {
        say(
            "The chart's release `sorcha` stays installed in the namespace sorcha-system: `helm uninstall sorcha -n sorcha-system`",
        );
    }
    outcome
}
