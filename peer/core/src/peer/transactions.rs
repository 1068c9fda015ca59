//! Another's transaction: seen? -> checked -> relayed and made durable -> acknowledged and announced.

use std::sync::Arc;
use std::time::Duration;

use super::{Peer, Purpose, Timer};
use crate::envelope::{Carried, Envelope, Referring};
use crate::event::{Class, Event, EvidenceKind, LoadWhat, Output, Verdict, Verifiable};
use crate::gossip::intake::{Again, Incoming, Verified};
use crate::gossip::push::{self, Neighbour, Target};
use crate::gossip::seen::Known;
use crate::gossip::transfer::Piece;
use crate::link::session::Session;
use crate::message::{Message, Push};
use crate::payload::Payload;
use crate::tree::{self, Body};
use crate::types::bounds::{BODY_BYTES_MAX, CHUNKS_PUSHED_MAX, PUBLISHED_AHEAD_MS_MAX, PUSH_BODY_BYTES_MAX};
use crate::types::{LinkId, Now, PeerId, TxId, WallTime};

/// A transaction of an untrusted signer is looked at again after this time: trust may have been renewed. Guess.
const REFUSED_FOR: Duration = Duration::from_secs(10 * 60);

impl Peer {
    /// A push came in on a link that has said hello.
    pub(super) fn pushed(&mut self, link: LinkId, sequence: u64, push: Push<Carried>, now: Now) {
        let Some(session) = self.links.get_mut(link) else { return };
        if push.hops <= 1 && push.rows > session.rows {
            session.rows = push.rows;
        }
        let from = session.peer.id;
        if matches!(push.envelope, Carried::Referring(_)) && self.config.references_after.is_none() {
            // Not acknowledged: it is not held.
            return self
                .fault(link, "a push refers to its certificate, which this peer does not read".to_owned());
        }
        let (id, header) = (push.envelope.id(), push.envelope.header());
        if header.network != self.config.network {
            let detail = format!("transaction {id} is of network '{}'", header.network);
            self.acknowledge(link, sequence, now.time);
            return self.evidence(from, EvidenceKind::OtherNetwork, detail);
        }
        if header.published < self.floors.own() {
            return self.too_old(link, sequence, &push, from, now);
        }
        if header.body_bytes > BODY_BYTES_MAX {
            let detail =
                format!("transaction {id} has {} bytes, more than {BODY_BYTES_MAX}", header.body_bytes);
            self.acknowledge(link, sequence, now.time);
            return self.evidence(from, EvidenceKind::Protocol, detail);
        }
        if let Some(body) = &push.body {
            let whole = body.len() as u64 == header.body_bytes && body.len() <= PUSH_BODY_BYTES_MAX;
            if !whole || Body::new(body.plain().clone()).root() != header.body_root {
                let detail = format!("the body of transaction {id} does not match its header");
                self.acknowledge(link, sequence, now.time);
                return self.evidence(from, EvidenceKind::BadBody, detail);
            }
        }
        let known = self.seen.known(&id, header.published, now.time);
        match known {
            Known::Held | Known::Refused => {
                if known == Known::Held {
                    self.acknowledge(link, sequence, now.time);
                }
                self.event(Event::Duplicate { from });
                if push.hops > 0 {
                    self.misses.pushed(&id);
                }
                if push.head && known == Known::Held && self.seen.relay(&id) {
                    // It came another way before, but the row counts on this peer. What travels on is the
                    // stored envelope: this one is not checked.
                    let holders = vec![from, header.origin];
                    let (rows, hops) = (push.rows, push.hops.saturating_add(1));
                    let op = self.op(Purpose::LoadForRow { rows, hops, holders });
                    self.outputs.push_back(Output::Load { op, id, what: LoadWhat::Envelope });
                }
            }
            Known::Pending => {
                self.bodies.add_holder(&id, from);
                if self.bodies.len() > 0 {
                    self.set(Timer::Bodies, now.time);
                }
                // A header alone promises nothing: its frame is acknowledged at once.
                let ack = push.body.is_some().then_some((link, sequence));
                if ack.is_none() {
                    self.acknowledge(link, sequence, now.time);
                }
                let again = match self.resolve(push) {
                    Ok(push) => self.intake.again(&push, from, ack),
                    Err(push) => self.intake.again_by(&id, &push, from, ack),
                };
                if again == Again::Joined {
                    self.event(Event::Duplicate { from });
                }
                self.relay(&id, now);
            }
            Known::New | Known::MaybeHeld => {
                let ack = push.body.is_some().then_some((link, sequence));
                if ack.is_none() {
                    self.acknowledge(link, sequence, now.time);
                }
                let mut push = match self.resolve(push) {
                    Ok(push) => push,
                    Err(push) => return self.ask_for_whole(link, from, &push, ack, now),
                };
                let earlier = self.references.unresolved.arrived(&id, &mut push);
                let mut incoming = Incoming::new(push, from, ack);
                incoming.acks.extend(earlier);
                let maybe_held = known == Known::MaybeHeld && !self.sync.is_wanted(&id);
                self.take_in(incoming, maybe_held, now);
            }
        }
    }

    /// It is below the own floor: gone from here, or never held, and not taken. No fault of the one who sent it.
    fn too_old(&mut self, link: LinkId, sequence: u64, push: &Push<Carried>, from: PeerId, now: Now) {
        let key = push.envelope.key();
        // An acknowledged body would count as held.
        if push.body.is_none() {
            self.acknowledge(link, sequence, now.time);
        }
        self.announcers_of(&key.id);
        self.references.unresolved.forget(&key.id);
        self.sync.arrived(&key.id, false, now.time);
        self.seen.refused(key.id, key.published, now.time + REFUSED_FOR);
        self.event(Event::TooOld { from });
    }

    fn take_in(&mut self, mut incoming: Incoming, maybe_held: bool, now: Now) {
        let key = incoming.key();
        let limit = now.wall.as_unix_ms().saturating_add(PUBLISHED_AHEAD_MS_MAX);
        if key.published.as_unix_ms() > limit {
            let ahead = key.published.as_unix_ms() - now.wall.as_unix_ms();
            let detail = format!("transaction {} is published {ahead} ms from now", key.id);
            self.evidence(incoming.push.envelope.header().origin, EvidenceKind::ClockAhead, detail);
            // Held back, not held: not acknowledged.
            incoming.acks.clear();
            self.intake.hold_back(incoming);
            self.sync.arrived(&key.id, false, now.time);
            self.wake_for_held_back(now);
            return;
        }
        self.references.unresolved.forget(&key.id);
        for announcer in self.announcers_of(&key.id) {
            if let Some(session) = self.links.get(announcer) {
                incoming.holders.push(session.peer.id);
            }
        }
        if self.intake.add(incoming).is_err() {
            // Reconciliation brings it later.
            return;
        }
        self.seen.pending(key.id, key.published);
        if maybe_held {
            let op = self.op(Purpose::LookupTransaction(key.id));
            self.outputs.push_back(Output::Lookup { op, ids: vec![key.id] });
        } else {
            self.verify(key.id);
        }
    }

    pub(super) fn transaction_looked_up(&mut self, id: TxId, held: bool, now: Now) {
        if !held {
            return self.verify(id);
        }
        if let Some(incoming) = self.intake.remove(&id) {
            self.seen.held(id, incoming.key().published);
            self.sync.arrived(&id, false, now.time);
            self.acknowledge_all(&incoming, now);
            self.event(Event::Duplicate { from: incoming.from });
        }
    }

    fn verify(&mut self, id: TxId) {
        if let Some(envelope) = self.intake.envelope(&id) {
            let op = self.op(Purpose::VerifyTransaction(id));
            self.outputs.push_back(Output::Verify { op, item: Verifiable::Envelope(envelope) });
        }
    }

    pub(super) fn transaction_verified(&mut self, id: TxId, verdict: Verdict, now: Now) {
        let Some(incoming) = self.intake.get(&id) else { return };
        let (from, published) = (incoming.from, incoming.key().published);
        match verdict {
            Verdict::Valid => match incoming.push.body.clone() {
                Some(body) => self.complete(id, Arc::new(Body::of(body)), Vec::new(), now),
                None => self.header_verified(id, now),
            },
            Verdict::Forged(detail) => {
                self.evidence(from, EvidenceKind::BadSignature, detail);
                if self.intake.next_copy(&id).is_some() {
                    self.verify(id);
                } else {
                    self.seen.release(&id);
                    self.sync.arrived(&id, false, now.time);
                }
            }
            Verdict::Untrusted(detail) => {
                // Kept aside, not held: not acknowledged, or its origin would take it for held here.
                if let Some(incoming) = self.intake.remove(&id) {
                    self.keep_aside(incoming.push, from, detail, now);
                }
                self.sync.arrived(&id, false, now.time);
                self.seen.refused(id, published, now.time + REFUSED_FOR);
            }
        }
    }

    /// The header of a body that comes in chunks: it goes on at once, the chunks follow as they come.
    fn header_verified(&mut self, id: TxId, now: Now) {
        let early = self.intake.take_early(&id);
        let Some(incoming) = self.intake.get_mut(&id) else { return };
        incoming.verified = Verified::Header;
        let from = incoming.from;
        self.fetch_body(id, now);
        self.relay(&id, now);
        for (index, Piece { data, proof }) in early {
            self.chunk(from, id, index, data, proof, now);
        }
    }

    /// Header and body are verified: passes them on and makes them durable.
    pub(super) fn complete(&mut self, id: TxId, body: Arc<Body>, pieces: Vec<Piece>, now: Now) {
        let Some(incoming) = self.intake.get_mut(&id) else { return };
        incoming.verified = Verified::Whole(body.payload().clone(), pieces);
        let envelope = incoming.push.envelope.clone();
        self.relay(&id, now);
        let op = self.op(Purpose::Persist(id));
        self.outputs.push_back(Output::Persist { op, envelope, body, idempotency_key: String::new() });
    }

    /// Passes a verified transaction on its way in to the own row, once, where this peer is its head.
    fn relay(&mut self, id: &TxId, now: Now) {
        let Some(incoming) = self.intake.get(id).filter(|incoming| incoming.push.head) else { return };
        let body = match &incoming.verified {
            Verified::Whole(body, _) => Some(body.clone()),
            Verified::Header if incoming.push.envelope.header().body_bytes > PUSH_BODY_BYTES_MAX as u64 => {
                None
            }
            Verified::Header | Verified::Nothing => return,
        };
        if self.seen.relay(id) {
            let (envelope, holders) = (incoming.push.envelope.clone(), incoming.holders.clone());
            let (rows, hops) = (incoming.push.rows, incoming.push.hops.saturating_add(1));
            self.push_to_row(&envelope, body.as_ref(), rows, hops, &holders, now);
        }
    }

    /// Hop 2; `rows` are those that the sender named.
    pub(super) fn push_to_row(
        &mut self,
        envelope: &Arc<Envelope>,
        body: Option<&Payload>,
        rows: u32,
        hops: u32,
        holders: &[PeerId],
        now: Now,
    ) {
        let near = self.neighbours(now);
        let targets = push::from_head(&self.me, self.pushing_rows, rows, &envelope.id(), &near, holders);
        self.push_to(&targets, envelope, body, hops, now);
    }

    pub(super) fn persisted(&mut self, id: TxId, now: Now) {
        let Some(incoming) = self.intake.remove(&id) else { return };
        let header = incoming.push.envelope.header();
        self.seen.held(id, header.published);
        if let Some(first) = self.origins.used(header, id) {
            let (origin, incarnation, sequence) = (header.origin, header.incarnation, header.sequence);
            self.event(Event::Equivocation { origin, incarnation, sequence, first, second: id });
        }
        let wanted = self.sync.arrived(&id, true, now.time);
        self.acknowledge_all(&incoming, now);
        let age_ms = now.wall.as_unix_ms().saturating_sub(header.published.as_unix_ms());
        let (hops, body_bytes, published) = (incoming.push.hops, header.body_bytes, header.published);
        self.event(Event::Received { id, from: incoming.from, hops, body_bytes, age_ms });
        if incoming.pushed || !wanted {
            // What reconciliation brings was often published while this peer was away.
            self.misses.received(id, incoming.pushed, now.time);
        }
        self.announce(id, published, &incoming.holders, now);
        if wanted {
            self.set(Timer::SyncRound, now.time);
        }
    }

    pub(super) fn not_persisted(&mut self, id: TxId, now: Now) {
        // Not held, so not acknowledged: the sender or reconciliation brings it again.
        self.intake.remove(&id);
        self.seen.release(&id);
        self.sync.arrived(&id, false, now.time);
    }

    fn acknowledge_all(&mut self, incoming: &Incoming, now: Now) {
        for (link, sequence) in &incoming.acks {
            self.acknowledge(*link, *sequence, now.time);
        }
    }

    /// The signer is no fault of the relay's.
    fn keep_aside(&mut self, push: Push, from: PeerId, reason: String, now: Now) {
        let (id, origin) = (push.envelope.id(), push.envelope.header().origin);
        self.evidence(origin, EvidenceKind::UntrustedSigner, reason.clone());
        if self.quarantine.keep(push, from, reason.clone(), now.wall) {
            self.event(Event::Quarantined { id, origin, reason });
        }
        self.set(Timer::Quarantine, now.time + REFUSED_FOR);
    }

    /// Trust may have changed: all that was kept aside is checked again.
    pub(super) fn release_quarantine(&mut self, now: Now) {
        let kept = self.quarantine.take();
        if kept.is_empty() {
            return;
        }
        self.event(Event::QuarantineReleased { count: kept.len() });
        for kept in kept {
            self.seen.release(&kept.push.envelope.id());
            // Hops of its own time say nothing now, and chunks that followed are gone.
            let push = Push { hops: 0, head: false, chunks_follow: false, ..kept.push };
            self.take_in(Incoming::new(push, kept.from, None), true, now);
        }
    }

    fn wake_for_held_back(&mut self, now: Now) {
        if let Some(published) = self.intake.next_release() {
            let until = published.as_unix_ms().saturating_sub(PUBLISHED_AHEAD_MS_MAX);
            let wait = until.saturating_sub(now.wall.as_unix_ms()).clamp(10, 60_000);
            self.set(Timer::HeldBack, now.time + Duration::from_millis(wait));
        }
    }

    pub(super) fn release_held_back(&mut self, now: Now) {
        let until = WallTime::from_unix_ms(now.wall.as_unix_ms().saturating_add(PUBLISHED_AHEAD_MS_MAX));
        for incoming in self.intake.release(until) {
            let key = incoming.key();
            match self.seen.known(&key.id, key.published, now.time) {
                Known::New => self.take_in(incoming, false, now),
                Known::MaybeHeld => self.take_in(incoming, true, now),
                Known::Pending | Known::Held | Known::Refused => {}
            }
        }
        self.wake_for_held_back(now);
    }

    /// Standing links as the push sees them.
    pub(super) fn neighbours(&self, now: Now) -> Vec<Neighbour> {
        let interval = self.config.heartbeat_interval;
        let neighbour = |session: &Session| Neighbour {
            peer: session.peer.id,
            link: session.link,
            rows: session.rows,
            live: !session.is_suspect(now.time, interval),
            reachable: session.reachable,
        };
        self.links.standing().map(neighbour).collect()
    }

    pub(super) fn push_to(
        &mut self,
        targets: &[Target],
        envelope: &Arc<Envelope>,
        body: Option<&Payload>,
        hops: u32,
        now: Now,
    ) {
        let body = body.filter(|body| body.len() <= PUSH_BODY_BYTES_MAX);
        let reference = self.reference_to(envelope, now);
        let chunks = tree::chunk_count(envelope.header().body_bytes) as u32;
        // Where pushes are often missed each goes to several heads: then bodies travel when they are asked for.
        let chunks_follow = body.is_none() && chunks <= CHUNKS_PUSHED_MAX && !self.misses.is_lossy();
        for target in targets {
            let (rows, head) = (target.rows, target.head);
            let push =
                Push { envelope: envelope.clone(), body: body.cloned(), rows, head, hops, chunks_follow };
            self.send_push_by(target.link, push, reference.as_ref(), 1, now);
            if chunks_follow {
                self.chunks_asked(target.link, envelope.id(), 0, chunks, now);
            }
        }
    }

    /// Sends a push whole: what was sent before may have come to nothing for want of its certificate.
    pub(super) fn send_push(&mut self, link: LinkId, push: Push, sends: u8, now: Now) {
        self.send_push_by(link, push, None, sends, now);
    }

    /// Sends a push, by reference where the link's other side reads that. Below the grid it is watched and goes out again
    /// where no acknowledgement comes, unless nobody may be there any more; in the grid announcements repair what is lost.
    fn send_push_by(&mut self, link: LinkId, push: Push, reference: Option<&Referring>, sends: u8, now: Now) {
        let watched = self.pushing_rows <= 1;
        let interval = self.config.heartbeat_interval;
        let answers = |session: &Session| !session.is_suspect(now.time, interval);
        let again =
            (watched && self.links.get(link).is_some_and(answers)).then(|| (Box::new(push.clone()), sends));
        // The acknowledgement of a header alone promises nothing.
        let own = push.body.is_some() && push.envelope.header().origin == self.me;
        let own = own.then(|| push.envelope.id());
        let envelope = self.carried_on(link, &push.envelope, reference, now);
        self.send(link, Class::Push, Message::Push(push.with(envelope)));
        let Some(session) = self.links.get_mut(link) else { return };
        session.expect_answer(now.time);
        if watched || own.is_some() {
            let due = session.watch(now.time, 0, again, own);
            self.set_opt(Timer::Resend, due);
        }
    }
}
