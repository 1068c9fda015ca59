//! Measurements by name. Each prints its figures with the conditions they were taken under.
//!
//! Knows which program measures what; the programs do the measuring. Bars come from the project's design, docs/design.md § 8, and
//! are only ever tightened; those of the simulator stand in its scenario files.

mod operator;
mod peers;
mod reach;
mod rivals;
mod soak;

use std::path::PathBuf;

use anyhow::Result;

use crate::shell::{Usage, Workspace, run as run_command, say};

/// The program that simulates.
const SIMULATOR: &str = "sorcha-peer-sim";

/// Run a named measurement, or compare it with its bar.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The measurement, or `list`.
    #[arg(default_value = "list")]
    name: String,
    /// Fail where a bar is missed.
    #[arg(long)]
    check: bool,
    /// `soak` alone: how many seeds (300 by default)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: Option<u64>,
    /// How to print.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One object.
    Json,
}

/// Builds what `targets` (`--bin NAME`, `--example NAME`) name, optimised; answers where the programs are. Selected from
/// the whole workspace, so that all measurements share what is compiled.
fn release(workspace: &Workspace, targets: &[&str]) -> Result<PathBuf> {
    run_command(workspace.cargo(["build", "--release", "--workspace"]).args(targets))?;
    Ok(workspace.target_directory()?.join("release"))
}

/// Runs one, or lists them.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.name == "list" {
        for bench in reach::BENCHES {
            say(&format!("{:<14} {}", bench.name, bench.about));
        }
        for bench in peers::BENCHES {
            say(&format!("{:<14} {}", bench.name, bench.about));
        }
        say(&format!("{:<14} {}", operator::NAME, operator::ABOUT));
        say(&format!("{:<14} {}", rivals::NAME, rivals::ABOUT));
        say(&format!("{:<14} {}", soak::NAME, soak::ABOUT));
        return Ok(());
    }
    if args.name == soak::NAME {
        return soak::run(workspace, args);
    }
    if args.seeds.is_some() {
        return Err(Usage(format!("--seeds belongs to `bench {}`", soak::NAME)).into());
    }
    if args.name == operator::NAME {
        return operator::run(workspace, args);
    }
    if args.name == rivals::NAME {
        return rivals::run(workspace, args);
    }
    if let Some(bench) = peers::BENCHES.iter().find(|bench| bench.name == args.name) {
        return peers::run(workspace, bench, args);
    }
    match reach::BENCHES.iter().find(|bench| bench.name == args.name) {
        Some(bench) => reach::run(workspace, bench, args),
        None => Err(Usage(format!(
            "there is no measurement '{}': `cargo xtask bench list` names them",
            args.name
        ))
        .into()),
    }
}
