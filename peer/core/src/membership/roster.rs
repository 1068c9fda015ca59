//! Verified records of all members, and tombstones of those that are gone.
//!
//! Knows nothing of links. A tombstone keeps a forgotten member from coming back with a record that is
//! not newer than the one it was forgotten with; a newer record, or the peer itself on a link, revives it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Known;
use crate::envelope::{Record, SignedRecord, mark};
use crate::message::Fingerprint;
use crate::types::bounds::ROSTER_MEMBERS_MAX;
use crate::types::{PeerId, Time};
use crate::view::Size;

/// Tombstones at most; beyond it the oldest goes, and a stale record may then return until it is forgotten again.
const TOMBSTONES_MAX: usize = 4096;

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) record: Arc<SignedRecord>,
    /// When this record came.
    pub(crate) heard: Time,
    /// It says where it can be dialled. A copy, so that a walk over thousands of members opens no record.
    pub(crate) is_reachable: bool,
    /// When a record with its certificate came first, in whole seconds: a walk in the simulator keeps millions of members.
    certificate_since_s: u32,
}

impl Member {
    fn new(record: Arc<SignedRecord>, heard: Time) -> Self {
        let is_reachable = !record.record.addresses.is_empty();
        let certificate_since_s = (heard.as_micros() / 1_000_000) as u32;
        Self { record, heard, is_reachable, certificate_since_s }
    }

    /// When a record with its certificate came first, cut to whole seconds.
    pub(crate) fn certificate_since(&self) -> Time {
        Time::from_micros(u64::from(self.certificate_since_s) * 1_000_000)
    }
}

#[derive(Debug)]
struct Tombstone {
    incarnation: u64,
    sequence: u64,
    at: Time,
}

/// What a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A member that was not known.
    Joined,
    /// A newer record of a known member.
    Renewed,
    /// A known member leaves.
    Left,
    /// Nothing.
    None,
}

/// All members but this peer itself.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<PeerId, Member>,
    tombstones: BTreeMap<PeerId, Tombstone>,
    digest: Fingerprint,
    /// No member's record came before this.
    oldest: Time,
}

impl Roster {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 2] {
        [
            Size { name: "members", len: self.members.len(), max: ROSTER_MEMBERS_MAX },
            Size { name: "members forgotten", len: self.tombstones.len(), max: TOMBSTONES_MAX },
        ]
    }

    /// Whether a record would change anything, so that its signature is worth a check.
    pub(crate) fn wants(&self, record: &SignedRecord, from_itself: bool) -> bool {
        if let Some(member) = self.members.get(&record.peer) {
            return record.record.is_newer_than(&member.record.record);
        }
        match self.tombstones.get(&record.peer) {
            Some(stone) => {
                let said = (record.record.incarnation, record.record.sequence);
                let known = (stone.incarnation, stone.sequence);
                said > known || from_itself && said == known && !record.record.leaving
            }
            None => record.record.leaving || self.members.len() < ROSTER_MEMBERS_MAX,
        }
    }

    /// Fills an empty roster with all that is known, but for `me` and for those that leave.
    pub(crate) fn load(&mut self, known: &Known, me: &PeerId, now: Time) {
        self.digest = known.digest;
        self.oldest = now;
        let (digest, all) = (&mut self.digest, known.records.iter());
        let kept = all.filter(|known| {
            let kept = known.peer != *me && !known.record.leaving;
            if !kept {
                digest.remove(&mark(&known.peer, &known.record));
            }
            kept
        });
        self.members = kept.map(|known| (known.peer, Member::new(known.clone(), now))).collect();
    }

    /// Takes a verified record.
    pub(crate) fn take(&mut self, record: Arc<SignedRecord>, from_itself: bool, now: Time) -> Change {
        if !self.wants(&record, from_itself) {
            return Change::None;
        }
        let (peer, leaving) = (record.peer, record.record.leaving);
        if leaving {
            let known = self.remove(&peer).is_some();
            self.bury(peer, &record.record, now);
            return if known { Change::Left } else { Change::None };
        }
        self.tombstones.remove(&peer);
        let old = self.remove(&peer);
        self.digest.add(&mark(&peer, &record.record));
        let mut member = Member::new(record, now);
        if let Some(old) = &old
            && old.record.certificate == member.record.certificate
        {
            member.certificate_since_s = old.certificate_since_s;
        }
        self.members.insert(peer, member);
        if old.is_some() { Change::Renewed } else { Change::Joined }
    }

    /// Forgets a member; its record is not taken again.
    pub(crate) fn forget(&mut self, peer: &PeerId, now: Time) -> Option<Arc<SignedRecord>> {
        let member = self.remove(peer)?;
        self.bury(*peer, &member.record.record, now);
        Some(member.record)
    }

    fn remove(&mut self, peer: &PeerId) -> Option<Member> {
        let member = self.members.remove(peer)?;
        self.digest.remove(&mark(peer, &member.record.record));
        Some(member)
    }

    fn bury(&mut self, peer: PeerId, record: &Record, at: Time) {
        if self.tombstones.len() >= TOMBSTONES_MAX
            && let Some(oldest) = self.tombstones.iter().min_by_key(|(_, stone)| stone.at).map(|(id, _)| *id)
        {
            self.tombstones.remove(&oldest);
        }
        let stone = Tombstone { incarnation: record.incarnation, sequence: record.sequence, at };
        self.tombstones.insert(peer, stone);
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<&Member> {
        self.members.get(peer)
    }

    /// Members by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Member)> {
        self.members.iter()
    }

    /// Their records, by id.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<SignedRecord>> {
        self.members.values().map(|member| &member.record)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Members without a sign in this long: their record was renewed neither directly nor through others.
    pub(crate) fn stale(&mut self, now: Time, lease: Duration) -> Vec<PeerId> {
        if now.since(self.oldest) < lease {
            return Vec::new();
        }
        self.oldest = self.members.values().map(|member| member.heard).min().unwrap_or(now);
        self.members
            .iter()
            .filter(|(_, member)| now.since(member.heard) >= lease)
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// Order-independent digest of what is known, the own record included.
    pub(crate) fn digest(&self, own: Option<&SignedRecord>) -> [u8; 32] {
        let mut digest = self.digest;
        if let Some(own) = own {
            digest.add(&mark(&own.peer, &own.record));
        }
        digest.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    const NOW: Time = Time::from_micros(1);

    #[test]
    fn newer_replaces_older_and_never_the_other_way() {
        let mut roster = Roster::default();
        let table = [
            ((1, 5), Change::Joined),
            ((1, 5), Change::None),
            ((1, 4), Change::None),
            ((1, 6), Change::Renewed),
            ((2, 1), Change::Renewed),
            ((1, 9), Change::None),
        ];
        for ((incarnation, sequence), expected) in table {
            let change = roster.take(record("a", incarnation, sequence), false, NOW);
            assert_eq!(change, expected, "{incarnation}.{sequence}");
        }
        assert_eq!(roster.len(), 1);
    }

    #[test]
    fn a_certificate_is_as_old_as_the_first_record_that_carried_it() {
        let mut roster = Roster::default();
        let renewed = |sequence, certificate: &'static [u8]| {
            let certificate = bytes::Bytes::from_static(certificate);
            Arc::new(SignedRecord { certificate, ..(*record("a", 1, sequence)).clone() })
        };
        let mut since = Vec::new();
        for (s, certificate) in [(10, b"one"), (20, b"one"), (30, b"two"), (40, b"two")] {
            let record = renewed(s, certificate);
            roster.take(record.clone(), false, Time::from_micros(s * 1_000_000 + 5));
            since.extend(
                roster.get(&record.peer).map(|member| member.certificate_since().as_micros() / 1_000_000),
            );
        }
        assert_eq!(since, [10, 10, 30, 30]);
    }

    #[test]
    fn many_at_once_make_the_same_as_one_by_one() {
        let records = [record("a", 1, 5), record("b", 1, 1), record("a", 1, 7), record("a", 1, 6)];
        let (mut one, mut other) = (Roster::default(), Roster::default());
        one.load(&Known::from(records.to_vec()), &PeerId::of_uri("me"), NOW);
        for record in &records {
            other.take(record.clone(), false, NOW);
        }
        assert_eq!((one.len(), one.digest(None)), (2, other.digest(None)));
        assert_eq!(one.get(&records[0].peer).map(|member| member.record.record.sequence), Some(7));
    }

    #[test]
    fn neither_oneself_nor_who_leaves_is_loaded() {
        let mut leaving = (*record("a", 1, 5)).clone();
        leaving.record.leaving = true;
        let (stays, me) = (record("b", 1, 1), record("me", 1, 1));
        let known = Known::from(vec![Arc::new(leaving), stays.clone(), me.clone()]);
        let (mut one, mut other) = (Roster::default(), Roster::default());
        one.load(&known, &me.peer, NOW);
        other.take(stays, false, NOW);
        assert_eq!((one.len(), one.digest(None)), (1, other.digest(None)));
    }

    #[test]
    fn a_forgotten_member_comes_back_with_a_newer_record_or_in_person() {
        let mut roster = Roster::default();
        let old = record("a", 1, 5);
        roster.take(old.clone(), false, NOW);
        assert!(roster.forget(&old.peer, NOW).is_some());
        assert_eq!(roster.take(old.clone(), false, NOW), Change::None);
        assert_eq!(roster.take(old.clone(), true, NOW), Change::Joined);
        roster.forget(&old.peer, NOW);
        assert_eq!(roster.take(record("a", 1, 6), false, NOW), Change::Joined);
    }

    #[test]
    fn a_leaving_record_removes_and_keeps_out() {
        let mut roster = Roster::default();
        roster.take(record("a", 1, 5), false, NOW);
        let mut leaving = (*record("a", 1, 6)).clone();
        leaving.record.leaving = true;
        assert_eq!(roster.take(Arc::new(leaving), false, NOW), Change::Left);
        assert_eq!(roster.take(record("a", 1, 5), true, NOW), Change::None);
        assert_eq!(roster.take(record("a", 2, 1), false, NOW), Change::Joined);
    }

    #[test]
    fn the_digest_tells_what_is_known_whatever_the_way_there() {
        let (mut one, mut two) = (Roster::default(), Roster::default());
        one.take(record("a", 1, 1), false, NOW);
        one.take(record("b", 1, 1), false, NOW);
        two.take(record("b", 1, 1), false, NOW);
        two.take(record("c", 1, 1), false, NOW);
        two.forget(&record("c", 1, 1).peer, NOW);
        assert_ne!(one.digest(None), two.digest(None));
        assert_eq!(one.digest(None), two.digest(Some(&record("a", 1, 1))));
    }

    #[test]
    fn tombstones_keep_under_their_bound() {
        let mut roster = Roster::default();
        for number in 0..TOMBSTONES_MAX + 10 {
            let record = record(&number.to_string(), 1, 1);
            roster.take(record.clone(), false, NOW);
            roster.forget(&record.peer, NOW);
        }
        assert_eq!(roster.tombstones.len(), TOMBSTONES_MAX);
    }
}
