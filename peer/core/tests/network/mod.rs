//! A few peers in memory: virtual time, effects answered at once, a delay on the wire, disks that remember.

#![allow(dead_code, reason = "each test target uses its part")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sorcha_peer_core::envelope::{Envelope, SignedRecord, SyncKey};
use sorcha_peer_core::event::{
    Accepted, DialError, Event, Expired, LinkUp, LoadWhat, Loaded, Opened, RangeDetail, RangeQuery,
    RangeView, Rung, StoreFault, Submit, SubmitRefused, Verdict,
};
use sorcha_peer_core::message::{Fingerprint, Frame, LinkPeer, Message, SyncBound};
use sorcha_peer_core::payload::Payload;
use sorcha_peer_core::tree::{Body, proof};
use sorcha_peer_core::types::bounds::{CHUNK_BYTES, PUSH_BODY_BYTES_MAX};
use sorcha_peer_core::types::{Address, LinkId, Now, OpId, PeerId, Time, TxId, WallTime};
use sorcha_peer_core::{Config, Identity, Input, Output, Peer, Start};

/// Wall clock at the start of every test.
pub(crate) const WALL_MS: u64 = 1_800_000_000_000;

/// What survives a restart.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) held: BTreeMap<SyncKey, (Arc<Envelope>, Arc<Body>)>,
    pub(crate) keys: BTreeMap<String, TxId>,
    pub(crate) records: BTreeMap<PeerId, Arc<SignedRecord>>,
    pub(crate) incarnation: u64,
    pub(crate) floor: WallTime,
    pub(crate) full: bool,
    /// Answers to Persist wait until this is false.
    pub(crate) slow: bool,
    waiting: Vec<(OpId, Arc<Envelope>, Arc<Body>, String)>,
    /// Ids that its peer asked about before it took them in.
    pub(crate) looked_up: usize,
}

impl Disk {
    pub(crate) fn holds(&self, id: &TxId) -> bool {
        self.held.keys().any(|key| key.id == *id)
    }

    /// It is on the disk or on its way there.
    pub(crate) fn has_come(&self, id: &TxId) -> bool {
        self.holds(id) || self.waiting.iter().any(|(_, envelope, ..)| envelope.id() == *id)
    }

    pub(crate) fn body(&self, id: &TxId) -> Option<Bytes> {
        self.find(id).map(|(_, body)| body.bytes().clone())
    }

    fn find(&self, id: &TxId) -> Option<&(Arc<Envelope>, Arc<Body>)> {
        self.held.iter().find(|(key, _)| key.id == *id).map(|(_, held)| held)
    }

    fn expire(&mut self, before: WallTime, bytes_max: u64, keep_from: WallTime) -> Expired {
        let mut bytes: u64 = self.held.values().map(|(_, body)| body.bytes().len() as u64).sum();
        let mut removed = 0;
        self.floor = self.floor.max(before.min(keep_from));
        while let Some(entry) = self.held.first_entry() {
            let published = entry.key().published;
            if published >= keep_from || published >= self.floor && bytes <= bytes_max {
                break;
            }
            self.floor = self.floor.max(WallTime::from_unix_ms(published.as_unix_ms() + 1));
            bytes -= entry.remove().1.bytes().len() as u64;
            removed += 1;
        }
        Expired { floor: self.floor, removed, more: false }
    }

    fn inspect(&self, query: &RangeQuery) -> RangeView {
        let bound = |key: &SyncKey| SyncBound { published: key.published, id: *key.id.as_bytes() };
        let keys: Vec<&SyncKey> =
            self.held.keys().filter(|key| bound(key) >= query.lower && bound(key) < query.upper).collect();
        let sum = |keys: &[&SyncKey]| {
            let mut fingerprint = Fingerprint::default();
            for key in keys {
                fingerprint.add(&key.id);
            }
            fingerprint
        };
        let ids = |keys: &[&SyncKey]| keys.iter().map(|key| key.id).collect();
        let ids_max = query.ids_max as usize;
        let detail = if query.unless == Some(sum(&keys)) {
            RangeDetail::Parts(Vec::new())
        } else if keys.len() <= ids_max {
            RangeDetail::Ids(ids(&keys))
        } else if query.parts == 0 {
            RangeDetail::First { ids: ids(&keys[..ids_max]), until: bound(keys[ids_max]) }
        } else {
            let parts: Vec<_> = keys.chunks(keys.len().div_ceil(query.parts as usize)).collect();
            let upper = |at: usize| parts.get(at + 1).map_or(query.upper, |next| bound(next[0]));
            RangeDetail::Parts(parts.iter().enumerate().map(|(at, keys)| (upper(at), sum(keys))).collect())
        };
        RangeView { fingerprint: sum(&keys), detail }
    }
}

/// One peer with its disk.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) peer: Option<Peer>,
    pub(crate) disk: Disk,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<(u64, Result<Accepted, SubmitRefused>)>,
    /// Tokens with the holders that they were answered with.
    pub(crate) holders_replies: Vec<(u64, u32)>,
    pub(crate) config: Config,
    /// What it signs with.
    pub(crate) certificate: Bytes,
}

impl Node {
    pub(crate) fn id(&self) -> PeerId {
        PeerId::of_uri(&self.uri)
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.peer.as_ref().expect("the peer runs")
    }

    pub(crate) fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
    }
}

enum Arrival {
    Frame(LinkId, Frame),
    Up(LinkUp),
    Down(LinkId, String),
    Failed(OpId, Address),
}

type Tamper = Box<dyn FnMut(usize, usize, &mut Frame) -> bool>;

/// The network: nodes, links between them and what is under way.
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) time: Time,
    pub(crate) delay: Duration,
    /// Every frame that was sent: from, to, what. Recorded in full for the tests' questions.
    pub(crate) trace: Vec<(usize, usize, Message)>,
    /// Changes a frame on the wire; `false` drops it.
    pub(crate) tamper: Option<Tamper>,
    /// How bodies are packed where they are taken in or loaded.
    pub(crate) packs: fn(Bytes) -> Payload,
    /// Pairs that cannot reach each other.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    links: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    arrivals: BTreeMap<(Time, u64), (usize, Arrival)>,
    counter: u64,
    last_link: u64,
}

impl Network {
    /// `count` peers that all bootstrap from the first and from themselves.
    pub(crate) fn new(count: usize) -> Self {
        Self::with(count, |_, _| {})
    }

    pub(crate) fn with(count: usize, adjust: impl Fn(usize, &mut Config)) -> Self {
        let mut network = Self {
            nodes: Vec::new(),
            time: Time::ZERO,
            delay: Duration::from_millis(5),
            trace: Vec::new(),
            tamper: None,
            packs: Payload::from,
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            counter: 0,
            last_link: 0,
        };
        for at in 0..count {
            let name = format!("p{at}");
            let mut config = Config {
                network: "test".into(),
                advertise: vec![Address::new(format!("{name}:7450"))],
                bootstrap: vec![Address::new("p0:7450")],
                ..Config::default()
            };
            adjust(at, &mut config);
            network.nodes.push(Node {
                uri: format!("spiffe://test/test/{name}"),
                name,
                peer: None,
                disk: Disk::default(),
                events: Vec::new(),
                replies: Vec::new(),
                holders_replies: Vec::new(),
                config,
                certificate: Bytes::from_static(b"c"),
            });
        }
        (0..count).for_each(|at| network.start(at));
        network
    }

    pub(crate) fn now(&self) -> Now {
        Now { time: self.time, wall: WallTime::from_unix_ms(WALL_MS + self.time.as_micros() / 1000) }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        node.disk.incarnation += 1;
        let start = Start {
            incarnation: node.disk.incarnation,
            seed: at as u64,
            known: node.disk.records.values().cloned().collect::<Vec<_>>().into(),
            held: node.disk.held.len() as u64,
            floor: node.disk.floor,
        };
        node.peer = Some(Peer::new(node.config.clone(), Identity { uri: node.uri.clone() }, start, now));
        self.drain(at);
    }

    /// Without a word: links break, effects are lost.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].peer = None;
        self.nodes[at].disk.waiting.clear();
        let links: Vec<LinkId> =
            self.links.keys().filter(|(node, _)| *node == at).map(|(_, link)| *link).collect();
        for link in links {
            self.break_link(at, link, "the connection was lost");
        }
    }

    pub(crate) fn submit(&mut self, at: usize, token: u64, body: Vec<u8>) {
        self.submit_with(at, token, body, "");
    }

    pub(crate) fn submit_with(&mut self, at: usize, token: u64, body: Vec<u8>, key: &str) {
        let body = Arc::new(Body::of((self.packs)(Bytes::from(body))));
        let submit = Submit { token, register: "r".into(), body, idempotency_key: key.into() };
        self.input(at, Input::Submit(submit));
    }

    /// The id that a submission was answered with.
    pub(crate) fn accepted(&self, at: usize, token: u64) -> TxId {
        let reply = self.nodes[at].replies.iter().find(|(of, _)| *of == token).expect("it was answered");
        reply.1.as_ref().expect("it was accepted").id
    }

    /// Nodes that hold a transaction.
    pub(crate) fn holders(&self, id: &TxId) -> usize {
        self.nodes.iter().filter(|node| node.disk.holds(id)).count()
    }

    pub(crate) fn linked(&self) -> Vec<usize> {
        self.nodes
            .iter()
            .map(|node| node.peer.as_ref().map_or(0, |peer| peer.status().peers_linked))
            .collect()
    }

    /// Links whose both ends stand.
    pub(crate) fn open_links(&self) -> usize {
        self.links.len() / 2
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.time + duration;
        self.run(end, |_| false);
    }

    /// Runs until it holds, or panics at the deadline.
    pub(crate) fn run_until(
        &mut self,
        deadline: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let (start, end) = (self.time, self.time + deadline);
        self.run(end, &holds);
        assert!(holds(self), "not within {deadline:?}: {what}");
        self.time.since(start)
    }

    fn run(&mut self, end: Time, stop: impl Fn(&Self) -> bool) {
        loop {
            if stop(self) {
                return;
            }
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            let deadlines = self.nodes.iter().enumerate().filter_map(|(at, node)| {
                node.peer.as_ref().and_then(Peer::poll_deadline).map(|(time, _)| (time.max(self.time), at))
            });
            let tick = deadlines.min();
            let next = arrival.into_iter().chain(tick.map(|(time, _)| time)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.time = end;
                return;
            };
            self.time = next;
            if arrival == Some(next) {
                let (_, (at, what)) = self.arrivals.pop_first().expect("it is the next");
                self.arrive(at, what);
            } else if let Some((_, at)) = tick {
                self.input(at, Input::Tick);
            }
        }
    }

    fn arrive(&mut self, at: usize, what: Arrival) {
        match what {
            Arrival::Frame(link, frame) if self.links.contains_key(&(at, link)) => {
                self.input(at, Input::Frame { link, frame, bytes: 100 });
            }
            Arrival::Frame(..) => {}
            Arrival::Up(up) => self.input(at, Input::LinkUp(up)),
            Arrival::Down(link, reason) => {
                self.links.remove(&(at, link));
                self.input(at, Input::LinkDown { link, reason });
            }
            Arrival::Failed(op, address) => {
                let error = DialError::Unreachable(format!("{address} refused the connection"));
                self.input(at, Input::DialFailed { op, error });
            }
        }
    }

    pub(crate) fn input(&mut self, at: usize, input: Input) {
        let now = self.now();
        let Some(peer) = self.nodes[at].peer.as_mut() else { return };
        peer.handle(now, input);
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        let mut answers = VecDeque::new();
        loop {
            let Some(peer) = self.nodes[at].peer.as_mut() else { return };
            if let Some(output) = peer.poll_output() {
                answers.extend(self.effect(at, output));
            } else if let Some(answer) = answers.pop_front() {
                let now = self.now();
                self.nodes[at].peer.as_mut().expect("it runs").handle(now, answer);
            } else {
                return;
            }
        }
    }

    fn later(&mut self, at: usize, what: Arrival) {
        self.counter += 1;
        self.arrivals.insert((self.time + self.delay, self.counter), (at, what));
    }

    fn break_link(&mut self, at: usize, link: LinkId, reason: &str) {
        if let Some((other, far)) = self.links.remove(&(at, link)) {
            self.links.remove(&(other, far));
            self.later(at, Arrival::Down(link, reason.to_owned()));
            self.later(other, Arrival::Down(far, reason.to_owned()));
        }
    }

    /// Breaks every connection at once.
    pub(crate) fn break_all(&mut self) {
        while let Some((at, link)) = self.links.keys().next().copied() {
            self.break_link(at, link, "the connection was lost");
        }
    }

    /// Answers all Persist effects that a slow disk kept.
    pub(crate) fn flush(&mut self, at: usize) {
        self.nodes[at].disk.slow = false;
        for (op, envelope, body, key) in std::mem::take(&mut self.nodes[at].disk.waiting) {
            let answer = self.persist(at, op, &envelope, &body, key);
            self.input(at, answer);
        }
    }

    fn persist(
        &mut self,
        at: usize,
        op: OpId,
        envelope: &Arc<Envelope>,
        body: &Arc<Body>,
        key: String,
    ) -> Input {
        let disk = &mut self.nodes[at].disk;
        if disk.full {
            return Input::PersistFailed { op, fault: StoreFault::Full("no space left on device".into()) };
        }
        disk.held.insert(envelope.key(), (envelope.clone(), body.clone()));
        if !key.is_empty() {
            disk.keys.insert(key, envelope.id());
        }
        Input::Persisted { op }
    }

    fn effect(&mut self, at: usize, output: Output) -> Option<Input> {
        let certificate = self.nodes[at].certificate.clone();
        let disk = &mut self.nodes[at].disk;
        match output {
            Output::Send { link, mut frame, .. } => {
                let (other, far) = *self.links.get(&(at, link))?;
                if let Some(tamper) = &mut self.tamper
                    && !tamper(at, other, &mut frame)
                {
                    return None;
                }
                self.trace.push((at, other, frame.message.clone()));
                self.later(other, Arrival::Frame(far, frame));
                None
            }
            Output::Dial { op, address, .. } => {
                let name = address.as_str().split(':').next().unwrap_or_default();
                let found = self.nodes.iter().position(|node| node.name == name);
                let cut = found.is_some_and(|to| self.cut.contains(&(at.min(to), at.max(to))));
                match found.filter(|to| self.nodes[*to].peer.is_some() && !cut) {
                    Some(to) => self.connect(at, to, op, address),
                    None => self.later(at, Arrival::Failed(op, address)),
                }
                None
            }
            Output::Close { link, reason } => {
                // What was sent before arrives before the end does: both take the same delay.
                self.later_break(at, link, reason);
                None
            }
            Output::Seal { op, header } => {
                let signed = Bytes::from(format!("{header:?}"));
                let envelope = Envelope::new(header, signed, Bytes::from_static(b"s"), certificate);
                Some(Input::Sealed { op, result: Ok(Arc::new(envelope)) })
            }
            Output::SealRecord { op, record } => {
                let sealed = SignedRecord {
                    peer: record.peer(),
                    signed: Bytes::from(format!("{record:?}")),
                    record,
                    signature: Bytes::from_static(b"s"),
                    certificate,
                };
                Some(Input::RecordSealed { op, result: Ok(Arc::new(sealed)) })
            }
            Output::Recall { op, idempotency_key } => {
                Some(Input::Recalled { op, result: Ok(disk.keys.get(&idempotency_key).copied()) })
            }
            Output::Verify { op, .. } => Some(Input::Verified { op, verdict: Verdict::Valid }),
            Output::Persist { op, envelope, body, idempotency_key } if disk.slow => {
                disk.waiting.push((op, envelope, body, idempotency_key));
                None
            }
            Output::Persist { op, envelope, body, idempotency_key } => {
                Some(self.persist(at, op, &envelope, &body, idempotency_key))
            }
            Output::Load { op, id, what } => {
                let found = disk.find(&id).and_then(|(envelope, body)| match what {
                    LoadWhat::Envelope => Some(Loaded::Envelope {
                        envelope: envelope.clone(),
                        body: (body.bytes().len() <= PUSH_BODY_BYTES_MAX).then(|| body.payload().clone()),
                    }),
                    LoadWhat::Chunk { index } => {
                        let start = index as usize * CHUNK_BYTES;
                        let end = (start + CHUNK_BYTES).min(body.bytes().len());
                        let proof = proof(body.leaves(), index as usize)?;
                        Some(Loaded::Chunk { data: (self.packs)(body.bytes().slice(start..end)), proof })
                    }
                });
                Some(Input::Loaded { op, found })
            }
            Output::Lookup { op, ids } => {
                disk.looked_up += ids.len();
                Some(Input::LookedUp { op, held: ids.iter().map(|id| disk.holds(id)).collect() })
            }
            Output::Inspect { op, queries } => Some(Input::Inspected {
                op,
                views: queries.iter().map(|query| disk.inspect(query)).collect(),
            }),
            Output::Expire { op, before, bytes_max, keep_from } => {
                Some(Input::Expired { op, result: Some(disk.expire(before, bytes_max, keep_from)) })
            }
            Output::Remember { record } => {
                disk.records.insert(record.peer, record);
                None
            }
            Output::Forget { peer } => {
                disk.records.remove(&peer);
                None
            }
            Output::HoldersReply { token, holders } => {
                self.nodes[at].holders_replies.push((token, holders));
                None
            }
            Output::SubmitReply { token, result } => {
                self.nodes[at].replies.push((token, result));
                None
            }
            Output::Event(event) => {
                self.nodes[at].events.push(event);
                None
            }
        }
    }

    fn later_break(&mut self, at: usize, link: LinkId, reason: String) {
        if let Some((other, far)) = self.links.remove(&(at, link)) {
            self.later(at, Arrival::Down(link, reason));
            // The far end stays open until the end of the stream reaches it.
            self.later(other, Arrival::Down(far, "the other side closed".to_owned()));
            self.links.remove(&(other, far));
            self.links.insert((other, far), (at, link));
        }
    }

    fn connect(&mut self, from: usize, to: usize, op: OpId, address: Address) {
        self.last_link += 2;
        let (near, far) = (LinkId(self.last_link), LinkId(self.last_link + 1));
        self.links.insert((from, near), (to, far));
        self.links.insert((to, far), (from, near));
        let who = |at: usize, nodes: &[Node]| LinkPeer { id: nodes[at].id(), uri: nodes[at].uri.clone() };
        let (theirs, ours) = (who(to, &self.nodes), who(from, &self.nodes));
        let rung = Rung::Stream;
        let source = Address::new(format!("{}:50000", self.nodes[from].name));
        let up = LinkUp { link: near, opened: Opened::Dialled(op), peer: theirs, address, rung };
        self.later(from, Arrival::Up(up));
        self.later(
            to,
            Arrival::Up(LinkUp { link: far, opened: Opened::Accepted, peer: ours, address: source, rung }),
        );
    }
}
