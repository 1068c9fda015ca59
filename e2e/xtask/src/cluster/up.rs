//! Starting the test node and giving it what a cluster has: DNS, a class of volumes, images.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::layout::{
    DNS_SERVICE, LINK_HERE, LINK_HERE_ADDRESS, LINK_THERE, Layout, NODE, NODE_ADDRESS, PAUSE_IMAGE,
    STORAGE_CLASS,
};
use super::{components, credentials, down, node, packages};
use crate::image::{self, Program};
use crate::shell::{Workspace, human, run as run_command, say};
use crate::{assets, processes};

/// Start the node, or say that it runs; build and import the images of both programs.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Import the images of this directory and build none.
    #[arg(long, value_name = "DIR", conflicts_with = "no_images")]
    images: Option<PathBuf>,
    /// Import no images.
    #[arg(long)]
    no_images: bool,
}

/// Marks a directory as that of a node.
pub(super) const MARK: &str = "sorcha-cluster";

/// A node that is not ready by then never is; 9 s were measured on an idle machine.
const READY_MAX: Duration = Duration::from_secs(180);

/// Starts it.
pub(super) fn run(workspace: &Workspace, layout: &Layout, args: &Args) -> Result<()> {
    let started = Instant::now();
    node::check_machine()?;
    packages::ensure()?;
    let programs = assets::node()?;
    let images = match (&args.images, args.no_images) {
        (Some(directory), _) => Some(directory.clone()),
        (None, true) => None,
        (None, false) => {
            let directory = image::directory(workspace)?;
            image::build(workspace, &Program::ALL, &directory, None)?;
            Some(directory)
        }
    };
    let prepared = Instant::now();
    if running(layout).is_some() {
        say("the node runs already");
    } else {
        down::end(layout)?;
        start(layout, &programs)?;
    }
    import_pause(layout, &programs)?;
    let kubectl = Kubectl::new(layout);
    await_ready(&kubectl)?;
    kubectl.apply(&furnishings())?;
    for program in images.iter().flat_map(|_| Program::ALL) {
        let directory = images.as_deref().unwrap_or(Path::new("."));
        import(layout, &image::oci_archive(directory, program))?;
    }
    say(&format!(
        "cluster: Kubernetes {} is ready in {} (prepared in {})",
        programs.version,
        human(prepared.elapsed()),
        human(prepared - started)
    ));
    say(&format!("export KUBECONFIG={}", layout.kubeconfig().display()));
    Ok(())
}

/// Id of the node's outermost process, if it runs.
pub(super) fn running(layout: &Layout) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(layout.pid()).ok()?.trim().parse().ok()?;
    // The number may be another's by now.
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let is_it = line.starts_with("unshare") && line.contains(&*layout.root().to_string_lossy());
    (is_it && !processes::running(&[pid].into()).is_empty()).then_some(pid)
}

fn start(layout: &Layout, programs: &assets::Node) -> Result<()> {
    let root = layout.root();
    let is_empty = std::fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !layout.path(MARK).exists() {
        bail!("{} holds something else: say with --state where the node may lie", root.display());
    }
    if !is_empty {
        // Of one that was not ended in order.
        std::fs::remove_dir_all(root)?;
    }
    std::fs::create_dir_all(layout.path("bin"))?;
    std::fs::write(layout.path(MARK), "Everything below is removed by `cargo xtask cluster down`.\n")?;
    for entry in std::fs::read_dir(&programs.kubernetes)?.flatten().filter(|entry| entry.path().is_file()) {
        std::os::unix::fs::symlink(entry.path(), layout.path("bin").join(entry.file_name()))?;
    }
    std::os::unix::fs::symlink(&programs.coredns, layout.path("bin/coredns"))?;
    std::os::unix::fs::symlink(&programs.helm, layout.path("bin/helm"))?;
    // A copy: the one that runs here is built anew any time.
    std::fs::copy(std::env::current_exe()?, layout.path("bin/xtask"))?;
    credentials::write(layout)?;
    components::write_files(layout)?;

    let log = File::create(layout.path("node.log"))?;
    // With its first process every other of a PID namespace ends, its mounts and interfaces go with the last.
    let child = Command::new("setsid")
        .args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(layout.program("xtask"))
        .args(["cluster", "node", "--state"])
        .arg(root)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("unshare does not start")?;
    std::fs::write(layout.pid(), child.id().to_string())?;
    link(child.id())
}

/// The node's first process, as this machine numbers it.
fn first_process(outer: u32) -> Result<i32> {
    let started = Instant::now();
    loop {
        let found = processes::children(outer);
        if let Some(pid) = found.first() {
            return Ok(*pid);
        }
        if started.elapsed() > Duration::from_secs(10) {
            bail!("the node's first process does not start");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Gives the node its one interface.
fn link(outer: u32) -> Result<()> {
    let pid = first_process(outer)?.to_string();
    let add = ["link", "add", LINK_HERE, "type", "veth", "peer", "name", LINK_THERE, "netns", pid.as_str()];
    run_command(Command::new("ip").args(add))?;
    run_command(Command::new("ip").args(["address", "add", LINK_HERE_ADDRESS, "dev", LINK_HERE]))?;
    run_command(Command::new("ip").args(["link", "set", LINK_HERE, "up"]))
}

fn await_ready(kubectl: &Kubectl) -> Result<()> {
    let started = Instant::now();
    let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    loop {
        let said = kubectl.run(&["get", "node", NODE, "--request-timeout=2s", "-o", condition]);
        let account = || kubectl.run(&["get", "serviceaccount", "default", "-n", "default"]);
        match said {
            Ok(status) if status == "True" && account().is_ok() => return Ok(()),
            _ if started.elapsed() < READY_MAX => std::thread::sleep(Duration::from_millis(200)),
            Ok(_) => bail!("the node is not ready after {}; see its logs", human(started.elapsed())),
            Err(error) => return Err(error.context("the node's API server does not answer; see its logs")),
        }
    }
}

/// DNS behind the address that pods are told, and the class of volumes.
fn furnishings() -> Value {
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "protocol": protocol});
    let ports = [port("dns", "UDP"), port("dns-tcp", "TCP")];
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": true}}],
            "ports": ports,
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "sorcha.org/test-volumes",
            "reclaimPolicy": "Retain",
            "allowVolumeExpansion": true,
            "volumeBindingMode": "Immediate",
        },
    ]})
}

/// The image that holds the namespaces of pods.
fn import_pause(layout: &Layout, programs: &assets::Node) -> Result<()> {
    let (name, tag) = PAUSE_IMAGE.split_once(':').context("it has a tag")?;
    let archive = layout.path("pause.oci.tar");
    std::fs::write(&archive, image::single(name, tag, &std::fs::read(&programs.pause)?)?)?;
    let started = Instant::now();
    while !Path::new(&layout.containerd()).exists() && started.elapsed() < READY_MAX {
        std::thread::sleep(Duration::from_millis(50));
    }
    import(layout, &archive)
}

/// Makes an image known to the node.
fn import(layout: &Layout, archive: &Path) -> Result<()> {
    let mut ctr = Command::new("ctr");
    ctr.args(["--address", &layout.containerd(), "--namespace", "k8s.io", "images", "import"]);
    run_command(ctr.arg(archive).stdout(Stdio::null()))
        .with_context(|| format!("{} cannot be imported", archive.display()))
}
