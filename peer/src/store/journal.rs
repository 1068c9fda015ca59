//! The journal: groups as they were asked for, one behind the other in a small file, synced before they are answered. The
//! database takes them at once, but onto the device only about once a second, for a commit that is synced costs
//! much, whatever is in it. After a crash what the database lacks is read from here and applied again
//! (write-ahead logging: Mohan et al., ARIES, 1992; logical, as a group applied to the same state does the same).
//!
//! A frame is: a digest of what follows, zeros apart (16 bytes of SHA-256), the store's number (8), the group's (8), the
//! length of what it carries (8), all little-endian; that, a `Group` in Protocol Buffers; and zeros up to a multiple of
//! 4 KiB, so that no write touches the page of an earlier frame. Once the database has all groups on the device, the next
//! frame begins the file again. Knows frames and numbers; nothing of when, nor of what a group does.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use redb::{Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};
use sha2::{Digest, Sha256};
use sorcha_peer_core::envelope::Envelope;
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{PeerId, WallTime};
use tokio::sync::oneshot;

use super::Source;
use super::cursors::CursorState;
use super::envelope::read_header;
use super::fault::Broken;
use super::group::{self, Operation};
use super::records::read_record;
use super::schema::{JOURNAL_BYTES, JOURNAL_GROUP_BYTES_MAX, META, META_GROUP, META_STORE};

/// Frames begin at multiples of it: what the system writes at once.
const PAGE_BYTES: usize = 4096;
/// Before what a frame carries.
const FRAME_HEADER_BYTES: usize = 40;
const DIGEST_BYTES: usize = 16;
/// What a frame takes of each operation beyond `Operation::bytes`, at most.
const OPERATION_EXTRA_BYTES: usize = 64;

/// The file and where the next frame goes.
#[derive(Debug)]
pub(super) struct Journal {
    file: Box<dyn StorageBackend>,
    /// Frames of another store are none.
    store: u64,
    /// Number of the last group.
    last: u64,
    /// Where the next frame begins; what lies before is not on the device as part of the database.
    end: u64,
    /// Reused.
    frame: Vec<u8>,
}

impl Journal {
    /// Reads the journal of a database, which has this layout, and applies what the database lacks: readable at
    /// once, on the device as part of the database with its next synced commit.
    pub(super) fn recover(database: &Database, file: Box<dyn StorageBackend>) -> Result<Self, Broken> {
        let (store, applied) = {
            let snapshot = database.begin_read()?;
            let meta = snapshot.open_table(META)?;
            let store =
                meta.get(META_STORE)?.ok_or_else(|| Broken::Damaged("the store has no number".to_owned()))?;
            (store.value(), meta.get(META_GROUP)?.map_or(0, |last| last.value()))
        };
        let found = read(&*file, store, applied)?;
        let mut journal = Self { file, store, last: applied, end: 0, frame: Vec::new() };
        for Found { number, group, end } in found {
            let txn = database.begin_write()?;
            let now = WallTime::from_unix_ms(group.now_unix_ms);
            let operations = group.operations.into_iter().map(operation).collect::<Result<Vec<_>, _>>()?;
            group::apply(&txn, &operations, now)?;
            number_group(&txn, number)?;
            commit(txn)?;
            (journal.last, journal.end) = (number, end);
        }
        if journal.end > 0 {
            let groups = journal.last - applied;
            tracing::info!(groups, "what the database had not on the device was read from the journal");
        }
        Ok(journal)
    }

    /// Whether it holds what the database has not on the device.
    pub(super) fn is_needed(&self) -> bool {
        self.end > 0
    }

    /// The number of the next group, which its transaction writes down, by the journal or not.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Whether these operations are worth a frame and find room for one.
    pub(super) fn takes(&self, operations: &[Operation]) -> bool {
        let bytes =
            operations.iter().map(|operation| operation.bytes() + OPERATION_EXTRA_BYTES).sum::<usize>();
        let frame = (FRAME_HEADER_BYTES + bytes).next_multiple_of(PAGE_BYTES) as u64;
        bytes <= JOURNAL_GROUP_BYTES_MAX
            && self.end + frame <= JOURNAL_BYTES
            && !operations.iter().any(|operation| matches!(operation, Operation::Expire { .. }))
    }

    /// Writes and syncs a frame: durable where this answers `Ok`. Where it does not, the journal is to be opened anew.
    pub(super) fn append(&mut self, operations: &[Operation], now: WallTime) -> io::Result<()> {
        let group = Group {
            now_unix_ms: now.as_unix_ms(),
            operations: operations.iter().filter_map(entry).collect(),
        };
        let (number, length) = (self.next(), group.encoded_len());
        self.frame.clear();
        self.frame.resize(DIGEST_BYTES, 0);
        self.frame.extend(self.store.to_le_bytes());
        self.frame.extend(number.to_le_bytes());
        self.frame.extend((length as u64).to_le_bytes());
        group.encode(&mut self.frame).map_err(io::Error::other)?;
        let digest = digest(&self.frame[DIGEST_BYTES..]);
        self.frame[..DIGEST_BYTES].copy_from_slice(&digest);
        self.frame.resize(self.frame.len().next_multiple_of(PAGE_BYTES), 0);
        self.file.write(self.end, &self.frame)?;
        self.file.sync_data()?;
        self.end += self.frame.len() as u64;
        self.last = number;
        Ok(())
    }

    /// A group went to the database without a frame.
    pub(super) fn passed(&mut self) {
        self.last += 1;
    }

    /// The database has everything on the device.
    pub(super) fn begin_again(&mut self) {
        self.end = 0;
        self.frame.shrink_to(JOURNAL_GROUP_BYTES_MAX / 4);
    }
}

/// Writes the number of a group into its transaction.
pub(super) fn number_group(txn: &WriteTransaction, number: u64) -> Result<(), Broken> {
    txn.open_table(META)?.insert(META_GROUP, number)?;
    Ok(())
}

/// Commits what the journal has on the device; the database itself takes it there with its next synced commit.
pub(super) fn commit(mut txn: WriteTransaction) -> Result<(), Broken> {
    // Refused only where several processes share a database.
    txn.set_durability(Durability::None).map_err(|error| Broken::Damaged(error.to_string()))?;
    Ok(txn.commit()?)
}

/// A group that the database lacks.
struct Found {
    number: u64,
    group: Group,
    /// Where its frame ends.
    end: u64,
}

/// The groups after `applied`.
fn read(file: &dyn StorageBackend, store: u64, applied: u64) -> Result<Vec<Found>, Broken> {
    let mut bytes = vec![0; file.len()?.min(JOURNAL_BYTES) as usize];
    file.read(0, &mut bytes)?;
    let bytes = Bytes::from(bytes);
    let (mut found, mut at, mut last) = (Vec::new(), 0, None);
    while let Some((number, payload)) = frame_at(&bytes, at, store)
        && last.is_none_or(|last| number == last + 1)
    {
        at = (at + FRAME_HEADER_BYTES + payload.len()).next_multiple_of(PAGE_BYTES);
        if number > applied {
            let group = Group::decode(payload).map_err(|error| {
                Broken::Damaged(format!("group {number} of the journal cannot be read: {error}"))
            })?;
            found.push(Found { number, group, end: at as u64 });
        }
        last = Some(number);
    }
    // Only the last frame can have been cut off: one beyond was written after the cut one had been synced.
    let reached = found.last().map_or(applied, |found| found.number);
    let beyond = (at..bytes.len()).step_by(PAGE_BYTES).find_map(|at| frame_at(&bytes, at, store));
    let first = found.first().map_or(reached + 1, |found| found.number);
    if let Some(number) = beyond.map(|(number, _)| number).filter(|number| *number > reached) {
        return Err(hole(reached, number));
    }
    if first != applied + 1 {
        return Err(hole(applied, first));
    }
    Ok(found)
}

fn hole(before: u64, after: u64) -> Broken {
    Broken::Damaged(format!(
        "the journal goes on with group {after}, the store ends with group {before}: what lies between is lost, or the \
         store is older than its journal"
    ))
}

/// The whole frame that begins there: the number of its group and what it carries.
fn frame_at(bytes: &Bytes, at: usize, store: u64) -> Option<(u64, Bytes)> {
    let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
    let number = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    if number(16)? != store {
        return None;
    }
    let length = usize::try_from(number(32)?).ok()?;
    let end = at.checked_add(FRAME_HEADER_BYTES)?.checked_add(length)?;
    let digested = bytes.get(at + DIGEST_BYTES..end)?;
    (digest(digested) == header[..DIGEST_BYTES])
        .then(|| bytes.slice(at + FRAME_HEADER_BYTES..end))
        .zip(number(24))
        .map(|(payload, number)| (number, payload))
}

fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    *digest.first_chunk().expect("longer")
}

/// What a frame carries.
#[derive(Clone, PartialEq, prost::Message)]
struct Group {
    /// The clock that it was applied with.
    #[prost(uint64, tag = "1")]
    now_unix_ms: u64,
    #[prost(message, repeated, tag = "2")]
    operations: Vec<Entry>,
}

/// An operation.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Persist(Persist),
    #[prost(message, tag = "2")]
    Acknowledge(Acknowledge),
    /// A cursor's name.
    #[prost(string, tag = "3")]
    DeleteCursor(String),
    /// An encoded `SignedRecord`.
    #[prost(bytes = "bytes", tag = "4")]
    Remember(Bytes),
    /// A peer's id.
    #[prost(bytes = "bytes", tag = "5")]
    Forget(Bytes),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Persist {
    #[prost(bytes = "bytes", tag = "1")]
    signed: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    signature: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    certificate: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
    #[prost(string, tag = "5")]
    idempotency_key: String,
    #[prost(uint64, tag = "6")]
    received_unix_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Acknowledge {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    position: u64,
    /// First and last position of each run.
    #[prost(uint64, repeated, tag = "3")]
    ahead: Vec<u64>,
}

/// What a frame says of an operation.
fn entry(operation: &Operation) -> Option<Entry> {
    let kind = match operation {
        Operation::Persist { envelope, body, source, received, .. } => Kind::Persist(Persist {
            signed: envelope.signed().clone(),
            signature: envelope.signature().clone(),
            certificate: envelope.certificate().clone(),
            body: body.bytes().clone(),
            idempotency_key: source.idempotency_key().to_owned(),
            received_unix_ms: received.as_unix_ms(),
        }),
        Operation::Acknowledge { name, state, .. } => Kind::Acknowledge(Acknowledge {
            name: name.clone(),
            position: state.position,
            ahead: state.ahead.iter().flat_map(|(from, to)| [*from, *to]).collect(),
        }),
        Operation::DeleteCursor { name, .. } => Kind::DeleteCursor(name.clone()),
        Operation::Remember(record) => Kind::Remember(sorcha_peer_wire::encode_record_bytes(record)),
        Operation::Forget(peer) => Kind::Forget(Bytes::copy_from_slice(peer.as_bytes())),
        // Never in a group with a frame.
        Operation::Expire { .. } => return None,
    };
    Some(Entry { kind: Some(kind) })
}

/// The operation that a frame tells of; nobody waits for it any more.
fn operation(entry: Entry) -> Result<Operation, Broken> {
    let kind = entry
        .kind
        .ok_or_else(|| Broken::Damaged("the journal has an operation of no known kind".to_owned()))?;
    Ok(match kind {
        Kind::Persist(persist) => {
            let header = read_header(&persist.signed)?;
            let envelope = Envelope::new(header, persist.signed, persist.signature, persist.certificate);
            Operation::Persist {
                envelope: Arc::new(envelope),
                body: Arc::new(Body::new(persist.body)),
                source: Source::Client(persist.idempotency_key),
                received: WallTime::from_unix_ms(persist.received_unix_ms),
                done: Box::new(|_| ()),
            }
        }
        Kind::Acknowledge(Acknowledge { name, position, ahead }) => {
            let ahead = ahead.as_chunks().0.iter().map(|[from, to]| (*from, *to)).collect();
            Operation::Acknowledge {
                name,
                state: CursorState { position, ahead },
                done: oneshot::channel().0,
            }
        }
        Kind::DeleteCursor(name) => Operation::DeleteCursor { name, done: oneshot::channel().0 },
        Kind::Remember(record) => Operation::Remember(Arc::new(read_record(&record)?)),
        Kind::Forget(peer) => {
            let peer = PeerId::from_slice(&peer).ok_or_else(|| {
                Broken::Damaged(format!("the journal forgets a peer whose id has {} bytes", peer.len()))
            })?;
            Operation::Forget(peer)
        }
    })
}
