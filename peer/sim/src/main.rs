//! `sorcha-peer-sim`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use sorcha_peer_sim::cli::Cli;

fn main() -> anyhow::Result<ExitCode> {
    Cli::parse().run(&mut std::io::stdout().lock())
}
