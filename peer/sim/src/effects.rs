//! What the core wants done, done to the simulated disk, network and application.

use sorcha_peer_core::event::{Class, DialError, Event, Input, Output, StoreFault};
use sorcha_peer_core::message::{Frame, Message};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{Address, LinkId, OpId, PeerId, TxId};

use crate::adversary::Leaves;
use crate::check::{Property, counts};
use crate::disk::Write;
use crate::network::Item;
use crate::network::egress::{Departure, Urgency};
use crate::peers::{Moment, Power, number_of};
use crate::plant::Plant;
use crate::queue::Micros;
use crate::seal;
use crate::trace::Mark;
use crate::world::{Dial, Happening, World};

/// The subscriber acknowledges after so many transactions; a crash in between brings some again.
const ACKNOWLEDGED_EVERY: usize = 8;

impl World {
    pub(crate) fn effect(&mut self, peer: usize, output: Output) {
        let disk = &self.machines[peer].disk;
        let trouble = disk.trouble();
        let read = self.settings.latency.read * trouble.slowness;
        let store = disk.store();
        match output {
            Output::Send { link, class, frame } => self.send(peer, link, class, frame),
            Output::Dial { op, address, expect } => self.dial(peer, op, address, expect),
            Output::Close { link, reason } => self.close(peer, link, reason),
            Output::Seal { op, header } => {
                let envelope = seal::envelope(header, &self.machines[peer].certificate);
                self.ledger.on_sealed(peer, envelope.id(), envelope.header());
                if !self.springs(peer, Moment::Sealed) {
                    self.after_signature(peer, Input::Sealed { op, result: Ok(envelope) });
                }
            }
            Output::SealRecord { op, record } => {
                let record = seal::record(record, &self.machines[peer].certificate);
                self.after_signature(peer, Input::RecordSealed { op, result: Ok(record) });
            }
            Output::Verify { op, item } => {
                self.after_signature(peer, Input::Verified { op, verdict: seal::verdict(&item) });
            }
            Output::Persist { op, envelope, body, idempotency_key } => {
                self.persist(peer, op, Write::Transaction { op, envelope, body, idempotency_key });
            }
            Output::Recall { op, idempotency_key } => {
                let result =
                    if trouble.reads_fail { Err(unreadable()) } else { Ok(store.recall(&idempotency_key)) };
                self.answer(peer, read, Input::Recalled { op, result });
            }
            Output::Load { op, id, what } => {
                let found = if trouble.reads_fail { None } else { store.load(&id, &what) };
                self.answer(peer, read, Input::Loaded { op, found });
            }
            Output::Lookup { op, ids } => {
                let held = ids.iter().map(|id| !trouble.reads_fail && store.holds(id)).collect();
                self.answer(peer, read, Input::LookedUp { op, held });
            }
            Output::Inspect { op, queries } => {
                let views = if trouble.reads_fail { Vec::new() } else { store.inspect(&queries) };
                self.answer(peer, read, Input::Inspected { op, views });
                self.springs(peer, Moment::Inspected);
            }
            Output::Expire { op, before, bytes_max, keep_from } => {
                let result = Some(self.machines[peer].disk.expire(before, bytes_max, keep_from));
                self.answer(peer, self.settings.latency.sync, Input::Expired { op, result });
            }
            Output::Remember { record } => self.write_record(peer, Write::Remember(record)),
            Output::Forget { peer: forgotten } => self.write_record(peer, Write::Forget(forgotten)),
            // Nobody in the simulation waits for holders.
            Output::HoldersReply { .. } => {}
            Output::SubmitReply { token, result } => {
                let reply = result.map(|accepted| accepted.id).map_err(|refused| refused.to_string());
                let accepted = reply.is_ok();
                self.replied(peer, token, reply);
                if accepted {
                    self.springs(peer, Moment::Answered);
                }
            }
            Output::Event(event) => self.told(peer, &event),
        }
    }

    fn send(&mut self, peer: usize, link: LinkId, class: Class, frame: Frame) {
        if !self.network.is_open(link) {
            return; // the core has not heard of the link's end yet
        }
        let machine = &self.machines[peer];
        let kept_back = machine.withholds.is_some_and(|how| how.keeps_back(&machine.id, &frame.message));
        let is_frozen = self.settings.records_frozen && matches!(frame.message, Message::Records { .. });
        if kept_back || is_frozen {
            return;
        }
        let machine = &mut self.machines[peer];
        if let Some(adversary) = &mut machine.adversary {
            for leaves in adversary.twist(&machine.id, frame) {
                match leaves {
                    Leaves::Frame(frame) => self.send_frame(peer, link, class, frame),
                    Leaves::Garbage(bytes) => {
                        let length = bytes.len() as u32;
                        self.put(peer, link, Urgency::Frame(class), Item::Garbage(bytes), length);
                    }
                }
            }
            return;
        }
        self.send_frame(peer, link, class, frame);
    }

    fn send_frame(&mut self, peer: usize, link: LinkId, class: Class, frame: Frame) {
        let (frame, bytes) = if self.settings.through_wire {
            let bytes = sorcha_peer_wire::encode_frame(&frame);
            let length = bytes.len() as u32;
            (self.read_back(peer, frame, bytes), length)
        } else {
            let bytes = sorcha_peer_wire::frame_len(&frame) as u32;
            (frame, bytes)
        };
        self.ledger.on_sent(peer, &frame.message, bytes);
        if let Some(checker) = self.checker.as_mut().filter(|_| self.machines[peer].adversary.is_none()) {
            checker.on_sent(self.now, peer, link, &frame, &self.machines[peer].disk);
        }
        let is_push = class == Class::Push;
        self.put(peer, link, Urgency::Frame(class), Item::Frame(Box::new(frame), bytes), bytes);
        if is_push {
            self.springs(peer, Moment::Pushed);
        }
    }

    fn read_back(&mut self, peer: usize, frame: Frame, bytes: bytes::Bytes) -> Frame {
        let detail = match sorcha_peer_wire::decode_frame(bytes) {
            Ok(read) if read == frame => return read,
            // What a malicious peer has packed wrongly is read as such.
            Ok(read) if self.machines[peer].adversary.is_some() => return read,
            Ok(read) => format!("peer {peer} wrote {frame:?}, read as {read:?}"),
            Err(error) => format!("peer {peer} wrote {frame:?}, which is refused: {error}"),
        };
        if let Some(checker) = &mut self.checker {
            checker.violated(self.now, Property::FramesSurviveTheWire, &[peer], detail);
        }
        frame
    }

    /// Puts an item on a machine's line, or straight on the wire where lines have no bound.
    fn put(&mut self, peer: usize, link: LinkId, urgency: Urgency, item: Item, bytes: u32) {
        if self.network.conditions().bandwidth_bps == 0 {
            return self.wire(link, item);
        }
        if self.machines[peer].egress.queue(urgency, Departure { direction: link.0, item, bytes }) {
            self.depart(peer);
        }
    }

    pub(crate) fn depart(&mut self, peer: usize) {
        let bandwidth_bps = self.network.conditions().bandwidth_bps;
        let machine = &mut self.machines[peer];
        let epoch = machine.epoch;
        let Some((departure, taken)) = machine.egress.depart(bandwidth_bps) else { return };
        let left = self.now + taken;
        self.queue.push(left, Happening::LineFree { peer, epoch });
        self.wire_at(left, LinkId(departure.direction), departure.item);
    }

    pub(crate) fn wire(&mut self, end: LinkId, item: Item) {
        self.wire_at(self.now, end, item);
    }

    fn wire_at(&mut self, left: Micros, end: LinkId, item: Item) {
        if let Some(at) = self.network.send(left, end, item) {
            self.queue.push(at, Happening::Arrive(end));
        }
    }

    fn close(&mut self, peer: usize, link: LinkId, reason: String) {
        if !self.network.is_open(link) {
            return;
        }
        self.network.set_open(link, false);
        if let Some(checker) = &mut self.checker {
            checker.on_link_down(link);
        }
        self.put(peer, link, Urgency::Close, Item::Down("closed by the other side".into()), 0);
        self.answer(peer, 0, Input::LinkDown { link, reason });
    }

    fn dial(&mut self, peer: usize, op: OpId, address: Address, expect: Option<PeerId>) {
        let target = number_of(&address).filter(|number| *number < self.machines.len());
        let timeout = self.network.conditions().dial_timeout;
        let reached = target.filter(|target| {
            let machine = &self.machines[*target];
            machine.power != Power::Dead && !machine.behind_nat && !self.network.is_cut(peer, *target)
        });
        let Some(target) = reached else {
            let error = DialError::Unreachable(format!("{address}: no answer within {} ms", timeout / 1000));
            return self.answer_dial(peer, self.now + timeout, op, error);
        };
        let round_trip = self.network.round_trip(peer, target);
        if self.machines[target].power == Power::Stopped {
            let error = DialError::Unreachable(format!("{address}: connection refused"));
            return self.answer_dial(peer, self.now + round_trip, op, error);
        }
        // TCP's handshake, then that of TLS 1.3: a round trip each (RFC 8446 § 2).
        let epoch = self.machines[peer].epoch;
        let dial = Box::new(Dial { op, address, target, expect });
        self.queue.push(self.now + 2 * round_trip, Happening::Dialled { peer, epoch, dial });
    }

    pub(crate) fn answer_dial(&mut self, peer: usize, at: Micros, op: OpId, error: DialError) {
        self.trace.add(self.now, Mark::DialFailed, peer, op.0);
        self.answer(peer, at - self.now, Input::DialFailed { op, error });
    }

    fn answer(&mut self, peer: usize, after: Micros, input: Input) {
        let epoch = self.machines[peer].epoch;
        self.queue.push(self.now + after, Happening::Answer { peer, epoch, input: Box::new(input) });
    }

    /// One thread makes and checks signatures, one after another.
    fn after_signature(&mut self, peer: usize, input: Input) {
        let machine = &mut self.machines[peer];
        machine.verifying_until = machine.verifying_until.max(self.now) + self.settings.verify;
        let after = machine.verifying_until - self.now;
        self.answer(peer, after, input);
    }

    fn persist(&mut self, peer: usize, op: OpId, mut write: Write) {
        let trouble = self.machines[peer].disk.trouble();
        if trouble.full || trouble.writes_fail {
            let fault = if trouble.full {
                StoreFault::Full("no space left on the simulated disk".into())
            } else {
                StoreFault::Failed("the simulated disk does not write".into())
            };
            let after = self.settings.latency.sync * trouble.slowness;
            return self.answer(peer, after, Input::PersistFailed { op, fault });
        }
        match self.settings.planted {
            Some(Plant::AnswerBeforeDurable) => self.answer(peer, 0, Input::Persisted { op }),
            Some(Plant::BodyAltered) => write = altered(write),
            _ => {}
        }
        self.write(peer, write);
        self.springs(peer, Moment::Written);
    }

    fn write_record(&mut self, peer: usize, write: Write) {
        let trouble = self.machines[peer].disk.trouble();
        if self.settings.keep_records && !trouble.full && !trouble.writes_fail {
            self.write(peer, write);
        }
    }

    fn write(&mut self, peer: usize, write: Write) {
        if self.machines[peer].disk.write(write) {
            self.begin_group(peer);
        }
    }

    fn begin_group(&mut self, peer: usize) {
        let machine = &mut self.machines[peer];
        if machine.disk.begin() {
            let at = self.now + self.settings.latency.sync * machine.disk.trouble().slowness;
            self.queue.push(at, Happening::Commit { peer, epoch: machine.epoch });
        }
    }

    pub(crate) fn commit(&mut self, peer: usize) {
        let (new, done) = self.machines[peer].disk.commit();
        self.trace.add(self.now, Mark::Commit, peer, done.len() as u64);
        let honest = self.machines[peer].adversary.is_none();
        for id in &new {
            self.ledger.on_durable(self.now, peer, id);
            if let Some(checker) = self.checker.as_mut().filter(|_| honest) {
                checker.on_durable(self.now, peer, id, self.machines[peer].disk.store());
            }
        }
        if let Some(checker) = self.checker.as_mut().filter(|_| honest) {
            checker.on_cursor(self.now, peer, self.machines[peer].disk.store());
        }
        if !done.is_empty() && self.springs(peer, Moment::Committed) {
            return;
        }
        if self.settings.planted != Some(Plant::AnswerBeforeDurable) {
            for op in done {
                self.handle(peer, Input::Persisted { op });
            }
        }
        if self.machines[peer].runs() {
            self.deliver(peer);
            self.begin_group(peer);
        }
    }

    /// The subscriber reads on, and acknowledges now and then.
    pub(crate) fn deliver(&mut self, peer: usize) {
        let Some(checker) = self.checker.as_mut().filter(|_| counts(&self.machines[peer])) else { return };
        let machine = &mut self.machines[peer];
        let store = machine.disk.store();
        let before = machine.subscribed;
        let mut fresh: Vec<(usize, TxId)> = (before..).zip(store.log()[before..].iter().copied()).collect();
        match self.settings.planted {
            Some(Plant::Reordered) => fresh.reverse(),
            Some(Plant::CursorAhead) if fresh.len() > 1 => fresh.truncate(1),
            _ => {}
        }
        for (position, id) in fresh {
            checker.on_delivered(self.now, peer, position, id, store);
        }
        machine.subscribed = store.log().len();
        // The write that carries the cursor must not cause the next one.
        let acknowledges = machine.subscribed / ACKNOWLEDGED_EVERY > before / ACKNOWLEDGED_EVERY;
        let trouble = machine.disk.trouble();
        if acknowledges && !trouble.full && !trouble.writes_fail {
            machine.disk.write(Write::Cursor(machine.subscribed));
        }
    }

    fn replied(&mut self, peer: usize, token: u64, reply: Result<TxId, String>) {
        let id = reply.as_ref().ok().copied();
        let was_open = self.ledger.on_reply(token, reply);
        let Some(checker) = self.checker.as_mut().filter(|_| self.machines[peer].adversary.is_none()) else {
            return;
        };
        if !was_open {
            return checker.on_answered_again(self.now, peer, token);
        }
        if let Some(id) = id {
            let key = &self.ledger.submissions()[token as usize].idempotency_key;
            checker.on_acknowledged(self.now, peer, key, id, &self.machines[peer].disk);
        }
    }

    fn told(&mut self, peer: usize, event: &Event) {
        match event {
            Event::Received { id, hops, .. } => self.ledger.on_received(id, *hops),
            Event::Evidence { peer: accused, kind, detail } => {
                self.ledger.on_evidence(kind.as_str());
                let accused = self.machines.iter().find(|machine| machine.id == *accused);
                let honest =
                    accused.filter(|machine| machine.adversary.is_none()).map(|machine| machine.number);
                if let (Some(checker), Some(accused), None) =
                    (&mut self.checker, honest, &self.machines[peer].adversary)
                {
                    checker.on_accused(self.now, peer, accused, *kind, detail);
                }
            }
            _ => {}
        }
    }
}

fn unreadable() -> StoreFault {
    StoreFault::Failed("the simulated disk does not read".into())
}

/// With [`Plant::BodyAltered`]: the same header over a body that is not its own.
fn altered(write: Write) -> Write {
    match write {
        Write::Transaction { op, envelope, body, idempotency_key } if !body.bytes().is_empty() => {
            let mut bytes = body.bytes().to_vec();
            bytes[0] ^= 1;
            let body = std::sync::Arc::new(Body::new(bytes.into()));
            Write::Transaction { op, envelope, body, idempotency_key }
        }
        write => write,
    }
}
