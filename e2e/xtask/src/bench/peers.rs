//! Measurements of real peers: real processes, sockets, mutual TLS and disks, on this machine.
//!
//! Knows names, arguments and bars; `peer/examples/bench` measures.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Args, Output};
use crate::shell::{Workspace, output, say};

/// One measurement.
pub(super) struct Bench {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    args: &'static [&'static str],
    bars: &'static [Bar],
}

/// A figure in the report and what it must not miss (docs/design.md § 8).
struct Bar {
    at: &'static str,
    what: &'static str,
    limit: Limit,
}

enum Limit {
    Most(f64),
    Least(f64),
}

impl Limit {
    fn holds(&self, value: f64) -> bool {
        match self {
            Self::Most(most) => value <= *most,
            Self::Least(least) => value >= *least,
        }
    }
}

const fn most(at: &'static str, what: &'static str, most: f64) -> Bar {
    Bar { at, what, limit: Limit::Most(most) }
}

const fn least(at: &'static str, what: &'static str, least: f64) -> Bar {
    Bar { at, what, limit: Limit::Least(least) }
}

pub(super) const BENCHES: [Bench; 7] = [
    Bench {
        name: "submit",
        about: "durable acknowledgements a second of one peer, at 1, 16 and 256 clients",
        args: &["submit"],
        bars: &[],
    },
    Bench {
        name: "outbox",
        about: "what was accepted during an outage reaches the other side, durable on both ends",
        args: &["outbox"],
        bars: &[least("/perSecond", "transactions a second", 10_000.0)],
    },
    Bench {
        name: "throughput",
        about: "1,000 transactions a second over 5 peers for 5 minutes, then the largest load that holds",
        args: &["throughput"],
        bars: &[
            most("/steady/p99Ms", "to all peers, p99 ms", 250.0),
            most("/steady/missing", "not at all peers", 0.0),
            most("/steady/refused", "refused", 0.0),
        ],
    },
    Bench {
        name: "discovery",
        about: "100 real peers find each other, one finds its way in, half of them is killed and forgotten",
        args: &["discovery"],
        bars: &[
            most("/mutualAfterLastListensS", "all know all, s after the last listens", 5.0),
            most("/bootstrapS", "one more is linked, s after its start", 1.0),
            most("/bootstrapTwoOfThreeDeadS", "the same with two of three addresses dead, s", 10.0),
            most("/forgottenAfterS", "the killed half is forgotten by all, s", 60.0),
            most("/livingForgotten", "living peers that were forgotten", 0.0),
        ],
    },
    Bench {
        name: "rungs",
        about: "what a link carries on unary calls and over HTTP/1.1, beside what it carries on a stream",
        args: &["rungs"],
        bars: &[
            least("/small/exchange/shareOfStream", "1 KiB by unary calls, of the stream", 0.5),
            least("/small/rest/shareOfStream", "1 KiB over HTTP/1.1, of the stream", 0.25),
            least("/large/exchange/shareOfStream", "4 MiB by unary calls, of the stream", 0.5),
            least("/large/rest/shareOfStream", "4 MiB over HTTP/1.1, of the stream", 0.25),
        ],
    },
    Bench {
        name: "memory",
        about: "a peer in a network of 1,000 real peers, 10 transactions of 1 KB a second",
        args: &["thousand", "--seconds", "60"],
        bars: &[most("/memoryMiB/peak", "memory of the peer, MiB", 64.0)],
    },
    Bench {
        name: "thousand",
        about: "1,000 real peers in 10 processes, linked and reached",
        args: &["thousand", "--seconds", "30", "--rate", "2"],
        bars: &[most("/missing", "deliveries that did not come", 0.0)],
    },
];

/// Builds, measures, judges.
pub(super) fn run(workspace: &Workspace, bench: &Bench, args: &Args) -> Result<()> {
    let programs = super::release(workspace, &["--bin", "sorcha-peer", "--example", "bench"])?;
    let target = workspace.target_directory()?;
    let mut command = Command::new(programs.join("examples/bench"));
    command.arg("--program").arg(programs.join("sorcha-peer")).arg("--directory").arg(&target);
    let text = output(command.args(bench.args))?;
    let report: Value = serde_json::from_str(&text).context("the measurement prints no JSON")?;
    let judged = judge(bench, &report)?;
    let missed: Vec<&str> =
        judged.iter().filter(|(bar, value)| !bar.limit.holds(*value)).map(|(bar, _)| bar.what).collect();
    if args.output == Output::Json {
        say(&json!({ "bench": bench.name, "missed": missed, "report": report }).to_string());
    } else {
        say(&format!("{}: {}", bench.name, bench.about));
        for (bar, value) in &judged {
            let (word, limit) = match bar.limit {
                Limit::Most(most) => ("at most", most),
                Limit::Least(least) => ("at least", least),
            };
            let verdict = if bar.limit.holds(*value) { "met" } else { "missed" };
            say(&format!("{:<40} {value:>12.1}  {word} {limit:<10.1}  {verdict}", bar.what));
        }
        say(&serde_json::to_string_pretty(&report)?);
    }
    ensure!(!args.check || missed.is_empty(), "bars are missed: {}", missed.join(", "));
    Ok(())
}

fn judge<'a>(bench: &'a Bench, report: &Value) -> Result<Vec<(&'a Bar, f64)>> {
    bench
        .bars
        .iter()
        .map(|bar| {
            // What never arrived took for ever: JSON has no word for it.
            let value = report.pointer(bar.at).with_context(|| format!("the report lacks {}", bar.at))?;
            Ok((bar, value.as_f64().unwrap_or(f64::INFINITY)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_beyond_its_bar_or_missing_is_no_success() {
        let outbox = &BENCHES[1];
        let verdict = |report: Value| {
            judge(outbox, &report).map(|judged| judged.iter().all(|(bar, value)| bar.limit.holds(*value)))
        };
        assert!(verdict(json!({ "perSecond": 10_001 })).unwrap());
        assert!(!verdict(json!({ "perSecond": 9_999 })).unwrap());
        assert!(verdict(json!({})).is_err());
        let memory = judge(&BENCHES[5], &json!({ "memoryMiB": { "peak": null } })).unwrap();
        assert!(!memory[0].0.limit.holds(memory[0].1));
    }
}
