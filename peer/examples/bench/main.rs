//! Measurements of real peers: real processes, sockets, mutual TLS and disks. `cargo xtask bench` runs them by name and compares
//! with their bars; this measures and prints one JSON object.
//!
//! Peers that are measured one by one run the shipping program (`--program`); crowds run in a few processes that hold
//! many peers each, made of the very same parts (`sorcha_peer::run::serve`).

mod client;
mod crowd;
mod discovery;
mod figures;
mod host;
mod outbox;
mod rungs;
mod submit;
mod thousand;
mod throughput;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// As the shipping program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures real peers.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    /// The shipping program
    #[arg(long, global = true, default_value = "target/release/sorcha-peer")]
    program: PathBuf,
    /// Where peers keep their state: a directory on the disk to be measured
    #[arg(long, global = true, default_value = "target")]
    directory: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Durable acknowledgements a second of one peer
    Submit(submit::Args),
    /// How fast what was accepted during an outage reaches the other side
    Outbox(outbox::Args),
    /// What a link carries on each rung of the ladder
    Rungs(rungs::Args),
    /// A steady load over five peers, and the largest that holds
    Throughput(throughput::Args),
    /// How soon peers find each other, and forget those that are gone
    Discovery(discovery::Args),
    /// A network of very many peers on this machine: links, reach, memory
    Thousand(thousand::Args),
    /// Some peers in this process (started by the others)
    #[command(hide = true)]
    Host {
        /// Directories of the peers
        #[arg(required = true)]
        peers: Vec<PathBuf>,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Command::Host { peers } = &cli.command {
            return host::run(peers).await;
        }
        let scratch =
            tempfile::Builder::new().prefix("bench-").tempdir_in(&cli.directory).with_context(|| {
                format!("no directory in {}: name one with --directory", cli.directory.display())
            })?;
        let program = std::path::absolute(&cli.program)?;
        let place = crowd::Place { program, directory: std::path::absolute(scratch.path())? };
        let report = match &cli.command {
            Command::Submit(args) => submit::run(&place, args).await?,
            Command::Outbox(args) => outbox::run(&place, args).await?,
            Command::Rungs(args) => rungs::run(&place, args).await?,
            Command::Throughput(args) => throughput::run(&place, args).await?,
            Command::Discovery(args) => discovery::run(&place, args).await?,
            Command::Thousand(args) => thousand::run(&place, args).await?,
            Command::Host { .. } => unreachable!("handled above"),
        };
        writeln!(std::io::stdout(), "{report}")?;
        Ok(())
    })
}
