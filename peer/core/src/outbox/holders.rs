//! How many other peers hold a transaction durably: for those accepted here lately, and for those that somebody waits
//! for.
//!
//! Knows ids, peers and times, no links. A peer counts when it has acknowledged the push of a whole body, has said
//! that it holds it, or was found to hold it by a complete round of reconciliation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::types::{PeerId, Time, TxId};

/// Transactions whose holders are remembered, about 2 MB with `HOLDERS_MAX` each; the oldest that nobody waits for goes.
const KNOWN_MAX: usize = 4096;
/// Holders counted of one transaction; that many is enough for every acknowledgement level.
pub(crate) const HOLDERS_MAX: usize = 64;
/// Entries looked at for one that may go; where all of them are waited for, one more is kept.
const LOOKED_AT_MAX: usize = 32;
/// Waits at a time; one more is answered at once with what is known.
const WAITS_MAX: usize = 8192;
/// A wait asks first after this long: acknowledgements of pushes come by themselves. Guess: a WAN round trip and a disk.
const ASK_AFTER: Duration = Duration::from_millis(250);
/// Between two questions about one transaction. Guess: a round trip and a read of a store.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest wait of anybody; beyond it the answer is asked for again.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Somebody wants to know when enough peers hold it.
#[derive(Debug)]
struct Wait {
    id: TxId,
    wanted: usize,
    until: Time,
}

/// One transaction. Peers by the first bytes of their ids, which are hashes.
#[derive(Debug)]
struct Entry {
    peers: Vec<u64>,
    since: Time,
    waits: Vec<u64>,
    /// When others are asked next, while somebody waits.
    ask_at: Time,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    known: BTreeMap<TxId, Entry>,
    order: VecDeque<TxId>,
    waits: BTreeMap<u64, Wait>,
    ends: BTreeSet<(Time, u64)>,
    asks: BTreeSet<(Time, TxId)>,
}

/// An answer to whoever waits, with how many peers hold it.
pub(crate) type Answer = (u64, usize);

impl Holders {
    /// A transaction of this peer's is durable here.
    pub(crate) fn accepted(&mut self, id: TxId, now: Time) {
        self.entry(id, now);
    }

    fn entry(&mut self, id: TxId, now: Time) -> &mut Entry {
        if !self.known.contains_key(&id) {
            if self.known.len() >= KNOWN_MAX {
                self.make_room();
            }
            self.order.push_back(id);
        }
        self.known.entry(id).or_insert_with(|| Entry {
            peers: Vec::new(),
            since: now,
            waits: Vec::new(),
            ask_at: now + ASK_AFTER,
        })
    }

    fn make_room(&mut self) {
        // Those that are waited for stay: there are at most `WAITS_MAX`.
        for _ in 0..LOOKED_AT_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if self.known.get(&oldest).is_some_and(|entry| !entry.waits.is_empty()) {
                self.order.push_back(oldest);
            } else {
                self.known.remove(&oldest);
                return;
            }
        }
    }

    /// Answers `token` when this many others hold it, or at `now + wait` with how many do. `None`: later.
    pub(crate) fn wait(
        &mut self,
        token: u64,
        id: TxId,
        wanted: u32,
        wait: Duration,
        now: Time,
    ) -> Option<Answer> {
        let wanted = (wanted as usize).min(HOLDERS_MAX);
        let full = self.waits.len() >= WAITS_MAX;
        let known = self.known.get(&id).map_or(0, |entry| entry.peers.len());
        if known >= wanted || wait.is_zero() || full {
            return Some((token, known));
        }
        let until = now + wait.min(WAIT_MAX);
        let entry = self.entry(id, now);
        entry.waits.push(token);
        let ask_at = entry.ask_at;
        self.asks.insert((ask_at, id));
        self.ends.insert((until, token));
        self.waits.insert(token, Wait { id, wanted, until });
        None
    }

    /// A peer holds it. Answers those who waited for that.
    pub(crate) fn confirmed(&mut self, peer: &PeerId, id: &TxId) -> Vec<Answer> {
        let Some(entry) = self.known.get_mut(id) else { return Vec::new() };
        let short = short(peer);
        if entry.peers.len() >= HOLDERS_MAX || entry.peers.contains(&short) {
            return Vec::new();
        }
        entry.peers.push(short);
        let held = entry.peers.len();
        let enough = |token: &u64| self.waits.get(token).is_some_and(|wait| wait.wanted <= held);
        let done: Vec<u64> = entry.waits.iter().copied().filter(enough).collect();
        done.into_iter().filter_map(|token| self.end(token)).collect()
    }

    /// A wait is over.
    fn end(&mut self, token: u64) -> Option<Answer> {
        let Wait { id, until, .. } = self.waits.remove(&token)?;
        self.ends.remove(&(until, token));
        let entry = self.known.get_mut(&id)?;
        entry.waits.retain(|other| *other != token);
        if entry.waits.is_empty() {
            self.asks.remove(&(entry.ask_at, id));
        }
        Some((token, entry.peers.len()))
    }

    /// A peer holds everything that was held here when a round began, but for these.
    pub(crate) fn covered(&mut self, peer: &PeerId, began: Time, uncovered: &[TxId]) -> Vec<Answer> {
        let uncovered: BTreeSet<&TxId> = uncovered.iter().collect();
        let covered: Vec<TxId> = self
            .known
            .iter()
            .filter(|(id, entry)| entry.since < began && !uncovered.contains(id))
            .map(|(id, _)| *id)
            .collect();
        covered.iter().flat_map(|id| self.confirmed(peer, id)).collect()
    }

    /// Waits whose time is over.
    pub(crate) fn expired(&mut self, now: Time) -> Vec<Answer> {
        let over: Vec<u64> =
            self.ends.iter().take_while(|(until, _)| *until <= now).map(|(_, token)| *token).collect();
        over.into_iter().filter_map(|token| self.end(token)).collect()
    }

    /// Transactions to ask about now, each with how many more holders are wanted.
    pub(crate) fn due(&mut self, now: Time) -> Vec<(TxId, usize)> {
        let due: Vec<(Time, TxId)> = self.asks.iter().take_while(|(at, _)| *at <= now).copied().collect();
        let mut questions = Vec::new();
        for (at, id) in due {
            self.asks.remove(&(at, id));
            let Some(entry) = self.known.get_mut(&id) else { continue };
            entry.ask_at = now + ASK_AGAIN_AFTER;
            self.asks.insert((entry.ask_at, id));
            let wanted = entry.waits.iter().filter_map(|token| self.waits.get(token)).map(|wait| wait.wanted);
            questions.push((id, wanted.max().unwrap_or(0).saturating_sub(entry.peers.len())));
        }
        questions
    }

    /// Whether this peer is known to hold it.
    pub(crate) fn is_held_by(&self, id: &TxId, peer: &PeerId) -> bool {
        self.known.get(id).is_some_and(|entry| entry.peers.contains(&short(peer)))
    }

    /// When something is to be asked or answered next.
    pub(crate) fn next(&self) -> Option<Time> {
        let (end, ask) = (self.ends.first(), self.asks.first());
        end.map(|(at, _)| *at).into_iter().chain(ask.map(|(at, _)| *at)).min()
    }
}

fn short(peer: &PeerId) -> u64 {
    let (first, _) = peer.as_bytes().split_first_chunk::<8>().expect("an id has 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TxId {
        TxId::of_header(&number.to_le_bytes())
    }

    fn peer(number: u64) -> PeerId {
        PeerId::of_uri(&format!("spiffe://test/test/{number}"))
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_is_answered_when_enough_different_peers_hold_it() {
        let mut holders = Holders::default();
        holders.accepted(id(1), at(0));
        assert_eq!(holders.confirmed(&peer(1), &id(1)), []);
        assert_eq!(holders.wait(7, id(1), 1, SECOND, at(1)), Some((7, 1)), "it is known already");
        assert_eq!(holders.wait(8, id(1), 2, SECOND, at(1)), None);
        assert_eq!(holders.confirmed(&peer(1), &id(1)), [], "the same peer once more");
        assert_eq!(holders.confirmed(&peer(2), &id(1)), [(8, 2)]);
        assert_eq!(holders.expired(at(5_000)), []);
        assert_eq!(holders.next(), None);
    }

    #[test]
    fn a_wait_ends_with_how_many_hold_it_so_far() {
        let mut holders = Holders::default();
        holders.accepted(id(1), at(0));
        assert_eq!(holders.wait(1, id(1), 3, SECOND, at(0)), None);
        holders.confirmed(&peer(4), &id(1));
        assert_eq!(holders.due(at(100)), [], "acknowledgements come by themselves");
        assert_eq!(holders.due(at(250)), [(id(1), 2)]);
        assert_eq!(holders.due(at(500)), []);
        assert_eq!(holders.next(), Some(at(750)));
        assert_eq!(holders.expired(at(1_000)), [(1, 1)]);
        assert_eq!(holders.wait(2, id(1), 3, Duration::ZERO, at(1_000)), Some((2, 1)), "only a look");
    }

    #[test]
    fn a_round_of_reconciliation_counts_for_what_was_held_when_it_began() {
        let mut holders = Holders::default();
        for number in 0..3 {
            holders.accepted(id(number), at(number * 100));
        }
        for number in 0..3 {
            assert_eq!(holders.wait(number, id(number), 1, SECOND, at(200)), None);
        }
        assert_eq!(holders.covered(&peer(1), at(150), &[id(1)]), [(0, 1)]);
    }

    #[test]
    fn what_is_waited_for_is_never_pushed_out() {
        let mut holders = Holders::default();
        assert_eq!(holders.wait(1, id(0), 1, 10 * SECOND, at(0)), None);
        for number in 1..2 * KNOWN_MAX as u64 {
            holders.accepted(id(number), at(number));
        }
        assert_eq!(holders.known.len(), KNOWN_MAX);
        assert_eq!(holders.order.len(), KNOWN_MAX);
        assert_eq!(holders.confirmed(&peer(1), &id(0)), [(1, 1)]);
    }

    #[test]
    fn only_so_many_wait_at_a_time() {
        let mut holders = Holders::default();
        for token in 0..WAITS_MAX as u64 {
            assert_eq!(holders.wait(token, id(token), 1, SECOND, at(0)), None);
        }
        assert_eq!(holders.wait(9_999, id(9_999), 1, SECOND, at(0)), Some((9_999, 0)));
        assert_eq!(holders.expired(at(1_000)).len(), WAITS_MAX);
    }
}
