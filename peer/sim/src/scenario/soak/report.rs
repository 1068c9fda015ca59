//! What `soak` found, for people and programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::check::Property;
use crate::plant::Plant;

/// Violations of one run that are printed with the last events of the peers concerned.
const TOLD_IN_FULL: usize = 2;

/// Something that did not hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViolationReport {
    /// Which property.
    pub property: Property,
    /// What happened, as a sentence.
    pub sentence: String,
    /// The last events of the peers concerned, up to the end of the run.
    pub last_events: Vec<String>,
}

/// One run of `soak`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SoakRun {
    /// Its seed.
    pub seed: u64,
    /// Peers that took part.
    pub peers: usize,
    /// Submissions made.
    pub submitted: usize,
    /// Of these, acknowledged by peers that keep to the protocol.
    pub acknowledged: usize,
    /// Faults made, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// From the end of all faults until all stores were equal and all outboxes empty, virtual seconds.
    pub converged_after_s: f64,
    /// Duration in the simulation, s.
    pub virtual_s: f64,
    /// Events in the trace.
    pub events: u64,
    /// Hash over the trace.
    pub trace: String,
    /// What did not hold.
    pub violations: Vec<ViolationReport>,
    /// Evidence that peers reported, by kind.
    pub evidence: BTreeMap<&'static str, u64>,
    /// Runs exactly this again.
    pub reproduce: String,
}

/// What `soak` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SoakReport {
    /// The fault that was planted.
    pub planted: Option<Plant>,
    /// One per seed.
    pub runs: Vec<SoakRun>,
    /// Duration on this machine, s.
    pub real_s: f64,
    /// Most memory of this process so far, bytes; 0 where the system does not say.
    pub memory_peak_bytes: u64,
}

impl SoakReport {
    /// Whether a property was violated.
    pub fn failed(&self) -> bool {
        self.runs.iter().any(|run| !run.violations.is_empty())
    }

    /// The first violation by one of the properties that are to catch the plant, and its seed.
    pub fn caught(&self) -> Option<(Property, u64)> {
        let properties = self.planted?.properties();
        self.runs.iter().find_map(|run| {
            let mut found = run.violations.iter().map(|violation| violation.property);
            Some((found.find(|property| properties.contains(property))?, run.seed))
        })
    }

    /// Faults of all runs, by kind.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        total(self.runs.iter().map(|run| &run.faults))
    }

    /// The report as a table.
    pub fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>8} {:>6} {:>10} {:>13} {:>7} {:>12} {:>9}  {:<16}  verdict",
            "seed", "peers", "submitted", "acknowledged", "faults", "converged s", "events", "trace"
        )?;
        for run in &self.runs {
            let verdict = if run.violations.is_empty() { "holds" } else { "VIOLATED" };
            let faults: u64 =
                run.faults.iter().filter(|(kind, _)| **kind != "frames shed").map(|(_, n)| n).sum();
            writeln!(
                out,
                "{:>8} {:>6} {:>10} {:>13} {:>7} {:>12.1} {:>9}  {:<16}  {verdict}",
                run.seed,
                run.peers,
                run.submitted,
                run.acknowledged,
                faults,
                run.converged_after_s,
                run.events,
                run.trace
            )?;
        }
        writeln!(out)?;
        self.summary(out)?;
        for run in self.runs.iter().filter(|run| !run.violations.is_empty()) {
            tell(run, out)?;
        }
        Ok(())
    }

    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let acknowledged: usize = self.runs.iter().map(|run| run.acknowledged).sum();
        let hours = self.runs.iter().map(|run| run.virtual_s).sum::<f64>() / 3600.0;
        let runs = self.runs.len();
        writeln!(
            out,
            "{runs} runs, {hours:.1} virtual hours, {acknowledged} transactions acknowledged, {:.1} s, {:.1} runs/s, at most {:.0} MiB",
            self.real_s,
            runs as f64 / self.real_s.max(0.001),
            self.memory_peak_bytes as f64 / f64::from(1 << 20)
        )?;
        for (kind, count) in self.faults() {
            writeln!(out, "  {kind:<28}{count:>9}")?;
        }
        for (kind, count) in total(self.runs.iter().map(|run| &run.evidence)) {
            writeln!(out, "evidence of kind {kind}: {count}")?;
        }
        match (self.planted, self.caught()) {
            (Some(plant), Some((property, seed))) => writeln!(
                out,
                "the planted fault {} was caught at seed {seed}: against \"{}\"",
                plant.as_str(),
                property.sentence()
            ),
            (Some(plant), None) => writeln!(out, "the planted fault {} was NOT caught", plant.as_str()),
            (None, _) => Ok(()),
        }
    }
}

fn tell(run: &SoakRun, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    writeln!(out, "seed {} violates:", run.seed)?;
    for (number, violation) in run.violations.iter().enumerate() {
        writeln!(out, "  {}", violation.sentence)?;
        for event in violation.last_events.iter().filter(|_| number < TOLD_IN_FULL) {
            writeln!(out, "      {event}")?;
        }
    }
    writeln!(out, "  run it again: {}", run.reproduce)
}

fn total<'a>(counts: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>) -> BTreeMap<&'static str, u64> {
    let mut total = BTreeMap::new();
    for (kind, count) in counts.flatten() {
        *total.entry(*kind).or_default() += count;
    }
    total
}

/// What came of one planted fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlantReport {
    /// Which.
    pub plant: Plant,
    /// The property that caught it, of those that are to.
    pub property: Option<Property>,
    /// At which seed.
    pub seed: Option<u64>,
    /// Runs until then.
    pub runs: usize,
    /// The first violation, as a sentence.
    pub sentence: String,
}

impl PlantReport {
    /// What the runs with a plant found.
    pub fn of(plant: Plant, report: &SoakReport) -> Self {
        let (property, seed) = report.caught().unzip();
        let mut violations = report.runs.iter().flat_map(|run| &run.violations);
        let found =
            violations.find(|violation| property.is_none_or(|property| violation.property == property));
        let sentence = found.map(|violation| violation.sentence.clone()).unwrap_or_default();
        Self { plant, property, seed, runs: report.runs.len(), sentence }
    }
}

/// What came of all planted faults.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlantsReport {
    /// In the order of the list.
    pub plants: Vec<PlantReport>,
}

impl PlantsReport {
    /// Whether each was caught.
    pub fn all_caught(&self) -> bool {
        self.plants.iter().all(|plant| plant.property.is_some())
    }

    /// The report as a table.
    pub fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:<28}{:>6}{:>6}  caught by", "planted fault", "seed", "runs")?;
        for plant in &self.plants {
            let seed = plant.seed.map_or("-".to_owned(), |seed| seed.to_string());
            let by = plant.property.map_or("NOTHING", Property::sentence);
            writeln!(out, "{:<28}{seed:>6}{:>6}  {by}", plant.plant.as_str(), plant.runs)?;
        }
        let caught = self.plants.iter().filter(|plant| plant.property.is_some()).count();
        writeln!(out, "{caught} of {} caught", self.plants.len())
    }
}
