//! What other peers are known to hold: the outbox, catching up, and draining.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};

use super::{Peer, Phase, Purpose, Timer};
use crate::envelope::Envelope;
use crate::event::{Class, LoadWhat, Output};
use crate::message::{Message, Push};
use crate::outbox::drain::Drain;
use crate::outbox::holders::Answer;
use crate::payload::Payload;
use crate::sync::schedule::{Round, Side};
use crate::types::bounds::IDS_PER_FRAME_MAX;
use crate::types::{LinkId, Now, PeerId, TxId, WallTime};
use crate::view::DrainView;

/// A drain looks this often at what it waits for: somebody waits for its end. Guess: a few round trips.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
/// Between two rounds of one drain: what was sent is durable there by then. Guess.
const DRAIN_ROUND_EVERY: Duration = Duration::from_secs(1);
/// A peer that has just started looks this soon for somebody who has what the last round did not bring. Guess.
const CATCH_UP_AFTER: Duration = Duration::from_millis(300);

/// A retry goes to this many links at most: one holder is enough to leave the outbox. Guess.
const RETRY_LINKS_MAX: usize = 8;

impl Peer {
    /// Another peer holds these transactions of this one's.
    pub(super) fn confirmed(&mut self, peer: &PeerId, ids: &[TxId]) {
        if ids.is_empty() || !self.keeps(peer) {
            return;
        }
        for id in ids {
            let answers = self.holders.confirmed(peer, id);
            self.answer_holders(answers);
            self.outbox.confirmed(id);
            if let Some(drain) = &mut self.drain {
                drain.confirmed(peer, id);
            }
        }
    }

    /// What this peer stores is durable, as far as it says.
    fn keeps(&self, peer: &PeerId) -> bool {
        self.links.of(peer).is_none_or(|session| session.keeps)
    }

    /// A round ended: what it says of both sides.
    pub(super) fn learn_from(&mut self, side: Side, round: &Round, now: Now) {
        if side == Side::Answer {
            return;
        }
        if round.is_complete() && self.keeps(&round.peer) {
            self.outbox.covered(round.began, round.floor, &round.uncovered);
            // A round between floors says nothing of what lies below them.
            if round.floor == WallTime::default() {
                let answers = self.holders.covered(&round.peer, round.began, &round.uncovered);
                self.answer_holders(answers);
            }
            if let Some(drain) = &mut self.drain {
                drain.covered(&round.peer, round.began, &round.uncovered);
                self.set(Timer::Drain, now.time);
            }
        }
        if self.caught_up {
            return;
        }
        if round.is_caught_up() && self.store_fault.is_none() {
            self.caught_up = true;
        } else {
            self.set(Timer::SyncPeriodic, now.time + CATCH_UP_AFTER);
        }
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.caught_up || self.roster.len() == 0 && self.links.linked() == 0
    }

    /// Asks somebody about what nobody has acknowledged. Who keeps nothing is not asked: its answer would not count.
    pub(super) fn ask_about_outbox(&mut self, now: Now) {
        let ids = self.outbox.due(now.time);
        if !ids.is_empty() {
            let keepers: BTreeSet<PeerId> = self
                .links
                .standing()
                .filter(|session| session.keeps)
                .map(|session| session.peer.id)
                .collect();
            // Without such a link the next one that stands sets the timer.
            let Some(link) = self.somebody(now, |peer| keepers.contains(peer)) else { return };
            let peer = self.links.get(link).map(|session| session.peer.id);
            self.outbox.asked(peer, &ids, now.time);
            self.send(link, Class::Bulk, Message::HoldsRequest { ids });
        }
        self.set_opt(Timer::Outbox, self.outbox.next());
    }

    /// Brings what is in the outbox to all that are linked, as if it had just been accepted.
    pub(super) fn retry_outbox(&mut self, ids: &[TxId]) {
        for id in ids.iter().take(IDS_PER_FRAME_MAX) {
            if self.outbox.retry(id) {
                let op = self.op(Purpose::RetryOutbox);
                self.outputs.push_back(Output::Load { op, id: *id, what: LoadWhat::Envelope });
            }
        }
    }

    pub(super) fn push_again(&mut self, envelope: &Arc<Envelope>, body: Option<&Payload>, now: Now) {
        let links: Vec<LinkId> =
            self.links.standing().map(|session| session.link).take(RETRY_LINKS_MAX).collect();
        for link in links {
            let push = Push {
                envelope: envelope.clone(),
                body: body.cloned(),
                rows: self.rows,
                head: false,
                hops: 1,
                chunks_follow: false,
            };
            self.send_push(link, push, 1, now);
        }
        self.set_opt(Timer::Outbox, self.outbox.next());
    }

    /// Somebody waits until enough others hold a transaction.
    pub(super) fn await_holders(&mut self, token: u64, id: TxId, wanted: u32, wait: Duration, now: Now) {
        if let Some(answer) = self.holders.wait(token, id, wanted, wait, now.time) {
            self.answer_holders([answer]);
        }
        self.set_opt(Timer::Holders, self.holders.next());
    }

    fn answer_holders(&mut self, answers: impl IntoIterator<Item = Answer>) {
        for (token, holders) in answers {
            self.outputs.push_back(Output::HoldersReply { token, holders: holders as u32 });
        }
    }

    /// Asks peers that are not known to hold what somebody waits for, and answers whose time is over.
    pub(super) fn ask_for_holders(&mut self, now: Now) {
        let answers = self.holders.expired(now.time);
        self.answer_holders(answers);
        let mut questions: BTreeMap<LinkId, Vec<TxId>> = BTreeMap::new();
        let standing: Vec<(LinkId, PeerId)> =
            self.links.standing().map(|session| (session.link, session.peer.id)).collect();
        for (id, more) in self.holders.due(now.time) {
            let mut open: Vec<LinkId> = standing
                .iter()
                .filter(|(_, peer)| self.keeps(peer) && !self.holders.is_held_by(&id, peer))
                .map(|(link, _)| *link)
                .collect();
            // One more than needed: somebody may not have it.
            let (some, _) = open.partial_shuffle(&mut self.rng, more + 1);
            for link in some {
                let ids = questions.entry(*link).or_default();
                if ids.len() < IDS_PER_FRAME_MAX {
                    ids.push(id);
                }
            }
        }
        for (link, ids) in questions {
            self.send(link, Class::Bulk, Message::HoldsRequest { ids });
        }
        self.set_opt(Timer::Holders, self.holders.next());
    }

    /// A random standing link that answers, to a peer that `counts`.
    fn somebody(&mut self, now: Now, counts: impl Fn(&PeerId) -> bool) -> Option<LinkId> {
        let interval = self.config.heartbeat_interval;
        let standing = self.links.standing().filter(|session| counts(&session.peer.id));
        let (answers, silent): (Vec<_>, Vec<_>) =
            standing.partition(|session| !session.is_suspect(now.time, interval));
        let from = if answers.is_empty() { silent } else { answers };
        from.choose(&mut self.rng).map(|session| session.link)
    }

    pub(super) fn holds_asked(&mut self, link: LinkId, ids: Vec<TxId>) {
        let Some(session) = self.links.get_mut(link) else { return };
        // Whoever asks twice at once waits for the first answer.
        if !std::mem::replace(&mut session.is_asking, true) {
            let op = self.op(Purpose::AnswerHolds { link, ids: ids.clone() });
            self.outputs.push_back(Output::Lookup { op, ids });
        }
    }

    pub(super) fn say_holds(&mut self, link: LinkId, ids: Vec<TxId>, held: &[bool]) {
        if let Some(session) = self.links.get_mut(link) {
            session.is_asking = false;
        }
        let ids = ids.into_iter().zip(held).filter(|(_, held)| **held).map(|(id, _)| id).collect();
        self.send(link, Class::Bulk, Message::Holds { ids });
    }

    pub(super) fn holds_said(&mut self, peer: &PeerId, ids: &[TxId], now: Now) {
        self.confirmed(peer, ids);
        self.outbox.denied(peer, ids);
        if !ids.is_empty() && self.keeps(peer) {
            // There may be more to ask about; where nothing was held there, waiting is better.
            self.outbox.answered();
            self.set_opt(Timer::Outbox, self.outbox.next());
        }
        if self.drain.is_some() {
            self.set(Timer::Drain, now.time);
        }
    }

    pub(super) fn drain(&mut self, leaving: Vec<PeerId>, leave: bool, now: Now) {
        self.drain.get_or_insert_with(Drain::default).ask(leaving, leave);
        self.note_state(None);
        self.set(Timer::Drain, now.time);
    }

    pub(super) fn resume(&mut self, now: Now) {
        let Some(drain) = self.drain.take() else { return };
        self.note_state(None);
        if drain.left && !self.stopping {
            self.phase = Phase::Running;
            self.seal_own(false, now);
            self.set(Timer::Dial, now.time);
        }
    }

    /// Everything was brought away and the others were told.
    pub(super) fn has_left(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.left)
    }

    pub(super) fn go_on_draining(&mut self, now: Now) {
        let nothing_under_way = self.admission.len() == 0;
        let Some(drain) = &mut self.drain else { return };
        if drain.is_done() {
            if drain.leave && !drain.left && self.phase == Phase::Running {
                drain.left = true;
                self.phase = Phase::Leaving;
                self.seal_own(true, now);
            }
            return;
        }
        if nothing_under_way {
            drain.begin(now.time);
        }
        if drain.has_begun() && self.phase == Phase::Running {
            self.ask_staying_peers(now);
        }
        self.set(Timer::Drain, now.time + DRAIN_EVERY);
    }

    fn ask_staying_peers(&mut self, now: Now) {
        let Some(drain) = self.drain.take() else { return };
        let link = self.somebody(now, |peer| drain.counts(peer));
        let drain = self.drain.insert(drain);
        let Some(session) = link.and_then(|link| self.links.get(link)) else { return };
        let (link, peer) = (session.link, session.peer.id);
        let questions = drain.questions();
        if drain.opened.is_none_or(|at| now.time.since(at) >= DRAIN_ROUND_EVERY) {
            drain.opened = Some(now.time);
            self.sync.enqueue_first(peer);
            self.sync_next(now);
        }
        if !questions.is_empty() {
            self.send(link, Class::Bulk, Message::HoldsRequest { ids: questions });
        }
    }

    pub(super) fn drain_view(&self) -> Option<DrainView> {
        let drain = self.drain.as_ref()?;
        let drained = drain.is_done() && (!drain.leave || self.phase == Phase::Draining);
        let staying = self.links.standing().any(|session| drain.counts(&session.peer.id));
        let reason = if drained {
            ""
        } else if drain.is_done() {
            "the others are being told that this peer leaves"
        } else if !drain.has_begun() {
            "submissions that were accepted before are still being made durable"
        } else if !staying {
            "no staying peer is linked"
        } else {
            ""
        };
        Some(DrainView {
            drained,
            remaining: drain.remaining().unwrap_or(self.held.max(self.outbox.len())),
            reason: reason.to_owned(),
        })
    }
}
