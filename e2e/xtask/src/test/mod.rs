//! All tests of the workspace, and a closing summary that says what ran and what did not.
//!
//! `cargo test` runs them; this builds the programs that the end-to-end tests start, keeps an eye on the
//! time, and counts.

mod summary;

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::processes;
use crate::shell::{Reported, Workspace, complain, human, run as run_command, say};
use summary::Summary;

/// A test program that says nothing for this long hangs. Guess: the slowest test prints within 3 minutes on
/// two busy cores.
const SILENCE_MAX: Duration = Duration::from_secs(10 * 60);

/// Lines read ahead of what is printed.
const LINES_QUEUED_MAX: usize = 1024;

/// The crate of the end-to-end tests.
const E2E: &str = "sorcha-e2e";

/// Run all tests of the workspace and say how many ran, and what was skipped and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                     everything
  cargo xtask test --unit              what needs no running peers
  cargo xtask test --e2e a_killed      end-to-end tests whose name contains `a_killed`

The last line reads `N passed, N failed, N skipped`.")]
pub(crate) struct Args {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Only the tests inside the crates.
    #[arg(long, conflicts_with = "e2e")]
    unit: bool,
    /// Only the end-to-end tests, which start real peers.
    #[arg(long)]
    e2e: bool,
}

impl Args {
    /// What is built and what is run, as cargo's arguments. Where they can, both select the same packages, so that
    /// features are resolved once and nothing is compiled twice.
    fn selection(&self) -> (Vec<&str>, Vec<&str>) {
        match (self.unit, self.e2e) {
            (true, _) => (
                vec!["--workspace", "--exclude", E2E, "--all-targets"],
                vec!["--workspace", "--exclude", E2E],
            ),
            (_, true) => (vec!["--workspace", "--bins"], vec!["--package", E2E]),
            _ => (vec!["--workspace", "--all-targets"], vec!["--workspace"]),
        }
    }
}

/// Builds, runs, counts.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let started = Instant::now();
    say("Building the programs and all tests in debug (some minutes the first time, seconds later).");
    let (to_build, to_run) = args.selection();
    run_command(workspace.cargo(["build"]).args(to_build))?;
    let built = started.elapsed();

    let (reader, writer) = std::io::pipe().context("no pipe for the tests' output")?;
    let mut cargo = workspace.cargo(["test", "--no-fail-fast", "--color", "never"]);
    cargo.args(to_run);
    if let Some(filter) = &args.filter {
        cargo.args(["--", filter]);
    }
    cargo.env("SORCHA_BIN_DIR", workspace.target_directory()?.join("debug"));
    cargo.stdin(std::process::Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = cargo.spawn().context("cargo does not start")?;
    // The command holds the pipe's writing end; without this the reader would wait for ever.
    drop(cargo);

    let summary = follow(&mut child, &lines(reader));
    let status = child.wait().context("cargo cannot be waited for")?;
    say("");
    for line in summary.report() {
        say(&line);
    }
    say(&format!("built in {}, ran in {}", human(built), human(started.elapsed().saturating_sub(built))));
    let failed = summary.failed();
    if failed > 0 {
        complain(&format!("{failed} tests failed; run one again with `cargo xtask test NAME`"));
    } else if !status.success() {
        complain(&format!("cargo test failed ({status}) although no test did: its words are above"));
    }
    say(&summary.closing_line());
    ensure!(failed == 0 && status.success(), Reported);
    Ok(())
}

/// Lines of the merged output as they come; the channel closes with the pipe.
fn lines(reader: std::io::PipeReader) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_QUEUED_MAX);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// Prints what comes and counts it, until the end or too long a silence.
fn follow(child: &mut Child, lines: &Receiver<String>) -> Summary {
    let mut summary = Summary::default();
    loop {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                say(&line);
                summary.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                complain(&format!("no word from {} for {}: stopped", summary.current(), human(SILENCE_MAX)));
                processes::kill_tree(child);
                break;
            }
        }
    }
    summary.finish();
    summary
}
