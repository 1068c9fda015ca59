//! Stores of earlier layouts, brought up to this one at their first open: in one transaction of the database, so that
//! a crash leaves either. Knows what each layout lacked.

use std::path::Path;
use std::time::Instant;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::envelope;
use super::fault::Broken;
use super::retention::Account;
use super::schema::{CERTIFICATE_TIMES, CERTIFICATES, LOG, META, META_SCHEMA, META_STORE, SCHEMA};

/// From `found`, an earlier layout, to the present one. Reads all that is held where that is the first one.
pub(super) fn migrate(database: &Database, found: u64, file: &Path) -> Result<(), Broken> {
    let started = Instant::now();
    let account = (found < 2).then(|| count(database)).transpose()?;
    let now = crate::clock::wall_now().as_unix_ms();
    let txn = database.begin_write()?;
    if let Some(account) = account {
        // When each was last used is not written down: for all of them that is now.
        let mut times = txn.open_table(CERTIFICATE_TIMES)?;
        for row in txn.open_table(CERTIFICATES)?.iter()? {
            times.insert(row?.0.value(), now)?;
        }
        account.write(&mut txn.open_table(META)?)?;
    }
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_STORE, crate::random::number())?;
        meta.insert(META_SCHEMA, SCHEMA)?;
    }
    txn.commit()?;
    let (file, seconds) = (file.display(), started.elapsed().as_secs_f64());
    tracing::info!("{file} was brought from layout {found} to layout {SCHEMA} in {seconds:.1} s");
    Ok(())
}

fn count(database: &Database) -> Result<Account, Broken> {
    let snapshot = database.begin_read()?;
    let entries = envelope::Reader::new(&snapshot)?;
    let mut account = Account { head: 0, floor: 0, bytes: 0 };
    for row in snapshot.open_table(LOG)?.iter()? {
        let (position, entry) = row?;
        account.head = position.value();
        account.bytes += entries.bytes(account.head, entry.value().len())?;
    }
    Ok(account)
}
