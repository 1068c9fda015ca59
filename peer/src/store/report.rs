//! What a check found, for people and programs. Knows words only.

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
