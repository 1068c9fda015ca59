//! `sorcha-peer store stats`: the figures of a store that nobody uses, read without going through its rows.

use std::path::Path;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::buckets;
use super::fault::{Broken, OpenError, guarded};
use super::open::{DATABASE_FILE, check_layout, lock_directory, open_error, open_overlay, overlay_journal};
use super::report::{CursorFigure, StoreReport};
use super::retention::Account;
use super::schema::{CERTIFICATES, CURSORS, IDS, KEYS, LOG, META, META_INCARNATION, ORDER, RECORDS, SCHEMA};

/// The figures of the store of a state directory, which no peer may use meanwhile. Changes nothing but the lock file.
pub fn figures(directory: &Path) -> Result<StoreReport, OpenError> {
    let file = directory.join(DATABASE_FILE);
    if !file.is_file() {
        return Err(OpenError::Missing(directory.to_owned()));
    }
    let lock = lock_directory(directory)?;
    let broken = |broken: Broken| open_error(directory, &file, &broken);
    let bytes = std::fs::metadata(&file).map_err(|error| broken(error.into()))?.len();
    let database = guarded(|| open_overlay(&file)).map_err(broken)?;
    let layout = check_layout(&database, &file, broken)?;
    if layout == SCHEMA {
        guarded(|| overlay_journal(&database, &file)).map_err(broken)?;
    }
    let report = guarded(|| read(&database.begin_read()?)).map_err(broken)?;
    drop(lock);
    Ok(StoreReport { file, layout, bytes, ..report })
}

fn read(snapshot: &ReadTransaction) -> Result<StoreReport, Broken> {
    let meta = snapshot.open_table(META)?;
    let account = Account::read(&meta)?;
    let order = snapshot.open_table(ORDER)?;
    let last = snapshot.open_table(LOG)?.last()?.map_or(0, |(position, _)| position.value());
    let mut cursors = Vec::new();
    for row in snapshot.open_table(CURSORS)?.iter()? {
        let (name, position) = row?;
        cursors.push(CursorFigure { name: name.value().to_owned(), position: position.value() });
    }
    Ok(StoreReport {
        transactions: snapshot.open_table(IDS)?.len()?,
        live_bytes: account.bytes,
        position: account.head.max(last),
        incarnation: meta.get(META_INCARNATION)?.map_or(0, |last| last.value()),
        floor_unix_ms: account.floor,
        oldest_unix_ms: order.first()?.map_or(0, |(key, _)| buckets::published_ms(key.value())),
        newest_unix_ms: order.last()?.map_or(0, |(key, _)| buckets::published_ms(key.value())),
        certificates: snapshot.open_table(CERTIFICATES)?.len()?,
        idempotency_keys: snapshot.open_table(KEYS)?.len()?,
        records: snapshot.open_table(RECORDS)?.len()?,
        cursors,
        ..StoreReport::default()
    })
}
