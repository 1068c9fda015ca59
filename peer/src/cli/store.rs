//! `store check`: what the store found, for people or programs. Knows nothing of tables and rows.

use std::path::Path;

use crate::cli::console::{Console, Failure, Format};
use crate::cli::escape;
use crate::cli::show::bytes_text;
use crate::store::{CheckReport, OpenError, check};

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
        "{file} has {faults}: restore it from a backup, or move it away, so that the peer fetches again what others hold"
    )))
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
