//! The durable store: transactions, cursors, known peers, the peer's own incarnation.
//!
//! One writer thread commits in groups and syncs before it answers; reads run beside it on snapshots. This module
//! knows nothing of links, gossip or certificates: what it is given has been verified.
//!
//! Inside: `writer` (the thread) takes from `queue` and writes a `group` to `journal` and database, made of `envelope`, `buckets`, `keys`,
//! `cursors`, `records` and `retention`, all by the tables of `schema`; `door` holds the database, `open` opens it, `fault` turns
//! what goes wrong into sentences, `check` holds all tables against one another, `repair` makes them
//! anew, `migrate` brings earlier layouts up to this one, `figures` counts.

mod buckets;
mod check;
mod cursors;
mod door;
mod envelope;
mod fault;
#[cfg(test)]
mod faulty;
mod figures;
mod group;
mod journal;
mod keys;
mod migrate;
mod open;
mod overlay;
mod queue;
mod records;
mod repair;
mod report;
mod retention;
mod schema;
mod shared;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sorcha_peer_core::envelope::{Envelope, SignedRecord};
use sorcha_peer_core::event::{Expired, RangeQuery, RangeView, StoreFault};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{Hash, PeerId, TxId, WallTime};
use tokio::sync::{oneshot, watch};

pub use self::check::check;
pub use self::cursors::{CursorState, Run};
pub use self::fault::OpenError;
use self::fault::guarded;
pub use self::figures::figures;
use self::group::Operation;
use self::open::{Backing, FileBacking};
pub use self::repair::repair;
pub use self::report::{CheckReport, CursorFigure, Fault, FaultKind, Lost, RepairReport, StoreReport};
use self::shared::Shared;

/// What is answered where the writer ends first.
const CURSOR_UNANSWERED: &str = "the writer ended before the cursor was durable";

/// The tables of the cursors on a snapshot.
fn cursors_of(
    snapshot: &redb::ReadTransaction,
) -> Result<cursors::Cursors<CursorPositions, CursorsAhead>, fault::Broken> {
    let (positions, ahead) =
        (snapshot.open_table(schema::CURSORS)?, snapshot.open_table(schema::CURSORS_AHEAD)?);
    Ok(cursors::Cursors { positions, ahead })
}

type CursorPositions = redb::ReadOnlyTable<&'static str, u64>;
type CursorsAhead = redb::ReadOnlyTable<&'static str, &'static [u8]>;

/// Where and how.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// State directory; made where it is missing, locked while open.
    pub directory: PathBuf,
    /// Page cache of the database at most.
    pub cache_bytes_max: u64,
}

/// What a freshly opened store knew.
#[derive(Debug)]
pub struct Recovered {
    /// Of this start: one more than the last, already durable.
    pub incarnation: u64,
    /// Records of peers known in the last run.
    pub records: Vec<Arc<SignedRecord>>,
    /// Transactions held.
    pub transactions: u64,
    /// What was published before this was removed by retention.
    pub floor: WallTime,
}

/// Who brought a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A client, under this idempotency key; empty: under none. It may wait for the answer before it asks for the next.
    Client(String),
    /// Another peer. No client waits, so under load it waits longer for company.
    Peer,
}

impl Source {
    fn idempotency_key(&self) -> &str {
        match self {
            Self::Client(key) => key,
            Self::Peer => "",
        }
    }
}

/// What lies at one place, or a run of places, in the order of arrival.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// A transaction.
    Held(Stored),
    /// Positions `from..=to` are gone: retention has removed what was there.
    Gone {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// One transaction as held.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Place in the order of arrival here, from 1.
    pub position: u64,
    /// Header and proof.
    pub envelope: Arc<Envelope>,
    /// When it became durable here.
    pub received: WallTime,
}

/// A transaction, and its body where that is small.
pub type WithBody = (Stored, Option<Bytes>);

/// Figures for status and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Transactions held.
    pub transactions: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Groups committed since the start.
    pub commits: u64,
    /// Microseconds that the last commit took, fsync included.
    pub last_commit_us: u64,
    /// Bytes that the transactions held take in it, indices estimated; what `retention.bytes` bounds.
    pub live_bytes: u64,
    /// What was published before this is gone; the epoch: retention has removed nothing yet.
    pub floor: WallTime,
    /// When the oldest transaction held was published.
    pub oldest: Option<WallTime>,
    /// Transactions that retention has removed since the start.
    pub removed: u64,
}

/// Cheap to clone; the last clone's drop does not close it, [`Store::close`] does.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// Opens the store of a state directory, or makes one, and counts this start. Blocks: a large database that was not
    /// closed cleanly is verified first (measured: 2 s at 612 MB).
    pub fn open(options: &StoreOptions) -> Result<(Self, Recovered), OpenError> {
        open::prepare_directory(&options.directory)?;
        let lock = open::lock_directory(&options.directory)?;
        let file = open::create_database(&options.directory)?;
        let backing = Box::new(FileBacking { file: file.clone() });
        Self::open_on(backing, &file, options, Box::new(crate::clock::wall_now), Some(lock))
    }

    fn open_on(
        backing: Box<dyn Backing>,
        file: &Path,
        options: &StoreOptions,
        clock: Box<dyn Fn() -> WallTime + Send + Sync>,
        lock: Option<std::fs::File>,
    ) -> Result<(Self, Recovered), OpenError> {
        let broken = |broken| open::open_error(&options.directory, file, &broken);
        let database = guarded(|| Ok(open::open_database(&*backing, options.cache_bytes_max)?));
        let database = database.map_err(broken)?;
        open::start(&database, &options.directory, file)?;
        let journal = guarded(|| journal::Journal::recover(&database, backing.journal()?));
        let mut journal = journal.map_err(broken)?;
        let start = guarded(|| open::begin(&database)).map_err(broken)?;
        journal.begin_again();
        let stats = StoreStats {
            transactions: start.transactions,
            bytes: backing.bytes(),
            live_bytes: start.account.bytes,
            floor: WallTime::from_unix_ms(start.account.floor),
            oldest: start.oldest,
            ..StoreStats::default()
        };
        let shared = Arc::new(Shared {
            file: file.to_owned(),
            backing,
            cache_bytes_max: options.cache_bytes_max,
            compact_from_bytes: schema::COMPACT_FROM_BYTES.into(),
            clock,
            door: door::Door::default(),
            queue: queue::Queue::default(),
            head: watch::Sender::new(start.account.head),
            figures: Mutex::new(stats),
            thread: Mutex::new(None),
            lock: Mutex::new(lock),
        });
        shared.door.put(database);
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || writer::run(shared, journal)
        });
        let writer = writer.map_err(|error| OpenError::Failed {
            file: file.to_owned(),
            detail: format!("its thread could not be started: {error}"),
        })?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        let floor = WallTime::from_unix_ms(start.account.floor);
        let open::Start { incarnation, records, transactions, .. } = start;
        Ok((Self { shared }, Recovered { incarnation, records, transactions, floor }))
    }

    /// Makes it durable in the next group; `done` runs on the writer thread with the arrival position.
    /// A transaction that is held already answers with its first position. Where too much waits already, or the
    /// store is closed, `done` runs at once on the calling thread with a fault. `done` must not block.
    pub fn persist(
        &self,
        envelope: Arc<Envelope>,
        body: Arc<Body>,
        source: Source,
        received: WallTime,
        done: Box<dyn FnOnce(Result<u64, StoreFault>) + Send>,
    ) {
        self.shared.queue.push(Operation::Persist { envelope, body, source, received, done });
    }

    /// One step of retention, in the next group: removes what was published before `before`, and the oldest as long as
    /// the transactions take more than `bytes_max`, but nothing that was published at `keep_from` or later. `done`
    /// as for [`Self::persist`].
    pub fn expire(
        &self,
        before: WallTime,
        bytes_max: u64,
        keep_from: WallTime,
        done: Box<dyn FnOnce(Result<Expired, StoreFault>) + Send>,
    ) {
        let limits = retention::Limits { before, bytes_max, keep_from };
        self.shared.queue.push(Operation::Expire { limits, done });
    }

    /// Keeps a peer's record; not awaited, lost records are learned again.
    pub fn remember(&self, record: Arc<SignedRecord>) {
        self.shared.queue.push(Operation::Remember(record));
    }

    /// Drops a peer's record.
    pub fn forget(&self, peer: PeerId) {
        self.shared.queue.push(Operation::Forget(peer));
    }

    /// One transaction, without its body. Blocks; so do all reads below.
    pub fn transaction(&self, id: &TxId) -> Result<Option<Stored>, StoreFault> {
        self.shared.read(|snapshot| {
            let Some(position) = envelope::position(&snapshot.open_table(schema::IDS)?, id)? else {
                return Ok(None);
            };
            let entries = envelope::Reader::new(snapshot)?;
            Ok(Some(entries.stored(position, entries.entry(position)?)?))
        })
    }

    /// Several, each with its body where that has at most `body_bytes_max`. One that cannot be read fails all.
    pub fn transactions(
        &self,
        ids: &[TxId],
        body_bytes_max: u64,
    ) -> Result<Vec<Option<WithBody>>, StoreFault> {
        self.shared.read(|snapshot| {
            let (positions, entries) = (snapshot.open_table(schema::IDS)?, envelope::Reader::new(snapshot)?);
            let read = |id| {
                let Some(position) = envelope::position(&positions, id)? else { return Ok(None) };
                let entry = entries.entry(position)?;
                let inline = entry.body.clone();
                let stored = entries.stored(position, entry)?;
                let length = stored.envelope.header().body_bytes;
                let body = (length <= body_bytes_max)
                    .then(|| entries.whole(position, inline.as_ref(), length))
                    .transpose()?;
                Ok(Some((stored, body)))
            };
            ids.iter().map(read).collect()
        })
    }

    /// A whole body.
    pub fn body(&self, id: &TxId) -> Result<Option<Bytes>, StoreFault> {
        self.shared.read(|snapshot| {
            let Some(position) = envelope::position(&snapshot.open_table(schema::IDS)?, id)? else {
                return Ok(None);
            };
            let entries = envelope::Reader::new(snapshot)?;
            Ok(Some(entries.body(position, &entries.entry(position)?)?))
        })
    }

    /// At most `length` bytes of a body from `start`, without proof; empty behind its end.
    pub fn body_part(&self, id: &TxId, start: u64, length: usize) -> Result<Option<Bytes>, StoreFault> {
        self.shared.read(|snapshot| {
            let Some(position) = envelope::position(&snapshot.open_table(schema::IDS)?, id)? else {
                return Ok(None);
            };
            let entries = envelope::Reader::new(snapshot)?;
            Ok(Some(entries.body_part(position, &entries.entry(position)?, start, length)?))
        })
    }

    /// One chunk with its proof.
    pub fn chunk(&self, id: &TxId, index: u32) -> Result<Option<(Bytes, Vec<Hash>)>, StoreFault> {
        self.shared.read(|snapshot| {
            let Some(position) = envelope::position(&snapshot.open_table(schema::IDS)?, id)? else {
                return Ok(None);
            };
            let entries = envelope::Reader::new(snapshot)?;
            entries.chunk(position, &entries.entry(position)?, index)
        })
    }

    /// Which of the ids are held.
    pub fn contains(&self, ids: &[TxId]) -> Result<Vec<bool>, StoreFault> {
        self.shared.read(|snapshot| {
            let held = snapshot.open_table(schema::IDS)?;
            ids.iter().map(|id| Ok(envelope::position(&held, id)?.is_some())).collect()
        })
    }

    /// The transaction accepted under this key in the last 24 h.
    pub fn recall(&self, idempotency_key: &str) -> Result<Option<TxId>, StoreFault> {
        let now = (self.shared.clock)();
        self.shared
            .read(|snapshot| Ok(keys::recall(&snapshot.open_table(schema::KEYS)?, idempotency_key, now)?))
    }

    /// Ranges in the order of (publication time, id). A million ids cost some hundred rows for each query.
    pub fn inspect(&self, queries: &[RangeQuery]) -> Result<Vec<RangeView>, StoreFault> {
        self.shared.read(|snapshot| {
            let order = snapshot.open_table(schema::ORDER)?;
            let ranges = buckets::Reader::new(order, snapshot.open_table(schema::SUMMARY)?);
            let views = queries.iter().map(|query| Ok(ranges.inspect(query)?)).collect();
            tracing::trace!(queries = queries.len(), rows = ranges.rows(), "inspected");
            views
        })
    }

    /// Transactions after `position` in the order of arrival, at most `limit`.
    pub fn after(&self, position: u64, limit: usize) -> Result<Vec<Stored>, StoreFault> {
        self.shared.read(|snapshot| envelope::Reader::new(snapshot)?.after(position, limit))
    }

    /// What follows `position` in the order of arrival, at most `limit` transactions and the gaps that retention has
    /// made before, between and after them. Empty: there is nothing beyond `position`.
    pub fn arrivals(&self, position: u64, limit: usize) -> Result<Vec<Arrival>, StoreFault> {
        self.shared.read(|snapshot| {
            let held = envelope::Reader::new(snapshot)?.after(position, limit)?;
            let is_all = held.len() < limit;
            let head = retention::Account::read(&snapshot.open_table(schema::META)?)?.head;
            let (mut found, mut next) = (Vec::with_capacity(held.len()), position.saturating_add(1));
            for stored in held {
                if stored.position > next {
                    found.push(Arrival::Gone { from: next, to: stored.position - 1 });
                }
                next = stored.position + 1;
                found.push(Arrival::Held(stored));
            }
            if is_all && next <= head {
                found.push(Arrival::Gone { from: next, to: head });
            }
            Ok(found)
        })
    }

    /// The last durable position; changes when a group has been committed.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// Last acknowledged position of a named cursor.
    pub fn cursor(&self, name: &str) -> Result<Option<u64>, StoreFault> {
        Ok(self.cursor_state(name)?.map(|state| state.position))
    }

    /// All that was acknowledged of a named cursor.
    pub fn cursor_state(&self, name: &str) -> Result<Option<CursorState>, StoreFault> {
        self.shared.read(|snapshot| Ok(cursors_of(snapshot)?.read(name)?))
    }

    /// All named cursors, by name.
    pub fn cursors(&self) -> Result<Vec<(String, CursorState)>, StoreFault> {
        self.shared.read(|snapshot| Ok(cursors_of(snapshot)?.all()?))
    }

    /// Removes a named cursor; answers whether there was one, when that is durable.
    pub async fn delete_cursor(&self, name: &str) -> Result<bool, StoreFault> {
        let (done, answer) = oneshot::channel();
        self.shared.queue.push(Operation::DeleteCursor { name: name.to_owned(), done });
        answer.await.unwrap_or_else(|_| Err(StoreFault::Failed(CURSOR_UNANSWERED.to_owned())))
    }

    /// Moves a cursor (never back, never past the head) and answers when that is durable.
    pub async fn acknowledge(&self, name: &str, position: u64) -> Result<(), StoreFault> {
        self.acknowledge_runs(name, CursorState { position, ahead: Vec::new() }).await
    }

    /// The same, with positions beyond the first that is not acknowledged.
    pub async fn acknowledge_runs(&self, name: &str, state: CursorState) -> Result<(), StoreFault> {
        let (done, answer) = oneshot::channel();
        self.shared.queue.push(Operation::Acknowledge { name: name.to_owned(), state, done });
        answer.await.unwrap_or_else(|_| Err(StoreFault::Failed(CURSOR_UNANSWERED.to_owned())))
    }

    /// Figures.
    pub fn stats(&self) -> StoreStats {
        self.shared.stats()
    }

    /// Commits what is queued and closes the database; later calls fail. Blocks until that is done, except when
    /// called by a `done`.
    pub fn close(&self) {
        self.shared.queue.close();
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended in a panic; what it answered is durable");
        }
    }
}

#[cfg(test)]
mod tests;
