//! `store check`: what the store found, for people or programs. Knows nothing of tables and rows.

use std::path::Path;

use crate::cli::console::{Console, Failure, Format};
use crate::cli::escape;
use crate::cli::show::bytes_text;
use crate::store::{CheckReport, check};

pub(super) fn check_store(
    directory: &Path,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let report = check(directory).map_err(|error| Failure::Failed(error.to_string()))?;
    if format == Format::Table {
        table(&report, console)?;
    } else {
        console.value(format, &report)?;
    }
    let faults = report.faults.len() as u64 + report.faults_unlisted;
    if faults == 0 {
        return Ok(());
    }
    let file = report.file.display();
    Err(Failure::Failed(format!(
        "{file} has {faults} faults: restore it from a backup, or move it away, so that the peer fetches again what others hold"
    )))
}

fn table(report: &CheckReport, console: &mut Console<'_>) -> Result<(), Failure> {
    for fault in &report.faults {
        writeln!(console.out, "{}", escape::text(&fault.message))?;
    }
    if report.faults_unlisted > 0 {
        writeln!(console.out, "and {} more", report.faults_unlisted)?;
    }
    if report.faults.is_empty() {
        let (file, transactions) = (report.file.display(), report.transactions);
        let bodies = bytes_text(report.body_bytes);
        writeln!(
            console.out,
            "{file} is whole: {transactions} transactions with {bodies} of bodies, {} on disk",
            bytes_text(report.bytes)
        )?;
    }
    Ok(())
}
