//! A network of real peers on this machine: builds the programs, then hands over to `sorcha-operator local`.
//!
//! Knows command lines and where the programs are built; what a network is, only the operator knows.

mod check;
mod http;
mod network;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{Usage, Workspace, run as run_command, say};

/// The manifest that is run where none is named.
const QUICKSTART: &str = "crds/examples/quickstart.yaml";

/// Build the programs and run the network of a manifest on this machine, in the foreground.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask up                       five peers from crds/examples/quickstart.yaml; Ctrl-C stops them
  cargo xtask up -f my-network.yaml    your own manifest; edit it while it runs
  cargo xtask up --check               the same network, tried out and taken down again; prints its figures")]
pub(crate) struct Args {
    /// The SorchaPeerNetwork manifest.
    #[arg(short, long, default_value = QUICKSTART)]
    file: PathBuf,
    /// Where state is kept between starts; `--check` uses a temporary directory unless told otherwise.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Try it out: submit, kill a peer, see it return, start again; print one line of figures and stop.
    #[arg(long)]
    check: bool,
    /// Build in debug: compiles faster, runs slower.
    #[arg(long)]
    debug: bool,
    /// Build nothing, run the programs of this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "debug")]
    programs: Option<PathBuf>,
}

/// The two programs, built.
#[derive(Debug, Clone)]
struct Programs {
    peer: PathBuf,
    operator: PathBuf,
}

impl Programs {
    /// Those of a directory.
    fn at(directory: &Path) -> Result<Self> {
        let program = |name: &str| {
            let path = directory.join(name);
            let missing =
                || Usage(format!("there is no {}: build it, or leave --programs out", path.display()));
            ensure!(path.is_file(), missing());
            Ok(path)
        };
        Ok(Self { peer: program("sorcha-peer")?, operator: program("sorcha-operator")? })
    }
}

/// Builds, then runs or checks.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    // A relative path is meant from where the user stands, the default from the top of the clone.
    let default = args.file.as_os_str() == QUICKSTART && !args.file.exists();
    let file = if default { workspace.root().join(QUICKSTART) } else { args.file.clone() };
    let missing =
        || Usage(format!("the manifest {} does not exist; name another with --file", file.display()));
    ensure!(file.is_file(), missing());
    let programs = match &args.programs {
        Some(directory) => Programs::at(&std::path::absolute(directory)?)?,
        None => build(workspace, args.debug)?,
    };
    if args.check {
        return check::run(&programs, &file, args.state_dir.as_deref());
    }
    let state = args.state_dir.clone().unwrap_or_else(|| workspace.root().join("target/sorcha"));
    say(&format!("Starting the network of {}; its state is kept in {}.", file.display(), state.display()));
    let mut operator = Command::new(&programs.operator);
    operator.arg("local").arg("--file").arg(&file).arg("--state-dir").arg(&state);
    operator.arg("--peer-binary").arg(&programs.peer);
    // This process becomes the operator: Ctrl-C reaches it, and its exit code is ours.
    Err(operator.exec()).with_context(|| format!("{} does not start", programs.operator.display()))
}

fn build(workspace: &Workspace, debug: bool) -> Result<Programs> {
    let (profile, flags): (_, &[&str]) = if debug { ("debug", &[]) } else { ("release", &["--release"]) };
    say(&format!(
        "Building sorcha-peer and sorcha-operator in {profile}: a few minutes the first time, seconds later."
    ));
    let selection = ["build", "--workspace", "--bin", "sorcha-peer", "--bin", "sorcha-operator"];
    run_command(workspace.cargo(selection).args(flags))?;
    Programs::at(&workspace.target_directory()?.join(profile))
}
