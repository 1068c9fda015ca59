//! The tables of the database and the bounds of the store. Knows names, types and limits; reads and writes nothing.
//!
//! Transactions lie in a log by arrival position, so that a group appends to one place; everything that is
//! looked up otherwise is an index of fixed-width keys that leads to the position.

use redb::TableDefinition;

/// Version of this layout; a store with a higher one is refused, one with a lower one is brought up to it at its first
/// open. 1: without [`META_HEAD`], [`META_FLOOR`], [`META_BYTES`] and [`CERTIFICATE_TIMES`]; 2: without a journal.
pub(super) const SCHEMA: u64 = 3;
/// In [`META`]: version of the layout.
pub(super) const META_SCHEMA: &str = "schema";
/// In [`META`]: incarnation of the last start.
pub(super) const META_INCARNATION: &str = "incarnation";

/// In [`META`]: last arrival position given out. Retention may take the newest entry of the log.
pub(super) const META_HEAD: &str = "head";
/// In [`META`]: publication time in ms; what was published before is gone.
pub(super) const META_FLOOR: &str = "floor";
/// In [`META`]: bytes that the transactions held take, rows of indices estimated.
pub(super) const META_BYTES: &str = "bytes";

/// In [`META`]: a number drawn by lot, by which the journal knows its store.
pub(super) const META_STORE: &str = "store";
/// In [`META`]: number of the last group; those after it are in the journal.
pub(super) const META_GROUP: &str = "group";

/// Single numbers by name.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Arrival position -> encoded `LogEntry`.
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Transaction id -> arrival position.
pub(super) const IDS: TableDefinition<&[u8; 32], u64> = TableDefinition::new("ids");
/// (Position, segment) -> part of a body that is not inline.
pub(super) const SEGMENTS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("segments");
/// (Position, level, block) -> nodes of the chunk tree of a body of several chunks, 32 bytes each.
pub(super) const TREES: TableDefinition<(u64, u8, u32), &[u8]> = TableDefinition::new("trees");
/// SHA-256 -> certificate, DER.
pub(super) const CERTIFICATES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("certificates");
/// SHA-256 of a certificate -> when the newest transaction that it signed was published, ms, less
/// [`CERTIFICATE_SLACK_MS`] at most.
pub(super) const CERTIFICATE_TIMES: TableDefinition<&[u8; 32], u64> =
    TableDefinition::new("certificate_times");
/// (Publication time, id), big-endian: the order of reconciliation.
pub(super) const ORDER: TableDefinition<&[u8; 40], ()> = TableDefinition::new("order");
/// (Level, lower bound) -> (children, count, sum of ids): see `buckets`.
pub(super) const SUMMARY: TableDefinition<&[u8; 41], &[u8; 44]> = TableDefinition::new("summary");
/// Idempotency key -> (accepted, Unix ms; id).
pub(super) const KEYS: TableDefinition<&str, (u64, &[u8; 32])> = TableDefinition::new("keys");
/// (Accepted, Unix ms; idempotency key), to find the expired ones.
pub(super) const KEY_TIMES: TableDefinition<(u64, &str), ()> = TableDefinition::new("key_times");
/// Cursor -> last acknowledged position.
pub(super) const CURSORS: TableDefinition<&str, u64> = TableDefinition::new("cursors");
/// Cursor -> runs of positions acknowledged beyond its position: pairs of little-endian numbers, both included.
pub(super) const CURSORS_AHEAD: TableDefinition<&str, &[u8]> = TableDefinition::new("cursors_ahead");
/// Peer id -> encoded `SignedRecord`.
pub(super) const RECORDS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("records");

/// Bodies up to this stay in the log entry: what travels in a push is read with its header (docs/design.md § 3.5).
pub(super) const INLINE_BYTES_MAX: usize = sorcha_peer_core::types::bounds::PUSH_BODY_BYTES_MAX;
/// Bytes of a segment: with its page header just below 64 KiB. The database gives every large value pages of
/// a power of two, so segments of one chunk (16 KiB) would waste half the disk.
pub(super) const SEGMENT_BYTES: usize = 64 * 1024 - 256;
/// Nodes of a chunk tree in one row: a proof reads one row per level, and not more of it than a page.
pub(super) const TREE_NODES_PER_ROW: usize = 120;
/// How long an idempotency key is remembered (node.proto, `SubmitRequest`), ms.
pub(super) const KEY_AGE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Expired keys removed with one group at most, so that no group waits for a long sweep (guess).
pub(super) const KEY_SWEEP_MAX: usize = 256;
/// Transactions that one step of retention removes at most: steps go with groups, and a group should not wait for
/// one (guess: some 10 ms).
pub(super) const EXPIRE_MAX: u64 = 512;
/// Bytes that one step of retention removes at most, one larger body apart (guess: as a group adds).
pub(super) const EXPIRE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Rows of indices for each transaction, in [`META_BYTES`] (measured: the file of many of 1 KB takes 1.01 times what is
/// counted so).
pub(super) const INDEX_BYTES: u64 = 320;
/// How far the time of a certificate's last use may lag behind, ms: not every transaction writes it (guess).
pub(super) const CERTIFICATE_SLACK_MS: u64 = 60 * 60 * 1000;
/// Certificates looked at in one sweep (guess: more than members that a network has).
pub(super) const CERTIFICATE_SWEEP_MAX: usize = 16_384;
/// Files below this are not worth making smaller.
pub(super) const COMPACT_FROM_BYTES: u64 = 64 * 1024 * 1024;
/// A file is made smaller when what it holds takes less than one part in so many of it: then at least about half of
/// it is given back, however loosely the pages are filled (measured: by half, with bodies of 16 KiB).
pub(super) const COMPACT_PART: u64 = 3;
/// A running peer moves at most so many bytes to make its file smaller, for meanwhile nobody reads or writes (guess:
/// a second or two); more only `sorcha-peer store repair` does.
pub(super) const COMPACT_LIVE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Cursors held; a new one beyond is refused (guess: an application has a handful).
pub(super) const CURSORS_MAX: u64 = 4096;
/// Runs acknowledged beyond a cursor's position: twice what a subscription holds back at most, and 64 KiB.
pub(super) const CURSOR_RUNS_MAX: usize = 4096;
/// Operations waiting for the writer; beyond it `persist` is refused at once (guess: a second's work).
pub(super) const QUEUE_OPS_MAX: usize = 16_384;
/// Bytes waiting for the writer; beyond it `persist` is refused, unless nothing else waits (guess).
pub(super) const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Operations in one group at most (guess: some 30 ms of work).
pub(super) const GROUP_OPS_MAX: usize = 4096;
/// Bytes in one group at most, one larger body apart (guess: within the smallest useful cache).
pub(super) const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The journal's file, which takes so much from the start. What it can hold is there twice: two seconds of 1,000 transactions of
/// 1 KB, and room for it in [`RESERVE_BYTES`] once more when the database takes it.
pub(super) const JOURNAL_BYTES: u64 = 2 * 1024 * 1024;
/// Larger groups go to the database at once: with them it is the bytes that cost, and the journal writes them once more (guess).
pub(super) const JOURNAL_GROUP_BYTES_MAX: usize = 256 * 1024;
/// Free bytes that must remain on the device after a group: room for the repair of the database at the next open,
/// and for the logs of the neighbours (guess).
pub(super) const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// Databases up to this are verified whole at every open (measured: 0.3 s per 100 MB); larger ones after a crash only.
pub(super) const VERIFY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// From this size on commits also save the state that makes the repair after a crash instant, at up to half
/// the rate of single commits (measured: repair takes 2.0 s at 612 MB otherwise).
pub(super) const QUICK_REPAIR_FROM_BYTES: u64 = 512 * 1024 * 1024;
