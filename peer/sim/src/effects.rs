//! What the core wants done, done to the simulated disk, network and application.

use sorcha_peer_core::event::{Class, DialError, Event, Input, Output, StoreFault};
use sorcha_peer_core::message::{Frame, Message};
use sorcha_peer_core::types::{Address, LinkId, OpId, PeerId};

use crate::check::Property;
use crate::disk::Write;
use crate::network::Item;
use crate::network::egress::{Departure, Urgency};
use crate::peers::{Power, number_of};
use crate::queue::Micros;
use crate::seal;
use crate::trace::Mark;
use crate::world::{Dial, Happening, Planted, World};

impl World {
    pub(crate) fn effect(&mut self, peer: usize, output: Output) {
        let read = self.settings.latency.read;
        let store = self.machines[peer].disk.store();
        match output {
            Output::Send { link, class, frame } => self.send(peer, link, class, frame),
            Output::Dial { op, address, expect } => self.dial(peer, op, address, expect),
            Output::Close { link, reason } => self.close(peer, link, reason),
            Output::Seal { op, header } => {
                let envelope = seal::envelope(header, &self.machines[peer].certificate);
                self.ledger.on_sealed(peer, envelope.id(), envelope.header());
                self.after_signature(peer, Input::Sealed { op, result: Ok(envelope) });
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
                let id = store.recall(&idempotency_key);
                self.answer(peer, read, Input::Recalled { op, result: Ok(id) });
            }
            Output::Load { op, id, what } => {
                let found = store.load(&id, &what);
                self.answer(peer, read, Input::Loaded { op, found });
            }
            Output::Lookup { op, ids } => {
                let held = ids.iter().map(|id| store.holds(id)).collect();
                self.answer(peer, read, Input::LookedUp { op, held });
            }
            Output::Inspect { op, queries } => {
                let views = store.inspect(&queries);
                self.answer(peer, read, Input::Inspected { op, views });
            }
            Output::Expire { op, before, bytes_max, keep_from } => {
                let result = Some(self.machines[peer].disk.expire(before, bytes_max, keep_from));
                self.answer(peer, self.settings.latency.sync, Input::Expired { op, result });
            }
            Output::Remember { record } => self.write_record(peer, Write::Remember(record)),
            Output::Forget { peer: forgotten } => self.write_record(peer, Write::Forget(forgotten)),
            Output::SubmitReply { token, result } => {
                let reply = result.map(|accepted| accepted.id).map_err(|refused| refused.to_string());
                self.replied(peer, token, reply);
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
        let (frame, bytes) = if self.settings.through_wire {
            let bytes = sorcha_peer_wire::encode_frame(&frame);
            let length = bytes.len() as u32;
            (self.read_back(peer, frame, bytes), length)
        } else {
            let bytes = sorcha_peer_wire::frame_len(&frame) as u32;
            (frame, bytes)
        };
        self.ledger.on_sent(peer, &frame.message, bytes);
        if let Some(checker) = &mut self.checker {
            checker.on_sent(self.now, peer, &frame.message, &self.machines[peer].disk);
        }
        self.put(peer, link, Urgency::Frame(class), Item::Frame(Box::new(frame), bytes), bytes);
    }

    fn read_back(&mut self, peer: usize, frame: Frame, bytes: bytes::Bytes) -> Frame {
        let detail = match sorcha_peer_wire::decode_frame(bytes) {
            Ok(read) if read == frame => return read,
            Ok(read) => format!("peer {peer} wrote {frame:?}, read as {read:?}"),
            Err(error) => format!("peer {peer} wrote {frame:?}, which is refused: {error}"),
        };
        if let Some(checker) = &mut self.checker {
            checker.violated(self.now, Property::FramesSurviveTheWire, detail);
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

    fn persist(&mut self, peer: usize, op: OpId, write: Write) {
        if self.machines[peer].disk.is_full() {
            let fault = StoreFault::Full("no space left on the simulated disk".into());
            return self.answer(peer, self.settings.latency.sync, Input::PersistFailed { op, fault });
        }
        if self.settings.planted == Some(Planted::AnswerBeforeDurable) {
            self.answer(peer, 0, Input::Persisted { op });
        }
        self.write(peer, write);
    }

    fn write_record(&mut self, peer: usize, write: Write) {
        if self.settings.keep_records && !self.machines[peer].disk.is_full() {
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
            let at = self.now + self.settings.latency.sync;
            self.queue.push(at, Happening::Commit { peer, epoch: machine.epoch });
        }
    }

    pub(crate) fn commit(&mut self, peer: usize) {
        let (new, done) = self.machines[peer].disk.commit();
        self.trace.add(self.now, Mark::Commit, peer, done.len() as u64);
        for id in &new {
            self.ledger.on_durable(self.now, peer, id);
        }
        if self.settings.planted != Some(Planted::AnswerBeforeDurable) {
            for op in done {
                self.handle(peer, Input::Persisted { op });
            }
        }
        self.begin_group(peer);
    }

    fn replied(&mut self, peer: usize, token: u64, reply: Result<sorcha_peer_core::types::TxId, String>) {
        let id = reply.as_ref().ok().copied();
        let was_open = self.ledger.on_reply(token, reply);
        let Some(checker) = &mut self.checker else { return };
        if !was_open {
            return checker.on_answered_again(self.now, peer, token);
        }
        if let Some(id) = id {
            let key = &self.ledger.submissions()[token as usize].idempotency_key;
            checker.on_acknowledged(self.now, peer, key, id, &self.machines[peer].disk);
        }
    }

    fn told(&mut self, peer: usize, event: &Event) {
        let delivered = match event {
            Event::Received { id, hops, .. } => {
                self.ledger.on_received(id, *hops);
                *id
            }
            Event::Accepted { id, .. } => *id,
            Event::Evidence { kind, .. } => return self.ledger.on_evidence(kind.as_str()),
            _ => return,
        };
        if let Some(checker) = &mut self.checker {
            checker.on_delivered(self.now, peer, delivered);
        }
    }
}
