//! A link's life: hello, duplicates, frames, acknowledgements, silence, goodbye.

use std::time::Duration;

use rand::Rng;

use super::members::DIAL_PAUSE;
use super::{Peer, Phase, Timer};
use crate::event::{Class, DialError, Event, EvidenceKind, LinkUp, Opened, Output};
use crate::gossip::grid;
use crate::link::session::{ACK_DELAY, ACK_DELAY_LAZY, Liveness, Opening, Phase as LinkPhase, Session};
use crate::link::table::Standing;
use crate::membership::failure::MISSED_SHARE;
use crate::message::{Frame, GoodbyeReason, Hello, Message};
use crate::types::{LinkId, Now, OpId, PeerId, Time};

/// Protocol version spoken, and the lowest accepted.
const VERSION: u32 = 1;
/// A link that gave way to another is still read for this long, so that nothing under way is lost.
const LINGER: Duration = Duration::from_secs(2);
/// After a goodbye that says "not now", no dial for this long. Guess.
const NOT_NOW: Duration = Duration::from_secs(30);
/// The higher id leaves the first attempts to the lower for this long, so that links are rarely doubled.
pub(super) const HIGHER_ID_WAIT: Duration = Duration::from_secs(1);
/// Spreads dials after a lost link. Guess.
const REDIAL_JITTER_US: u64 = 100_000;

/// Why a link that still stands ends.
fn retired(reason: GoodbyeReason) -> &'static str {
    match reason {
        GoodbyeReason::Unused => "the grid asks for no link between the two",
        _ => "another link to the same peer stays",
    }
}

impl Peer {
    pub(super) fn link_up(&mut self, up: LinkUp, now: Now) {
        let LinkUp { link, opened, peer, address, rung } = up;
        let mut visit = false;
        if let Opened::Dialled(op) = opened {
            visit = self.dial_answered(op, &peer);
            self.set(Timer::Dial, now.time + DIAL_PAUSE);
        }
        if self.links.get(link).is_some() {
            return;
        }
        let dialled = opened != Opened::Accepted;
        let refusal = if peer.id == self.me {
            Some((GoodbyeReason::OneSelf, "this is a link to myself"))
        } else if self.has_left() {
            Some((GoodbyeReason::Unused, "this peer has left the network"))
        } else if self.phase != Phase::Running {
            Some((GoodbyeReason::Shutdown, "this peer is shutting down"))
        } else if self.links.len() >= self.config.links_max {
            Some((GoodbyeReason::Full, "this peer has as many links as it takes"))
        } else {
            None
        };
        let (wall, time) = (now.wall, now.time);
        let mut session = Session::new(Opening { link, peer, dialled, address, rung, wall, time });
        if let Some((reason, detail)) = refusal {
            let frame = session.stamp(Message::Goodbye { reason, detail: detail.to_owned() });
            self.outputs.push_back(Output::Send { link, class: Class::Control, frame });
            self.outputs.push_back(Output::Close { link, reason: detail.to_owned() });
            return;
        }
        session.visit = visit;
        self.links.insert(session);
        if dialled {
            let chosen = self.rng.random();
            self.say_hello(link, chosen);
        }
        self.set(Timer::Liveness, now.time + self.config.heartbeat_interval);
    }

    fn say_hello(&mut self, link: LinkId, session: [u8; 16]) {
        let hello = Hello {
            version: VERSION,
            version_min: VERSION,
            network: self.config.network.clone(),
            incarnation: self.incarnation,
            session,
            received: 0,
            rows: self.pushing_rows,
            record: self.exchange.own().cloned(),
            keeps_nothing: !self.config.durable,
            codings: self.config.codings,
            references: self.config.references_after.is_some(),
        };
        self.send(link, Class::Control, Message::Hello(hello));
    }

    pub(super) fn frame(&mut self, link: LinkId, frame: Frame, now: Now) {
        let Some(session) = self.links.get_mut(link) else { return };
        session.heard_at(now.time, now.wall);
        let (landed, from) = (session.acknowledged(frame.ack, frame.ack_bits), session.peer.id);
        if landed.bulk {
            self.send_bulk(link, now);
        }
        self.confirmed(&from, &landed.own);
        let Some(session) = self.links.get(link) else { return };
        let (peer, greeting) = (session.peer.id, session.phase == LinkPhase::Greeting);
        let closing = session.phase == LinkPhase::Closing;
        match frame.message {
            // It was given up, or its end was said, while that was on its way.
            Message::Hello(_) if closing => {}
            Message::Hello(hello) if greeting => {
                self.acknowledge(link, frame.sequence, now.time);
                self.hello(link, hello, now);
            }
            Message::Goodbye { reason, detail } => self.goodbye(link, reason, &detail, now),
            Message::Ack => {}
            _ if greeting => self.fault(link, "a frame came before hello".to_owned()),
            Message::Push(push) => self.pushed(link, frame.sequence, push, now),
            message => {
                let lazy = matches!(message, Message::Announce { .. });
                let delay = if lazy { ACK_DELAY_LAZY } else { ACK_DELAY };
                self.acknowledge_within(link, frame.sequence, delay, now.time);
                self.message(link, peer, message, now);
            }
        }
    }

    fn message(&mut self, link: LinkId, peer: PeerId, message: Message, now: Now) {
        match message {
            Message::Ping { nonce } => self.send(link, Class::Control, Message::Pong { nonce }),
            Message::Pong { nonce } => {
                if let Some(rtt) = self.links.get_mut(link).and_then(|session| session.pong(nonce, now.time))
                {
                    self.links.measured(rtt);
                }
            }
            Message::Announce { salt, short_ids } => self.announced(link, salt, &short_ids, now),
            Message::Fetch { ids, salt, short_ids, whole } => {
                self.fetch_asked(link, &ids, salt, &short_ids, whole, now);
            }
            Message::ChunkRequest { id, first, count } => self.chunks_asked(link, id, first, count, now),
            Message::Chunk { id, index, data, proof } => {
                self.chunk(peer, id, index, data, proof, now);
            }
            Message::Garbled { id, chunk, detail } => self.garbled(peer, id, chunk, &detail, now),
            Message::Unavailable { ids } => self.unavailable(peer, &ids, now),
            Message::HoldsRequest { ids } => self.holds_asked(link, ids),
            Message::Holds { ids } => self.holds_said(&peer, &ids, now),
            Message::RecordsRequest { limit, digest, known } => {
                self.records_asked(link, limit, &digest, known.as_ref(), now);
            }
            Message::Records { records, news } => self.records(peer, records, news),
            Message::Missed { peers } => self.missed(&peers, now),
            Message::Sync(sync) => self.sync_said(link, peer, sync, now),
            Message::Hello(_) => self.fault(link, "a second hello came".to_owned()),
            Message::Push(_) | Message::Goodbye { .. } | Message::Ack | Message::Unknown => {}
        }
    }

    /// The frame may be acknowledged.
    pub(super) fn acknowledge(&mut self, link: LinkId, sequence: u64, now: Time) {
        self.acknowledge_within(link, sequence, ACK_DELAY, now);
    }

    fn acknowledge_within(&mut self, link: LinkId, sequence: u64, delay: Duration, now: Time) {
        for frame in self.links.acknowledge(link, sequence, now, delay) {
            self.outputs.push_back(Output::Send { link, class: Class::Control, frame });
        }
        self.set_opt(Timer::Acks, self.links.next_ack());
    }

    /// Something that no peer of this version sends.
    pub(super) fn fault(&mut self, link: LinkId, detail: String) {
        let Some(session) = self.links.get_mut(link) else { return };
        let (peer, cut) = (session.peer.id, session.fault());
        self.evidence(peer, EvidenceKind::Protocol, detail);
        if cut {
            self.close(link, GoodbyeReason::Unspecified, "too many frames could not be read");
        }
    }

    fn hello(&mut self, link: LinkId, hello: Hello, now: Now) {
        let Some(session) = self.links.get_mut(link) else { return };
        let (peer, dialled) = (session.peer.clone(), session.dialled);
        if hello.version < VERSION || hello.version_min > VERSION {
            let detail = format!(
                "this peer speaks version {VERSION}, the other {} to {}",
                hello.version_min, hello.version
            );
            self.hold(peer.id, now.time + NOT_NOW);
            self.close(link, GoodbyeReason::Incompatible, &detail);
            return;
        }
        if hello.network != self.config.network {
            let detail = format!(
                "this is network '{}', the other side is of '{}'",
                self.config.network, hello.network
            );
            self.evidence(peer.id, EvidenceKind::OtherNetwork, detail.clone());
            self.hold(peer.id, now.time + NOT_NOW);
            self.close(link, GoodbyeReason::Incompatible, &detail);
            return;
        }
        session.phase = LinkPhase::Ready;
        session.rows = hello.rows;
        session.incarnation = hello.incarnation;
        session.keeps = !hello.keeps_nothing;
        session.codings = hello.codings.and(self.config.codings);
        let references = self.config.references_after.filter(|_| hello.references);
        session.refers_from = references.map(|after| now.time + after);
        if dialled {
            self.dial_window.answered();
        } else {
            self.say_hello(link, hello.session);
        }
        match self.links.settle(&self.me, link) {
            None => return,
            Some(Standing::Loses(_)) => {
                self.retire(link, GoodbyeReason::Duplicate, now);
                return;
            }
            Some(Standing::Replaces(old)) => self.replace(old, link, now),
            Some(Standing::First) => {}
        }
        self.contacts.linked(peer.id);
        let reachable = self.roster.get(&peer.id).is_none_or(|member| member.is_reachable);
        if let Some(session) = self.links.get_mut(link) {
            session.stood = true;
            session.reachable = reachable;
            let ping = session.ping(now.time);
            self.send(link, Class::Control, ping);
        }
        self.event(Event::LinkReady { link, peer: peer.clone(), dialled });
        if let Some(record) = hello.record {
            if record.peer == peer.id {
                self.consider(record, peer.id, true);
            } else {
                self.fault(link, format!("hello carries the record of {}", record.record.uri));
            }
        }
        self.reseal_after_isolation(now);
        self.ask_for_records(link, true, now);
        // Whoever has just started finds out by itself what it has missed.
        if self.me < peer.id || !self.caught_up {
            self.sync.enqueue(peer.id);
            self.set(Timer::SyncRound, now.time);
        }
        self.set_opt(Timer::Outbox, self.outbox.next());
        self.set(Timer::Dial, now.time + DIAL_PAUSE);
        if self.bodies.len() > 0 {
            self.set(Timer::Bodies, now.time);
        }
    }

    /// `old` gives way to `new`; what it had not delivered for certain goes out again.
    fn replace(&mut self, old: LinkId, new: LinkId, now: Now) {
        let pushes = self.links.get_mut(old).map(Session::unacknowledged).unwrap_or_default();
        self.retire(old, GoodbyeReason::Duplicate, now);
        for push in pushes {
            self.send_push(new, push, 1, now);
        }
    }

    /// Says goodbye but still reads until the other side closes.
    fn retire(&mut self, link: LinkId, reason: GoodbyeReason, now: Now) {
        let detail = retired(reason).to_owned();
        self.send(link, Class::Control, Message::Goodbye { reason, detail });
        if let Some(session) = self.links.get_mut(link) {
            session.phase = LinkPhase::Closing;
            session.close_at = Some(now.time + LINGER);
            session.unused = reason == GoodbyeReason::Unused;
        }
        self.set(Timer::Liveness, now.time + LINGER);
    }

    /// Ends links that the grid did not ask for, once its own stand: a network's many peers all begin with the same few, who
    /// would have a link to each.
    pub(super) fn end_visits(&mut self, now: Now) {
        if self.rows <= 1 || !self.caught_up {
            return;
        }
        let (mut asked_for, mut visits) = (vec![0; self.rows as usize], Vec::new());
        for session in self.links.standing() {
            let row = grid::row(&session.peer.id, self.rows);
            if session.visit {
                visits.push((session.link, session.peer.id, row));
            } else {
                asked_for[row as usize] += 1;
            }
        }
        let own = grid::row(&self.me, self.rows);
        visits.retain(|(_, _, row)| *row != own && asked_for[*row as usize] >= grid::LINKS_PER_ROW);
        for (link, peer, _) in visits {
            self.retire(link, GoodbyeReason::Unused, now);
            self.links.release(&peer, link);
        }
    }

    fn goodbye(&mut self, link: LinkId, reason: GoodbyeReason, detail: &str, now: Now) {
        let Some(session) = self.links.get(link) else { return };
        let (peer, phase) = (session.peer.id, session.phase);
        let stands = self.links.of(&peer).is_some_and(|standing| standing.link == link);
        match reason {
            // The other link says hello in a moment and takes over.
            GoodbyeReason::Duplicate if stands && phase == LinkPhase::Ready => return,
            GoodbyeReason::Duplicate => {}
            GoodbyeReason::Unused if stands => {
                if let Some(session) = self.links.get_mut(link) {
                    session.unused = true;
                }
            }
            GoodbyeReason::Shutdown => self.hold(peer, now.time + HIGHER_ID_WAIT),
            _ => {
                let wait = self.spread_out(NOT_NOW);
                self.hold(peer, now.time + wait);
            }
        }
        self.close_quietly(link, format!("the other side said goodbye ({reason:?}): {detail}"));
    }

    fn hold(&mut self, peer: PeerId, until: Time) {
        self.contacts.renewed(&peer, until);
        self.bootstrap.lost(&peer, until);
    }

    pub(super) fn close(&mut self, link: LinkId, reason: GoodbyeReason, detail: &str) {
        self.send(link, Class::Control, Message::Goodbye { reason, detail: detail.to_owned() });
        self.close_quietly(link, detail.to_owned());
    }

    fn close_quietly(&mut self, link: LinkId, reason: String) {
        if let Some(session) = self.links.get_mut(link) {
            session.phase = LinkPhase::Closing;
            session.close_at = None;
            let peer = session.peer.id;
            self.links.release(&peer, link);
            self.outputs.push_back(Output::Close { link, reason });
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId, reason: String, now: Now) {
        let Some(session) = self.links.remove(link) else { return };
        let peer = session.peer.clone();
        self.exchange.forget(link);
        self.floors.unlinked(link);
        for (_, round) in self.sync.unlinked(link) {
            self.sync_ended(&round);
        }
        if !self.links.is_linked(&peer.id) {
            self.bodies.unlinked(&peer.id);
            let jitter = Duration::from_micros(self.rng.random_range(0..REDIAL_JITTER_US));
            let wait = if self.me < peer.id { jitter } else { HIGHER_ID_WAIT + jitter };
            if session.is_unfinished_dial() {
                self.dial_window.unfinished(now.time);
                self.contacts.unfinished(&peer.id, reason.clone(), now.time, &mut self.rng);
                self.bootstrap.failed(&session.address, reason.clone(), now.time, &mut self.rng);
            } else if session.unused {
                // Whose links were all such visits dials those that its own grid asks for, the same peers perhaps.
                self.contacts.parted(peer.id, session.heard_wall, now.time + wait);
            } else if session.stood {
                let can_be_dialled = self.roster.get(&peer.id).is_some_and(|member| member.is_reachable);
                let next = now.time + wait;
                self.contacts.lost(peer.id, session.heard_wall, now.time, next, can_be_dialled);
                self.bootstrap.lost(&peer.id, now.time + wait);
            }
            self.dial_list = None;
            self.set(Timer::Dial, now.time + DIAL_PAUSE);
            self.set(Timer::Forget, now.time + self.config.forget_after / MISSED_SHARE);
        }
        if self.roster.get(&peer.id).is_none() {
            self.contacts.forget(&peer.id);
        }
        if session.stood {
            self.event(Event::LinkEnded { link, peer, reason });
        }
        self.set(Timer::SyncRound, now.time);
    }

    pub(super) fn dial_failed(&mut self, op: OpId, error: DialError, now: Now) {
        let (address, peer, failures) = match self.ops.remove(&op) {
            Some(super::Purpose::DialBootstrap(address)) => {
                let failures = self.bootstrap.failed(&address, error.to_string(), now.time, &mut self.rng);
                (address, None, failures)
            }
            Some(super::Purpose::DialMember { peer, address, .. }) => {
                let was_gone = self.contacts.is_gone(&peer);
                let (contacts, rng) = (&mut self.contacts, &mut self.rng);
                let failures = match &error {
                    DialError::Unfinished(_) => contacts.unfinished(&peer, error.to_string(), now.time, rng),
                    _ => contacts.failed(&peer, error.to_string(), now.time, rng),
                };
                self.set(Timer::Forget, now.time + self.config.forget_after / MISSED_SHARE);
                if !was_gone && self.contacts.is_gone(&peer) {
                    self.pass_on_missed(&peer, now);
                }
                (address, Some(peer), failures)
            }
            _ => return,
        };
        self.dialling = self.dialling.saturating_sub(1);
        if matches!(error, DialError::Unfinished(_)) {
            self.dial_window.unfinished(now.time);
        }
        self.dial_list = None;
        self.event(Event::DialFailed { address, peer, failures, error });
        self.set(Timer::Dial, now.time + DIAL_PAUSE);
    }

    /// Looks for silent links; `due` says when it was to be done. Where that is much earlier, this peer itself stood still, and
    /// what came meanwhile is not read yet: nobody is to blame for that time (as Lifeguard, arXiv:1707.00788, distrusts a
    /// member that is itself slow).
    pub(super) fn check_liveness(&mut self, due: Time, now: Now) {
        let interval = self.config.heartbeat_interval;
        let stood_still = Some(now.time.since(due)).filter(|late| *late > interval);
        let mut next: Option<Time> = None;
        let mut lower = |at: Time| next = Some(next.map_or(at, |next| next.min(at)));
        let (mut pings, mut dead, mut lingered) = (Vec::new(), Vec::new(), Vec::new());
        for session in self.links.iter_mut() {
            if let Some(late) = stood_still {
                session.heard = (session.heard + late).min(now.time);
            }
            match (session.phase, session.close_at) {
                (LinkPhase::Closing, Some(at)) if at <= now.time => {
                    let reason =
                        if session.unused { GoodbyeReason::Unused } else { GoodbyeReason::Duplicate };
                    lingered.push((session.link, reason));
                }
                (LinkPhase::Closing, Some(at)) => lower(at),
                (LinkPhase::Closing, None) => {}
                (phase, _) => match session.liveness(now.time, interval) {
                    Liveness::Dead => {
                        if session.is_unfinished_dial() {
                            self.dial_window.unfinished(now.time);
                        }
                        dead.push((session.link, session.peer.id, phase, session.patience(interval)));
                    }
                    Liveness::Ping if phase == LinkPhase::Ready => {
                        pings.push((session.link, session.ping(now.time)));
                        lower(now.time + interval);
                    }
                    Liveness::Ping => lower(now.time + interval),
                    Liveness::Fine(at) => lower(at),
                },
            }
        }
        for (link, ping) in pings {
            self.send(link, Class::Control, ping);
        }
        for (link, peer, phase, silent) in dead {
            if phase == LinkPhase::Greeting {
                // It accepts links and never says hello: no use to dial it again at once.
                self.hold(peer, now.time + NOT_NOW);
            }
            self.close_quietly(link, format!("nothing was heard for {} ms", silent.as_millis()));
        }
        for (link, reason) in lingered {
            self.close_quietly(link, retired(reason).to_owned());
        }
        self.set_opt(Timer::Liveness, next);
    }

    pub(super) fn send_acks(&mut self, now: Now) {
        for (link, frame) in self.links.acks_due(now.time) {
            self.outputs.push_back(Output::Send { link, class: Class::Control, frame });
        }
        self.set_opt(Timer::Acks, self.links.next_ack());
    }

    pub(super) fn resend(&mut self, now: Now) {
        let mut again = Vec::new();
        let mut next: Option<Time> = None;
        for session in self.links.iter_mut() {
            let overdue = session.overdue(now.time);
            next = next.into_iter().chain(overdue.next).min();
            again.extend(overdue.again.into_iter().map(|(push, sends)| (session.link, push, sends)));
        }
        self.set_opt(Timer::Resend, next);
        for (link, push, sends) in again {
            if self.links.get(link).is_some_and(|session| session.phase == LinkPhase::Ready) {
                self.send_push(link, *push, sends + 1, now);
            }
        }
        for link in self.links.ids() {
            self.send_bulk(link, now);
        }
    }

    pub(super) fn shut_down(&mut self, leaving: bool, now: Now) {
        self.stopping = true;
        if self.phase != Phase::Running {
            return;
        }
        if leaving {
            self.phase = Phase::Leaving;
            self.seal_own(true, now);
        } else {
            self.say_goodbye(now);
        }
    }

    /// Goodbye on every link; nothing is dialled or accepted from here on.
    pub(super) fn say_goodbye(&mut self, now: Now) {
        self.phase = Phase::Draining;
        self.send_announcements(now);
        for link in self.links.ids() {
            if self.links.get(link).is_some_and(|session| session.phase != LinkPhase::Closing) {
                if self.has_left() && !self.stopping {
                    self.close(link, GoodbyeReason::Unused, "this peer has left the network");
                } else {
                    self.close(link, GoodbyeReason::Shutdown, "this peer is shutting down");
                }
            }
        }
    }
}
