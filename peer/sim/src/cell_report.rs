//! What cells of the reach matrix found, over their seeds: for people a line each, for programs all of it.

use std::io::{self, Write};

use serde::Serialize;

use crate::report::{Conditions, ReachReport};
use crate::scenario::cells::Bars;

/// A figure over seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Over {
    /// Of the seeds, the middle one (the higher of two).
    pub median: f64,
    /// The worst one.
    pub worst: f64,
}

impl Over {
    fn most(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self {
            median: sorted.get(sorted.len() / 2).copied().unwrap_or(0.0),
            worst: sorted.last().copied().unwrap_or(0.0),
        }
    }

    /// Where less is worse.
    fn least(values: impl Iterator<Item = f64>) -> Self {
        let turned = Self::most(values.map(|value| -value));
        Self { median: -turned.median, worst: -turned.worst }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CellReport {
    /// The condition.
    pub name: String,
    /// Of the first seed.
    pub conditions: Conditions,
    /// How many runs.
    pub seeds: usize,
    /// What has to be met.
    pub bars: Bars,
    /// What is not, as sentences.
    pub missed: Vec<String>,
    /// Time to 90 % of the live peers, ms, quantiles over a run's transactions.
    pub p50_ms: Over,
    /// 95th percentile.
    pub p95_ms: Over,
    /// 99th percentile.
    pub p99_ms: Over,
    /// Worst transaction.
    pub max_ms: Over,
    /// Time to the last live peer, ms: median.
    pub last_p50_ms: Over,
    /// 95th percentile.
    pub last_p95_ms: Over,
    /// 99th percentile.
    pub last_p99_ms: Over,
    /// Worst transaction that reached everybody.
    pub last_max_ms: Over,
    /// Body copies sent per live peer and transaction.
    pub copies_sent: Over,
    /// Of these, arrived.
    pub copies_arrived: Over,
    /// Announce and request frames per live peer and transaction.
    pub notice_frames: Over,
    /// Their bytes.
    pub notice_bytes: Over,
    /// Mean hops of first copies.
    pub hops_mean: Over,
    /// Most hops.
    pub hops_max: Over,
    /// Most gossip frames of one peer for one transaction.
    pub egress_frames_max: Over,
    /// Share of frames saved against flooding over the same links.
    pub saved: Over,
    /// Mean links of a live peer.
    pub links_mean: Over,
    /// Share of live peers after 3 s, before reconciliation has had a round.
    pub reach_3_s: Over,
    /// The same after the rounds of reconciliation.
    pub reach_repaired: Over,
    /// Duration of a run on this machine, s.
    pub real_s: Over,
    /// Memory of the process when a run ended, at most so far, bytes.
    pub memory_peak_bytes: u64,
    /// Share of live peers over time, of the first seed: ms, share.
    pub reach_over_time: Vec<(f64, f64)>,
    /// All runs.
    pub runs: Vec<ReachReport>,
}

impl CellReport {
    /// Puts the runs of one cell together.
    pub fn of(name: &str, bars: Bars, runs: &[ReachReport]) -> Self {
        let most = |figure: &dyn Fn(&ReachReport) -> f64| Over::most(runs.iter().map(figure));
        let least = |figure: &dyn Fn(&ReachReport) -> f64| Over::least(runs.iter().map(figure));
        Self {
            name: name.to_owned(),
            conditions: runs[0].conditions.clone(),
            seeds: runs.len(),
            bars,
            missed: Vec::new(),
            p50_ms: most(&|run| run.reach_90_ms.p50),
            p95_ms: most(&|run| run.reach_90_ms.p95),
            p99_ms: most(&|run| run.reach_90_ms.p99),
            max_ms: most(&|run| run.reach_90_ms.max),
            last_p50_ms: most(&|run| run.reach_last_ms.p50),
            last_p95_ms: most(&|run| run.reach_last_ms.p95),
            last_p99_ms: most(&|run| run.reach_last_ms.p99),
            last_max_ms: most(&|run| run.reach_last_ms.max),
            copies_sent: most(&|run| run.copies_sent),
            copies_arrived: most(&|run| run.copies_arrived),
            notice_frames: most(&|run| run.notice_frames),
            notice_bytes: most(&|run| run.notice_bytes),
            hops_mean: most(&|run| run.hops_mean),
            hops_max: most(&|run| f64::from(run.hops_max)),
            egress_frames_max: most(&|run| run.egress_frames_max as f64),
            saved: least(&|run| run.saved),
            links_mean: most(&|run| run.links_mean),
            reach_3_s: least(&|run| run.reach_3_s),
            reach_repaired: least(&|run| run.reach_repaired),
            real_s: most(&|run| run.real_s),
            memory_peak_bytes: runs.iter().map(|run| run.memory_peak_bytes).max().unwrap_or(0),
            reach_over_time: runs[0].reach_over_time.clone(),
            runs: runs.to_vec(),
        }
    }

    /// One line, under [`HEADER`].
    pub fn line(&self) -> String {
        let c = &self.conditions;
        let verdict = match (self.missed.is_empty(), self.bars == Bars::default()) {
            (true, true) => "no bar".to_owned(),
            (true, false) => {
                format!("met{}", self.bars.p95_ms.map_or_else(String::new, |bar| format!(" (<= {bar} ms)")))
            }
            (false, _) => format!("MISSED: {}", self.missed.join("; ")),
        };
        format!(
            "{:<36} {:>6} {:>4} | {:>5.0} {:>5.0}/{:<5.0} {:>5.0} {:>5.0} | {:>5.0} {:>5.0} {:>5.0} {:>5.0} | {:>5.2}/{:<5.2} {:>5.2} \
             | {:>5.1} {:>5.0} | {:>4.2} {:>2.0} | {:>5.0} {:>5.1} | {:>8.4} {:>8.4} | {:>5.1} | {verdict}",
            self.name,
            c.peers,
            c.delay_ms,
            self.p50_ms.median,
            self.p95_ms.median,
            self.p95_ms.worst,
            self.p99_ms.median,
            self.max_ms.worst,
            self.last_p50_ms.median,
            self.last_p95_ms.median,
            self.last_p99_ms.median,
            self.last_max_ms.worst,
            self.copies_sent.median,
            self.copies_sent.worst,
            self.copies_arrived.median,
            self.notice_frames.median,
            self.notice_bytes.median,
            self.hops_mean.median,
            self.hops_max.worst,
            self.egress_frames_max.worst,
            self.saved.median * 100.0,
            self.reach_3_s.worst * 100.0,
            self.reach_repaired.worst * 100.0,
            self.real_s.worst,
        )
    }
}

/// Over the lines of cells.
pub const HEADER: &str = concat!(
    "                                      peers   ms | to 90 %, ms: p95 over     | to the last, ms         | copies, sent      | announce, \
     | hops    | most  saved | reach, % (worst)  | real  |\n",
    "condition                                        |   p50 seeds m/worst p99 max |   p50   p95   p99   max | m/worst   arrived \
     | frames, B | mean    |  sent     % |      3 s repaired |     s | bars"
);

/// All cells of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatrixReport {
    /// In the order of the files.
    pub cells: Vec<CellReport>,
    /// Duration of all, s.
    pub real_s: f64,
    /// Most memory of this process, bytes; 0 where the system does not say.
    pub memory_peak_bytes: u64,
}

impl MatrixReport {
    /// Cells that miss a bar.
    pub fn missed(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.missed.is_empty()).count()
    }

    /// The report as a table.
    pub fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(first) = self.cells.first() {
            let c = &first.conditions;
            writeln!(
                out,
                "One-way delay lognormal, sigma {}, the mean is in the column ms; bodies of {} B; median and worst over the seeds of a cell; \
                 most sent: frames of one peer for one transaction; saved: frames against flooding over the same links.",
                c.sigma, c.body_bytes
            )?;
        }
        writeln!(out, "{HEADER}")?;
        for cell in &self.cells {
            writeln!(out, "{}", cell.line())?;
        }
        writeln!(
            out,
            "{} cells, {} of them miss a bar; {:.0} s, at most {:.0} MiB",
            self.cells.len(),
            self.missed(),
            self.real_s,
            self.memory_peak_bytes as f64 / f64::from(1 << 20)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_worst_of_the_seeds() {
        let over = Over::most([3.0, 1.0, 2.0].into_iter());
        assert_eq!(over, Over { median: 2.0, worst: 3.0 });
        let over = Over::least([0.9, 1.0, 0.8].into_iter());
        assert_eq!(over, Over { median: 0.9, worst: 0.8 });
        assert_eq!(Over::most([4.0, 1.0].into_iter()), Over { median: 4.0, worst: 4.0 });
    }
}
