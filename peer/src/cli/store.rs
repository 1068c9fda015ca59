//! `store check`, `stats` and `repair`: what the store found, for people or programs. Knows nothing of tables and rows.

use std::path::Path;

use crate::api::readiness::second_text;
use crate::cli::console::{Console, Failure, Format};
use crate::cli::escape;
use crate::cli::show::bytes_text;
use crate::store::{CheckReport, OpenError, RepairReport, StoreReport, check, figures, repair};
use sorcha_peer_core::types::WallTime;

pub(super) fn check_store(
    directory: &Path,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let report = quietly(|| check(directory)).map_err(|error| failure(directory, &error))?;
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
    let faults = if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") };
    Err(Failure::Failed(format!(
        "{file} has {faults}: `sorcha-peer store repair` keeps what is whole, and the peer fetches the rest again from others that hold it"
    )))
}

pub(super) fn show_stats(directory: &Path, format: Format, console: &mut Console<'_>) -> Result<(), Failure> {
    let report = quietly(|| figures(directory)).map_err(|error| failure(directory, &error))?;
    if format != Format::Table {
        console.value(format, &report)?;
        return Ok(());
    }
    let StoreReport { transactions, position, incarnation, layout, certificates, records, .. } = report;
    let time = |ms| second_text(WallTime::from_unix_ms(ms));
    let span = match report.oldest_unix_ms {
        0 => String::new(),
        oldest => format!("{} to {}", time(oldest), time(report.newest_unix_ms)),
    };
    let floor = match report.floor_unix_ms {
        0 => "nothing".to_owned(),
        floor => format!("what was published before {}", time(floor)),
    };
    let lines = [
        ("file", format!("{}, layout {layout}", report.file.display())),
        ("on disk", bytes_text(report.bytes)),
        ("transactions", format!("{transactions}, which take {}", bytes_text(report.live_bytes))),
        ("published", span),
        ("removed", floor),
        ("position", position.to_string()),
        ("incarnation", incarnation.to_string()),
        ("certificates", certificates.to_string()),
        ("peers", records.to_string()),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(console.out, "{name:<13} {value}")?;
    }
    for cursor in &report.cursors {
        let behind = position.saturating_sub(cursor.position);
        writeln!(
            console.out,
            "{:<13} {} at {}, {behind} behind",
            "cursor",
            escape::text(&cursor.name),
            cursor.position
        )?;
    }
    Ok(())
}

pub(super) fn repair_store(
    directory: &Path,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let report = quietly(|| repair(directory)).map_err(|error| failure(directory, &error))?;
    if format != Format::Table {
        console.value(format, &report)?;
        return Ok(());
    }
    for lost in &report.lost {
        let id = lost.id.as_deref().unwrap_or("unknown id");
        writeln!(console.out, "position {}: {id}: {}", lost.position, escape::text(&lost.message))?;
    }
    if report.lost_unlisted > 0 {
        writeln!(console.out, "and {} more", report.lost_unlisted)?;
    }
    for note in &report.notes {
        writeln!(console.out, "{}", escape::text(note))?;
    }
    let RepairReport { transactions, bytes_before, bytes, .. } = report;
    let file = report.file.display();
    let (before, now) = (bytes_text(bytes_before), bytes_text(bytes));
    let lost = report.lost.len() as u64 + report.lost_unlisted;
    writeln!(
        console.out,
        "{file} holds {transactions} transactions that are whole; {before} before, {now} now"
    )?;
    if let Some(aside) = &report.set_aside {
        writeln!(
            console.out,
            "{lost} transactions were left out; the peer fetches them again from others that hold them. The damaged file is {}",
            aside.display()
        )?;
    }
    Ok(())
}

/// The database panics on some damage. The check catches that and names it in its sentence; the panic's own lines
/// would say the same once more, in a way that looks like a fault of this program.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}

fn failure(directory: &Path, error: &OpenError) -> Failure {
    match error {
        OpenError::Missing(_) => {
            let inner = directory.join("state");
            let hint = if inner.join("store.redb").is_file() {
                format!(" (there is one in {})", inner.display())
            } else {
                String::new()
            };
            Failure::Usage(format!("{error}{hint}"))
        }
        _ => Failure::Failed(error.to_string()),
    }
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
