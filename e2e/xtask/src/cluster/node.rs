//! The first process of the test node, inside namespaces of its own: lays the network, starts the programs and starts
//! each again that ends. Everything below it ends with it, and its mounts and interfaces vanish.
//!
//! Does not know the cluster's contents; what the programs are told is in `components.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, WaitOptions};

use super::components::{self, Component};
use super::layout::{BRIDGE, CGROUP, LINK_THERE, LINK_THERE_ADDRESS, Layout, NODE_ADDRESS, SERVICES};
use crate::shell::{output, run as run_command, say};

/// A program that has ended is started again after this (a guess: long enough to be no busy loop, short beside the
/// seconds that the programs take to start).
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The caller gives the node its interface within this after it was started.
const LINK_WAIT_MAX: Duration = Duration::from_secs(20);

/// Directories that programs insist on, outside that of the node: each is empty, in memory, and seen here only.
const OWN_DIRECTORIES: [&str; 3] = ["/run", "/var/log", "/var/lib/cni"];

/// Runs until it is killed.
pub(super) fn run(layout: &Layout) -> Result<()> {
    prepare_mounts()?;
    prepare_cgroups()?;
    prepare_network()?;
    for directory in ["run", "logs", "logs/pods", "volumes"] {
        std::fs::create_dir_all(layout.path(directory))?;
    }
    watch(layout, &components::all(layout))
}

fn prepare_mounts() -> Result<()> {
    // Containers may want to see mounts that are made later; outside of this namespace nobody sees any.
    run_command(Command::new("mount").args(["--make-rshared", "/"]))?;
    for directory in OWN_DIRECTORIES {
        std::fs::create_dir_all(directory)?;
        run_command(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs", directory]))?;
    }
    Ok(())
}

/// The kubelet wants the parent of its pods' cgroups to be there, in every hierarchy.
fn prepare_cgroups() -> Result<()> {
    for directory in super::cgroups() {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    let processors = Path::new("/sys/fs/cgroup/cpuset").join(CGROUP);
    if processors.is_dir() {
        // Of all hierarchies this one gives a new member nothing (cgroup-v1/cpusets).
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let all = std::fs::read_to_string(Path::new("/sys/fs/cgroup/cpuset").join(file))?;
            std::fs::write(processors.join(file), all.trim())?;
        }
    }
    Ok(())
}

fn prepare_network() -> Result<()> {
    let started = Instant::now();
    while !Path::new("/proc/self/net/dev").is_file()
        || !std::fs::read_to_string("/proc/self/net/dev")?.contains(&format!("{LINK_THERE}:"))
    {
        if started.elapsed() > LINK_WAIT_MAX {
            bail!("nobody gave this node its interface `{LINK_THERE}`");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let bridge_address = format!("{NODE_ADDRESS}/24");
    let steps: [&[&str]; 7] = [
        &["link", "set", "lo", "up"],
        &["address", "add", LINK_THERE_ADDRESS, "dev", LINK_THERE],
        &["link", "set", LINK_THERE, "up"],
        &["link", "add", BRIDGE, "type", "bridge"],
        &["address", "add", &bridge_address, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
        // Where to, for the node itself, before the rules translate it.
        &["route", "add", SERVICES, "dev", BRIDGE],
    ];
    for step in steps {
        run_command(Command::new("ip").args(step))?;
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    // Answers of a Service's pod to a pod on the same bridge must pass the rules that translate them back.
    let bridged = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if bridged.exists() {
        std::fs::write(bridged, "1")?;
    }
    // Pods reach one another and the node. There is no route further, and this holds should one appear.
    let mut rule = Command::new("iptables");
    rule.args(["-A", "FORWARD", "-i", BRIDGE, "!", "-o", BRIDGE, "-m", "conntrack", "--ctstate", "NEW"]);
    run_command(rule.args(["-j", "REJECT"]))
}

/// Starts all and reaps whatever ends, for ever. As the first process of its namespace it inherits orphans too.
fn watch(layout: &Layout, components: &[Component]) -> Result<()> {
    let mut running: BTreeMap<i32, usize> = BTreeMap::new();
    let mut due: Vec<(Instant, usize)> = (0..components.len()).map(|at| (Instant::now(), at)).collect();
    loop {
        let now = Instant::now();
        let (ready, later): (Vec<_>, Vec<_>) = due.into_iter().partition(|(when, _)| *when <= now);
        due = later;
        for (_, at) in ready {
            running.insert(start(layout, &components[at])?, at);
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(at) = running.remove(&Pid::as_raw(Some(pid))) {
                say(&format!("{} has ended ({status:?}); it is started again", components[at].name));
                due.push((Instant::now() + AGAIN_AFTER, at));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts one; its id in this namespace, which is also written down.
fn start(layout: &Layout, component: &Component) -> Result<i32> {
    let log =
        File::options().create(true).append(true).open(layout.path(&format!("logs/{}", component.name)))?;
    let child = Command::new(&component.program)
        .args(&component.args)
        .current_dir(layout.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{} does not start", component.program))?;
    let pid = child.id().cast_signed();
    std::fs::write(layout.path(&format!("run/{}.pid", component.name)), pid.to_string())?;
    Ok(pid)
}

/// Whether this machine can hold the node at all; an error says what is missing.
pub(super) fn check_machine() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a node needs root: run it as root, or set KUBECONFIG to a cluster that is there");
    }
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]);
    output(&mut probe).context("this machine gives no namespaces, which a node needs")?;
    // One of a node that runs is proof enough.
    for directory in super::cgroups().into_iter().filter(|directory| !directory.exists()) {
        let made = std::fs::create_dir(&directory).and_then(|()| std::fs::remove_dir(&directory));
        made.with_context(|| {
            format!("a node needs a cgroup of its own, and {} cannot be made", directory.display())
        })?;
    }
    Ok(())
}
