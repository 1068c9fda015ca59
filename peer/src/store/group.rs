//! One group in one transaction of the database. Knows what each operation writes and what it answers; nothing of
//! threads, queues, syncing or faults of the device.

use std::sync::Arc;

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use sorcha_peer_core::envelope::{Envelope, SignedRecord};
use sorcha_peer_core::event::{Expired, StoreFault};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{PeerId, WallTime};
use tokio::sync::oneshot;

use super::cursors::CursorState;
use super::fault::Broken;
use super::retention::{Account, Limits, Remover};
use super::schema::{
    CERTIFICATE_TIMES, CERTIFICATES, CURSORS, CURSORS_AHEAD, IDS, KEY_TIMES, KEYS, LOG, META, ORDER, RECORDS,
    SEGMENTS, SUMMARY, TREES,
};
use super::{Source, buckets, cursors, envelope, keys, records};

/// Takes the answer to a `persist`, on the writer's thread.
pub(super) type Done = Box<dyn FnOnce(Result<u64, StoreFault>) + Send>;

/// Takes the answer to an `expire`, on the writer's thread.
pub(super) type ExpireDone = Box<dyn FnOnce(Result<Expired, StoreFault>) + Send>;

/// Something to be made durable.
pub(super) enum Operation {
    /// A transaction; awaited.
    Persist { envelope: Arc<Envelope>, body: Arc<Body>, source: Source, received: WallTime, done: Done },
    /// A cursor's new position; awaited.
    Acknowledge { name: String, state: CursorState, done: oneshot::Sender<Result<(), StoreFault>> },
    /// A cursor that nobody wants any more; awaited.
    DeleteCursor { name: String, done: oneshot::Sender<Result<bool, StoreFault>> },
    /// A step of retention; awaited.
    Expire { limits: Limits, done: ExpireDone },
    /// A peer's record; rides along with the next group.
    Remember(Arc<SignedRecord>),
    /// Rides along with the next group.
    Forget(PeerId),
}

impl Operation {
    /// Whether somebody waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(
            self,
            Self::Persist { .. } | Self::Acknowledge { .. } | Self::DeleteCursor { .. } | Self::Expire { .. }
        )
    }

    /// Whether a client waits for it.
    pub(super) fn is_by_client(&self) -> bool {
        match self {
            Self::Persist { source, .. } => matches!(source, Source::Client(_)),
            Self::Acknowledge { .. } | Self::DeleteCursor { .. } => true,
            Self::Expire { .. } | Self::Remember(_) | Self::Forget(_) => false,
        }
    }

    /// Bytes that it holds in the queue and about as many as it will write.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Persist { envelope, body, .. } => {
                body.bytes().len() + envelope.signed().len() + envelope.certificate().len() + 256
            }
            Self::Acknowledge { name, state, .. } => name.len() + 64 + 16 * state.ahead.len(),
            Self::DeleteCursor { name, .. } => name.len() + 64,
            Self::Remember(record) => record.signed.len() + record.certificate.len() + 256,
            Self::Forget(_) | Self::Expire { .. } => 64,
        }
    }

    /// Answers that nothing of it is durable.
    pub(super) fn refuse(self, fault: &StoreFault) {
        match self {
            Self::Persist { done, .. } => done(Err(fault.clone())),
            Self::Expire { done, .. } => done(Err(fault.clone())),
            // Whoever asked may have gone away; the same holds below.
            Self::Acknowledge { done, .. } => drop(done.send(Err(fault.clone()))),
            Self::DeleteCursor { done, .. } => drop(done.send(Err(fault.clone()))),
            Self::Remember(_) | Self::Forget(_) => {}
        }
    }

    /// Answers what came of it, once that is durable.
    pub(super) fn answer(self, outcome: Outcome) {
        match (self, outcome) {
            (Self::Persist { done, .. }, Outcome::At(position)) => done(Ok(position)),
            (Self::Expire { done, .. }, Outcome::Expired(expired)) => done(Ok(expired)),
            (Self::Acknowledge { done, .. }, Outcome::Moved(result)) => {
                drop(done.send(result.map_err(StoreFault::Failed)));
            }
            (Self::DeleteCursor { done, .. }, Outcome::Deleted(found)) => drop(done.send(Ok(found))),
            (operation, Outcome::Invalid(detail)) => operation.refuse(&StoreFault::Failed(detail)),
            _ => {}
        }
    }
}

/// What became of one operation, durable once the group is.
pub(super) enum Outcome {
    /// The transaction's position, its first where it was held already.
    At(u64),
    /// The cursor stands there or further, or why it cannot.
    Moved(Result<(), String>),
    /// How far retention came.
    Expired(Expired),
    /// Whether there was such a cursor.
    Deleted(bool),
    /// It contradicts itself; nothing was written for it.
    Invalid(String),
    /// Nobody waits.
    Quiet,
}

/// What became of a group.
pub(super) struct Applied {
    /// One for each operation, in order.
    pub(super) outcomes: Vec<Outcome>,
    /// Head, floor and bytes after it.
    pub(super) account: Account,
    /// When the oldest transaction held after it was published; none where none is held.
    pub(super) oldest: Option<WallTime>,
    /// Transactions that retention removed.
    pub(super) removed: u64,
    /// Retention has nothing more to do for now.
    pub(super) trimmed: bool,
    /// Transactions held after it.
    pub(super) transactions: u64,
    /// Whether it wrote anything.
    pub(super) changed: bool,
}

/// Writes the operations into `txn`, which the caller commits.
pub(super) fn apply(
    txn: &WriteTransaction,
    operations: &[Operation],
    now: WallTime,
) -> Result<Applied, Broken> {
    let mut meta = txn.open_table(META)?;
    let mut ids = txn.open_table(IDS)?;
    let mut order = txn.open_table(ORDER)?;
    let mut summary = txn.open_table(SUMMARY)?;
    let mut cursors =
        cursors::Cursors { positions: txn.open_table(CURSORS)?, ahead: txn.open_table(CURSORS_AHEAD)? };
    let mut records = txn.open_table(RECORDS)?;
    let mut keys = keys::Writer { keys: txn.open_table(KEYS)?, times: txn.open_table(KEY_TIMES)? };
    let mut entries = envelope::Writer {
        log: txn.open_table(LOG)?,
        segments: txn.open_table(SEGMENTS)?,
        trees: txn.open_table(TREES)?,
        certificates: txn.open_table(CERTIFICATES)?,
        certificate_times: txn.open_table(CERTIFICATE_TIMES)?,
    };
    let mut account = Account::read(&meta)?;
    let mut changed = false;
    let (mut removed, mut trimmed) = (0, false);
    let mut outcomes = Vec::with_capacity(operations.len());
    // Their place in the order of reconciliation is written for all together, before anything else looks at it.
    let mut arrived: Vec<buckets::Key> = Vec::new();
    for operation in operations {
        let outcome = match operation {
            Operation::Persist { envelope, body, source, received, .. } => {
                let id = envelope.id();
                let position = match envelope::position(&ids, &id)? {
                    Some(position) => position,
                    None if let Err(detail) = envelope::check(envelope, body) => {
                        outcomes.push(Outcome::Invalid(detail));
                        continue;
                    }
                    None => {
                        account.head += 1;
                        account.bytes += entries.write(account.head, envelope, body, *received)?;
                        ids.insert(id.as_bytes(), account.head)?;
                        arrived.push(buckets::key(envelope.key()));
                        changed = true;
                        account.head
                    }
                };
                let key = source.idempotency_key();
                if !key.is_empty() {
                    changed |= keys.keep(key, &id, now)?;
                }
                Outcome::At(position)
            }
            Operation::Acknowledge { name, state, .. } => {
                // What is not there yet cannot have been processed: a cursor never skips the future.
                let held =
                    |run: &(u64, u64)| (run.0 <= account.head).then_some((run.0, run.1.min(account.head)));
                let ahead = state.ahead.iter().filter_map(held).collect();
                let state = CursorState { position: state.position.min(account.head), ahead };
                let moved = cursors.advance(name, &state)?;
                changed |= moved.as_ref().is_ok_and(|moved| *moved);
                Outcome::Moved(moved.map(|_| ()))
            }
            Operation::Expire { limits, .. } => {
                let (order, summary) = (&mut order, &mut summary);
                insert(order, summary, &mut arrived)?;
                let mut remover = Remover { ids: &mut ids, order, summary, entries: &mut entries };
                let expired = remover.step(limits, &mut account)?;
                removed += expired.removed;
                trimmed = !expired.more;
                Outcome::Expired(expired)
            }
            Operation::DeleteCursor { name, .. } => {
                let found = cursors.delete(name)?;
                changed |= found;
                Outcome::Deleted(found)
            }
            Operation::Remember(record) => {
                changed |= records::remember(&mut records, record)?;
                Outcome::Quiet
            }
            Operation::Forget(peer) => {
                changed |= records::forget(&mut records, peer)?;
                Outcome::Quiet
            }
        };
        outcomes.push(outcome);
    }
    insert(&mut order, &mut summary, &mut arrived)?;
    // A floor that only time has moved is written with the next group that writes anything: it would move there anyway.
    if changed || removed > 0 {
        changed = true;
        keys.sweep(now)?;
        account.write(&mut meta)?;
    }
    let transactions = ids.len()?;
    let oldest = order.first()?.map(|(key, _)| WallTime::from_unix_ms(buckets::published_ms(key.value())));
    Ok(Applied { outcomes, account, oldest, removed, trimmed, transactions, changed })
}

/// Writes these into the order of reconciliation.
fn insert<'txn>(
    order: &mut Table<'txn, &'static [u8; 40], ()>,
    summary: &mut Table<'txn, &'static [u8; 41], &'static [u8; 44]>,
    arrived: &mut Vec<buckets::Key>,
) -> Result<(), Broken> {
    arrived.sort_unstable();
    buckets::Writer { order, summary }.insert(arrived)?;
    arrived.clear();
    Ok(())
}
