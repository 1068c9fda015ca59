//! `sorcha-peer store repair`: what can be read and proves itself goes into a new database, indices and sums made anew;
//! what does not is listed and left out, so that reconciliation brings it again. The damaged file is set aside.
//!
//! Knows a store that nobody uses; reads it through an overlay, so that the old file stays as it is.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use sorcha_peer_core::envelope::{Envelope, SyncKey, certificate_digest};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{TxId, WallTime};

use super::envelope::{self, read_entry, read_header};
use super::fault::{Broken, OpenError, guarded};
use super::open::{
    DATABASE_FILE, FRESH_FILE, check_layout, lock_directory, make_fresh, open_error, open_overlay,
    overlay_journal, replace_by,
};
use super::report::{Lost, RepairReport};
use super::retention::Account;
use super::schema::{
    CERTIFICATE_TIMES, CERTIFICATES, CURSORS, GROUP_BYTES_MAX, IDS, KEY_TIMES, KEYS, LOG, META,
    META_INCARNATION, ORDER, RECORDS, SCHEMA, SEGMENTS, SUMMARY, TREES,
};
use super::{buckets, keys};

/// Losses listed; further ones are only counted.
const LOST_MAX: usize = 1000;
/// Rows in one transaction of the new database at most.
const ROWS_MAX: usize = 4096;

/// Repairs the store of a state directory, which no peer may use meanwhile. Takes as much free space as what is held
/// takes. A store without damage is written anew without its free pages.
pub fn repair(directory: &Path) -> Result<RepairReport, OpenError> {
    let file = directory.join(DATABASE_FILE);
    if !file.is_file() {
        return Err(OpenError::Missing(directory.to_owned()));
    }
    let lock = lock_directory(directory)?;
    let broken = |broken: Broken| open_error(directory, &file, &broken);
    let bytes_before = std::fs::metadata(&file).map_err(|error| broken(error.into()))?.len();
    let old = guarded(|| open_overlay(&file)).map_err(broken)?;
    let layout = check_layout(&old, &file, broken)?;
    let fresh = make_fresh(directory)?;
    let mut repair = Repair { lost: Vec::new(), lost_unlisted: 0, kept: 0, notes: Vec::new() };
    if layout == SCHEMA {
        repair.part("the groups of the journal, which the database had not on the device,", || {
            overlay_journal(&old, &file)
        });
    }
    let copied = guarded(|| repair.copy(&old, &fresh)).and_then(|()| Ok(fresh.close()?));
    if let Err(fault) = copied {
        // What was made is of no use; where even this fails the next start overwrites it.
        let _gone = std::fs::remove_file(directory.join(FRESH_FILE));
        return Err(broken(fault));
    }
    drop(old);
    let damaged = repair.lost_unlisted > 0 || !repair.lost.is_empty() || !repair.notes.is_empty();
    let set_aside = replace_by(directory, damaged)?;
    let bytes = std::fs::metadata(&file).map_err(|error| broken(error.into()))?.len();
    drop(lock);
    Ok(RepairReport {
        file,
        bytes_before,
        bytes,
        transactions: repair.kept,
        lost: repair.lost,
        lost_unlisted: repair.lost_unlisted,
        notes: repair.notes,
        set_aside,
    })
}

struct Repair {
    lost: Vec<Lost>,
    lost_unlisted: u64,
    kept: u64,
    notes: Vec<String>,
}

/// One transaction that proves itself.
struct Sound {
    envelope: Arc<Envelope>,
    body: Body,
    received: WallTime,
}

impl Repair {
    fn lose(&mut self, position: u64, id: Option<TxId>, broken: &Broken) {
        if self.lost.len() >= LOST_MAX {
            self.lost_unlisted += 1;
            return;
        }
        let id = id.map(|id| id.to_string());
        self.lost.push(Lost { position, id, message: broken.detail() });
    }

    /// Runs one part; what of it cannot be read is noted and left out.
    fn part(&mut self, name: &str, work: impl FnOnce() -> Result<(), Broken>) {
        if let Err(broken) = guarded(work) {
            self.notes.push(format!("{name} are kept in part: {}", broken.detail()));
        }
    }

    fn copy(&mut self, old: &Database, fresh: &Database) -> Result<(), Broken> {
        let snapshot = old.begin_read()?;
        let meta = guarded(|| {
            let meta = snapshot.open_table(META)?;
            let incarnation = meta.get(META_INCARNATION)?.map_or(0, |last| last.value());
            Ok((incarnation, Account::read(&meta)?))
        });
        let (incarnation, account) = meta.unwrap_or_else(|broken| {
            // Higher than any count of starts, so that no sequence number is given twice.
            let incarnation = crate::clock::wall_now().as_unix_ms() / 1000;
            let detail = broken.detail();
            self.notes.push(format!(
                "the incarnation of the last start is lost ({detail}): it goes on from {incarnation}"
            ));
            (incarnation, Account { head: 0, floor: 0, bytes: 0 })
        });
        let account = self.transactions(&snapshot, fresh, account)?;
        let txn = fresh.begin_write()?;
        {
            let mut meta = txn.open_table(META)?;
            meta.insert(META_INCARNATION, incarnation)?;
            account.write(&mut meta)?;
            self.rest(&snapshot, &txn)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn transactions(
        &mut self,
        snapshot: &ReadTransaction,
        fresh: &Database,
        mut account: Account,
    ) -> Result<Account, Broken> {
        let entries = envelope::Reader::new(snapshot)?;
        let log = snapshot.open_table(LOG)?;
        let first = guarded(|| Ok(log.first()?.map_or(1, |(position, _)| position.value()))).unwrap_or(1);
        let last = guarded(|| Ok(log.last()?.map_or(0, |(position, _)| position.value())))?;
        account.head = account.head.max(last);
        account.bytes = 0;
        let mut next = first;
        while next <= last {
            let txn = fresh.begin_write()?;
            let (mut bytes, mut rows) = (0, 0);
            while next <= last && rows < ROWS_MAX && bytes < GROUP_BYTES_MAX {
                let position = next;
                next += 1;
                rows += 1;
                let mut id = None;
                match guarded(|| sound(&entries, position, &mut id)) {
                    Ok(None) => {}
                    Ok(Some(sound)) => {
                        bytes += sound.body.bytes().len();
                        account.bytes += put(&txn, position, &sound)?;
                        self.kept += 1;
                    }
                    Err(broken) => self.lose(position, id, &broken),
                }
            }
            txn.commit()?;
        }
        Ok(account)
    }

    /// Keys of transactions that were kept, cursors, records.
    fn rest(&mut self, snapshot: &ReadTransaction, txn: &WriteTransaction) -> Result<(), Broken> {
        let ids = txn.open_table(IDS)?;
        let mut kept = keys::Writer { keys: txn.open_table(KEYS)?, times: txn.open_table(KEY_TIMES)? };
        let mut cursors = txn.open_table(CURSORS)?;
        let mut records = txn.open_table(RECORDS)?;
        self.part("idempotency keys", || {
            for row in snapshot.open_table(KEYS)?.iter()? {
                let (key, row) = row?;
                let (accepted, id) = row.value();
                let id = TxId::from_bytes(*id);
                if envelope::position(&ids, &id)?.is_some() {
                    kept.keep(key.value(), &id, WallTime::from_unix_ms(accepted))?;
                }
            }
            Ok(())
        });
        self.part("cursors", || {
            for row in snapshot.open_table(CURSORS)?.iter()? {
                let (name, position) = row?;
                cursors.insert(name.value(), position.value())?;
            }
            Ok(())
        });
        self.part("records of peers", || {
            for row in snapshot.open_table(RECORDS)?.iter()? {
                let (peer, record) = row?;
                if super::records::read_record(record.value()).is_ok() {
                    records.insert(peer.value(), record.value())?;
                }
            }
            Ok(())
        });
        Ok(())
    }
}

/// What lies at a position, where it proves itself; `id` as soon as it is known.
fn sound(entries: &envelope::Reader, position: u64, id: &mut Option<TxId>) -> Result<Option<Sound>, Broken> {
    let Some(row) = entries.row(position)? else { return Ok(None) };
    let entry = read_entry(position, &row)?;
    let header = read_header(&entry.signed)?;
    *id = Some(TxId::of_header(&entry.signed));
    let body = Body::new(entries.body(position, &entry)?);
    if body.root() != header.body_root {
        return Err(Broken::Damaged(format!("the body at position {position} does not match its root")));
    }
    let digest = entry.certificate.clone();
    let stored = entries.stored(position, entry)?;
    if certificate_digest(stored.envelope.certificate()).as_bytes().as_slice() != digest.as_ref() {
        let detail = format!("the certificate of the entry at position {position} does not match its digest");
        return Err(Broken::Damaged(detail));
    }
    Ok(Some(Sound { envelope: stored.envelope, body, received: stored.received }))
}

/// Lays one down in the new database; the bytes that it takes.
fn put(txn: &WriteTransaction, position: u64, sound: &Sound) -> Result<u64, Broken> {
    let mut ids = txn.open_table(IDS)?;
    let id = sound.envelope.id();
    let key = buckets::key(SyncKey { published: sound.envelope.header().published, id });
    let mut writer = envelope::Writer {
        log: txn.open_table(LOG)?,
        segments: txn.open_table(SEGMENTS)?,
        trees: txn.open_table(TREES)?,
        certificates: txn.open_table(CERTIFICATES)?,
        certificate_times: txn.open_table(CERTIFICATE_TIMES)?,
    };
    let bytes = writer.write(position, &sound.envelope, &sound.body, sound.received)?;
    ids.insert(id.as_bytes(), position)?;
    let (mut order, mut summary) = (txn.open_table(ORDER)?, txn.open_table(SUMMARY)?);
    buckets::Writer { order: &mut order, summary: &mut summary }.insert(&[key])?;
    Ok(bytes)
}
