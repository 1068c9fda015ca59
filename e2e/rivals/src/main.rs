//! Sorcha beside rust-libp2p's gossipsub and iroh-gossip, in one run: the same network, delay, arrivals and payloads.
//!
//! Needs Linux, root and iproute2: all nodes live in a network namespace of their own, whose only network is a TUN device that
//! delays every packet in user space. Nothing leaves the machine. How each rival is configured stands at the top of
//! its file, and in the report.

mod compare;
mod contender;
mod cost;
mod gossipsub;
mod iroh;
mod namespace;
mod node;
mod plan;
mod report;
mod sorcha;
mod switch;
mod talk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;

use compare::Setting;
use contender::Contender;
use plan::Wishes;
use report::Figures;

/// Sorcha beside gossipsub and iroh-gossip over one network.
#[derive(Debug, Parser)]
#[command(name = "sorcha-rivals")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure all, or some, one after the other
    Compare(CompareArgs),
    /// One process with some nodes (started by `compare`)
    #[command(hide = true)]
    Node {
        #[arg(long)]
        contender: Contender,
        #[arg(long)]
        plan: PathBuf,
        #[arg(long)]
        first: usize,
        #[arg(long)]
        count: usize,
    },
    /// The network (started by `compare`)
    #[command(hide = true)]
    Switch {
        #[arg(long)]
        delay_ms: u64,
    },
}

#[derive(Debug, clap::Args)]
struct CompareArgs {
    /// Nodes (8 to 500)
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(8..=500))]
    nodes: u32,
    /// Processes that they are spread over
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    processes: u32,
    /// One-way delay of every packet, ms
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    delay_ms: u64,
    /// Lengths of payloads, bytes (8 to 65536)
    #[arg(long, value_delimiter = ',', default_values_t = [256, 4096, 49152], value_parser = clap::value_parser!(u32).range(8..=65_536))]
    payloads: Vec<u32>,
    /// Messages a second for each length, on average. The defaults are what two cores carry for everybody
    #[arg(long, value_delimiter = ',', default_values_t = [2.0, 2.0, 0.5])]
    rates: Vec<f64>,
    /// Messages of each length
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: u32,
    /// Others that a node of gossipsub dials; of two nodes one dials the other
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=499))]
    dials: u32,
    /// Time for meshes to form, s
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(0..=600))]
    settle_s: u64,
    /// Runs of each; the median is shown
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Where the peers of `sorcha-disk` keep their state: a directory on a disk
    #[arg(long, default_value = ".")]
    disk: PathBuf,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes one JSON object there too: the medians, and every single run
    #[arg(long)]
    report: Option<PathBuf>,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Compare(args) => compare_all(&args),
        Command::Switch { delay_ms } => switch::run(Duration::from_millis(delay_ms)),
        Command::Node { contender, plan, first, count } => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let result = runtime.block_on(contender.run(&plan, first, count));
            // Nodes end with the process.
            runtime.shutdown_background();
            result
        }
    }
}

fn compare_all(args: &CompareArgs) -> Result<()> {
    let payloads: Vec<(usize, f64)> =
        args.payloads.iter().map(|bytes| *bytes as usize).zip(args.rates.iter().copied()).collect();
    ensure!(
        args.rates.len() == args.payloads.len(),
        "{} rates are given for {} lengths of payloads: name one for each",
        args.rates.len(),
        args.payloads.len()
    );
    for rate in &args.rates {
        ensure!(*rate > 0.0 && *rate <= 1000.0, "--rates {rate}: write numbers above 0, up to 1000");
    }
    let wishes = Wishes {
        nodes: args.nodes as usize,
        dials: args.dials.min(args.nodes - 1) as usize,
        payloads,
        messages: args.messages as usize,
        seed: args.seed,
    };
    let setting = Setting {
        processes: args.processes as usize,
        delay: Duration::from_millis(args.delay_ms),
        settle: Duration::from_secs(args.settle_s),
    };
    let all = if args.only.is_empty() { &Contender::ALL[..] } else { &args.only[..] };
    let mut runs: Vec<Vec<Figures>> = all.iter().map(|_| Vec::new()).collect();
    // Round by round, so that a busy minute of the machine meets everybody.
    for round in 1..=args.rounds {
        for (contender, figures) in all.iter().zip(&mut runs) {
            eprintln!("round {round} of {}: {}", args.rounds, contender.name());
            let directory = scratch(&contender.place(&args.disk))?;
            let run = compare::run(*contender, &wishes, &setting, directory.path());
            figures.push(run.with_context(|| format!("{} is not measured", contender.name()))?);
        }
    }
    let medians: Vec<Figures> = runs.iter().map(|runs| Figures::median(runs)).collect();
    let report = json!({
        "nodes": args.nodes, "processes": args.processes, "delayMs": args.delay_ms, "dials": args.dials,
        "settleS": args.settle_s, "rounds": args.rounds, "seed": args.seed, "cores": std::thread::available_parallelism()?,
        "contenders": medians, "runs": runs,
    });
    if let Some(file) = &args.report {
        std::fs::write(file, report.to_string()).with_context(|| file.display().to_string())?;
    }
    if args.json {
        println!("{report}");
        return Ok(());
    }
    println!(
        "{} nodes in {} processes on {} cores, {} ms each way, median of {} rounds, seed {}",
        args.nodes,
        args.processes,
        std::thread::available_parallelism()?,
        args.delay_ms,
        args.rounds,
        args.seed
    );
    report::table(&medians);
    Ok(())
}

/// A directory on a file system of the wanted kind, which goes when dropped.
fn scratch(under: &Path) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("sorcha-rivals-")
        .tempdir_in(under)
        .with_context(|| format!("no directory in {}", under.display()))
}
