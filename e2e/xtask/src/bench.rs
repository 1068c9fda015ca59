//! Measurements by name. Each prints its figures with the conditions they were taken under.
//!
//! Knows which program measures what, and the bars (DESIGN § 8); the programs do the measuring.

use anyhow::{Result, bail};

use crate::shell::{Workspace, say};

/// Run a named measurement, or compare it with its bar.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The measurement, or `list`.
    #[arg(default_value = "list")]
    name: String,
    /// Fail where the bar is missed.
    #[arg(long)]
    check: bool,
    /// How to print.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs one, or lists them.
pub(crate) fn run(_workspace: &Workspace, args: &Args) -> Result<()> {
    if args.name != "list" {
        bail!("there is no measurement '{}': `cargo xtask bench list` names them", args.name);
    }
    say(&format!("{:?} {}", args.output, args.check));
    Ok(())
}
