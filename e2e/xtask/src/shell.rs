//! Running other programs, finding the workspace, writing to the terminal.
//!
//! Knows nothing of what the programs do.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Writes a line to standard output. A closed pipe is no error of ours.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(crate) fn complain(line: &str) {
    let mut out = std::io::stderr().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A failure that has been told: nothing more is printed.
#[derive(Debug)]
pub(crate) struct Reported;

impl std::fmt::Display for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it has been told above")
    }
}

impl std::error::Error for Reported {}

/// The command line asks for something that does not exist: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// `1.2 s`, `3 min 4 s`: a duration for people.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// Where the repository lies.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// By the environment that `cargo run` sets, or upwards from the current directory.
    pub(crate) fn find() -> Result<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let start = here.map_or_else(std::env::current_dir, Ok).context("there is no current directory")?;
        let root = start.ancestors().find(|at| at.join("e2e/xtask/Cargo.toml").is_file());
        let root =
            root.with_context(|| format!("{} lies in no clone of this repository", start.display()))?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// Top of the clone.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A `cargo` that runs at the top of the clone.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root).args(args);
        // `cargo run` describes xtask to xtask; a program started from here is not xtask.
        for (name, _) in std::env::vars_os() {
            let described = name.to_string_lossy().starts_with("CARGO_PKG_");
            if described || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
                command.env_remove(name);
            }
        }
        command
    }

    /// `cargo metadata` for this platform, parsed.
    pub(crate) fn metadata(&self) -> Result<Value> {
        let host = host()?;
        let mut command = self.cargo(["metadata", "--format-version", "1", "--filter-platform", &host]);
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target_directory(&self) -> Result<PathBuf> {
        let mut command = self.cargo(["metadata", "--format-version", "1", "--no-deps"]);
        let metadata: Value = serde_json::from_str(&output(&mut command)?)?;
        let directory = metadata["target_directory"].as_str().context("cargo names no target directory")?;
        Ok(PathBuf::from(directory))
    }

    /// Every file that git tracks or would track, relative to the root, in order.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let listing = output(&mut git).context("tidy needs git and a clone, not an unpacked archive")?;
        let mut files: Vec<String> = listing.lines().map(str::to_owned).collect();
        files.retain(|file| self.root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs it on this terminal; an error where it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("`{}` does not start", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs it and takes its standard output; what it says on standard error stays visible.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let done = command.output().with_context(|| format!("`{}` does not start", shown(command)))?;
    if !done.status.success() {
        bail!("`{}` failed ({})", shown(command), done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{}` writes no UTF-8", shown(command)))
}

/// As [`output`], also where the program ends with 1: it has measured, and its report says what is wrong.
pub(crate) fn output_of_any(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let done = command.output().with_context(|| format!("`{}` does not start", shown(command)))?;
    if !matches!(done.status.code(), Some(0 | 1)) {
        bail!("`{}` failed ({})", shown(command), done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{}` writes no UTF-8", shown(command)))
}

/// Says what is done, does it, and says how long it took.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("== {name}"));
    let started = Instant::now();
    work().with_context(|| format!("{name} failed"))?;
    say(&format!("== {name}: ok, {}", human(started.elapsed())));
    Ok(())
}
