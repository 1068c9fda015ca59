//! Which members can be reached: dials that failed, links that were lost, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::backoff::Retry;
use crate::types::{PeerId, Time, WallTime};

/// A member whose link was lost, and that answers dials too slowly, is given so many times as long as one that is not there. Guess:
/// longer than a machine is busy with a network that starts.
const SLOW_TIMES: u32 = 5;
/// One that others found missing too is forgotten after this part of it. Guess: with 15 s until a silent link is given up and the
/// way of the word, everyone has forgotten it within a minute.
pub(crate) const MISSED_SHARE: u32 = 4;

/// What is known of reaching one member.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    retry: Retry,
    pub(crate) dialling: bool,
    /// Which of the record's addresses comes next.
    address: usize,
    /// Since when neither a dial nor a link worked.
    unreachable: Option<Time>,
    /// Since then a dial has found nobody there, or nobody can dial it.
    is_gone: bool,
    /// When others last said that it was not there.
    missed: Option<Time>,
    pub(crate) last_error: Option<String>,
    pub(crate) last_seen: Option<WallTime>,
}

impl Contact {
    /// When the member may be dialled next, where it is not being dialled.
    pub(crate) fn next(&self) -> Time {
        self.retry.next()
    }

    /// Its link was lost or it was not there when it was dialled, and nothing has shown since whether it lives: it is to be
    /// dialled whether the grid asks for it or not.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.unreachable.is_some()
    }

    fn failed(&mut self, error: String, now: Time, rng: &mut ChaCha8Rng) -> u32 {
        self.dialling = false;
        self.address = self.address.wrapping_add(1);
        self.last_error = Some(error);
        self.retry.failed(now, rng);
        self.retry.failures()
    }
}

/// Contacts of members, one for each that was ever tried or linked.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    contacts: BTreeMap<PeerId, Contact>,
}

impl Contacts {
    pub(crate) fn get(&self, peer: &PeerId) -> Option<&Contact> {
        self.contacts.get(peer)
    }

    /// All of them by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Contact)> {
        self.contacts.iter()
    }

    /// When the member may be dialled next; `None` while it is being dialled.
    pub(crate) fn next(&self, peer: &PeerId) -> Option<Time> {
        match self.contacts.get(peer) {
            Some(contact) if contact.dialling => None,
            Some(contact) => Some(contact.retry.next()),
            None => Some(Time::ZERO),
        }
    }

    /// A dial starts; returns which of `addresses` to take.
    pub(crate) fn dialling(&mut self, peer: PeerId, addresses: usize) -> usize {
        let contact = self.contacts.entry(peer).or_default();
        contact.dialling = true;
        contact.address % addresses.max(1)
    }

    /// A dial failed; returns the failures in a row. The next one takes the next address.
    pub(crate) fn failed(&mut self, peer: &PeerId, error: String, now: Time, rng: &mut ChaCha8Rng) -> u32 {
        let Some(contact) = self.contacts.get_mut(peer) else { return 1 };
        contact.unreachable.get_or_insert(now);
        contact.is_gone = true;
        contact.failed(error, now, rng)
    }

    /// As [`Contacts::failed`], where somebody was there and nothing came of it in time: that alone has nobody forgotten soon.
    pub(crate) fn unfinished(
        &mut self,
        peer: &PeerId,
        error: String,
        now: Time,
        rng: &mut ChaCha8Rng,
    ) -> u32 {
        self.contacts.get_mut(peer).map_or(1, |contact| contact.failed(error, now, rng))
    }

    /// A dial brought a link that has not said hello yet.
    pub(crate) fn answered(&mut self, peer: &PeerId) {
        if let Some(contact) = self.contacts.get_mut(peer) {
            contact.dialling = false;
        }
    }

    /// A link stands.
    pub(crate) fn linked(&mut self, peer: PeerId) {
        let contact = self.contacts.entry(peer).or_default();
        contact.retry.reset();
        contact.unreachable = None;
        contact.is_gone = false;
        contact.last_error = None;
    }

    /// The link is gone; not to be dialled before `next`, if it can be dialled at all.
    pub(crate) fn lost(&mut self, peer: PeerId, seen: WallTime, now: Time, next: Time, can_be_dialled: bool) {
        let contact = self.contacts.entry(peer).or_default();
        contact.unreachable.get_or_insert(now);
        contact.is_gone |= !can_be_dialled;
        contact.last_seen = Some(seen);
        contact.retry.hold_until(next);
    }

    /// The link was ended in agreement: that says nothing against the member. Not to be dialled before `next`.
    pub(crate) fn parted(&mut self, peer: PeerId, seen: WallTime, next: Time) {
        let contact = self.contacts.entry(peer).or_default();
        contact.last_seen = Some(seen);
        contact.retry.hold_until(next);
    }

    /// There is a newer record: its addresses are tried afresh, not before `next`.
    pub(crate) fn renewed(&mut self, peer: &PeerId, next: Time) {
        if let Some(contact) = self.contacts.get_mut(peer) {
            contact.retry.reset();
            contact.address = 0;
        }
        if next > Time::ZERO {
            self.contacts.entry(*peer).or_default().retry.hold_until(next);
        }
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.contacts.remove(peer);
    }

    /// Whether the last dials found nobody there.
    pub(crate) fn is_gone(&self, peer: &PeerId) -> bool {
        self.contacts.get(peer).is_some_and(|contact| contact.is_gone)
    }

    /// Others say that the member was not there: unless it has a link, which may only not have noticed yet, it is in doubt.
    /// Answers whether it is to be dialled for that; it is not within `again_after` of the last time.
    pub(crate) fn missed(
        &mut self,
        peer: PeerId,
        is_linked: bool,
        (now, next): (Time, Time),
        again_after: Duration,
    ) -> bool {
        let contact = self.contacts.entry(peer).or_default();
        if contact.missed.is_some_and(|at| now.since(at) < again_after) {
            return false;
        }
        contact.missed = Some(now);
        let is_new = !is_linked && contact.unreachable.is_none();
        if is_new {
            contact.unreachable = Some(now);
            contact.retry.hold_until(next);
        }
        is_new
    }

    /// Members unreachable for this long, for one part in [`MISSED_SHARE`] of it where others too found nobody there, or for
    /// [`SLOW_TIMES`] as long where somebody was there and too slow each time.
    pub(crate) fn unreachable(&self, now: Time, forget_after: Duration) -> Vec<PeerId> {
        let expired = |contact: &Contact| {
            let Some(since) = contact.unreachable else { return false };
            let others_miss = contact.missed.is_some_and(|at| at + forget_after >= since);
            let after = match (contact.is_gone, others_miss) {
                (true, true) => forget_after / MISSED_SHARE,
                (true, false) => forget_after,
                (false, _) => forget_after * SLOW_TIMES,
            };
            now.since(since) >= after
        };
        self.contacts.iter().filter(|(_, contact)| expired(contact)).map(|(peer, _)| *peer).collect()
    }

    /// Since when the longest unreachable member is so.
    pub(crate) fn unreachable_since(&self) -> Option<Time> {
        self.contacts.values().filter_map(|contact| contact.unreachable).min()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_member_that_is_there_and_slow_is_not_forgotten_for_that() {
        let (mut contacts, peer) = (Contacts::default(), PeerId::of_uri("a"));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (minute, now) = (Duration::from_secs(60), Time::from_micros(1));
        contacts.dialling(peer, 1);
        assert_eq!(contacts.unfinished(&peer, "timed out".into(), now, &mut rng), 1);
        assert!(contacts.next(&peer).expect("not being dialled") > now, "it is left alone for a while");
        assert_eq!(contacts.unreachable(now + minute, minute), []);
        contacts.dialling(peer, 1);
        assert_eq!(contacts.failed(&peer, "refused".into(), now, &mut rng), 2);
        contacts.unfinished(&peer, "timed out".into(), now + minute / 2, &mut rng);
        assert_eq!(contacts.unreachable(now + minute, minute), [peer], "once it was not there");
    }

    #[test]
    fn a_lost_link_alone_has_nobody_forgotten_who_can_be_dialled() {
        let mut contacts = Contacts::default();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (minute, at) = (Duration::from_secs(60), |s: u64| Time::from_micros(s * 1_000_000));
        let peers = ["slow", "gone", "behind NAT"].map(PeerId::of_uri);
        for (peer, can_be_dialled) in peers.into_iter().zip([true, true, false]) {
            contacts.lost(peer, WallTime::default(), at(0), at(1), can_be_dialled);
            assert!(contacts.get(&peer).is_some_and(Contact::is_in_doubt));
        }
        assert_eq!(contacts.unreachable(at(60), minute), [peers[2]]);
        contacts.unfinished(&peers[0], "timed out".into(), at(61), &mut rng);
        contacts.failed(&peers[1], "refused".into(), at(61), &mut rng);
        let mut expected = [peers[1], peers[2]];
        expected.sort();
        assert_eq!(contacts.unreachable(at(62), minute), expected);
        assert_eq!(contacts.unreachable(at(300), minute).len(), 3);
        contacts.linked(peers[1]);
        assert!(!contacts.get(&peers[1]).is_some_and(Contact::is_in_doubt));
    }

    #[test]
    fn whom_others_miss_too_is_forgotten_sooner_and_never_by_their_word_alone() {
        let mut contacts = Contacts::default();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (minute, at) = (Duration::from_secs(60), |s: u64| Time::from_micros(s * 1_000_000));
        let (dead, alive) = (PeerId::of_uri("dead"), PeerId::of_uri("alive"));
        for peer in [dead, alive] {
            assert!(contacts.missed(peer, false, (at(1), at(2)), minute));
            assert!(!contacts.missed(peer, false, (at(50), at(51)), minute), "once a minute");
            assert_eq!(contacts.next(&peer), Some(at(2)));
            contacts.dialling(peer, 1);
        }
        contacts.failed(&dead, "refused".into(), at(2), &mut rng);
        contacts.linked(alive);
        assert_eq!(contacts.unreachable(at(15), minute), []);
        assert_eq!(contacts.unreachable(at(16), minute), [dead]);
        assert_eq!(contacts.unreachable(at(500), minute), [dead]);
        assert!(contacts.missed(alive, false, (at(61), at(62)), minute));
        // Word of it comes before its link is noticed to be lost.
        let linked = PeerId::of_uri("linked");
        contacts.linked(linked);
        assert!(!contacts.missed(linked, true, (at(100), at(101)), minute));
        contacts.lost(linked, WallTime::default(), at(102), at(103), true);
        contacts.failed(&linked, "refused".into(), at(103), &mut rng);
        assert!(contacts.unreachable(at(122), minute).contains(&linked));
    }

    #[test]
    fn a_member_is_unreachable_since_the_first_failure_until_a_link_stands() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut contacts = Contacts::default();
        let peer = PeerId::of_uri("a");
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        assert_eq!(contacts.dialling(peer, 2), 0);
        assert_eq!(contacts.next(&peer), None);
        assert_eq!(contacts.failed(&peer, "refused".into(), at(1), &mut rng), 1);
        assert_eq!(contacts.dialling(peer, 2), 1);
        assert_eq!(contacts.failed(&peer, "refused".into(), at(5), &mut rng), 2);
        assert_eq!(contacts.unreachable(at(60), Duration::from_secs(60)), []);
        assert_eq!(contacts.unreachable(at(61), Duration::from_secs(60)), [peer]);
        contacts.linked(peer);
        assert_eq!(contacts.unreachable(at(99), Duration::from_secs(60)), []);
        assert!(contacts.get(&peer).is_some_and(|contact| contact.last_error.is_none()));
    }
}
