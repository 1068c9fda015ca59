//! With whom to reconcile and when; rounds under way; what was wanted and has not come.
//!
//! One own round at a time, so that a peer that was away catches up from one other and not from all at
//! once; a few rounds of others are answered beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::ranges::Listed;
use crate::types::bounds::{IDS_PER_FRAME_MAX, SYNC_IDS_MAX};
use crate::types::{LinkId, PeerId, Time, TxId, WallTime};
use crate::view::Size;

/// Rounds of others answered at once; one more is told that there is nothing.
const ANSWERING_MAX: usize = 4;
/// Peers waiting for an own round; beyond it the periodic round has to do. Guess: what differs from some others differs from
/// most, so a peer that links with hundreds learns nothing from asking each.
const QUEUE_MAX: usize = 8;
/// A round whose transactions do not come for this long is over.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Transactions that are still to come of a round that is given up as soon as one that is not answered: another is as quickly
/// asked for so few as this one is waited for. Guess.
const FEW: usize = 64;
/// A round in which the other side says nothing for this long is over, whatever its link's round trip. Guess: many round
/// trips, and a read of a store.
const SILENT_MAX: Duration = Duration::from_secs(2);
/// A round in which the other side says nothing is waited for at least this long. Guess: a read of a busy store.
const SILENT_MIN: Duration = Duration::from_millis(300);
/// Silent rounds in a row that are taken for lost frames; with each one more the next waits twice as long, as it may be load
/// that is waited for. Where a fifth of all frames is lost, four in a row are one in sixty.
const SILENCES_FREE: u32 = 3;
/// Silent rounds that are counted: beyond, `SILENT_MAX` holds anyway.
const SILENCES_MAX: u32 = SILENCES_FREE + 3;
/// A round is over after this time, whatever still comes: who sends a little of what is wanted now and then must not keep this
/// peer from asking others. Guess: many times what one message asks for takes over a slow link.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// While a long gap is filled, the next round opens when so many of the last one's transactions are still to come: most of
/// what one message asks for, as a round takes about as long as they do. The next list (`SYNC_IDS_MAX`) begins with these and
/// still has as many new ones.
const NEXT_ROUND_AT: usize = IDS_PER_FRAME_MAX / 8 * 7;
/// Ids that one round leaves uncovered: lists of `SYNC_IDS_MAX` in a few frames.
const UNCOVERED_MAX: usize = 8192;
/// Ids wanted and not yet come.
const WANTED_MAX: usize = 8192;

/// One round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) peer: PeerId,
    pub(crate) number: u64,
    pub(crate) listed: Vec<Listed>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Messages still go to and fro.
    pub(crate) talking: bool,
    /// When it began: what was held then is what it is about.
    pub(crate) began: Time,
    /// Something was left out by either side.
    pub(crate) partial: bool,
    /// The other side said that it takes nothing published before this.
    pub(crate) floor: WallTime,
    /// Held here, and not known to be held there.
    pub(crate) uncovered: Vec<TxId>,
    /// Something that is held there has not come and is not on its way.
    unsettled: bool,
    /// The store is being asked; until it answers nothing more is taken from the other side.
    pub(crate) asking: bool,
    waiting: BTreeSet<TxId>,
    /// How many were asked for.
    asked: usize,
    progress: Time,
    /// How long the other side may say nothing.
    patience: Duration,
}

impl Round {
    fn new(peer: PeerId, number: u64, now: Time) -> Self {
        Self {
            peer,
            number,
            listed: Vec::new(),
            received: 0,
            sent: 0,
            talking: true,
            began: now,
            partial: false,
            floor: WallTime::default(),
            uncovered: Vec::new(),
            unsettled: false,
            asking: false,
            waiting: BTreeSet::new(),
            asked: 0,
            progress: now,
            patience: SILENT_MAX,
        }
    }

    /// When it is given up if nothing happens in it.
    fn timeout(&self) -> Time {
        let waits_for_few = !self.talking && self.waiting.len() <= FEW;
        let is_quick = !self.asking && (self.talking || waits_for_few);
        let idle = self.progress + if is_quick { self.patience } else { IDLE_MAX };
        idle.min(self.began + ROUND_MAX)
    }

    /// Both sides have said all that there is to say: the other side holds what was held here when it began, but for
    /// what is `uncovered`.
    pub(crate) fn is_complete(&self) -> bool {
        !self.talking && !self.partial
    }

    /// What was held there is held here.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.is_complete() && self.waiting.is_empty() && !self.unsettled
    }

    /// It was given up: something said or sent in it was lost.
    pub(crate) fn fell_silent(&self) -> bool {
        self.talking || !self.waiting.is_empty()
    }
}

/// Who speaks in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// This peer opened it.
    Own,
    /// It answers.
    Answer,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    queue: VecDeque<PeerId>,
    rounds: BTreeMap<(LinkId, Side), Round>,
    wanted: BTreeMap<TxId, (LinkId, Side)>,
    /// Own rounds in a row that fell silent.
    silences: u32,
}

impl Schedule {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 3] {
        [
            Size { name: "peers waiting for a round", len: self.queue.len(), max: QUEUE_MAX },
            Size { name: "rounds under way", len: self.rounds.len(), max: ANSWERING_MAX + 1 },
            Size { name: "ids wanted", len: self.wanted.len(), max: WANTED_MAX + SYNC_IDS_MAX },
        ]
    }

    /// An own round with this peer is due.
    pub(crate) fn enqueue(&mut self, peer: PeerId) {
        if self.queue.len() < QUEUE_MAX && !self.queue.contains(&peer) {
            self.queue.push_back(peer);
        }
    }

    /// As [`Schedule::enqueue`], before all others: somebody waits for it.
    pub(crate) fn enqueue_first(&mut self, peer: PeerId) {
        self.queue.retain(|waiting| *waiting != peer);
        self.queue.truncate(QUEUE_MAX - 1);
        self.queue.push_front(peer);
    }

    /// The next peer in the queue, unless an own round is under way.
    pub(crate) fn next(&mut self) -> Option<PeerId> {
        if self.is_busy() { None } else { self.queue.pop_front() }
    }

    /// An own round is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.rounds.keys().any(|(_, side)| *side == Side::Own)
    }

    /// Starts a round; `false` where too many are answered already.
    pub(crate) fn start(&mut self, link: LinkId, side: Side, peer: PeerId, number: u64, now: Time) -> bool {
        if self.rounds.get(&(link, side)).is_some_and(|round| round.asking) {
            return false;
        }
        let answering = self.rounds.keys().filter(|(_, side)| *side == Side::Answer).count();
        if side == Side::Answer && answering >= ANSWERING_MAX && !self.rounds.contains_key(&(link, side)) {
            return false;
        }
        if let Some(old) = self.rounds.insert((link, side), Round::new(peer, number, now)) {
            self.wanted.retain(|id, _| !old.waiting.contains(id));
        }
        true
    }

    /// Starts an own round on a link that is answered on within `answer`. The store behind it may take as long again.
    pub(crate) fn open(
        &mut self,
        link: LinkId,
        peer: PeerId,
        number: u64,
        answer: Duration,
        now: Time,
    ) -> bool {
        let is_open = self.start(link, Side::Own, peer, number, now);
        if let Some(round) = self.rounds.get_mut(&(link, Side::Own)).filter(|_| is_open) {
            let patience =
                (answer * 2).max(SILENT_MIN) * 2_u32.pow(self.silences.saturating_sub(SILENCES_FREE));
            round.patience = patience.min(SILENT_MAX);
        }
        is_open
    }

    /// The link of an own round in which all is said, more was found than one message asks for, and little of that is
    /// still to come: the next round may open beside it.
    pub(crate) fn nearly_over(&self) -> Option<LinkId> {
        let is_nearly_over = |round: &Round| {
            !round.talking
                && round.asked >= IDS_PER_FRAME_MAX
                && round.received > 0
                && (1..=NEXT_ROUND_AT).contains(&round.waiting.len())
        };
        let found = self.rounds.iter().find(|((_, side), round)| *side == Side::Own && is_nearly_over(round));
        found.map(|((link, _), _)| *link)
    }

    /// Opens the next own round on this link before all of the last one has come: the next waits for the rest too. Answers
    /// the last one, which says nothing of what this side lacks.
    pub(crate) fn follow(&mut self, link: LinkId, number: u64, now: Time) -> Option<Round> {
        let round = self.rounds.get_mut(&(link, Side::Own))?;
        let next = Round { patience: round.patience, ..Round::new(round.peer, number, now) };
        let mut last = std::mem::replace(round, next);
        round.waiting = std::mem::take(&mut last.waiting);
        last.unsettled = true;
        Some(last)
    }

    /// The round on this link with this number.
    pub(crate) fn find(&mut self, link: LinkId, number: u64) -> Option<(Side, &mut Round)> {
        let matches =
            |side| self.rounds.get(&(link, side)).is_some_and(|round: &Round| round.number == number);
        let side = [Side::Own, Side::Answer].into_iter().find(|side| matches(*side))?;
        self.rounds.get_mut(&(link, side)).map(|round| (side, round))
    }

    /// Something happened in the round.
    pub(crate) fn progress(&mut self, link: LinkId, side: Side, now: Time) -> Option<&mut Round> {
        let round = self.rounds.get_mut(&(link, side))?;
        round.progress = now;
        Some(round)
    }

    /// Whether an id is not yet wanted from anyone.
    pub(crate) fn may_want(&self, id: &TxId) -> bool {
        self.wanted.len() < WANTED_MAX && !self.wanted.contains_key(id)
    }

    /// Whether it was asked for or is waited for: the store did not hold it then.
    pub(crate) fn is_wanted(&self, id: &TxId) -> bool {
        self.wanted.contains_key(id)
    }

    /// These were asked for.
    pub(crate) fn want(&mut self, link: LinkId, side: Side, ids: &[TxId]) {
        if let Some(round) = self.rounds.get_mut(&(link, side)) {
            round.asked += ids.len();
            for id in ids {
                round.waiting.insert(*id);
                self.wanted.insert(*id, (link, side));
            }
        }
    }

    /// These are held there and were not asked for. What is on its way in already is waited for.
    pub(crate) fn lack(
        &mut self,
        link: LinkId,
        side: Side,
        ids: &[TxId],
        on_its_way: impl Fn(&TxId) -> bool,
    ) {
        let Some(round) = self.rounds.get_mut(&(link, side)) else { return };
        for id in ids {
            if !on_its_way(id) || self.wanted.contains_key(id) || self.wanted.len() >= WANTED_MAX {
                round.unsettled |= !round.waiting.contains(id);
            } else {
                round.waiting.insert(*id);
                self.wanted.insert(*id, (link, side));
            }
        }
    }

    /// Ids held here that the other side has not said to hold; beyond the bound the round is partial.
    pub(crate) fn uncovered(&mut self, link: LinkId, side: Side, ids: Vec<TxId>) {
        let Some(round) = self.rounds.get_mut(&(link, side)) else { return };
        if round.uncovered.len() + ids.len() > UNCOVERED_MAX {
            round.partial = true;
        } else {
            round.uncovered.extend(ids);
        }
    }

    /// An id came in, by whatever way; `kept` says whether it is durable. Returns whether it was wanted.
    pub(crate) fn arrived(&mut self, id: &TxId, kept: bool, now: Time) -> bool {
        let Some(key) = self.wanted.remove(id) else { return false };
        if let Some(round) = self.rounds.get_mut(&key) {
            round.waiting.remove(id);
            round.received += u64::from(kept);
            round.unsettled |= !kept;
            round.progress = now;
        }
        true
    }

    /// A part of a wanted id came in.
    pub(crate) fn touch(&mut self, id: &TxId, now: Time) {
        if let Some(round) = self.wanted.get(id).and_then(|key| self.rounds.get_mut(key)) {
            round.progress = now;
        }
    }

    /// The link is gone, and its rounds with it.
    pub(crate) fn unlinked(&mut self, link: LinkId) -> Vec<(Side, Round)> {
        [Side::Own, Side::Answer]
            .into_iter()
            .filter_map(|side| Some((side, self.remove((link, side))?)))
            .collect()
    }

    /// Rounds that are done, or made no progress for too long; they are gone.
    pub(crate) fn finished(&mut self, now: Time) -> Vec<(Side, Round)> {
        let over = |round: &Round| !round.fell_silent() || now >= round.timeout();
        let keys: Vec<_> = self.rounds.iter().filter(|(_, round)| over(round)).map(|(key, _)| *key).collect();
        let ended: Vec<_> = keys.into_iter().filter_map(|key| Some((key.1, self.remove(key)?))).collect();
        for (_, round) in ended.iter().filter(|(side, _)| *side == Side::Own) {
            self.silences = if round.fell_silent() { (self.silences + 1).min(SILENCES_MAX) } else { 0 };
        }
        ended
    }

    fn remove(&mut self, key: (LinkId, Side)) -> Option<Round> {
        let round = self.rounds.remove(&key)?;
        self.wanted.retain(|id, _| !round.waiting.contains(id));
        Some(round)
    }

    /// When the idlest round is given up.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.rounds.values().map(Round::timeout).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_when_all_that_was_wanted_has_come() {
        let mut schedule = Schedule::default();
        let (peer, id) = (PeerId::of_uri("a"), TxId::from_bytes([1; 32]));
        schedule.enqueue(peer);
        schedule.enqueue(peer);
        assert_eq!(schedule.next(), Some(peer));
        assert!(schedule.start(LinkId(1), Side::Own, peer, 9, Time::ZERO));
        schedule.enqueue(peer);
        assert_eq!(schedule.next(), None, "one at a time");
        schedule.want(LinkId(1), Side::Own, &[id]);
        assert!(!schedule.may_want(&id));
        schedule.find(LinkId(1), 9).expect("it runs").1.talking = false;
        assert!(schedule.finished(Time::ZERO).is_empty());
        assert!(schedule.arrived(&id, true, Time::ZERO));
        assert_eq!(schedule.finished(Time::ZERO)[0].1.received, 1);
        assert_eq!(schedule.next(), Some(peer));
    }

    #[test]
    fn a_long_gap_fills_without_a_pause_between_rounds() {
        let mut schedule = Schedule::default();
        let (peer, link) = (PeerId::of_uri("a"), LinkId(1));
        let ids: Vec<TxId> =
            (0..IDS_PER_FRAME_MAX).map(|number| TxId::of_header(&number.to_le_bytes())).collect();
        let later = |ms: u64| Time::from_micros(ms * 1000);
        schedule.start(link, Side::Own, peer, 9, Time::ZERO);
        schedule.want(link, Side::Own, &ids);
        schedule.find(link, 9).expect("it runs").1.talking = false;
        let (first, rest) = ids.split_at(IDS_PER_FRAME_MAX - NEXT_ROUND_AT);
        for id in &first[1..] {
            schedule.arrived(id, true, later(1));
        }
        assert_eq!(schedule.nearly_over(), None);
        schedule.arrived(&first[0], true, later(2));
        assert_eq!(schedule.nearly_over(), Some(link));

        let last = schedule.follow(link, 10, later(2)).expect("it ran");
        assert_eq!((last.received, last.is_caught_up()), (first.len() as u64, false));
        assert!(!schedule.may_want(&rest[0]), "what is on its way is not asked for twice");
        assert!(schedule.finished(later(2)).is_empty());
        schedule.find(link, 10).expect("it runs").1.talking = false;
        assert_eq!(schedule.nearly_over(), None, "it has asked for nothing itself");
        for id in rest {
            schedule.arrived(id, true, later(3));
        }
        let (_, next) = schedule.finished(later(3)).pop().expect("over");
        assert!(next.is_caught_up() && next.received == rest.len() as u64);
    }

    #[test]
    fn a_round_ends_though_a_little_comes_of_it_now_and_then() {
        let mut schedule = Schedule::default();
        let (peer, link) = (PeerId::of_uri("a"), LinkId(1));
        schedule.start(link, Side::Own, peer, 9, Time::ZERO);
        schedule.want(link, Side::Own, &[TxId::from_bytes([1; 32])]);
        for second in 1..60 {
            let now = Time::ZERO + Duration::from_secs(second);
            schedule.progress(link, Side::Own, now);
            assert!(schedule.finished(now).is_empty(), "{second}");
        }
        assert_eq!(schedule.finished(Time::ZERO + ROUND_MAX).len(), 1);
    }

    #[test]
    fn a_lost_frame_costs_some_round_trips_and_silence_after_silence_longer() {
        let mut schedule = Schedule::default();
        let (peer, link, mut now) = (PeerId::of_uri("a"), LinkId(1), Time::ZERO);
        let mut waited = Vec::new();
        for number in 0..8 {
            assert!(schedule.open(link, peer, number, Duration::from_millis(200), now));
            let timeout = schedule.next_timeout().expect("a round runs");
            waited.push(timeout.since(now).as_millis());
            now = timeout;
            assert_eq!(schedule.finished(now).len(), 1);
        }
        assert_eq!(waited, [400, 400, 400, 400, 800, 1600, 2000, 2000]);
        schedule.open(link, peer, 8, Duration::from_millis(20), now);
        schedule.find(link, 8).expect("it runs").1.talking = false;
        assert_eq!(schedule.finished(now).len(), 1);
        schedule.open(link, peer, 9, Duration::from_millis(20), now);
        assert_eq!(schedule.next_timeout(), Some(now + SILENT_MIN));
    }

    #[test]
    fn a_silent_round_times_out_and_frees_what_it_wanted() {
        let mut schedule = Schedule::default();
        let (peer, id) = (PeerId::of_uri("a"), TxId::from_bytes([1; 32]));
        schedule.start(LinkId(1), Side::Answer, peer, 9, Time::ZERO);
        schedule.want(LinkId(1), Side::Answer, &[id]);
        let later = schedule.next_timeout().expect("a round runs");
        assert_eq!(schedule.finished(later).len(), 1);
        assert!(schedule.may_want(&id));
        for link in 0..9 {
            let expected = link < ANSWERING_MAX as u64;
            assert_eq!(schedule.start(LinkId(link), Side::Answer, peer, 1, Time::ZERO), expected);
        }
    }
}
