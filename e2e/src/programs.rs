//! Finds and runs the programs under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;

/// The directory of the built programs: `SORCHA_BIN_DIR`, else beside the test's own executable.
pub fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("SORCHA_BIN_DIR") {
        return directory.into();
    }
    let test = std::env::current_exe().expect("a running test knows its executable");
    test.ancestors().nth(2).expect("tests run from <target>/<profile>/deps").to_owned()
}

/// A command for one of our programs.
///
/// # Panics
/// Where it has not been built: run `cargo xtask test`, which builds it first.
pub fn command(name: &str) -> Command {
    let path = directory().join(name);
    assert!(path.is_file(), "{} is not built: run `cargo xtask test`", path.display());
    let mut command = Command::new(path);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORCHA_")) {
        command.env_remove(key);
    }
    command
}

/// What a finished program said.
#[derive(Debug)]
pub struct Said {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error as text.
    pub err: String,
}

impl Said {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.out).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// An error with everything it said, unless it ended with 0.
    pub fn ok(self) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.code == Some(0),
            "exit code {:?}\nstdout: {}\nstderr: {}",
            self.code,
            self.text(),
            self.err
        );
        Ok(self)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program to its end. Every verb used here has a deadline of its own.
pub fn run(command: &mut Command) -> anyhow::Result<Said> {
    Ok(command.output().with_context(|| format!("{command:?} could not be started"))?.into())
}

/// Runs `sorcha-peer` with arguments.
pub fn peer(args: &[&str]) -> anyhow::Result<Said> {
    run(command("sorcha-peer").args(args))
}

/// Runs `sorcha-operator` with arguments.
pub fn operator(args: &[&str]) -> anyhow::Result<Said> {
    run(command("sorcha-operator").args(args))
}

/// Processes whose command line mentions a path: who still works in a test's directory.
pub fn processes_in(directory: &Path) -> Vec<(i32, String)> {
    let wanted = directory.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse::<i32>().ok()?;
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (pid != std::process::id().cast_signed() && line.contains(&wanted)).then_some((pid, line))
        })
        .collect()
}
