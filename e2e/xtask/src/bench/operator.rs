//! `cargo xtask bench operator`: the operator with 500 networks at a real API server, and its bars.
//!
//! Knows the bars and how the figures are shown; `e2e/examples/bench_operator.rs` measures.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Args, Output};
use crate::shell::{Workspace, output, say};

pub(super) const NAME: &str = "operator";
pub(super) const ABOUT: &str = "500 networks at a real API server: memory, writes, times";

/// Where a figure stands in the report, what it is called, and its bar: the design's (§ 8).
const BARS: [(&str, &str, f64); 7] = [
    ("/rssMiB/atRest", "memory at rest, MiB", 40.0),
    ("/rssMiB/afterChanges", "memory after 200 changes, MiB", 40.0),
    ("/writesAtRest", "writes in a minute at rest", 0.0),
    ("/changeMs/p99", "change to applied, p99 ms", 250.0),
    ("/convergence/ratio", "convergence / bare loop, one at a time", 1.5),
    ("/rssMiB/withForeignSecrets", "memory beside 300 MB of foreign Secrets, MiB", 40.0),
    ("/foreign/changeMs/p99", "change to applied beside them, p99 ms", 250.0),
];

/// Builds, measures, judges.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let programs = super::release(workspace, &["--bin", "sorcha-operator", "--example", "bench_operator"])?;
    let mut command = Command::new(programs.join("examples/bench_operator"));
    let text = output(command.env("SORCHA_BIN_DIR", &programs))?;
    let report: Value = serde_json::from_str(&text).context("the measurement prints no JSON")?;
    let judged = judge(&report)?;
    let missed: Vec<&str> = judged.iter().filter(|(_, value, bar)| value > bar).map(|it| it.0).collect();
    if args.output == Output::Json {
        say(&json!({ "bench": NAME, "missed": missed, "report": report }).to_string());
    } else {
        say(&format!("{NAME}: {ABOUT}"));
        say(&format!("{:<48} {:>9} {:>9}  verdict", "figure", "measured", "bar"));
        for (what, value, bar) in &judged {
            let verdict = if value > bar { "missed" } else { "met" };
            say(&format!("{what:<48} {value:>9.1} {bar:>9.1}  {verdict}"));
        }
        say(&format!("everything: {report}"));
    }
    ensure!(!args.check || missed.is_empty(), "bars are missed: {}", missed.join(", "));
    Ok(())
}

fn judge(report: &Value) -> Result<Vec<(&'static str, f64, f64)>> {
    BARS.iter()
        .map(|(at, what, bar)| {
            let value = report.pointer(at).and_then(Value::as_f64);
            Ok((*what, value.with_context(|| format!("the report lacks {at}"))?, *bar))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_a_figure_is_no_success() {
        let mut report = json!({
            "rssMiB": { "atRest": 39.0, "afterChanges": 41.0, "withForeignSecrets": 39.0 }, "writesAtRest": 0,
            "changeMs": { "p99": 100.0 }, "convergence": { "ratio": 1.4 }, "foreign": { "changeMs": { "p99": 1.0 } },
        });
        let judged = judge(&report).expect("it is whole");
        let missed: Vec<&str> = judged.iter().filter(|(_, value, bar)| value > bar).map(|it| it.0).collect();
        assert_eq!(missed, ["memory after 200 changes, MiB"]);
        report["changeMs"].take();
        assert!(judge(&report).is_err());
    }
}
