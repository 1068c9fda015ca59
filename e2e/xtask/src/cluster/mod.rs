//! A whole Kubernetes of one node on this machine, to test on: starting, ending, asking, testing.
//!
//! Knows the order of things; what runs inside the node is known to its other files. Everything lives in namespaces of
//! its own and below one directory, so that `down` leaves nothing, also after a crash.

mod components;
mod credentials;
mod down;
mod kubectl;
mod layout;
mod node;
mod packages;
mod test;
mod up;
mod volumes;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::shell::{Workspace, say};
use layout::{CGROUP, Layout};

/// A whole Kubernetes of one node on this machine, to test on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Linux, root, and Go the first time (`cargo xtask assets --node`). Nothing else of the machine is touched: the node has
its own network without a way out, its own mounts and processes, and its files below one directory.

  cargo xtask cluster up
  export KUBECONFIG=...            as `up` prints it
  kubectl get nodes                `bin/kubectl` below the directory, if there is no other
  cargo xtask cluster down")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Where everything of the node lies.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/sorcha-cluster")]
    state: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the node, or say that it runs; build and import the images of both programs.
    Up(up::Args),
    /// End the node and remove everything of it.
    Down,
    /// Whether it runs, and what runs on it.
    Status,
    /// Whether this machine can hold a node; says what is missing, and changes nothing.
    Check,
    /// Test the operator and the network on the node, or on the cluster of KUBECONFIG.
    Test(test::Args),
    /// The node's first process.
    #[command(hide = true)]
    Node,
    /// The node's volumes.
    #[command(hide = true)]
    Volumes,
}

/// Does what the command line says.
pub(crate) fn run(workspace: impl FnOnce() -> Result<Workspace>, args: &Args) -> Result<()> {
    let layout = Layout::new(&std::path::absolute(&args.state)?);
    match &args.verb {
        Verb::Up(args) => up::run(&workspace()?, &layout, args),
        Verb::Down => down::run(&layout),
        Verb::Status => status(&layout),
        Verb::Check => check(&layout),
        Verb::Test(args) => test::run(&workspace()?, &layout, args),
        Verb::Node => node::run(&layout),
        Verb::Volumes => volumes::run(&layout),
    }
}

fn status(layout: &Layout) -> Result<()> {
    if up::running(layout).is_none() {
        say("no node runs here: `cargo xtask cluster up` starts one");
        return Ok(());
    }
    say(&format!("export KUBECONFIG={}", layout.kubeconfig().display()));
    let kubectl = kubectl::Kubectl::new(layout);
    say(kubectl.run(&["get", "nodes", "-o", "wide"])?.trim_end());
    say(kubectl.run(&["get", "pods", "-A", "-o", "wide"])?.trim_end());
    Ok(())
}

fn check(layout: &Layout) -> Result<()> {
    node::check_machine()?;
    packages::check()?;
    crate::assets::check_node()?;
    if up::running(layout).is_some() {
        bail!("a node runs here already: `cargo xtask cluster down` ends it");
    }
    say("this machine can hold a node");
    Ok(())
}

/// The node's own directory in every hierarchy of cgroups (v1), or in the only one (v2).
fn cgroups() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.controllers").is_file() {
        return vec![top.join(CGROUP)];
    }
    let entries = std::fs::read_dir(top).into_iter().flatten().flatten();
    let is_hierarchy = |path: &PathBuf| path.join("cgroup.procs").is_file();
    // `cpu,cpuacct` has links under both names: one path for each directory.
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(is_hierarchy)
        .map(|path| path.canonicalize().unwrap_or(path))
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|path| path.join(CGROUP)).collect()
}
