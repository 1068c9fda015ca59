//! Ending the test node: its first process, and with it every other; then what the kernel does not remove by itself.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::layout::{LINK_HERE, Layout};
use super::up;
use crate::processes;
use crate::shell::say;

/// How long processes and cgroups may take to go (a guess: they go within a second on an idle machine).
const GONE_MAX: Duration = Duration::from_secs(30);

/// Ends it and removes everything.
pub(super) fn run(layout: &Layout) -> Result<()> {
    end(layout)?;
    if layout.root().exists() {
        // It cannot be a directory of something else: only `up` makes this file, and only in an empty one.
        if !layout.path(up::MARK).exists() {
            bail!("{} is not the directory of a node: it is left alone", layout.root().display());
        }
        std::fs::remove_dir_all(layout.root())
            .with_context(|| format!("{} cannot be removed", layout.root().display()))?;
    }
    say("the node is down, nothing of it is left");
    Ok(())
}

/// Ends every process; files stay.
pub(super) fn end(layout: &Layout) -> Result<()> {
    if let Some(pid) = up::running(layout) {
        let mut all = processes::descendants(pid.cast_unsigned());
        all.insert(pid);
        processes::signal(pid, Signal::KILL);
        let left = processes::wait_gone(&all, Instant::now() + GONE_MAX);
        if !left.is_empty() {
            bail!("these processes of the node do not end: {left:?}");
        }
    }
    // It goes with the node's network, which goes with its last process; that may have been just now.
    let started = Instant::now();
    while Path::new("/sys/class/net").join(LINK_HERE).exists() {
        if started.elapsed() > Duration::from_secs(1) {
            let _gone_meanwhile = Command::new("ip").args(["link", "delete", LINK_HERE]).output();
        }
        if started.elapsed() > GONE_MAX {
            bail!("the interface {LINK_HERE} does not go");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for cgroup in super::cgroups() {
        remove_cgroups(&cgroup, Instant::now() + GONE_MAX)?;
    }
    Ok(())
}

/// From the leaves up; the kernel refuses as long as a process is in one.
fn remove_cgroups(directory: &Path, deadline: Instant) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path(), deadline)?;
        }
    }
    while let Err(error) = std::fs::remove_dir(directory) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("{} cannot be removed", directory.display()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
