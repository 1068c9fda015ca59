//! Records that a peer starts with: verified, one for each peer, in the order of ids, summed up.
//!
//! Made once and shared: thousands of simulated peers that start with the same records sort them and take their sums once.

use std::sync::Arc;

use super::roster::mark;
use crate::envelope::SignedRecord;
use crate::message::Fingerprint;
use crate::types::bounds::ROSTER_MEMBERS_MAX;

/// Verified records, of two of one peer's the newer.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub(super) records: Arc<[Arc<SignedRecord>]>,
    pub(super) digest: Fingerprint,
}

impl Known {
    /// The records by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SignedRecord>> {
        self.records.iter()
    }
}

impl From<Vec<Arc<SignedRecord>>> for Known {
    /// Beyond `ROSTER_MEMBERS_MAX` the rest is cut.
    fn from(mut records: Vec<Arc<SignedRecord>>) -> Self {
        let newer_last = |record: &Arc<SignedRecord>| (record.record.incarnation, record.record.sequence);
        records.sort_by(|one, other| {
            one.peer.cmp(&other.peer).then_with(|| newer_last(other).cmp(&newer_last(one)))
        });
        records.dedup_by_key(|record| record.peer);
        records.truncate(ROSTER_MEMBERS_MAX);
        let mut digest = Fingerprint::default();
        for record in &records {
            digest.add(&mark(&record.peer, &record.record));
        }
        Self { records: records.into(), digest }
    }
}
