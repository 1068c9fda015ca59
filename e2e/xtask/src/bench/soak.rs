//! `cargo xtask bench soak`: random faults over a simulated network, and the checker's own check: planted faults.
//!
//! Knows the bars; `sorcha-peer-sim` simulates, checks and plants (docs/simulator.md).

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Args, Output, SIMULATOR};
use crate::shell::{Workspace, output_of_any, say};

pub(super) const NAME: &str = "soak";
pub(super) const ABOUT: &str = "random faults, nothing lost; planted faults are caught (simulated)";

/// Seeds unless told otherwise.
const SEEDS: u64 = 300;
/// A planted fault must be caught within so many seeds.
const PLANT_SEEDS_MAX: u64 = 20;
/// Planted faults at least.
const PLANTS_MIN: usize = 12;

/// Builds, runs, judges.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let simulator = super::release(workspace, &["--bin", SIMULATOR])?.join(SIMULATOR);
    let ask = |args: &[&str]| -> Result<Value> {
        let text = output_of_any(Command::new(&simulator).args(args).args(["-o", "json"]))?;
        serde_json::from_str(&text).context("the simulator prints no JSON")
    };
    let seeds = args.seeds.unwrap_or(SEEDS).to_string();
    let soak = ask(&["soak", "--seeds", &seeds])?;
    let again = ask(&["soak", "--seeds", "1"])?;
    let plants = ask(&["plants", "--seeds", &PLANT_SEEDS_MAX.to_string()])?;
    let missed = judge(&soak, &again, &plants)?;
    if args.output == Output::Json {
        say(&json!({ "bench": NAME, "missed": missed, "soak": soak, "plants": plants }).to_string());
    } else {
        show(&soak, &plants)?;
        let verdict = if missed.is_empty() { "met".to_owned() } else { missed.join("; ") };
        say(&format!("verdict: {verdict}"));
    }
    ensure!(!args.check || missed.is_empty(), "bars are missed: {}", missed.join(", "));
    Ok(())
}

fn list<'a>(value: &'a Value, at: &str) -> Result<&'a Vec<Value>> {
    value[at].as_array().with_context(|| format!("the report lacks {at}"))
}

fn judge(soak: &Value, again: &Value, plants: &Value) -> Result<Vec<String>> {
    let mut missed = Vec::new();
    let runs = list(soak, "runs")?;
    for run in runs {
        let violations = list(run, "violations")?;
        if let Some(first) = violations.first() {
            missed.push(format!(
                "{} violations, the first {}; again: {}",
                violations.len(),
                first["sentence"],
                run["reproduce"]
            ));
        }
    }
    let traces = [soak, again].map(|report| report["runs"][0]["trace"].as_str().map(str::to_owned));
    if traces[0].is_none() || traces[0] != traces[1] {
        missed.push(format!("the same seed gave two traces: {traces:?}"));
    }
    let plants = list(plants, "plants")?;
    if plants.len() < PLANTS_MIN {
        missed.push(format!("{} planted faults < {PLANTS_MIN}", plants.len()));
    }
    for plant in plants.iter().filter(|plant| plant["property"].is_null()) {
        missed
            .push(format!("the planted fault {} was not caught in {PLANT_SEEDS_MAX} seeds", plant["plant"]));
    }
    Ok(missed)
}

fn show(soak: &Value, plants: &Value) -> Result<()> {
    let runs = list(soak, "runs")?;
    let sum = |at: &str| runs.iter().map(|run| run[at].as_f64().unwrap_or_default()).sum::<f64>();
    let real = soak["realS"].as_f64().unwrap_or_default();
    say(&format!("{NAME}: {ABOUT}"));
    say(&format!(
        "{} seeds in {real:.0} s, {:.2} seeds/s, {:.1} virtual hours, {} transactions accepted",
        runs.len(),
        runs.len() as f64 / real.max(0.001),
        sum("virtualS") / 3600.0,
        sum("acknowledged")
    ));
    let mut converged: Vec<f64> =
        runs.iter().map(|run| run["convergedAfterS"].as_f64().unwrap_or_default()).collect();
    converged.sort_by(f64::total_cmp);
    if let (Some(median), Some(last)) = (converged.get(converged.len() / 2), converged.last()) {
        say(&format!("converged after healing: median {median:.1} s, latest {last:.1} s (virtual)"));
    }
    let mut faults: BTreeMap<&String, u64> = BTreeMap::new();
    for (kind, count) in runs.iter().filter_map(|run| run["faults"].as_object()).flatten() {
        *faults.entry(kind).or_default() += count.as_u64().unwrap_or_default();
    }
    for (kind, count) in faults {
        say(&format!("  {kind:<28} {count:>9}"));
    }
    say(&format!("{:<28} {:>5}  caught by", "planted fault", "seed"));
    for plant in list(plants, "plants")? {
        let text = |at: &str| plant[at].as_str().unwrap_or("-").to_owned();
        let seed = plant["seed"].as_u64().map_or("-".to_owned(), |seed| seed.to_string());
        say(&format!("{:<28} {seed:>5}  {}", text("plant"), text("property")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_other_traces_and_uncaught_plants_are_missed_bars() {
        let run = |trace: &str, violations: Value| json!({ "runs": [{ "trace": trace, "violations": violations, "reproduce": "again" }] });
        let plants = |property: Value| {
            let plant = json!({ "plant": "omitted-sync", "property": property });
            json!({ "plants": vec![plant; PLANTS_MIN] })
        };
        let well = plants(json!("survivesCrash"));
        assert!(judge(&run("a", json!([])), &run("a", json!([])), &well).unwrap().is_empty());
        assert_eq!(judge(&run("a", json!([])), &run("b", json!([])), &well).unwrap().len(), 1);
        let violated = run("a", json!([{ "sentence": "no" }]));
        assert_eq!(judge(&violated, &run("a", json!([])), &well).unwrap().len(), 1);
        let missed = judge(&run("a", json!([])), &run("a", json!([])), &plants(Value::Null)).unwrap();
        assert_eq!(missed.len(), PLANTS_MIN);
        assert!(judge(&json!({}), &json!({}), &well).is_err(), "a report without runs is no success");
    }
}
