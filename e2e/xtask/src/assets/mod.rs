//! Programs for the tests that need a real Kubernetes, built from source and kept: API servers, Helm, a whole node.
//!
//! Knows where they are kept and in which order they are built; what is done with them is known to the tests
//! (`e2e/src/apiserver.rs`) and to `cargo xtask cluster`.

mod go;
mod sets;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{human, say};
use sets::{HELM, NODE, RELEASES, Set};

/// Build the API servers that the tests use, or say that they are built already.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds etcd, kube-apiserver and kubectl of the oldest and the newest Kubernetes that is supported, and Helm 3 and 4, and
keeps them: a second call has nothing to do. Needs Go, about 25 minutes of one processor and 6 GB in Go's caches the
first time; with --node 10 minutes more.

Tests find them by themselves. KUBEBUILDER_ASSETS=<a directory with etcd, kube-apiserver and kubectl> comes first.")]
pub(crate) struct Args {
    /// Also what a whole node of the newest release needs: kubelet, controllers, scheduler, DNS.
    #[arg(long)]
    node: bool,
    /// Where they are kept, a directory for each version [default: sorcha/assets below XDG_CACHE_HOME or ~/.cache].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Names the releases that the tests use, one on each line, oldest first; lies beside their directories.
const CURRENT: &str = "current";

/// The way out where they cannot be built.
const OTHERWISE: &str = "set KUBEBUILDER_ASSETS to a directory that holds etcd, kube-apiserver and kubectl.";

/// Builds what is missing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let directory = match &args.dir {
        Some(directory) => std::path::absolute(directory)?,
        None => directory()?,
    };
    // The newest first: it is what most people have.
    let mut wanted: Vec<&Set> = vec![&RELEASES[1]];
    if args.node {
        wanted.extend(&NODE);
    }
    wanted.extend(&HELM);
    wanted.push(&RELEASES[0]);
    build(&directory, &wanted)?;
    let current: String = RELEASES.iter().flat_map(|release| [release.version, "\n"]).collect();
    let list = directory.join(CURRENT);
    if !std::fs::read_to_string(&list).is_ok_and(|found| found == current) {
        std::fs::write(&list, current).with_context(|| format!("{} cannot be written", list.display()))?;
    }
    let mut shown: Vec<&str> = wanted.iter().map(|set| set.directory).collect();
    shown.sort_unstable();
    shown.dedup();
    for set in &shown {
        say(&directory.join(set).display().to_string());
    }
    say(&format!("assets: {} sets of programs are built, {}", wanted.len(), human(started.elapsed())));
    if std::env::var_os("KUBEBUILDER_ASSETS").is_some() {
        say("note: KUBEBUILDER_ASSETS is set, so tests take the API servers of that directory instead");
    }
    Ok(())
}

/// Where a node's programs lie, each built where it was missing.
pub(crate) struct Node {
    /// Kubernetes' own, etcd among them.
    pub(crate) kubernetes: PathBuf,
    /// CoreDNS.
    pub(crate) coredns: PathBuf,
    /// What holds a pod's namespaces.
    pub(crate) pause: PathBuf,
    /// Helm 3.
    pub(crate) helm: PathBuf,
    /// Release of Kubernetes.
    pub(crate) version: &'static str,
}

/// What a node needs.
fn node_sets() -> Vec<&'static Set> {
    let mut wanted = vec![&RELEASES[1], &HELM[0]];
    wanted.extend(&NODE);
    wanted
}

/// Whether what a node needs is built or can be; an error says what is missing.
pub(crate) fn check_node() -> Result<()> {
    check_go(&missing(&directory()?, &node_sets()))
}

/// Builds what a node needs and says where it lies.
pub(crate) fn node() -> Result<Node> {
    let assets = directory()?;
    let newest = &RELEASES[1];
    build(&assets, &node_sets())?;
    Ok(Node {
        kubernetes: assets.join(newest.directory),
        coredns: assets.join("coredns/coredns"),
        pause: assets.join("pause/pause"),
        helm: assets.join("helm3/helm"),
        version: newest.version,
    })
}

/// Directories in which `kubectl` and `helm` lie once they are built.
pub(crate) fn clients() -> Result<[PathBuf; 2]> {
    let assets = directory()?;
    Ok([assets.join(RELEASES[1].directory), assets.join(HELM[0].directory)])
}

/// Builds Helm alone, where it is missing.
pub(crate) fn helm() -> Result<()> {
    build(&directory()?, &HELM.iter().collect::<Vec<_>>())
}

fn missing<'a>(directory: &Path, wanted: &[&'a Set]) -> Vec<&'a Set> {
    wanted.iter().copied().filter(|set| !set.is_built(directory)).collect()
}

/// Whether these can be built; an error says which Go it takes.
fn check_go(missing: &[&Set]) -> Result<()> {
    if let Some(newest) = missing.iter().filter_map(|set| set.go).max() {
        let found = go::version(OTHERWISE)?;
        ensure!(
            found >= newest,
            "Go {}.{} is too old: {}.{} or newer builds them. Install one (https://go.dev/dl), or {OTHERWISE}",
            found.0,
            found.1,
            newest.0,
            newest.1,
        );
    }
    Ok(())
}

fn build(directory: &Path, wanted: &[&Set]) -> Result<()> {
    let missing = missing(directory, wanted);
    check_go(&missing)?;
    for set in missing {
        set.build(directory).with_context(|| format!("{} {} is not built", set.what, set.version))?;
    }
    Ok(())
}

/// Where they are kept unless the command line says otherwise.
pub(crate) fn directory() -> Result<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("sorcha/assets"))
        .context("neither XDG_CACHE_HOME nor HOME is set: say with --dir where the programs are kept")
}
