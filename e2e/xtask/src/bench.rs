//! Measurements by name. Each prints its figures with the conditions they were taken under.
//!
//! Knows which program measures what, and the bars; the programs do the measuring. Bars come from the project's
//! design and are only ever tightened.

mod operator;
mod peers;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::shell::{Usage, Workspace, output, run as run_command, say};

/// Run a named measurement, or compare it with its bar.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The measurement, or `list`.
    #[arg(default_value = "list")]
    name: String,
    /// Fail where a bar is missed.
    #[arg(long)]
    check: bool,
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

/// A measurement by the simulator: cases of `sorcha-peer-sim reach`.
struct Bench {
    name: &'static str,
    about: &'static str,
    cases: &'static [Case],
}

/// One run of the simulator and what it must not exceed.
struct Case {
    name: &'static str,
    args: &'static [&'static str],
    /// p95 over transactions of the time until 90 % of live peers hold it durably, ms.
    p95_ms_max: f64,
    /// Body copies per peer and transaction.
    copies_max: f64,
}

/// Live peers that hold a transaction after 3 s, at least.
const REACH_3_S_MIN: f64 = 0.999;

const BENCHES: [Bench; 2] = [
    Bench {
        name: "reach",
        about: "time until 90 % of the peers hold a transaction, nothing fails (simulated)",
        cases: &[
            Case {
                name: "10 peers, 20 ms",
                args: &["--peers", "10", "--delay-ms", "20"],
                p95_ms_max: 60.0,
                copies_max: 1.08,
            },
            Case {
                name: "100 peers, 20 ms",
                args: &["--peers", "100", "--delay-ms", "20"],
                p95_ms_max: 95.0,
                copies_max: 1.08,
            },
            Case {
                name: "1,000 peers, 60 ms",
                args: &["--peers", "1000"],
                p95_ms_max: 225.0,
                copies_max: 1.08,
            },
        ],
    },
    Bench {
        name: "reach-faults",
        about: "the same at 1,000 peers while frames are dropped, peers are dead, TCP loses segments (simulated)",
        cases: &[
            Case { name: "20 % dropped", args: &["--drop", "0.2"], p95_ms_max: 325.0, copies_max: 2.2 },
            Case {
                name: "30 % dead, unnoticed",
                args: &["--dead", "0.3"],
                p95_ms_max: 325.0,
                copies_max: 2.2,
            },
            Case {
                name: "both",
                args: &["--drop", "0.2", "--dead", "0.3"],
                p95_ms_max: 450.0,
                copies_max: 2.4,
            },
            Case {
                name: "5 % of TCP segments lost",
                args: &["--tcp-loss", "0.05"],
                p95_ms_max: 325.0,
                copies_max: 2.2,
            },
        ],
    },
];

/// Runs one, or lists them.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.name == "list" {
        for bench in BENCHES {
            say(&format!("{:<14} {}", bench.name, bench.about));
        }
        for bench in peers::BENCHES {
            say(&format!("{:<14} {}", bench.name, bench.about));
        }
        say(&format!("{:<14} {}", operator::NAME, operator::ABOUT));
        return Ok(());
    }
    if args.name == operator::NAME {
        return operator::run(workspace, args);
    }
    if let Some(bench) = peers::BENCHES.iter().find(|bench| bench.name == args.name) {
        return peers::run(workspace, bench, args);
    }
    let bench = BENCHES.iter().find(|bench| bench.name == args.name).ok_or_else(|| {
        Usage(format!("there is no measurement '{}': `cargo xtask bench list` names them", args.name))
    })?;
    run_command(&mut workspace.cargo([
        "build",
        "--quiet",
        "--release",
        "--package",
        "sorcha-peer-sim",
        "--bins",
    ]))?;
    let simulator = workspace.target_directory()?.join("release/sorcha-peer-sim");
    let mut results = Vec::new();
    for case in bench.cases {
        let mut command = Command::new(&simulator);
        let text = output(command.args(["reach", "--output", "json"]).args(case.args))?;
        let report: Value = serde_json::from_str(&text).context("the simulator prints no JSON")?;
        results.push(judge(case, report)?);
    }
    show(bench, &results, args.output);
    let missed: Vec<&str> =
        results.iter().filter(|result| !result.missed.is_empty()).map(|r| r.name).collect();
    ensure!(!args.check || missed.is_empty(), "bars are missed: {}", missed.join(", "));
    Ok(())
}

/// A case with its figures and what they miss.
struct Judged {
    name: &'static str,
    report: Value,
    p95_ms: f64,
    copies: f64,
    reach_3_s: f64,
    p95_ms_max: f64,
    missed: Vec<String>,
}

fn judge(case: &Case, report: Value) -> Result<Judged> {
    let figure =
        |value: &Value, name: &str| value.as_f64().with_context(|| format!("the report lacks {name}"));
    let p95_ms = figure(&report["reach90Ms"]["p95"], "reach90Ms.p95")?;
    let copies = figure(&report["copiesSent"], "copiesSent")?;
    let reach_3_s = figure(&report["reach3S"], "reach3S")?;
    let repaired = figure(&report["reachRepaired"], "reachRepaired")?;
    let mut missed = Vec::new();
    if p95_ms > case.p95_ms_max {
        missed.push(format!("p95 {p95_ms:.0} ms > {:.0} ms", case.p95_ms_max));
    }
    if copies > case.copies_max {
        missed.push(format!("{copies:.2} copies > {:.2}", case.copies_max));
    }
    if reach_3_s < REACH_3_S_MIN {
        missed.push(format!("{:.2} % after 3 s < 99.9 %", reach_3_s * 100.0));
    }
    if repaired < 1.0 {
        missed.push(format!("{:.3} % after reconciliation < 100 %", repaired * 100.0));
    }
    Ok(Judged { name: case.name, report, p95_ms, copies, reach_3_s, p95_ms_max: case.p95_ms_max, missed })
}

fn show(bench: &Bench, results: &[Judged], form: Output) {
    if form == Output::Json {
        let cases: Vec<Value> = results
            .iter()
            .map(|result| json!({ "case": result.name, "missed": result.missed, "report": result.report }))
            .collect();
        say(&json!({ "bench": bench.name, "cases": cases }).to_string());
        return;
    }
    say(&format!("{}: {}", bench.name, bench.about));
    say(&format!(
        "{:<26} {:>8} {:>8} {:>8} {:>9}  {}",
        "case", "p95 ms", "bar ms", "copies", "after 3 s", "verdict"
    ));
    for result in results {
        let verdict = if result.missed.is_empty() { "met".to_owned() } else { result.missed.join("; ") };
        say(&format!(
            "{:<26} {:>8.0} {:>8.0} {:>8.2} {:>8.2}%  {verdict}",
            result.name,
            result.p95_ms,
            result.p95_ms_max,
            result.copies,
            result.reach_3_s * 100.0
        ));
    }
    let conditions = results.last().map(|result| result.report["conditions"].to_string()).unwrap_or_default();
    say(&format!("conditions of the last case: {conditions}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(p95: f64, copies: f64, reach: f64, repaired: f64) -> Value {
        json!({ "reach90Ms": { "p95": p95 }, "copiesSent": copies, "reach3S": reach, "reachRepaired": repaired })
    }

    fn check(report: Value, missed: usize) {
        let case = Case { name: "x", args: &[], p95_ms_max: 225.0, copies_max: 1.08 };
        let judged = judge(&case, report).unwrap();
        assert_eq!(judged.missed.len(), missed, "{:?}", judged.missed);
    }

    #[test]
    fn every_bar_is_held() {
        check(report(210.0, 1.05, 1.0, 1.0), 0);
        check(report(226.0, 1.05, 1.0, 1.0), 1);
        check(report(210.0, 1.09, 0.99, 0.999), 3);
        let case = Case { name: "x", args: &[], p95_ms_max: 1.0, copies_max: 1.0 };
        assert!(judge(&case, json!({})).is_err(), "a report without figures is no success");
    }
}
