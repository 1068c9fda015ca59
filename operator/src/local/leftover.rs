//! Peers that a killed supervisor left behind: found by their command line, and ended before anything starts.
//!
//! A peer ends by itself once the pipe on its standard input closes; this is for one that does not, or has not
//! yet. Every identity check is made again right before a signal, because process ids are reused.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::LocalError;

/// From SIGTERM to SIGKILL: the peer's default shutdown deadline of 10 s, and room.
const TERM_DEADLINE: Duration = Duration::from_secs(12);
/// From SIGKILL to giving up. A guess; the kernel needs milliseconds unless a disk hangs.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Between looks at a process that is not our child, so that nothing reports its end.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A peer process of this network that is not our child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    /// Process id.
    pub(super) pid: u32,
    /// Clock ticks from boot to its start: with the id it names one process for good.
    started: u64,
    /// The `peer.yaml` on its command line.
    config: PathBuf,
}

impl Leftover {
    /// Name of the peer: that of its folder.
    pub(super) fn peer(&self) -> String {
        let folder = self.config.parent().and_then(Path::file_name);
        folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The very process still runs.
    fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    fn signal(&self, signal: Signal) {
        if self.lives()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may have ended since; then it is what was wanted.
            let _ = kill_process(pid, signal);
        }
    }

    async fn ended(&self, deadline: Duration) -> bool {
        let begin = Instant::now();
        while self.lives() {
            if begin.elapsed() > deadline {
                return false;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        true
    }
}

/// Processes that run with a `peer.yaml` under this directory. Without `/proc`, none.
pub(super) fn find(root: &Path) -> Vec<Leftover> {
    let mut found: Vec<Leftover> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let config = config_of(&command)?;
            let ours = config.parent().and_then(Path::parent) == Some(root);
            (ours && pid != std::process::id())
                .then(|| started(pid).map(|started| Leftover { pid, started, config }))?
        })
        .collect();
    found.sort_by(|a, b| a.config.cmp(&b.config));
    found
}

/// Ends them all: SIGTERM, a deadline, SIGKILL. Waits for each.
pub(super) async fn end(leftovers: &[Leftover]) -> Result<(), LocalError> {
    for leftover in leftovers {
        leftover.signal(Signal::TERM);
    }
    for leftover in leftovers {
        if !leftover.ended(TERM_DEADLINE).await {
            leftover.signal(Signal::KILL);
            if !leftover.ended(KILL_DEADLINE).await {
                return Err(LocalError::Leftover { pid: leftover.pid });
            }
        }
    }
    Ok(())
}

/// The path after `--config` on a peer's command line (`… run … --config …/peer.yaml`).
fn config_of(command: &[u8]) -> Option<PathBuf> {
    let mut words = command.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    words.by_ref().find(|word| *word == "run")?;
    words.by_ref().find(|word| *word == "--config")?;
    let config = PathBuf::from(words.next()?);
    (config.file_name()? == "peer.yaml").then_some(config)
}

/// Field 22 of `/proc/PID/stat` (proc(5)); nothing for a process that is gone, or a zombie that holds nothing.
fn started(pid: u32) -> Option<u64> {
    start_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_of(stat: &str) -> Option<u64> {
    // The second field is the program's name in brackets, and may itself hold brackets and blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_command(words: &[&str], expected: Option<&str>) {
        let command: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
        assert_eq!(config_of(&command).as_deref(), expected.map(Path::new), "{words:?}");
    }

    #[test]
    fn only_a_peer_that_runs_is_recognised() {
        let config = "/s/quickstart/quickstart-peers-0/peer.yaml";
        check_command(&["/bin/sorcha-peer", "run", "--config", config], Some(config));
        check_command(&["/bin/sorcha-peer", "--log", "debug", "run", "-v", "--config", config], Some(config));
        check_command(&["vim", config], None);
        check_command(&["sorcha-peer", "config", "check", config], None);
        check_command(&["sorcha-peer", "run", "--config"], None);
        check_command(&["sorcha-peer", "run", "--config", "/etc/other.yaml"], None);
        check_command(&[], None);
    }

    #[test]
    fn the_start_is_read_past_a_hostile_program_name_and_a_zombie_is_gone() {
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_of(&format!("42 (a) b) R) S {tail}")), Some(4711));
        assert_eq!(start_of(&format!("42 (peer) Z {tail}")), None);
        assert_eq!(start_of("42 (peer) S 1 2"), None);
        assert!(started(std::process::id()).is_some());
    }
}
