//! The tests of the cluster tier, on the test node or on the cluster of whoever calls.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::layout::Layout;
use super::up;
use crate::shell::{Workspace, run as run_command, say};

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

/// Runs them.
pub(super) fn run(workspace: &Workspace, layout: &Layout, args: &Args) -> Result<()> {
    let given = args.kubeconfig.clone().or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
    let kubeconfig = given.unwrap_or_else(|| layout.kubeconfig());
    let is_own = kubeconfig == layout.kubeconfig();
    if is_own {
        up::run(workspace, layout, &up::Args::default())?;
    }
    // The client that the tests run beside the peers of the test node.
    run_command(&mut workspace.cargo(["build", "--package", "sorcha-peer", "--bin", "sorcha-peer"]))?;
    let mut cargo = workspace.cargo(["test", "--package", "sorcha-e2e", "--test", "cluster", "--"]);
    cargo.args(["--test-threads", "1", "--nocapture"]);
    if args.smoke {
        cargo.arg("smoke");
    }
    cargo.args(&args.filter);
    cargo.env("SORCHA_CLUSTER", &kubeconfig);
    cargo.env("SORCHA_BIN_DIR", workspace.target_directory()?.join("debug"));
    if is_own {
        cargo.env("SORCHA_CLUSTER_STATE", layout.root());
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
