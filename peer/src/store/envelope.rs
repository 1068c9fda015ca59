//! Transactions as rows: the log entry, the certificate archive, bodies in segments. Knows how a transaction is
//! laid out; nothing of groups, snapshots or threads.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, StorageError, Table};
use sorcha_peer_core::envelope::{Envelope, Header, certificate_digest};
use sorcha_peer_core::tree::{self, Body};
use sorcha_peer_core::types::{Hash, TxId, WallTime, bounds::CHUNK_BYTES};

use super::Stored;
use super::fault::Broken;
use super::schema::{
    CERTIFICATE_SLACK_MS, CERTIFICATES, INDEX_BYTES, INLINE_BYTES_MAX, LOG, SEGMENT_BYTES, SEGMENTS,
    TREE_NODES_PER_ROW, TREES,
};

/// A transaction in the log. Unknown fields of later versions are skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LogEntry {
    /// The header's bytes as they travel.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) signed: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) signature: Bytes,
    /// SHA-256 of the certificate, which is stored once.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) certificate: Bytes,
    #[prost(uint64, tag = "4")]
    pub(super) received_unix_ms: u64,
    /// The body where it is at most `INLINE_BYTES_MAX`; otherwise it lies in segments.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(super) body: Option<Bytes>,
}

/// What a header's signed bytes say.
pub(super) fn read_header(signed: &Bytes) -> Result<Header, Broken> {
    sorcha_peer_wire::decode_header(signed.clone())
        .map_err(|error| Broken::Damaged(format!("a header cannot be read: {error}")))
}

/// Whether a transaction can be read back once it is written: only such ones are.
pub(super) fn check(envelope: &Envelope, body: &Body) -> Result<(), String> {
    let (id, length) = (envelope.id(), envelope.header().body_bytes);
    match sorcha_peer_wire::decode_header(envelope.signed().clone()) {
        Err(error) => Err(format!("the header of {id} could not be read back: {error}")),
        Ok(header) if header != *envelope.header() => {
            Err(format!("the header of {id} does not say what its bytes say"))
        }
        Ok(_) if body.bytes().len() as u64 != length => {
            Err(format!("the body of {id} has {} bytes, its header says {length}", body.bytes().len()))
        }
        Ok(_) => Ok(()),
    }
}

/// A log entry from its row.
pub(super) fn read_entry(position: u64, row: &[u8]) -> Result<LogEntry, Broken> {
    LogEntry::decode(Bytes::copy_from_slice(row))
        .map_err(|error| Broken::Damaged(format!("the entry at position {position} cannot be read: {error}")))
}

/// The tables that a transaction is written to, open in one group.
pub(super) struct Writer<'txn> {
    pub(super) log: Table<'txn, u64, &'static [u8]>,
    pub(super) segments: Table<'txn, (u64, u32), &'static [u8]>,
    pub(super) trees: Table<'txn, (u64, u8, u32), &'static [u8]>,
    pub(super) certificates: Table<'txn, &'static [u8; 32], &'static [u8]>,
    pub(super) certificate_times: Table<'txn, &'static [u8; 32], u64>,
}

impl Writer<'_> {
    /// Lays a transaction down at `position`; how many bytes it takes, rows of indices estimated.
    pub(super) fn write(
        &mut self,
        position: u64,
        envelope: &Envelope,
        body: &Body,
        received: WallTime,
    ) -> Result<u64, StorageError> {
        let certificate = *certificate_digest(envelope.certificate()).as_bytes();
        if self.certificates.get(&certificate)?.is_none() {
            self.certificates.insert(&certificate, envelope.certificate().as_ref())?;
        }
        let published = envelope.header().published.as_unix_ms();
        let last = self.certificate_times.get(&certificate)?.map(|last| last.value());
        if last.is_none_or(|last| last.saturating_add(CERTIFICATE_SLACK_MS) < published) {
            self.certificate_times.insert(&certificate, published)?;
        }
        let mut bytes = INDEX_BYTES;
        let inline = body.bytes().len() <= INLINE_BYTES_MAX;
        if !inline {
            for (segment, part) in (0..).zip(body.bytes().chunks(SEGMENT_BYTES)) {
                self.segments.insert((position, segment), part)?;
                bytes += part.len() as u64;
            }
        }
        for ((level, block), nodes) in tree_rows(body) {
            self.trees.insert((position, level, block), nodes.as_slice())?;
            bytes += nodes.len() as u64;
        }
        let entry = LogEntry {
            signed: envelope.signed().clone(),
            signature: envelope.signature().clone(),
            certificate: Bytes::copy_from_slice(&certificate),
            received_unix_ms: received.as_unix_ms(),
            body: inline.then(|| body.bytes().clone()),
        };
        let entry = entry.encode_to_vec();
        self.log.insert(position, entry.as_slice())?;
        Ok(bytes + entry.len() as u64)
    }

    /// Takes out what lies at `position`; how many bytes it took, as [`Self::write`] counted them.
    pub(super) fn remove(&mut self, position: u64) -> Result<u64, StorageError> {
        let Some(entry) = self.log.remove(position)?.map(|entry| entry.value().len()) else { return Ok(0) };
        let mut bytes = INDEX_BYTES + entry as u64;
        self.segments.retain_in((position, 0)..(position + 1, 0), |_, part| {
            bytes += part.len() as u64;
            false
        })?;
        self.trees.retain_in((position, 0, 0)..(position + 1, 0, 0), |_, nodes| {
            bytes += nodes.len() as u64;
            false
        })?;
        Ok(bytes)
    }
}

/// The chunk tree of a body of several chunks by (level, block), without its root, which the header has.
fn tree_rows(body: &Body) -> Vec<((u8, u32), Vec<u8>)> {
    let mut levels = tree::levels(body.leaves().to_vec());
    levels.pop();
    let rows = (0..).zip(levels).flat_map(|(level, nodes)| {
        let blocks = nodes
            .chunks(TREE_NODES_PER_ROW)
            .map(|block| block.iter().flat_map(|node| *node.as_bytes()).collect());
        (0..).zip(blocks.collect::<Vec<_>>()).map(move |(block, nodes)| ((level, block), nodes))
    });
    rows.collect()
}

/// The same tables on a snapshot.
pub(super) struct Reader {
    log: ReadOnlyTable<u64, &'static [u8]>,
    segments: ReadOnlyTable<(u64, u32), &'static [u8]>,
    trees: ReadOnlyTable<(u64, u8, u32), &'static [u8]>,
    certificates: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
}

impl Reader {
    pub(super) fn new(snapshot: &ReadTransaction) -> Result<Self, Broken> {
        Ok(Self {
            log: snapshot.open_table(LOG)?,
            segments: snapshot.open_table(SEGMENTS)?,
            trees: snapshot.open_table(TREES)?,
            certificates: snapshot.open_table(CERTIFICATES)?,
        })
    }

    /// What lies at a position, if anything.
    pub(super) fn row(&self, position: u64) -> Result<Option<Vec<u8>>, Broken> {
        Ok(self.log.get(position)?.map(|row| row.value().to_vec()))
    }

    /// The entry at a position that an index led to.
    pub(super) fn entry(&self, position: u64) -> Result<LogEntry, Broken> {
        let row = self.log.get(position)?;
        let row = row.ok_or_else(|| Broken::Damaged(format!("position {position} is missing in the log")))?;
        read_entry(position, row.value())
    }

    /// The transaction at a position, rebuilt.
    pub(super) fn stored(&self, position: u64, entry: LogEntry) -> Result<Stored, Broken> {
        let digest: &[u8; 32] =
            entry.certificate.as_ref().try_into().map_err(|_| {
                Broken::Damaged(format!("the entry at position {position} names no certificate"))
            })?;
        let certificate = self.certificates.get(digest)?.ok_or_else(|| {
            Broken::Damaged(format!("the certificate of the entry at position {position} is missing"))
        })?;
        let certificate = Bytes::copy_from_slice(certificate.value());
        let header = read_header(&entry.signed)?;
        let envelope = Envelope::new(header, entry.signed, entry.signature, certificate);
        let received = WallTime::from_unix_ms(entry.received_unix_ms);
        Ok(Stored { position, envelope: Arc::new(envelope), received })
    }

    /// Bytes that what lies at a position takes, as [`Writer::write`] counts them.
    pub(super) fn bytes(&self, position: u64, entry: usize) -> Result<u64, Broken> {
        let mut bytes = INDEX_BYTES + entry as u64;
        for part in self.segments.range((position, 0)..(position + 1, 0))? {
            bytes += part?.1.value().len() as u64;
        }
        for nodes in self.trees.range((position, 0, 0)..(position + 1, 0, 0))? {
            bytes += nodes?.1.value().len() as u64;
        }
        Ok(bytes)
    }

    /// Transactions after a position, at most `limit`.
    pub(super) fn after(&self, position: u64, limit: usize) -> Result<Vec<Stored>, Broken> {
        let mut found = Vec::new();
        for row in self.log.range(position.saturating_add(1)..)?.take(limit) {
            let (at, row) = row?;
            let at = at.value();
            found.push(self.stored(at, read_entry(at, row.value())?)?);
        }
        Ok(found)
    }

    /// The whole body of the entry at a position.
    pub(super) fn body(&self, position: u64, entry: &LogEntry) -> Result<Bytes, Broken> {
        self.whole(position, entry.body.as_ref(), read_header(&entry.signed)?.body_bytes)
    }

    /// The same, where what lies in the entry itself and the length are known.
    pub(super) fn whole(&self, position: u64, inline: Option<&Bytes>, length: u64) -> Result<Bytes, Broken> {
        let body = match inline {
            Some(body) => body.clone(),
            None => self.part(position, 0, usize::try_from(length).unwrap_or(usize::MAX))?,
        };
        if body.len() as u64 == length {
            return Ok(body);
        }
        let found = body.len();
        Err(Broken::Damaged(format!("the body at position {position} has {found} of its {length} bytes")))
    }

    /// At most `length` bytes of a body from `start`; empty behind its end.
    pub(super) fn body_part(
        &self,
        position: u64,
        entry: &LogEntry,
        start: u64,
        length: usize,
    ) -> Result<Bytes, Broken> {
        let whole = read_header(&entry.signed)?.body_bytes;
        let start = start.min(whole);
        let length = (whole - start).min(length as u64) as usize;
        let start = start as usize;
        let part = match &entry.body {
            Some(body) if body.len() as u64 == whole => body.slice(start..start + length),
            Some(_) => return Err(Broken::Damaged(format!("the body at position {position} is cut off"))),
            None => self.part(position, start, length)?,
        };
        if part.len() == length {
            return Ok(part);
        }
        let found = part.len();
        Err(Broken::Damaged(format!(
            "the body at position {position} has {found} of {length} bytes from byte {start}"
        )))
    }

    /// One chunk and its proof; `None` where the body has no such chunk.
    pub(super) fn chunk(
        &self,
        position: u64,
        entry: &LogEntry,
        index: u32,
    ) -> Result<Option<(Bytes, Vec<Hash>)>, Broken> {
        let length = read_header(&entry.signed)?.body_bytes;
        let count = tree::chunk_count(length);
        if u64::from(index) >= count {
            return Ok(None);
        }
        let start = index as usize * CHUNK_BYTES;
        let end = (start + CHUNK_BYTES).min(usize::try_from(length).unwrap_or(usize::MAX));
        let data = match &entry.body {
            Some(body) if body.len() >= end => body.slice(start..end),
            Some(_) => return Err(Broken::Damaged(format!("the body at position {position} is cut off"))),
            None => self.part(position, start, end - start)?,
        };
        let nodes = tree::proof_nodes(u64::from(index), count).into_iter();
        let proof: Result<_, _> = nodes.map(|(level, at)| self.node(position, level as u8, at)).collect();
        Ok(Some((data, proof?)))
    }

    /// One node of a chunk tree.
    fn node(&self, position: u64, level: u8, at: u64) -> Result<Hash, Broken> {
        let (block, place) = (at as usize / TREE_NODES_PER_ROW, at as usize % TREE_NODES_PER_ROW);
        let row = self.trees.get((position, level, block as u32))?;
        let node = row.and_then(|row| Hash::from_slice(row.value().chunks(32).nth(place)?));
        let missing = || {
            format!(
                "node {at} of level {level} is missing in the chunk tree of the body at position {position}"
            )
        };
        node.ok_or_else(|| Broken::Damaged(missing()))
    }

    /// Whether the stored chunk tree is the one of this body; how many rows it has.
    pub(super) fn check_tree(&self, position: u64, body: &Body) -> Result<u64, Broken> {
        let mut rows = 0;
        for ((level, block), nodes) in tree_rows(body) {
            let row = self.trees.get((position, level, block))?;
            if row.is_none_or(|row| row.value() != nodes) {
                let detail =
                    format!("the chunk tree of the body at position {position} is not that of the body");
                return Err(Broken::Damaged(detail));
            }
            rows += 1;
        }
        Ok(rows)
    }

    /// `length` bytes from `start` of a body in segments; fewer where segments are missing.
    fn part(&self, position: u64, start: usize, length: usize) -> Result<Bytes, Broken> {
        let first = start / SEGMENT_BYTES;
        let mut skip = start % SEGMENT_BYTES;
        let mut part = BytesMut::new();
        for row in self.segments.range((position, first as u32)..(position + 1, 0))? {
            let row = row?.1;
            let available = row.value().get(skip..).unwrap_or_default();
            part.extend_from_slice(&available[..available.len().min(length - part.len())]);
            skip = 0;
            if part.len() == length {
                break;
            }
        }
        Ok(part.freeze())
    }
}

/// The position of an id.
pub(super) fn position<T>(ids: &T, id: &TxId) -> Result<Option<u64>, StorageError>
where
    T: ReadableTable<&'static [u8; 32], u64>,
{
    Ok(ids.get(id.as_bytes())?.map(|position| position.value()))
}
