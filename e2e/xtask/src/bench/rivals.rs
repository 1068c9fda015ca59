//! `cargo xtask bench rivals`: Sorcha beside gossipsub and iroh-gossip.
//!
//! Knows who must be ahead of whom; the workspace `e2e/rivals` measures.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Args, Output};
use crate::shell::{Workspace, output, run as run_command, say};

pub(super) const NAME: &str = "rivals";
pub(super) const ABOUT: &str =
    "gossipsub and iroh-gossip beside Sorcha, 50 nodes, 20 ms (root; builds their libraries)";

/// Ours that must be ahead: the others keep nothing, and durability is not what they are measured by.
const OURS: &str = "sorcha-disk";
/// Of whom.
const RIVALS: [&str; 3] = ["gossipsub", "gossipsub-mesh", "iroh"];
/// In what: the design's bar (docs/design.md § 8).
const FIGURES: [(&str, &str); 3] = [
    ("lastP50Ms", "median time to the last peer, ms"),
    ("lastP95Ms", "p95 of it, ms"),
    ("wirePerPayload", "bytes on the wire per payload byte"),
];
/// Rounds of which the median counts.
const ROUNDS: &str = "3";

/// Builds, measures, compares.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let manifest = workspace.root().join("e2e/rivals/Cargo.toml");
    let target = workspace.target_directory()?.join("rivals");
    let mut build = workspace.cargo(["build", "--release", "--manifest-path"]);
    run_command(build.arg(manifest).arg("--target-dir").arg(&target))?;
    let mut command = Command::new(target.join("release/sorcha-rivals"));
    command.args(["compare", "--rounds", ROUNDS, "--disk"]).arg(&target);
    if args.output == Output::Json {
        let report = parsed(&output(command.arg("--json"))?)?;
        let behind = behind(&report)?;
        say(&json!({ "bench": NAME, "behind": behind, "report": report }).to_string());
        return judged(args, &behind);
    }
    say(&format!("{NAME}: {ABOUT}"));
    let file = target.join("report.json");
    run_command(command.arg("--report").arg(&file))?;
    let behind = behind(&read(&file)?)?;
    say(&format!("\neverything, and each round: {}", file.display()));
    if behind.is_empty() {
        say(&format!("{OURS} is ahead of all in time and bytes"));
    }
    for line in &behind {
        say(&format!("{OURS} is behind: {line}"));
    }
    judged(args, &behind)
}

fn judged(args: &Args, behind: &[String]) -> Result<()> {
    ensure!(!args.check || behind.is_empty(), "{OURS} is behind a rival: {}", behind.join("; "));
    Ok(())
}

fn read(file: &Path) -> Result<Value> {
    parsed(&std::fs::read_to_string(file).with_context(|| file.display().to_string())?)
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the comparison writes no JSON")
}

/// Where ours is not ahead, as sentences: by how much.
fn behind(report: &Value) -> Result<Vec<String>> {
    let contenders = report["contenders"].as_array().context("the report lacks contenders")?;
    let of = |name: &str| {
        let found = contenders.iter().find(|it| it["contender"] == name);
        let rows = found.and_then(|it| it["payloads"].as_array());
        rows.with_context(|| format!("the report lacks {name}"))
    };
    let mut sentences = Vec::new();
    for rival in RIVALS {
        for (ours, theirs) in of(OURS)?.iter().zip(of(rival)?) {
            for (figure, what) in FIGURES {
                // What never arrived took for ever: JSON has no word for it.
                let value = |row: &Value| row[figure].as_f64().unwrap_or(f64::INFINITY);
                let (ours_value, theirs_value) = (value(ours), value(theirs));
                if ours_value >= theirs_value {
                    sentences.push(format!(
                        "{} bytes, {what}: {ours_value:.2} against {rival}'s {theirs_value:.2}",
                        ours["bytes"]
                    ));
                }
            }
        }
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_ahead_is_behind() {
        let row = |ms: Option<f64>| json!([{ "bytes": 256, "lastP50Ms": ms, "lastP95Ms": ms, "wirePerPayload": ms.unwrap_or(1.0) / 10.0 }]);
        let report = |ours: Option<f64>| {
            let of =
                |contender: &str, ms: Option<f64>| json!({ "contender": contender, "payloads": row(ms) });
            json!({ "contenders": [
                of("gossipsub", Some(100.0)), of("gossipsub-mesh", Some(120.0)), of("iroh", None), of(OURS, ours),
            ] })
        };
        assert_eq!(behind(&report(Some(0.9))).unwrap(), Vec::<String>::new());
        let sentences = behind(&report(Some(110.0))).unwrap();
        assert_eq!(sentences.len(), 4, "{sentences:?}");
        assert_eq!(
            sentences[0],
            "256 bytes, median time to the last peer, ms: 110.00 against gossipsub's 100.00"
        );
        // Nothing arrived at ours: behind everybody, in time also behind whom nothing arrived at.
        assert_eq!(
            behind(&report(None)).unwrap().iter().filter(|line| line.contains("inf against")).count(),
            6
        );
        assert!(behind(&json!({ "contenders": [] })).is_err());
    }
}
