//! What a check, a repair or a count found, for people and programs. Knows words only.

use std::path::PathBuf;

use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// The database.
    pub file: PathBuf,
    /// Version of its layout.
    pub layout: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Transactions held.
    pub transactions: u64,
    /// Bytes that they take in the file, indices estimated; what `retention.bytes` bounds.
    pub live_bytes: u64,
    /// What was published before this was removed by retention, milliseconds since the Unix epoch; 0: nothing.
    pub floor_unix_ms: u64,
    /// SHA-256 over their ids in the order of ids, hexadecimal: equal where two stores hold the same.
    pub ids_digest: String,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Certificates in the archive.
    pub certificates: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys: u64,
    /// Named cursors.
    pub cursors: u64,
    /// Records of peers.
    pub records: u64,
    /// What is wrong, at most 1,000; empty: the store is whole.
    pub faults: Vec<Fault>,
    /// Faults beyond those listed.
    pub faults_unlisted: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it concerns.
    pub kind: FaultKind,
    /// As a sentence.
    pub message: String,
}

/// What a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Pages of the database itself.
    Database,
    /// The journal: what the database has not on the device yet.
    Journal,
    /// An envelope: its header, its id.
    Envelope,
    /// A certificate of the archive.
    Certificate,
    /// A body or its leaf hashes.
    Body,
    /// An index that leads nowhere, or misses something.
    Index,
    /// The sums that ranges are answered from.
    Summary,
    /// An idempotency key.
    Key,
    /// A cursor.
    Cursor,
    /// A peer's record.
    Record,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairReport {
    /// The database.
    pub file: PathBuf,
    /// Bytes of the file before.
    pub bytes_before: u64,
    /// Bytes of it now.
    pub bytes: u64,
    /// Transactions that were kept.
    pub transactions: u64,
    /// Transactions that were not, at most 1,000; others that hold them bring them again.
    pub lost: Vec<Lost>,
    /// Those beyond the ones listed.
    pub lost_unlisted: u64,
    /// What else could not be kept whole.
    pub notes: Vec<String>,
    /// Where the damaged file is now; none where nothing was lost.
    pub set_aside: Option<PathBuf>,
}

/// A transaction that a repair could not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Its position in the order of arrival.
    pub position: u64,
    /// Its id, where that could still be read.
    pub id: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

/// The figures of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreReport {
    /// The database.
    pub file: PathBuf,
    /// Version of its layout.
    pub layout: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes that the transactions held take in it, indices estimated; what `retention.bytes` bounds.
    pub live_bytes: u64,
    /// Transactions held.
    pub transactions: u64,
    /// Last position in the order of arrival.
    pub position: u64,
    /// Of the last start: a later start has a higher one.
    pub incarnation: u64,
    /// What was published before this was removed by retention, milliseconds since the Unix epoch; 0: nothing was.
    pub floor_unix_ms: u64,
    /// When the oldest transaction held was published; 0: none is held.
    pub oldest_unix_ms: u64,
    /// When the newest one was.
    pub newest_unix_ms: u64,
    /// Certificates in the archive.
    pub certificates: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys: u64,
    /// Records of peers.
    pub records: u64,
    /// Named cursors.
    pub cursors: Vec<CursorFigure>,
}

/// A named cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorFigure {
    /// Its name.
    pub name: String,
    /// The last position acknowledged.
    pub position: u64,
}
