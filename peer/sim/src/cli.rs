//! The command line: flags to scenarios, reports to the output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cell_report::CellReport;
use crate::network::Conditions;
use crate::network::delay::Delay;
use crate::picture;
use crate::plant::{PLANTS, Plant};
use crate::scenario::cells::{self, Bars, Cell, HEARTBEAT_NEVER};
use crate::scenario::matrix;
use crate::scenario::reach::{Faults, Reach};
use crate::scenario::soak::Soak;
use crate::scenario::soak::mix::Mix;
use crate::scenario::soak::report::{PlantReport, PlantsReport};
use crate::world::Settings;

/// Simulates Sorcha peers: the shipping core under a virtual clock, network and disk.
///
/// The same seed gives the same run; the trace hash at the end says whether two runs were the same.
/// Exit codes: 0 all held, 1 a property was violated or a submission was not accepted, 2 a bad argument.
#[derive(Debug, Parser)]
#[command(name = "sorcha-peer-sim", version, propagate_version = true)]
pub struct Cli {
    /// What to simulate.
    #[command(subcommand)]
    command: Command,
}

/// What to simulate.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measure how fast transactions reach everybody, and what that costs
    Reach(ReachArgs),
    /// Make random faults over a small network and check that what must hold does hold
    Soak(SoakArgs),
    /// Plant one fault after another and see the checker of `soak` catch each
    Plants(PlantsArgs),
}

/// Flags of `reach`.
#[derive(Debug, Args)]
struct ReachArgs {
    /// Peers in the network (2 to 20000)
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    peers: u32,
    /// Transactions to be measured (1 to 10000)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    transactions: u32,
    /// Transactions sent before, so that what peers estimate is warm (0 to 10000)
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    warm_up: u32,
    /// Length of each body in bytes (0 to 4194304); above 4096 bodies are fetched in chunks
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=4_194_304))]
    body_bytes: u32,
    /// Virtual time between two measured transactions, ms (10 to 600000)
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    spacing_ms: u64,
    /// Rounds of reconciliation waited for at the end, 10 s each on average (0 to 1000)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    repair_rounds: u32,
    /// Mean one-way delay, ms (0.1 to 10000)
    #[arg(long, value_name = "MS", default_value_t = 60.0, value_parser = |text: &str| number(text, 0.1, 10_000.0))]
    delay_ms: f64,
    /// Spread of the delays: standard deviation of their logarithm (0 to 3)
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = |text: &str| number(text, 0.0, 3.0))]
    sigma: f64,
    /// Share of frames dropped by overloaded senders (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 0.9))]
    drop: f64,
    /// Share of peers that die silently once all are linked (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 0.9))]
    dead: f64,
    /// Share of peers behind a NAT: they dial and cannot be dialled (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 0.9))]
    nat: f64,
    /// Share of the roster that each peer misses; such a share sees half as many rows, another twice as many (0 to 0.3)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 0.3))]
    views: f64,
    /// Share of peers that take transactions and pass none on; half of them announce what they will not give (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 0.9))]
    withholding: f64,
    /// Share of peers replaced per minute while transactions are measured (0 to 5)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 5.0))]
    churn_per_minute: f64,
    /// Share of peers that join just before the measurement; half of the transactions are theirs (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 1.0))]
    newcomers: f64,
    /// Share of TCP segments lost: frames come late and hold back those behind them (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = |text: &str| number(text, 0.0, 0.9))]
    tcp_loss: f64,
    /// What each peer can send, megabits per second (0 to 1000000); 0: no bound
    #[arg(long, value_name = "MBPS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    bandwidth_mbps: u64,
    /// Let dead peers be noticed: the shipping heartbeat instead of none (always with --churn-per-minute)
    #[arg(long)]
    heartbeat: bool,
    /// Begin with three bootstrap peers instead of all records
    #[arg(long)]
    cold: bool,
    /// Begin with all links that the grid wants, made without the network (not with --cold or --views)
    #[arg(long, conflicts_with_all = ["cold", "views"])]
    warm_start: bool,
    /// Everything random follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Run the cells of this file, or of all .yaml files in this directory, instead; may be given again
    #[arg(long, value_name = "FILE", conflicts_with_all = SINGLE)]
    scenario: Vec<PathBuf>,
    /// Of the scenario's cells only those whose condition contains this text
    #[arg(long, value_name = "TEXT", requires = "scenario")]
    only: Option<String>,
    /// Of the scenario's cells only those with at most this many peers
    #[arg(long, value_name = "N", requires = "scenario")]
    peers_max: Option<usize>,
    /// Runs of each of the scenario's cells, instead of as many as its file says (1 to 1000)
    #[arg(long, value_name = "N", requires = "scenario", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Cells that run side by side (1 to 64); those of 5000 peers and more run alone
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Exit with 1 where a cell misses a bar
    #[arg(long, requires = "scenario")]
    check: bool,
    /// Draw reach over time into this SVG file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Flags of a single run, which a scenario file says itself.
const SINGLE: [&str; 21] = [
    "peers",
    "transactions",
    "warm_up",
    "body_bytes",
    "spacing_ms",
    "repair_rounds",
    "delay_ms",
    "sigma",
    "drop",
    "dead",
    "nat",
    "views",
    "withholding",
    "churn_per_minute",
    "newcomers",
    "tcp_loss",
    "bandwidth_mbps",
    "heartbeat",
    "cold",
    "warm_start",
    "seed",
];

/// Flags of `soak`.
#[derive(Debug, Args)]
struct SoakArgs {
    /// How many seeds to run, one after another (1 to 1000000)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Peers (3 to 200); left out, each seed chooses 8 to 30
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=200))]
    peers: Option<u32>,
    /// How long faults are made, virtual seconds (1 to 86400)
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// A file (YAML) that says which faults are made and how often, instead of leaving it to each seed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["peers", "seconds"])]
    file: Option<PathBuf>,
    /// Print the faults of the first seed as such a file, and run nothing
    #[arg(long)]
    print_mix: bool,
    /// Write every event of the run to a file; with several seeds, those of the last one
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Plant a fault, to see the checker catch it; the run ends with the first seed that does
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Flags of `plants`.
#[derive(Debug, Args)]
struct PlantsArgs {
    /// Seeds within which each fault must be caught (1 to 1000)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Forms of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Yaml,
}

impl Cli {
    /// Runs what was asked for and writes its report.
    pub fn run(self, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Reach(args) if !args.scenario.is_empty() => args.run_cells(out),
            Command::Reach(args) => {
                let report = args.scenario().run();
                show(out, args.output, &report, |out| report.table(out))?;
                if let Some(path) = &args.picture {
                    let cell = CellReport::of("reach", Bars::default(), std::slice::from_ref(&report));
                    draw(path, &[cell])?;
                }
                let all = report.accepted == args.transactions as usize;
                Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Command::Soak(args) => {
                let scenario = args.scenario()?;
                if args.print_mix {
                    write!(out, "{}", scenario.mix_of(scenario.seed).write())?;
                    return Ok(ExitCode::SUCCESS);
                }
                let report = scenario.run()?;
                show(out, args.output, &report, |out| report.table(out))?;
                Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
            }
            Command::Plants(args) => {
                let mut plants = Vec::new();
                for plant in PLANTS {
                    plants.push(PlantReport::of(plant, &args.scenario(plant).run()?));
                }
                let report = PlantsReport { plants };
                show(out, args.output, &report, |out| report.table(out))?;
                Ok(if report.all_caught() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    }
}

impl PlantsArgs {
    fn scenario(&self, planted: Plant) -> Soak {
        Soak {
            seed: self.seed,
            seeds: self.seeds,
            peers: None,
            seconds: 60,
            mix: None,
            planted: Some(planted),
            trace: None,
            settings: Settings::default(),
        }
    }
}

impl ReachArgs {
    fn run_cells(&self, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        let all = match cells::read(&self.scenario) {
            Ok(all) => all,
            Err(error) => {
                complain(&format!("error: {error}"));
                return Ok(ExitCode::from(2));
            }
        };
        let wanted = |cell: &Cell| {
            self.only.as_ref().is_none_or(|text| cell.name.contains(text))
                && self.peers_max.is_none_or(|most| cell.reach.peers <= most)
        };
        let mut cells: Vec<Cell> = all.into_iter().filter(wanted).collect();
        for cell in &mut cells {
            cell.seeds = self.seeds.unwrap_or(cell.seeds);
        }
        if cells.is_empty() {
            complain("error: no cell is left by --only and --peers-max");
            return Ok(ExitCode::from(2));
        }
        let report = matrix::run(&cells, usize::from(self.jobs), &|cell| complain(&cell.line()));
        show(out, self.output, &report, |out| report.table(out))?;
        if let Some(path) = &self.picture {
            draw(path, &report.cells)?;
        }
        Ok(if self.check && report.missed() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn scenario(&self) -> Reach {
        let mut settings = Settings { seed: self.seed, keep_records: false, ..Settings::default() };
        if !self.heartbeat && self.churn_per_minute <= 0.0 {
            settings.config.heartbeat_interval = HEARTBEAT_NEVER;
        }
        Reach {
            peers: self.peers as usize,
            transactions: self.transactions as usize,
            warm_up: self.warm_up as usize,
            body_bytes: self.body_bytes as usize,
            spacing: self.spacing_ms * 1000,
            repair_rounds: self.repair_rounds,
            cold: self.cold,
            warm_start: self.warm_start,
            faults: Faults {
                dead: self.dead,
                nat: self.nat,
                views: self.views,
                withholding: self.withholding,
                churn_per_minute: self.churn_per_minute,
                newcomers: self.newcomers,
            },
            conditions: Conditions {
                delay: Delay { mean_ms: self.delay_ms, sigma: self.sigma },
                drop: self.drop,
                tcp_loss: self.tcp_loss,
                bandwidth_bps: self.bandwidth_mbps * 1_000_000,
                ..Conditions::default()
            },
            settings,
        }
    }
}

impl SoakArgs {
    fn scenario(&self) -> anyhow::Result<Soak> {
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            let mix = Mix::read(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
            anyhow::Ok((file.clone(), mix))
        };
        Ok(Soak {
            seed: self.seed,
            seeds: self.seeds,
            peers: self.peers.map(|peers| peers as usize),
            seconds: self.seconds,
            mix: self.file.as_ref().map(read).transpose()?,
            planted: self.plant,
            trace: self.trace.clone(),
            settings: Settings::default(),
        })
    }
}

/// A line on standard error; a closed one is no error of ours.
fn complain(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{line}");
}

fn draw(path: &Path, cells: &[CellReport]) -> anyhow::Result<()> {
    let picture = picture::reach_over_time(cells);
    std::fs::write(path, picture).with_context(|| format!("{} cannot be written", path.display()))
}

fn show(
    out: &mut dyn Write,
    format: Format,
    report: &impl serde::Serialize,
    table: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    match format {
        Format::Table => table(out)?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(report)?)?,
        Format::Yaml => write!(out, "{}", serde_saphyr::to_string(report)?)?,
    }
    Ok(())
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("write a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &[&str]) -> String {
        let error = Cli::try_parse_from(args).expect_err("the arguments are bad");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn a_bad_value_is_refused_with_flag_value_and_range() {
        for (flag, value, range) in [
            ("--peers", "1", "2..=20000"),
            ("--drop", "1.5", "from 0 to 0.9"),
            ("--delay-ms", "NaN", "from 0.1 to 10000"),
            ("--sigma", "wide", "from 0 to 3"),
            ("--output", "xml", "table, json, yaml"),
        ] {
            let text = refusal(&["sorcha-peer-sim", "reach", flag, value]);
            assert!(text.contains(flag) && text.contains(value) && text.contains(range), "{text}");
        }
        assert!(refusal(&["sorcha-peer-sim", "soak", "--seeds", "0"]).contains("1..=1000000"));
    }
}
