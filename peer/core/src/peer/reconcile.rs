//! Rounds of reconciliation: opened on new links and from time to time, answered, ended.

use rand::Rng;

use super::{Peer, Purpose, Timer};
use crate::event::{Class, Event, Output, RangeView};
use crate::gossip::seen::Known;
use crate::link::budget::Item;
use crate::message::{Message, Sync, SyncBound};
use crate::sync::floor;
use crate::sync::ranges::{self, Step};
use crate::sync::schedule::{Round, Side};
use crate::types::{LinkId, Now, OpId, PeerId, WallTime};

impl Peer {
    pub(super) fn sync_periodically(&mut self, now: Now) {
        self.enqueue_random();
        // Where frames are lost more is to be repaired, and a round may be lost as well.
        let often = if self.misses.is_lossy() { 2 } else { 1 };
        let next = self.spread_out(self.config.sync_interval / often);
        self.set(Timer::SyncPeriodic, now.time + next);
        self.sync_next(now);
    }

    fn enqueue_random(&mut self) {
        let linked = self.links.linked();
        if linked > 0
            && let Some(peer) = self.links.nth_linked(self.rng.random_range(0..linked))
        {
            self.sync.enqueue(peer);
        }
    }

    /// Ends what is over and opens the next own round.
    pub(super) fn sync_next(&mut self, now: Now) {
        for (side, round) in self.sync.finished(now.time) {
            self.sync_ended(&round);
            self.learn_from(side, &round, now);
            // As long as a round brings something there may be more. What was sent is no reason: the other side
            // may be unable to keep it, and asks again where it is not.
            if round.received > 0 {
                self.sync.enqueue(round.peer);
            } else if side == Side::Own && round.fell_silent() {
                self.enqueue_random();
            } else if side == Side::Answer && self.has_fetched(&round) && self.outbox.len() > 0 {
                // It has come to the end of what it lacked: an own round with it learns that, and the outbox is confirmed.
                self.sync.enqueue(round.peer);
            }
        }
        if let Some(link) = self.sync.nearly_over() {
            let number = self.rng.random();
            if let Some(last) = self.sync.follow(link, number, now.time) {
                self.sync_ended(&last);
                self.learn_from(Side::Own, &last, now);
                self.open_round(link, now);
            }
        }
        while let Some(peer) = self.sync.next() {
            let Some((link, answer)) =
                self.links.of(&peer).map(|session| (session.link, session.rtt.timeout()))
            else {
                continue;
            };
            let number = self.rng.random();
            if self.sync.open(link, peer, number, answer, now.time) {
                self.open_round(link, now);
            }
        }
        self.timers.clear(Timer::SyncRound);
        self.set_opt(Timer::SyncRound, self.sync.next_timeout());
    }

    /// Whether a peer that has fetched in its rounds lately wanted nothing in this one.
    fn has_fetched(&mut self, round: &Round) -> bool {
        let Some(session) = self.links.of_mut(&round.peer) else { return false };
        std::mem::replace(&mut session.fetches, round.sent > 0) && round.sent == 0
    }

    fn open_round(&mut self, link: LinkId, now: Now) {
        self.ask_store(link, Side::Own, now);
        let floor = self.floors.own();
        let op = self.op(Purpose::OpenSync { link, floor });
        let queries = vec![ranges::opening_query(floor::bound(floor), SyncBound::MAX)];
        self.outputs.push_back(Output::Inspect { op, queries });
    }

    pub(super) fn sync_ended(&mut self, round: &Round) {
        let (peer, received, sent) = (round.peer, round.received, round.sent);
        self.event(Event::SyncEnded { peer, received, sent });
    }

    pub(super) fn sync_said(&mut self, link: LinkId, peer: PeerId, sync: Sync, now: Now) {
        let number = sync.round;
        self.floors.hear(link, sync.floor);
        if sync.opening && !self.sync.start(link, Side::Answer, peer, number, now.time) {
            // Nothing was compared.
            self.say_sync(link, number, Step { partial: true, ..Step::default() }, false);
            return;
        }
        // Where nothing more is to be said, or the store is being asked, nothing is heard either.
        let hears = |round: &Round| round.talking && !round.asking;
        let Some((side, round)) = self.sync.find(link, number).filter(|(_, round)| hears(round)) else {
            return;
        };
        round.sent += sync.want.len() as u64;
        round.partial |= sync.partial;
        round.floor = round.floor.max(sync.floor);
        let listed = std::mem::take(&mut round.listed);
        round.talking = !sync.ranges.is_empty();
        self.sync.progress(link, side, now.time);
        self.queue_bulk(link, sync.want.into_iter().map(Item::Envelope), now);
        if sync.ranges.is_empty() {
            self.set(Timer::SyncRound, now.time);
            return;
        }
        self.ask_store(link, side, now);
        // Where nothing is left above the floor, the answer is an empty one: there is nothing to compare.
        let said = floor::lift(sync.ranges, self.floors.own().max(sync.floor));
        let queries = ranges::queries(&said);
        let op = self.op(Purpose::AnswerSync { link, side, number, ranges: said, listed });
        self.outputs.push_back(Output::Inspect { op, queries });
        self.set_opt(Timer::SyncRound, self.sync.next_timeout());
    }

    fn ask_store(&mut self, link: LinkId, side: Side, now: Now) {
        if let Some(round) = self.sync.progress(link, side, now.time) {
            round.asking = true;
        }
    }

    pub(super) fn inspected(&mut self, op: OpId, mut views: Vec<RangeView>, now: Now) {
        match self.ops.remove(&op) {
            Some(Purpose::OpenSync { link, floor }) => {
                // Without an answer of the store the round times out.
                let (Some(view), Some(round)) = (views.pop(), self.sync.progress(link, Side::Own, now.time))
                else {
                    return;
                };
                round.asking = false;
                let number = round.number;
                self.held = view.fingerprint.count;
                let step = ranges::open(floor::bound(floor), SyncBound::MAX, &view);
                self.proceed(link, Side::Own, number, step, true, now);
            }
            Some(Purpose::AnswerSync { link, side, number, ranges, listed }) => {
                let Some((_, round)) = self.sync.find(link, number) else { return };
                round.asking = false;
                if views.len() != ranges.len() {
                    return;
                }
                let (seen, sync, held_back) = (&self.seen, &self.sync, self.intake.held_back());
                let wants =
                    |id: &_| !seen.remembers(id, now.time) && sync.may_want(id) && !held_back.contains(id);
                let mut step = ranges::answer(ranges, views, &listed, wants);
                let (seen, end) = (&self.seen, WallTime::from_unix_ms(u64::MAX));
                let mut missing = ranges::without(std::mem::take(&mut step.missing), &step.want);
                missing.retain(|id| !held_back.contains(id));
                missing.retain(|id| matches!(seen.known(id, end, now.time), Known::New | Known::Pending));
                let on_its_way = |id: &_| seen.known(id, end, now.time) == Known::Pending;
                self.sync.lack(link, side, &missing, on_its_way);
                if self.store_fault.is_some() {
                    // One is enough to learn that the store works again.
                    step.want.truncate(1);
                }
                self.proceed(link, side, number, step, false, now);
            }
            _ => {}
        }
    }

    fn proceed(&mut self, link: LinkId, side: Side, number: u64, mut step: Step, opening: bool, now: Now) {
        self.sync.want(link, side, &step.want);
        self.sync.uncovered(link, side, std::mem::take(&mut step.uncovered));
        if let Some(round) = self.sync.progress(link, side, now.time) {
            round.listed = std::mem::take(&mut step.listed);
            round.talking = !step.ranges.is_empty();
            round.partial |= step.partial;
        }
        self.say_sync(link, number, step, opening);
        self.set(Timer::SyncRound, now.time);
    }

    fn say_sync(&mut self, link: LinkId, round: u64, step: Step, opening: bool) {
        let (floor, partial) = (self.floors.own(), step.partial);
        let sync = Sync { round, ranges: step.ranges, floor, want: step.want, opening, partial };
        self.send(link, Class::Bulk, Message::Sync(sync));
    }
}
