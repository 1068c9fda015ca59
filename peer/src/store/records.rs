//! Records of peers, kept over restarts so that a peer finds its network again without its bootstrap addresses.

use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata, Table};
use sorcha_peer_core::envelope::SignedRecord;
use sorcha_peer_core::types::{PeerId, bounds::ROSTER_MEMBERS_MAX};

use super::fault::Broken;

type Records<'txn> = Table<'txn, &'static [u8; 32], &'static [u8]>;

/// A record from its row.
pub(super) fn read_record(row: &[u8]) -> Result<SignedRecord, Broken> {
    sorcha_peer_wire::decode_record_bytes(Bytes::copy_from_slice(row))
        .map_err(|error| Broken::Damaged(format!("the record of a peer cannot be read: {error}")))
}

/// Keeps a record unless a newer one of the same peer is there, or the roster's bound is reached. Answers whether it did.
pub(super) fn remember(records: &mut Records<'_>, record: &SignedRecord) -> Result<bool, Broken> {
    let known = records.get(record.peer.as_bytes())?.map(|row| read_record(row.value()));
    match known {
        // An unreadable record is replaced: the network knows it better.
        Some(Ok(known)) if !record.record.is_newer_than(&known.record) => return Ok(false),
        None if records.len()? >= ROSTER_MEMBERS_MAX as u64 => return Ok(false),
        _ => {}
    }
    records.insert(record.peer.as_bytes(), sorcha_peer_wire::encode_record_bytes(record).as_ref())?;
    Ok(true)
}

/// Drops a record. Answers whether there was one.
pub(super) fn forget(records: &mut Records<'_>, peer: &PeerId) -> Result<bool, Broken> {
    Ok(records.remove(peer.as_bytes())?.is_some())
}

/// All records, by peer id; unreadable ones are left out, for they are learned again.
pub(super) fn all<T>(records: &T) -> Result<Vec<Arc<SignedRecord>>, Broken>
where
    T: ReadableTable<&'static [u8; 32], &'static [u8]>,
{
    let mut all = Vec::new();
    for row in records.iter()? {
        if let Ok(record) = read_record(row?.1.value()) {
            all.push(Arc::new(record));
        }
    }
    Ok(all)
}
