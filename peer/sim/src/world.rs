//! The world: takes the next event, hands it to the peer it concerns, and lets the effects happen.
//!
//! Everything random comes from the seed, everything timed from the queue. The protocol is the shipping
//! core's; nothing here knows what a frame means.

use std::sync::Arc;

use bytes::Bytes;
use sorcha_peer_core::config::{Config, Known, Start, next_incarnation};
use sorcha_peer_core::envelope::{Record, SignedRecord};
use sorcha_peer_core::event::{DialError, Input, LinkUp, Opened, Rung, Submit};
use sorcha_peer_core::message::LinkPeer;
use sorcha_peer_core::payload::Codings;
use sorcha_peer_core::peer::Peer;
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::bounds::PUSH_BODY_BYTES_MAX;
use sorcha_peer_core::types::{Address, LinkId, OpId, PeerId};

use crate::check::{Checker, Property, counts};
use crate::contract::{answered, asks};
use crate::disk::Latency;
use crate::ledger::{Kind, Ledger, Submission};
use crate::network::partition::Partition;
use crate::network::{Arrival, Conditions, Item, Network};
use crate::peers::{Machine, Moment, Power, Withholding, address_of};
use crate::plant::Plant;
use crate::queue::{Micros, Queue};
use crate::random::{self, Purpose};
use crate::trace::{Mark, Trace};

/// A peer woken this often at one point of time does not get on: a broken invariant of the core's.
const TICKS_AT_ONE_TIME_MAX: u32 = 1_000;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything random follows from it.
    pub seed: u64,
    /// The network at the begin.
    pub conditions: Conditions,
    /// Of every disk.
    pub latency: Latency,
    /// One signature made or checked. 0.1 ms: docs/design.md § 3.
    pub verify: Micros,
    /// Of every peer; addresses are filled in for each.
    pub config: Config,
    /// Whether records that the core wants remembered are kept (at 10,000 peers they are too many).
    pub keep_records: bool,
    /// Whether records travel with hellos alone, so that views stay as they are at the start.
    pub records_frozen: bool,
    /// Whether every frame goes through `sorcha-peer-wire` and back, instead of being measured only.
    pub through_wire: bool,
    /// One peer in so many reads plain bodies alone, as an older one does; 0: none.
    pub plain_every: usize,
    /// Whether a checker watches.
    pub checked: bool,
    /// A fault planted to see the checker catch it.
    pub planted: Option<Plant>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            conditions: Conditions::default(),
            latency: Latency::default(),
            verify: 100,
            config: Config { network: "sim".into(), software: "sorcha-peer-sim".into(), ..Config::default() },
            keep_records: true,
            records_frozen: false,
            through_wire: false,
            plain_every: 0,
            checked: false,
            planted: None,
        }
    }
}

/// What is planned.
#[derive(Debug)]
pub(crate) enum Happening {
    /// What was sent at this end arrives at the other.
    Arrive(LinkId),
    /// A deadline may have come.
    Wake { peer: usize },
    /// An effect is answered.
    Answer { peer: usize, epoch: u32, input: Box<Input> },
    /// A disk has synced its group.
    Commit { peer: usize, epoch: u32 },
    /// A handshake is done, if both sides are still there.
    Dialled { peer: usize, epoch: u32, dial: Box<Dial> },
    /// A line is free again.
    LineFree { peer: usize, epoch: u32 },
}

/// A dial on its way.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) op: OpId,
    pub(crate) address: Address,
    pub(crate) target: usize,
    pub(crate) expect: Option<PeerId>,
}

/// Peers, network and time.
#[derive(Debug)]
pub struct World {
    pub(crate) settings: Settings,
    pub(crate) now: Micros,
    pub(crate) queue: Queue<Happening>,
    pub(crate) trace: Trace,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) ledger: Ledger,
    pub(crate) checker: Option<Checker>,
    pub(crate) trapped: u64,
    pub(crate) last_events: Vec<Vec<String>>,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        Self {
            network: Network::new(settings.seed, settings.conditions),
            checker: settings.checked.then(Checker::default),
            settings,
            now: 0,
            queue: Queue::new(),
            trace: Trace::default(),
            machines: Vec::new(),
            ledger: Ledger::default(),
            trapped: 0,
            last_events: Vec::new(),
        }
    }

    /// Adds a machine whose peer begins with these others; it does not run yet. Answers its number.
    pub fn add(&mut self, bootstrap: Vec<usize>) -> usize {
        let number = self.machines.len();
        self.machines.push(Machine::new(self.settings.seed, number, bootstrap, self.settings.planted));
        number
    }

    /// The record that a machine's peer will sign at its first start, if it starts now.
    pub fn first_record(&self, peer: usize) -> Arc<SignedRecord> {
        let machine = &self.machines[peer];
        let record = Record {
            uri: machine.identity.uri.clone(),
            incarnation: next_incarnation(0, machine.now(self.now).wall),
            sequence: machine.now(self.now).wall.as_unix_ms(),
            addresses: machine.advertised(),
            site: self.settings.config.site.clone(),
            leaving: false,
            software: self.settings.config.software.clone(),
        };
        crate::seal::record(record, &machine.certificate)
    }

    /// Starts a machine's peer; it knows these records, and those that its disk kept.
    pub fn start(&mut self, peer: usize, known: &Known) {
        if self.machines[peer].runs() {
            return;
        }
        self.boot(peer, known);
        // Connections of an earlier life are reset as soon as the machine answers again.
        for end in self.network.half_open(peer) {
            self.wire(end, Item::Down("connection reset".into()));
        }
        self.drain(peer);
        // The subscriber comes back too, and reads on where it has acknowledged.
        self.deliver(peer);
    }

    /// Starts machines for the first time, each with its records, and lets them link at once: see `warm`.
    pub fn start_linked(&mut self, known: impl Fn(usize) -> Known) {
        for peer in 0..self.machines.len() {
            self.boot(peer, &known(peer));
        }
        self.link_at_once();
    }

    /// Starts a machine's peer, whose first outputs wait.
    fn boot(&mut self, peer: usize, known: &Known) {
        let machine = &mut self.machines[peer];
        machine.power = Power::Running;
        machine.epoch += 1;
        let incarnation = machine.disk.begin_incarnation(machine.now(self.now).wall);
        machine.asked.clear();
        machine.trap = None;
        machine.subscribed = machine.disk.store().cursor();
        machine.started = self.now;
        machine.wake = None;
        machine.verifying_until = self.now;
        let kept = machine.disk.store().records();
        let known = if kept.is_empty() {
            known.clone()
        } else {
            kept.into_iter().chain(known.iter().cloned()).collect::<Vec<_>>().into()
        };
        let is_plain = self.settings.plain_every > 0 && (peer + 1).is_multiple_of(self.settings.plain_every);
        let config = Config {
            advertise: machine.advertised(),
            bootstrap: machine.bootstrap.iter().map(|number| address_of(*number)).collect(),
            rows: machine.rows,
            codings: if is_plain { Codings::NONE } else { self.settings.config.codings },
            references_after: self.settings.config.references_after.filter(|_| !is_plain),
            ..self.settings.config.clone()
        };
        let start = Start {
            incarnation,
            seed: random::word(
                self.settings.seed,
                Purpose::PeerSeed,
                peer as u64,
                u64::from(machine.epoch),
                0,
            ),
            known,
            held: machine.disk.store().len() as u64,
            floor: machine.disk.store().floor(),
        };
        let now = machine.now(self.now);
        machine.core = Some(Peer::new(config, machine.identity.clone(), start, now));
        self.trace.add(self.now, Mark::Start, peer, u64::from(machine.epoch));
    }

    /// Ends a machine's peer without warning. With `silent` the whole machine is gone and nobody is told.
    pub fn crash(&mut self, peer: usize, silent: bool) {
        let machine = &mut self.machines[peer];
        if !machine.runs() {
            return;
        }
        let landed = random::unit(self.settings.seed, Purpose::Landed, peer as u64, self.now, 0) < 0.5;
        machine.disk.crash(landed);
        machine.egress.clear();
        machine.core = None;
        machine.epoch += 1;
        machine.power = if silent { Power::Dead } else { Power::Stopped };
        self.trace.add(self.now, Mark::Stop, peer, u64::from(silent));
        if let Some(checker) = self.checker.as_mut().filter(|_| counts(&self.machines[peer])) {
            checker.on_crash(self.now, peer, self.machines[peer].disk.store());
        }
        for end in self.network.open_ends(peer) {
            self.network.set_open(end, false);
            if let Some(checker) = &mut self.checker {
                checker.on_link_down(end);
            }
            if !silent {
                self.wire(end, Item::Down("connection reset".into()));
            }
        }
    }

    /// Tells a peer to stop; end it by [`World::crash`] some time later, as a supervisor does.
    pub fn shut_down(&mut self, peer: usize, leaving: bool) {
        self.handle(peer, Input::Shutdown { leaving });
    }

    /// Submits a transaction; answers the token of the submission, or `None` where the peer does not run.
    pub fn submit(&mut self, peer: usize, body: Bytes, idempotency_key: &str) -> Option<u64> {
        let machine = &self.machines[peer];
        if !machine.runs() {
            return None;
        }
        // As a peer does that takes a transaction in.
        let small = body.len() <= PUSH_BODY_BYTES_MAX;
        let body = Arc::new(if small { Body::of(sorcha_peer_wire::pack(body)) } else { Body::new(body) });
        let submission = Submission {
            peer,
            at: self.now,
            epoch: machine.epoch,
            idempotency_key: idempotency_key.to_owned(),
            reply: None,
        };
        let token = self.ledger.on_submit(submission, body.root());
        self.trace.add(self.now, Mark::Submit, peer, token);
        let submit =
            Submit { token, register: "sim".into(), body, idempotency_key: idempotency_key.to_owned() };
        self.handle(peer, Input::Submit(submit));
        Some(token)
    }

    /// Puts a machine behind a NAT, before its peer is started.
    pub fn put_behind_nat(&mut self, peer: usize) {
        self.trace.add(self.now, Mark::Weather, peer, 6);
        self.machines[peer].behind_nat = true;
    }

    /// Lets a machine's peer take transactions and pass none on.
    pub fn let_withhold(&mut self, peer: usize, how: Withholding) {
        self.trace.add(self.now, Mark::Weather, peer, 7 + how as u64);
        self.machines[peer].withholds = Some(how);
    }

    /// Lets a machine's peer see this row count from its next start on; `None`: as it follows from its roster.
    pub fn let_see_rows(&mut self, peer: usize, rows: Option<u32>) {
        if let Some(rows) = rows {
            self.trace.add(self.now, Mark::Weather, peer, 9 | u64::from(rows) << 8);
        }
        self.machines[peer].rows = rows;
    }

    /// Cuts peers off from each other, or heals.
    pub fn set_partition(&mut self, partition: Partition) {
        self.trace.add(self.now, Mark::Weather, 0, 1);
        for (at, end) in self.network.set_partition(self.now, partition) {
            self.queue.push(at, Happening::Arrive(end));
        }
    }

    /// From now on the network does this to frames.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.trace.add(self.now, Mark::Weather, 0, 2);
        self.network.set_conditions(conditions);
    }

    /// Sets how far a wall clock is ahead, ms.
    pub fn set_wall_ahead(&mut self, peer: usize, ahead_ms: i64) {
        self.trace.add(self.now, Mark::Weather, peer, 5);
        self.machines[peer].wall_ahead_ms = ahead_ms;
    }

    /// Lets everything happen up to and including `until`.
    pub fn run_until(&mut self, until: Micros) {
        while let Some((at, happening)) = self.queue.pop_until(until) {
            self.now = at;
            self.happen(happening);
            self.note_last_events();
        }
        self.now = self.now.max(until);
    }

    /// Virtual time.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// The machines, by number.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What was seen.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What was seen, to begin a new stretch.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The checker, where one watches.
    pub fn checker(&self) -> Option<&Checker> {
        self.checker.as_ref()
    }

    /// Judges the end of a run, see [`Checker::finish`].
    pub fn finish(&mut self) {
        if let Some(checker) = &mut self.checker {
            checker.finish(self.now, &self.machines, &self.network, &self.ledger);
        }
        self.note_last_events();
    }

    /// One input to one running peer, its effects, and its next deadline.
    pub(crate) fn handle(&mut self, peer: usize, input: Input) {
        let machine = &mut self.machines[peer];
        let now = machine.now(self.now);
        let Some(core) = &mut machine.core else { return };
        let input = match self.settings.planted {
            Some(plant) => match plant.input(input) {
                Some(input) => input,
                None => return,
            },
            None => input,
        };
        if self.checker.is_some()
            && let Some(op) = answered(&input)
        {
            machine.asked.remove(&op);
        }
        core.handle(now, input);
        self.drain(peer);
    }

    pub(crate) fn drain(&mut self, peer: usize) {
        while let Some(output) = self.machines[peer].core.as_mut().and_then(Peer::poll_output) {
            if self.checker.is_some()
                && let Some(op) = asks(&output)
            {
                self.machines[peer].asked.insert(op, self.now);
            }
            let output = match self.settings.planted {
                Some(plant) => plant.output(output),
                None => Some(output),
            };
            if let Some(output) = output {
                self.effect(peer, output);
            }
        }
        self.plan_wake(peer);
    }

    pub(crate) fn plan_wake(&mut self, peer: usize) {
        let machine = &mut self.machines[peer];
        let Some((time, _)) = machine.core.as_ref().and_then(Peer::poll_deadline) else { return };
        let at = machine.at(time).max(self.now);
        if machine.wake.is_none_or(|planned| at < planned) {
            machine.wake = Some(at);
            self.queue.push(at, Happening::Wake { peer });
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(end) => self.arrive(end),
            Happening::Wake { peer } => self.wake(peer),
            Happening::Answer { peer, epoch, input } => {
                if self.machines[peer].epoch == epoch {
                    self.trace.add(self.now, Mark::Answer, peer, 0);
                    self.handle(peer, *input);
                }
            }
            Happening::Commit { peer, epoch } => {
                if self.machines[peer].epoch == epoch {
                    self.commit(peer);
                }
            }
            Happening::Dialled { peer, epoch, dial } => {
                if self.machines[peer].epoch == epoch {
                    self.dialled(peer, *dial);
                }
            }
            Happening::LineFree { peer, epoch } => {
                if self.machines[peer].epoch == epoch {
                    self.depart(peer);
                }
            }
        }
    }

    fn wake(&mut self, peer: usize) {
        let machine = &mut self.machines[peer];
        if machine.wake != Some(self.now) {
            return; // an earlier one has been planned since, or the peer has ended
        }
        machine.wake = None;
        let Some((time, why)) = machine.core.as_ref().and_then(Peer::poll_deadline) else { return };
        if machine.at(time) > self.now {
            return self.plan_wake(peer);
        }
        let (at, count) = machine.ticked;
        machine.ticked = if at == self.now { (at, count + 1) } else { (self.now, 1) };
        if machine.ticked.1 >= TICKS_AT_ONE_TIME_MAX {
            let detail = format!(
                "peer {peer} wants to be woken for {why:?} at {time:?} again and again, and a tick does not change that"
            );
            assert!(self.checker.is_some(), "{detail}");
            self.violated(Property::NoWakeLoop, &[peer], detail);
            return self.crash(peer, false);
        }
        self.trace.add(self.now, Mark::Wake, peer, why as u64);
        self.ledger.on_wake(why);
        if self.settings.planted == Some(Plant::StaleClock) {
            return self.tick_late(peer);
        }
        self.handle(peer, Input::Tick);
    }

    fn arrive(&mut self, end: LinkId) {
        let Arrival::Item { peer, link, item } = self.network.arrive(end) else { return };
        let runs = self.machines[peer].runs();
        match item {
            Item::Up if runs => {
                self.network.set_open(link, true);
                let dialler = self.network.other(link);
                let address = Address::new(format!("{}.source", self.machines[dialler].address));
                self.link_up(peer, link, Opened::Accepted, dialler, address);
            }
            Item::Up => {
                if self.machines[peer].power == Power::Stopped {
                    self.wire(link, Item::Down("connection reset".into()));
                }
            }
            Item::Frame(frame, bytes) => {
                if runs && self.network.is_open(link) {
                    let detail = link.0 << 20 ^ (Kind::of(&frame.message) as u64) << 17 ^ u64::from(bytes);
                    self.trace.add(self.now, Mark::Frame, peer, detail);
                    self.ledger.on_arrived(&frame.message);
                    let honest = self.machines[self.network.other(link)].adversary.is_none();
                    if let Some(checker) = self.checker.as_mut().filter(|_| honest) {
                        checker.on_frame(link, &frame);
                    }
                    self.handle(peer, Input::Frame { link, frame: *frame, bytes });
                }
            }
            Item::Garbage(bytes) => {
                if runs && self.network.is_open(link) {
                    self.garbage(peer, link, bytes);
                }
            }
            Item::Down(reason) => {
                if runs && self.network.is_open(link) {
                    self.network.set_open(link, false);
                    if let Some(checker) = &mut self.checker {
                        checker.on_link_down(link);
                    }
                    self.trace.add(self.now, Mark::Link, peer, link.0 << 1);
                    self.handle(peer, Input::LinkDown { link, reason });
                }
            }
        }
    }

    fn dialled(&mut self, peer: usize, dial: Dial) {
        let Dial { op, address, target, expect } = dial;
        if !self.machines[target].runs() || self.network.is_cut(peer, target) {
            let error = DialError::Unreachable(format!("{address}: the connection broke while it was made"));
            return self.answer_dial(peer, self.now, op, error);
        }
        if expect.is_some_and(|expected| expected != self.machines[target].id) {
            let found = self.machines[target].identity.uri.clone();
            let error = DialError::OtherPeer { address: address.as_str().to_owned(), found };
            return self.answer_dial(peer, self.now, op, error);
        }
        let link = self.network.link(peer, target);
        self.wire(link, Item::Up);
        self.link_up(peer, link, Opened::Dialled(op), target, address);
    }

    fn link_up(&mut self, peer: usize, link: LinkId, opened: Opened, other: usize, address: Address) {
        self.trace.add(self.now, Mark::Link, peer, link.0 << 1 | 1);
        let machine = &self.machines[other];
        let other = LinkPeer { id: machine.id, uri: machine.identity.uri.clone() };
        self.handle(peer, Input::LinkUp(LinkUp { link, opened, peer: other, address, rung: Rung::Stream }));
        self.springs(peer, Moment::Linked);
    }
}
