//! Scenario files: one condition, the sizes and delays it is measured at, and the bars it has to meet.
//!
//! A file is a small matrix; each pair of a size and a delay is a cell, run with several seeds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reach::{Faults, Reach};
use crate::network::Conditions;
use crate::network::delay::Delay;
use crate::world::Settings;

/// A heartbeat this long never comes in a run, so that dead peers stay unnoticed, as docs/design.md § 8 asks.
pub const HEARTBEAT_NEVER: Duration = Duration::from_secs(3600);

/// One file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// The condition, as a person calls it.
    pub name: String,
    /// Numbers of peers, each 2 to 20,000.
    pub peers: Vec<usize>,
    /// Mean one-way delays, ms, each 0.1 to 10,000.
    pub delay_ms: Vec<f64>,
    /// Standard deviation of the delays' logarithm.
    #[serde(default = "sigma")]
    pub sigma: f64,
    /// Transactions measured in each run.
    #[serde(default = "transactions")]
    pub transactions: usize,
    /// Whether links stand from the beginning instead of being made over the network.
    #[serde(default)]
    pub warm_start: bool,
    /// Transactions sent before, so that estimates are warm.
    #[serde(default = "warm_up")]
    pub warm_up: usize,
    /// Length of each body, bytes.
    #[serde(default = "body_bytes")]
    pub body_bytes: usize,
    /// Time between two measured transactions, ms.
    #[serde(default = "spacing_ms")]
    pub spacing_ms: u64,
    /// Runs of each cell, with seeds 1, 2, ...
    #[serde(default = "seeds")]
    pub seeds: u64,
    /// Rounds of reconciliation waited for at the end.
    #[serde(default = "repair_rounds")]
    pub repair_rounds: u32,
    /// What goes wrong.
    #[serde(default)]
    pub faults: FileFaults,
    /// What has to be met; each entry is for the cells that it matches.
    #[serde(default)]
    pub bars: Vec<Bar>,
}

/// Shares from 0 to 1, see [`Faults`] and [`Conditions`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FileFaults {
    /// Frames shed.
    pub drop: f64,
    /// TCP segments lost.
    pub tcp_loss: f64,
    /// Peers that die silently.
    pub dead: f64,
    /// Peers behind a NAT.
    pub nat: f64,
    /// Of the roster that everyone misses.
    pub views: f64,
    /// Peers that take and do not give.
    pub withholding: f64,
    /// Peers replaced per minute.
    pub churn_per_minute: f64,
    /// Peers that join just before.
    pub newcomers: f64,
}

/// What has to be met, for the cells with these peers and delays; left out: all of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bar {
    /// For these numbers of peers.
    pub peers: Option<Vec<usize>>,
    /// For these delays.
    pub delay_ms: Option<Vec<f64>>,
    /// p95 over transactions of the time to 90 % of the live peers, ms.
    pub p95_ms: Option<f64>,
    /// Body copies sent per live peer and transaction.
    pub copies: Option<f64>,
    /// Bytes of announcements and requests per live peer and transaction.
    pub notice_bytes: Option<f64>,
    /// Share of live peers after 3 s.
    pub reach_3_s: Option<f64>,
    /// Share of live peers after the rounds of reconciliation.
    pub repaired: Option<f64>,
    /// Duration of a run on this machine, s.
    pub real_s: Option<f64>,
    /// Memory of the process, GiB.
    pub memory_gib: Option<f64>,
}

/// Bars of one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are those of Bar")]
pub struct Bars {
    pub p95_ms: Option<f64>,
    pub copies: Option<f64>,
    pub notice_bytes: Option<f64>,
    pub reach_3_s: Option<f64>,
    pub repaired: Option<f64>,
    pub real_s: Option<f64>,
    pub memory_gib: Option<f64>,
}

/// One pair of a size and a delay.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The file's.
    pub name: String,
    /// What to measure; its seed is the first.
    pub reach: Reach,
    /// Runs, with seeds from the first on.
    pub seeds: u64,
    /// What has to be met.
    pub bars: Bars,
}

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what a scenario looks like.
    #[error("{}: {detail}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why, as a sentence.
        detail: String,
    },
}

/// The cells of these files; a directory stands for the `.yaml` files in it, by name.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Cell>, BadFile> {
    let unreadable = |path: &Path, source| BadFile::Unreadable { path: path.to_owned(), source };
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut there = BTreeSet::new();
            for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
                there.insert(entry.map_err(|error| unreadable(path, error))?.path());
            }
            let before = files.len();
            files.extend(there.into_iter().filter(|path| path.extension().is_some_and(|end| end == "yaml")));
            if files.len() == before {
                let detail = "the directory holds no .yaml file".to_owned();
                return Err(BadFile::Malformed { path: path.clone(), detail });
            }
        } else {
            files.push(path.clone());
        }
    }
    let mut cells = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        let malformed = |detail| BadFile::Malformed { path: path.clone(), detail };
        let file = parse(&text).map_err(malformed)?;
        cells.extend(file.cells().map_err(malformed)?);
    }
    Ok(cells)
}

/// Reads one file's text.
pub fn parse(text: &str) -> Result<File, String> {
    serde_saphyr::from_str(text).map_err(|error| suggest(&error.to_string()))
}

/// The first line of a reader's refusal; where a field is unknown, with the one that was probably meant.
fn suggest(refusal: &str) -> String {
    let first = refusal.lines().next().unwrap_or(refusal);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let unknown = first.split("unknown field `").nth(1).and_then(|rest| rest.split('`').next());
    let Some((unknown, (_, expected))) = unknown.zip(first.split_once("expected ")) else {
        return first.to_owned();
    };
    let known = expected.trim_start_matches("one of ").split(", ").flat_map(|known| known.split(" or "));
    let known = known.map(|known| known.trim_matches('`'));
    match known.min_by_key(|known| strsim::damerau_levenshtein(known, unknown)) {
        Some(known) => format!("{first}; did you mean {known}?"),
        None => first.to_owned(),
    }
}

impl File {
    /// Its cells, sizes first.
    pub fn cells(&self) -> Result<Vec<Cell>, String> {
        self.check()?;
        let mut cells = Vec::new();
        for peers in &self.peers {
            for delay_ms in &self.delay_ms {
                cells.push(self.cell(*peers, *delay_ms));
            }
        }
        Ok(cells)
    }

    fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name}: {value} is not within {least} to {most}"))
            }
        };
        for peers in &self.peers {
            within("peers", *peers as f64, 2.0, 20_000.0)?;
        }
        for delay_ms in &self.delay_ms {
            within("delayMs", *delay_ms, 0.1, 10_000.0)?;
        }
        if self.peers.is_empty() || self.delay_ms.is_empty() {
            return Err("peers and delayMs need one value each at least".to_owned());
        }
        within("sigma", self.sigma, 0.0, 3.0)?;
        within("transactions", self.transactions as f64, 1.0, 10_000.0)?;
        within("warmUp", self.warm_up as f64, 0.0, 10_000.0)?;
        within("bodyBytes", self.body_bytes as f64, 0.0, 4_194_304.0)?;
        within("spacingMs", self.spacing_ms as f64, 10.0, 600_000.0)?;
        within("seeds", self.seeds as f64, 1.0, 1_000.0)?;
        within("repairRounds", f64::from(self.repair_rounds), 0.0, 1_000.0)?;
        let FileFaults { drop, tcp_loss, dead, nat, views, withholding, churn_per_minute, newcomers } =
            self.faults;
        for (name, share) in [
            ("faults.drop", drop),
            ("faults.tcpLoss", tcp_loss),
            ("faults.dead", dead),
            ("faults.nat", nat),
            ("faults.withholding", withholding),
        ] {
            within(name, share, 0.0, 0.9)?;
        }
        within("faults.views", views, 0.0, 0.3)?;
        within("faults.churnPerMinute", churn_per_minute, 0.0, 5.0)?;
        within("faults.newcomers", newcomers, 0.0, 1.0)?;
        if views > 0.0 && (newcomers > 0.0 || churn_per_minute > 0.0) {
            return Err("faults.views keeps all views as they are, so nobody can join: leave newcomers and \
                        churnPerMinute out"
                .to_owned());
        }
        if self.warm_start && views > 0.0 {
            return Err(
                "warmStart makes the links that equal views ask for: leave faults.views out".to_owned()
            );
        }
        for bar in &self.bars {
            let unmatched = bar.peers.iter().flatten().find(|peers| !self.peers.contains(peers));
            if let Some(peers) = unmatched {
                return Err(format!("bars: {peers} is none of the file's peers, so the bar judges nothing"));
            }
            let unmatched = bar.delay_ms.iter().flatten().find(|delay| !self.delay_ms.contains(delay));
            if let Some(delay) = unmatched {
                return Err(format!(
                    "bars: {delay} is none of the file's delayMs, so the bar judges nothing"
                ));
            }
        }
        Ok(())
    }

    fn cell(&self, peers: usize, delay_ms: f64) -> Cell {
        let mut bars = Bars::default();
        for bar in &self.bars {
            let for_peers = bar.peers.as_ref().is_none_or(|list| list.contains(&peers));
            let for_delay = bar.delay_ms.as_ref().is_none_or(|list| list.contains(&delay_ms));
            if for_peers && for_delay {
                bars = Bars {
                    p95_ms: bar.p95_ms.or(bars.p95_ms),
                    copies: bar.copies.or(bars.copies),
                    notice_bytes: bar.notice_bytes.or(bars.notice_bytes),
                    reach_3_s: bar.reach_3_s.or(bars.reach_3_s),
                    repaired: bar.repaired.or(bars.repaired),
                    real_s: bar.real_s.or(bars.real_s),
                    memory_gib: bar.memory_gib.or(bars.memory_gib),
                };
            }
        }
        let FileFaults { drop, tcp_loss, dead, nat, views, withholding, churn_per_minute, newcomers } =
            self.faults;
        let mut settings = Settings { keep_records: false, ..Settings::default() };
        if churn_per_minute <= 0.0 {
            settings.config.heartbeat_interval = HEARTBEAT_NEVER;
        }
        let reach = Reach {
            peers,
            transactions: self.transactions,
            warm_up: self.warm_up,
            body_bytes: self.body_bytes,
            spacing: self.spacing_ms * 1000,
            repair_rounds: self.repair_rounds,
            cold: false,
            warm_start: self.warm_start,
            faults: Faults { dead, nat, views, withholding, churn_per_minute, newcomers },
            conditions: Conditions {
                delay: Delay { mean_ms: delay_ms, sigma: self.sigma },
                drop,
                tcp_loss,
                ..Conditions::default()
            },
            settings,
        };
        Cell { name: self.name.clone(), reach, seeds: self.seeds, bars }
    }
}

fn sigma() -> f64 {
    0.5
}

fn transactions() -> usize {
    20
}

fn warm_up() -> usize {
    100
}

fn body_bytes() -> usize {
    1024
}

fn spacing_ms() -> u64 {
    1000
}

fn seeds() -> u64 {
    3
}

fn repair_rounds() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: x\npeers: [10, 100]\ndelayMs: [20, 60]\nfaults: { drop: 0.2 }\n\
                        bars:\n- { copies: 2.2 }\n- { peers: [100], delayMs: [60], p95Ms: 325 }\n";

    #[test]
    fn a_file_is_a_matrix_and_a_bar_is_for_the_cells_that_it_names() {
        let cells = parse(GOOD).and_then(|file| file.cells()).expect("the file is good");
        let found: Vec<_> = cells
            .iter()
            .map(|cell| (cell.reach.peers, cell.reach.conditions.delay.mean_ms, cell.bars.p95_ms))
            .collect();
        assert_eq!(found, [(10, 20.0, None), (10, 60.0, None), (100, 20.0, None), (100, 60.0, Some(325.0))]);
        assert!(cells.iter().all(|cell| cell.bars.copies == Some(2.2)));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_the_way_out() {
        for (from, to, says) in [
            ("delayMs: [20, 60]", "delaysMs: [20]", "did you mean delayMs?"),
            ("drop: 0.2", "dorp: 0.2", "did you mean drop?"),
            ("copies: 2.2", "copys: 2.2", "did you mean copies?"),
            ("drop: 0.2", "drop: 20", "faults.drop: 20 is not within 0 to 0.9"),
            ("peers: [100], ", "peers: [1000], ", "1000 is none of the file's peers"),
            ("drop: 0.2", "views: 0.1, newcomers: 0.1", "nobody can join"),
            ("faults: { drop: 0.2 }", "warmStart: true\nfaults: { views: 0.1 }", "leave faults.views out"),
            ("peers: [10, 100]", "peers: []", "need one value each"),
        ] {
            let text = GOOD.replace(from, to);
            let said = parse(&text).and_then(|file| file.cells().map(|_| ())).expect_err(to);
            assert!(said.contains(says), "{to}: {said}");
        }
    }
}
