//! A peer's disk: what was written is safe only once a group has been committed and synced.
//!
//! It behaves as the shipping store does towards the core (one writer, group commit, atomic groups, one order of
//! arrival, cursors) and can be slow, full, fail, lose power, or be replaced by an older copy. It knows nothing of the
//! network.

pub mod index;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sorcha_peer_core::config::next_incarnation;
use sorcha_peer_core::envelope::{Envelope, SignedRecord};
use sorcha_peer_core::event::{Expired, LoadWhat, Loaded, RangeQuery, RangeView};
use sorcha_peer_core::tree::{self, Body};
use sorcha_peer_core::types::{OpId, PeerId, TxId, WallTime, bounds};

use self::index::Index;
use crate::plant::Plant;
use crate::queue::Micros;

/// With an omitted sync, what was written since the last of so many groups is lost.
const OMITTED_SYNCS: u32 = 16;

/// How long the disk takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// One commit of a group with its fsync. 2 ms: docs/design.md § 3.
    pub sync: Micros,
    /// One read. 0.1 ms: guess, a cached page and a thread hop.
    pub read: Micros,
}

impl Default for Latency {
    fn default() -> Self {
        Self { sync: 2_000, read: 100 }
    }
}

/// One write on its way to the disk.
#[derive(Debug, Clone)]
pub enum Write {
    /// A transaction; its commit is answered.
    Transaction {
        /// Of the effect.
        op: OpId,
        /// Header and proof.
        envelope: Arc<Envelope>,
        /// The whole body.
        body: Arc<Body>,
        /// Of a submission; empty: none.
        idempotency_key: String,
    },
    /// A peer's record.
    Remember(Arc<SignedRecord>),
    /// No record of this peer any more.
    Forget(PeerId),
    /// The subscriber is done with everything before this position.
    Cursor(usize),
}

/// What is durable.
#[derive(Debug, Clone, Default)]
pub struct Store {
    transactions: BTreeMap<TxId, (Arc<Envelope>, Arc<Body>)>,
    index: Index,
    keys: BTreeMap<String, TxId>,
    records: BTreeMap<PeerId, Arc<SignedRecord>>,
    floor: WallTime,
    /// In the order of arrival.
    log: Vec<TxId>,
    cursor: usize,
    /// Of the last start.
    incarnation: u64,
}

/// What a disk does wrong for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// It refuses transactions for want of space.
    pub full: bool,
    /// Writes fail.
    pub writes_fail: bool,
    /// Reads fail.
    pub reads_fail: bool,
    /// It takes so many times as long.
    pub slowness: u64,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { full: false, writes_fail: false, reads_fail: false, slowness: 1 }
    }
}

/// A disk with what is durable and what is not yet.
#[derive(Debug, Default)]
pub struct Disk {
    store: Store,
    waiting: Vec<Write>,
    syncing: Vec<Write>,
    trouble: Trouble,
    backup: Option<Box<Store>>,
    /// What is wrong with its driver.
    plant: Option<Plant>,
    /// With [`Plant::OmittedSync`]: what has really reached the disk, and commits since.
    reached: Box<Store>,
    unreached: u32,
}

impl Disk {
    /// An empty one; a plant is a fault of its driver's.
    pub fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    /// Queues a write. True where no group is being committed: begin one.
    pub fn write(&mut self, write: Write) -> bool {
        self.waiting.push(write);
        self.syncing.is_empty()
    }

    /// Takes all that waits into one group, to be committed after `Latency::sync`; false where nothing waits
    /// or a group is under way.
    pub fn begin(&mut self) -> bool {
        if !self.syncing.is_empty() {
            return false;
        }
        self.syncing = std::mem::take(&mut self.waiting);
        !self.syncing.is_empty()
    }

    /// The group is durable. Answers the transactions of it that were new, and the effects to be answered.
    pub fn commit(&mut self) -> (Vec<TxId>, Vec<OpId>) {
        let group = std::mem::take(&mut self.syncing);
        let (mut new, mut done) = (Vec::new(), Vec::new());
        for write in group {
            if let Write::Transaction { op, .. } = &write {
                done.push(*op);
            }
            new.extend(self.store.apply(write, self.plant));
        }
        if self.plant == Some(Plant::OmittedSync) {
            self.unreached += 1;
            if self.unreached >= OMITTED_SYNCS {
                self.unreached = 0;
                *self.reached = self.store.clone();
            }
        }
        (new, done)
    }

    /// The power fails: what waits is lost; the group under way has reached the disk as a whole or not at all.
    pub fn crash(&mut self, group_landed: bool) {
        if group_landed {
            self.commit();
        }
        self.syncing.clear();
        self.waiting.clear();
        if self.plant == Some(Plant::OmittedSync) {
            self.store = (*self.reached).clone();
        }
        if self.plant == Some(Plant::KeysForgotten) {
            self.store.keys.clear();
        }
    }

    /// Counts a start, durably; answers the new incarnation.
    pub fn begin_incarnation(&mut self, wall: WallTime) -> u64 {
        if self.plant != Some(Plant::SequenceReused) || self.store.incarnation == 0 {
            self.store.incarnation = next_incarnation(self.store.incarnation, wall);
        }
        *self.reached = self.store.clone();
        self.store.incarnation
    }

    /// Copies what is durable.
    pub fn back_up(&mut self) {
        self.backup = Some(Box::new(self.store.clone()));
    }

    /// Puts the last copy in place of what is durable, or nothing where there is none or it is not wanted. The peer must
    /// not run. Answers what was there.
    pub fn replace(&mut self, by_backup: bool) -> Store {
        let new = if by_backup { self.backup.as_deref().cloned() } else { None };
        let old = std::mem::replace(&mut self.store, new.unwrap_or_default());
        *self.reached = self.store.clone();
        old
    }

    /// Removes what retention does not keep, as the shipping store would, all at once.
    pub fn expire(&mut self, before: WallTime, bytes_max: u64, keep_from: WallTime) -> Expired {
        self.store.expire(before, bytes_max, keep_from)
    }

    /// Ids that were written and are not durable yet.
    pub fn unsynced(&self) -> impl Iterator<Item = TxId> {
        self.waiting.iter().chain(&self.syncing).filter_map(|write| match write {
            Write::Transaction { envelope, .. } => Some(envelope.id()),
            Write::Remember(_) | Write::Forget(_) | Write::Cursor(_) => None,
        })
    }

    /// What it does wrong.
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// From now on it does this wrong.
    pub fn set_trouble(&mut self, trouble: Trouble) {
        self.trouble = trouble;
    }

    /// What is durable.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Store {
    fn apply(&mut self, write: Write, plant: Option<Plant>) -> Option<TxId> {
        match write {
            Write::Transaction { envelope, body, idempotency_key, .. } => {
                let id = envelope.id();
                if !idempotency_key.is_empty() {
                    self.keys.entry(idempotency_key).or_insert(id);
                }
                let new = self.index.insert(envelope.key());
                if new {
                    self.transactions.insert(id, (envelope, body));
                }
                if new || plant == Some(Plant::DeliveredTwice) {
                    self.log.push(id);
                }
                new.then_some(id)
            }
            Write::Remember(record) => {
                self.records.insert(record.peer, record);
                None
            }
            Write::Forget(peer) => {
                self.records.remove(&peer);
                None
            }
            Write::Cursor(position) => {
                self.cursor = self.cursor.max(position);
                None
            }
        }
    }

    fn expire(&mut self, before: WallTime, bytes_max: u64, keep_from: WallTime) -> Expired {
        let mut bytes = if bytes_max == u64::MAX {
            0
        } else {
            self.transactions.values().map(|(_, body)| body.bytes().len() as u64).sum()
        };
        let mut removed = 0;
        self.floor = self.floor.max(before.min(keep_from));
        while let Some(key) = self.index.first().copied() {
            if key.published >= keep_from || key.published >= self.floor && bytes <= bytes_max {
                break;
            }
            self.floor = self.floor.max(WallTime::from_unix_ms(key.published.as_unix_ms() + 1));
            self.index.take_first();
            if let Some((_, body)) = self.transactions.remove(&key.id) {
                bytes = bytes.saturating_sub(body.bytes().len() as u64);
            }
            removed += 1;
        }
        Expired { floor: self.floor, removed, more: false }
    }

    /// What was published before this is gone.
    pub fn floor(&self) -> WallTime {
        self.floor
    }

    /// Whether a transaction is held.
    pub fn holds(&self, id: &TxId) -> bool {
        self.transactions.contains_key(id)
    }

    /// Ids in the order of their arrival.
    pub fn log(&self) -> &[TxId] {
        &self.log
    }

    /// How many of those the subscriber is done with.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// The latest time of publication.
    pub fn latest(&self) -> Option<WallTime> {
        self.index.latest().map(|key| key.published)
    }

    /// A transaction, whole.
    pub fn transaction(&self, id: &TxId) -> Option<(&Arc<Envelope>, &Arc<Body>)> {
        self.transactions.get(id).map(|(envelope, body)| (envelope, body))
    }

    /// The transaction accepted under a key.
    pub fn recall(&self, idempotency_key: &str) -> Option<TxId> {
        self.keys.get(idempotency_key).copied()
    }

    /// Reads as `Output::Load` asks.
    pub fn load(&self, id: &TxId, what: &LoadWhat) -> Option<Loaded> {
        let (envelope, body) = self.transactions.get(id)?;
        match what {
            LoadWhat::Envelope => {
                let small = body.bytes().len() <= bounds::PUSH_BODY_BYTES_MAX;
                Some(Loaded::Envelope {
                    envelope: Arc::clone(envelope),
                    body: small.then(|| body.payload().clone()),
                })
            }
            LoadWhat::Chunk { index } => {
                let proof = tree::proof(body.leaves(), *index as usize)?;
                let data = sorcha_peer_wire::pack(chunk(body.bytes(), *index as usize));
                Some(Loaded::Chunk { data, proof })
            }
        }
    }

    /// Answers range queries.
    pub fn inspect(&self, queries: &[RangeQuery]) -> Vec<RangeView> {
        queries.iter().map(|query| self.index.view(query)).collect()
    }

    /// Everything held, in the order of ids.
    pub fn ids(&self) -> impl Iterator<Item = &TxId> {
        self.transactions.keys()
    }

    /// How many transactions are held.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Records kept over restarts, in the order of peer ids.
    pub fn records(&self) -> Vec<Arc<SignedRecord>> {
        self.records.values().cloned().collect()
    }

    /// Whether two stores hold the same transactions.
    pub fn is_equal(&self, other: &Self) -> bool {
        self.index.fingerprint() == other.index.fingerprint()
    }
}

fn chunk(body: &Bytes, index: usize) -> Bytes {
    let start = (index * bounds::CHUNK_BYTES).min(body.len());
    body.slice(start..(start + bounds::CHUNK_BYTES).min(body.len()))
}

#[cfg(test)]
mod tests {
    use sorcha_peer_core::envelope::Header;
    use sorcha_peer_core::types::Hash;

    use super::*;

    fn transaction(n: u64, bytes: usize) -> Write {
        let body = Arc::new(Body::new(Bytes::from(vec![n as u8; bytes])));
        let header = Header {
            network: "sim".into(),
            origin: PeerId::from_bytes([1; 32]),
            incarnation: 1,
            sequence: n,
            register: String::new(),
            published: WallTime::from_unix_ms(n),
            body_bytes: bytes as u64,
            body_root: Hash::from_bytes([0; 32]),
        };
        let signed = Bytes::from(n.to_le_bytes().to_vec());
        let envelope = Arc::new(Envelope::new(header, signed, Bytes::new(), Bytes::new()));
        Write::Transaction { op: OpId(n), envelope, body, idempotency_key: format!("key-{n}") }
    }

    fn held(disk: &Disk) -> Vec<u64> {
        (0..9).filter(|n| disk.store().recall(&format!("key-{n}")).is_some()).collect()
    }

    #[test]
    fn a_crash_loses_exactly_the_unsynced_writes() {
        for landed in [false, true] {
            let mut disk = Disk::default();
            assert!(disk.write(transaction(1, 10)), "an idle disk begins at once");
            assert!(disk.begin());
            assert!(!disk.write(transaction(2, 10)), "a busy disk gathers the next group");
            assert!(!disk.write(transaction(3, 10)));
            let (new, done) = disk.commit();
            assert_eq!((new.len(), done), (1, vec![OpId(1)]));
            assert!(disk.begin());
            assert!(!disk.write(transaction(4, 10)));
            assert_eq!(disk.unsynced().count(), 3);
            disk.crash(landed);
            let expected: &[u64] = if landed { &[1, 2, 3] } else { &[1] };
            assert_eq!(held(&disk), expected);
            assert_eq!(disk.unsynced().count(), 0);
            assert!(!disk.begin(), "nothing is left to be written");
        }
    }

    #[test]
    fn a_transaction_written_twice_is_new_once() {
        let mut disk = Disk::default();
        disk.write(transaction(1, 10));
        disk.write(transaction(1, 10));
        disk.begin();
        let (new, done) = disk.commit();
        assert_eq!((new.len(), done.len(), disk.store().len()), (1, 2, 1));
    }

    #[test]
    fn a_large_body_is_loaded_in_chunks_that_prove_themselves() {
        let bytes = bounds::CHUNK_BYTES * 2 + 5;
        let mut disk = Disk::default();
        disk.write(transaction(7, bytes));
        disk.begin();
        let id = disk.commit().0[0];
        let Some(Loaded::Envelope { body: None, .. }) = disk.store().load(&id, &LoadWhat::Envelope) else {
            panic!("a large body must not travel with its envelope");
        };
        let root = Body::new(Bytes::from(vec![7; bytes])).root();
        for index in 0..3_u32 {
            let Some(Loaded::Chunk { data, proof }) = disk.store().load(&id, &LoadWhat::Chunk { index })
            else {
                panic!("chunk {index} is missing");
            };
            assert!(tree::verify(tree::leaf(data.plain()), u64::from(index), 3, &proof, &root));
        }
        assert!(disk.store().load(&id, &LoadWhat::Chunk { index: 3 }).is_none());
    }
}
