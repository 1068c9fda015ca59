//! Processes of this machine, read from /proc: who descends from whom, who still runs.
//!
//! Knows nothing of peers. Linux only; elsewhere it finds no processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Parent and state of every process.
fn table() -> BTreeMap<i32, (i32, char)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|fact| (pid, fact))
    })
    .collect()
}

/// (parent, state) of a line of /proc/PID/stat (proc(5)); the name in parentheses may hold anything.
fn parse_stat(stat: &str) -> Option<(i32, char)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Children of a process.
pub(crate) fn children(parent: u32) -> Vec<i32> {
    let of = parent.cast_signed();
    table().into_iter().filter(|(_, (parent, _))| *parent == of).map(|(pid, _)| pid).collect()
}

/// All descendants of a process.
pub(crate) fn descendants(root: u32) -> BTreeSet<i32> {
    let table = table();
    let mut found = BTreeSet::new();
    let mut wave = vec![root.cast_signed()];
    while let Some(parent) = wave.pop() {
        let children = table.iter().filter(|(_, (of, _))| *of == parent).map(|(pid, _)| *pid);
        wave.extend(children.filter(|pid| found.insert(*pid)));
    }
    found
}

/// Those of `pids` that run; one that has ended and waits to be reaped does not.
pub(crate) fn running(pids: &BTreeSet<i32>) -> BTreeSet<i32> {
    let table = table();
    let alive = |pid: &i32| table.get(pid).is_some_and(|(_, state)| !matches!(state, 'Z' | 'X'));
    pids.iter().copied().filter(alive).collect()
}

/// Waits until none of `pids` runs; those that still do at the deadline.
pub(crate) fn wait_gone(pids: &BTreeSet<i32>, deadline: Instant) -> BTreeSet<i32> {
    loop {
        let left = running(pids);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ids of processes whose command line contains `text`.
pub(crate) fn with_command_line(text: &str) -> BTreeSet<i32> {
    let all = table();
    let named = all.keys().copied().filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    });
    named.filter(|pid| *pid != std::process::id().cast_signed()).collect()
}

/// Sends a signal; a process that is gone already is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, signal);
    }
}

/// Ends a child and all that descends from it, at once.
pub(crate) fn kill_tree(child: &mut std::process::Child) {
    let below = descendants(child.id());
    let _gone = child.kill();
    for pid in below {
        signal(pid, Signal::KILL);
    }
    let _reaped = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_obstacle() {
        assert_eq!(parse_stat("12 (a) b) c) S 7 12 12 0"), Some((7, 'S')));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn a_killed_tree_leaves_nobody() {
        let mut shell = std::process::Command::new("sh").args(["-c", "sleep 60 & sleep 60"]).spawn().unwrap();
        let started = Instant::now();
        while descendants(shell.id()).len() < 2 && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let below = descendants(shell.id());
        assert_eq!(below.len(), 2);
        kill_tree(&mut shell);
        assert_eq!(wait_gone(&below, Instant::now() + Duration::from_secs(5)), BTreeSet::new());
    }
}
