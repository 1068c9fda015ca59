//! Runs cells, some side by side, and holds their figures against their bars.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cells::{Bars, Cell};
use crate::cell_report::{CellReport, MatrixReport};
use crate::report::{ReachReport, memory_peak_bytes};

/// From this many peers on a run has the machine for itself: its memory is measured.
const ALONE_FROM_PEERS: usize = 5_000;

/// Runs all cells with `jobs` threads; `told` hears of each one that is done.
pub fn run(cells: &[Cell], jobs: usize, told: &(dyn Fn(&CellReport) + Sync)) -> MatrixReport {
    let began = std::time::Instant::now();
    let (large, small): (Vec<usize>, Vec<usize>) =
        (0..cells.len()).partition(|at| cells[*at].reach.peers >= ALONE_FROM_PEERS);
    let reports: Mutex<Vec<Option<CellReport>>> = Mutex::new(vec![None; cells.len()]);
    let one = |at: usize| {
        let report = run_cell(&cells[at]);
        told(&report);
        reports.lock().expect("no thread panics while it writes")[at] = Some(report);
    };
    large.into_iter().for_each(one);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(at) = small.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(*at);
                }
            });
        }
    });
    let cells =
        reports.into_inner().expect("no thread panics while it writes").into_iter().flatten().collect();
    MatrixReport { cells, real_s: began.elapsed().as_secs_f64(), memory_peak_bytes: memory_peak_bytes() }
}

fn run_cell(cell: &Cell) -> CellReport {
    let first = cell.reach.settings.seed;
    let runs: Vec<ReachReport> = (first..first + cell.seeds)
        .map(|seed| {
            let mut reach = cell.reach.clone();
            reach.settings.seed = seed;
            reach.run()
        })
        .collect();
    let mut report = CellReport::of(&cell.name, cell.bars, &runs);
    report.missed = missed(&cell.bars, &report, &runs);
    report
}

/// What the cell misses: the median over its seeds is held against the bar, counts against every seed.
fn missed(bars: &Bars, report: &CellReport, runs: &[ReachReport]) -> Vec<String> {
    let mut missed = Vec::new();
    let mut at_most = |what: &str, value: f64, bar: Option<f64>, unit: &str, digits: usize| {
        if let Some(bar) = bar.filter(|bar| value > *bar) {
            missed.push(format!("{what} {value:.digits$}{unit} > {bar}{unit}"));
        }
    };
    at_most("p95", report.p95_ms.median, bars.p95_ms, " ms", 1);
    at_most("copies", report.copies_sent.median, bars.copies, "", 3);
    at_most("notices", report.notice_bytes.median, bars.notice_bytes, " B", 0);
    let longest = runs.iter().map(|run| run.real_s).fold(0.0, f64::max);
    at_most("duration", longest, bars.real_s, " s", 0);
    let memory_gib =
        runs.iter().map(|run| run.memory_peak_bytes).max().unwrap_or(0) as f64 / f64::from(1 << 30);
    at_most("memory", memory_gib, bars.memory_gib, " GiB", 1);
    let mut at_least = |what: &str, value: f64, bar: Option<f64>| {
        if let Some(bar) = bar.filter(|bar| value < *bar) {
            missed.push(format!("{what} {:.3} % < {} %", value * 100.0, bar * 100.0));
        }
    };
    at_least("after 3 s", report.reach_3_s.median, bars.reach_3_s);
    at_least("after repair", report.reach_repaired.worst, bars.repaired);
    let short = runs.iter().filter(|run| run.accepted < run.conditions.transactions).count();
    if short > 0 {
        missed.push(format!("not all submissions were accepted in {short} runs"));
    }
    missed
}
