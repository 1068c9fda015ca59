//! What the core is told about its surroundings: plain, already validated values.
//!
//! Knows no file and no default of the operator's; `peer/config` reads and checks the file.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::{SignedRecord, mark};
use crate::message::Fingerprint;
use crate::payload::Codings;
use crate::types::bounds::ROSTER_MEMBERS_MAX;
use crate::types::{Address, PeerId, WallTime};

/// How the core shall behave. Every field has a default, see [`Config::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Network id; links and envelopes of another one are refused.
    pub network: String,
    /// Addresses told to others, best first (at most `RECORD_ADDRESSES_MAX`); empty: nobody can dial this peer.
    pub advertise: Vec<Address>,
    /// Peers to begin with; the own address among them is recognised and skipped.
    pub bootstrap: Vec<Address>,
    /// A word for where the peer is, told to others.
    pub site: String,
    /// Program and version, told to others.
    pub software: String,
    /// How often records are exchanged with a random peer and the own record is renewed.
    pub refresh_interval: Duration,
    /// A link that says nothing for this long is pinged; after three of them it is closed.
    pub heartbeat_interval: Duration,
    /// A member that could not be reached for this long is forgotten.
    pub forget_after: Duration,
    /// How often a round of reconciliation is opened with a random linked peer.
    pub sync_interval: Duration,
    /// Longest body accepted from local applications, in bytes. Bodies of other peers are taken up to
    /// `BODY_BYTES_MAX`, or the two would never converge.
    pub body_bytes_max: u64,
    /// Links at most; one more is told `Full`.
    pub links_max: usize,
    /// Submissions under way at most; one more is refused as busy.
    pub submissions_max: usize,
    /// Row count of the grid, instead of the one that follows from the number of members; a power of two. For tests
    /// and simulations of peers whose views differ.
    pub rows: Option<u32>,
    /// Bodies being fetched may take this much memory together; further ones wait.
    pub fetch_bytes_max: u64,
    /// Transactions published longer ago are removed; `None`: never for their age.
    pub retention_age: Option<Duration>,
    /// While the transactions take more bytes in the store, the oldest is removed; `None`: never for that.
    pub retention_bytes: Option<u64>,
    /// What is stored here outlives the machine; otherwise this peer is no holder to others.
    pub durable: bool,
    /// How bodies may travel, beside plain: told to others, and sent to those who say the same.
    pub codings: Codings,
    /// What travels to a peer refers to its origin's certificate, instead of carrying it, once the origin's record with that
    /// certificate has been known here, and the link has stood, for this long; `None`: never, and others are told that this
    /// peer does not read references, as older ones do not.
    pub references_after: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: String::new(),
            advertise: Vec::new(),
            bootstrap: Vec::new(),
            site: String::new(),
            software: String::new(),
            // docs/design.md § 5.
            refresh_interval: Duration::from_secs(15 * 60),
            // Guess: a dead link is noticed in 15 s and idle links cost a few bytes per second.
            heartbeat_interval: Duration::from_secs(5),
            // Guess: longer than a restart of a container, shorter than anyone's patience.
            forget_after: Duration::from_secs(60),
            // docs/design.md § 3.6.
            sync_interval: Duration::from_secs(10),
            body_bytes_max: 64 * 1024 * 1024,
            links_max: 1024,
            submissions_max: 4096,
            rows: None,
            fetch_bytes_max: 128 * 1024 * 1024,
            retention_age: None,
            retention_bytes: None,
            durable: true,
            codings: Codings::ALL,
            // docs/design.md § 3.8. Guess: news of a record is round in a second, the exchange finds what it missed in some more.
            references_after: Some(Duration::from_secs(10)),
        }
    }
}

/// Who this peer is: from its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// SPIFFE URI.
    pub uri: String,
}

impl Identity {
    /// SHA-256 of the URI.
    pub fn peer(&self) -> PeerId {
        PeerId::of_uri(&self.uri)
    }
}

/// What differs from start to start.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Number of this start, see [`next_incarnation`]; durable before the core is made.
    pub incarnation: u64,
    /// For the random generator: from entropy in the shipping peer, from the scenario in the simulator.
    pub seed: u64,
    /// Records kept from earlier runs, already verified.
    pub known: Known,
    /// Transactions in the store.
    pub held: u64,
    /// What was published before this was removed by retention.
    pub floor: WallTime,
}

/// The incarnation of a start whose store remembers `last`: later than any start that this peer ever made, also one that
/// the store has forgotten because it was wiped or comes from a copy. Sequence numbers begin again with each incarnation;
/// under one that was used before they would name two transactions, and others would take the peer's record for an old one.
///
/// `last + 1`, or the wall clock in ms where that is more: a clock that was set back by more than the time since the last
/// start is the one case in which a wiped store is not noticed.
pub fn next_incarnation(last: u64, wall: WallTime) -> u64 {
    (last + 1).max(wall.as_unix_ms())
}

/// Records that a peer starts with: verified, one for each peer, of two of one peer's the newer, in the order of ids, summed
/// up. Made once and shared: thousands of simulated peers sort them and take their sums once.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub(crate) records: Arc<[Arc<SignedRecord>]>,
    pub(crate) digest: Fingerprint,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_new_though_the_store_was_wiped_or_restored() {
        let at = WallTime::from_unix_ms;
        let first = next_incarnation(0, at(1_000));
        assert!(next_incarnation(first, at(1_000)) > first, "a start within the same millisecond");
        assert!(next_incarnation(first, at(5)) > first, "the clock was set back");
        assert!(next_incarnation(0, at(1_001)) > first, "the store was wiped");
    }
}
