//! Links between peers: what is put on one end comes out at the other, in order, later, or never.
//!
//! It carries frames and does not look into them beyond what shedding needs. Who is alive, and what a
//! frame means, is the world's affair.

pub mod delay;
pub mod egress;
pub mod loss;
pub mod partition;

use std::collections::VecDeque;

use bytes::Bytes;
use sorcha_peer_core::message::Frame;
use sorcha_peer_core::types::LinkId;

use self::delay::Delay;
use self::partition::Partition;
use crate::queue::Micros;
use crate::random::{Purpose, unit};

/// After a partition a stalled connection sends again within this time. Guess: a few doublings of TCP's timer.
const WAKE_AFTER_PARTITION_MAX: Micros = 2_000_000;

/// What the network does to frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// One-way delays.
    pub delay: Delay,
    /// Share of frames that are shed.
    pub drop: f64,
    /// Share of TCP segments that are lost and sent again.
    pub tcp_loss: f64,
    /// Bits per second that a peer can send; 0: no bound.
    pub bandwidth_bps: u64,
    /// A dial that nobody answers fails after this.
    pub dial_timeout: Micros,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Delay { mean_ms: 60.0, sigma: 0.5 },
            drop: 0.0,
            tcp_loss: 0.0,
            bandwidth_bps: 0,
            dial_timeout: 10_000_000,
        }
    }
}

/// What travels on a link.
#[derive(Debug)]
pub enum Item {
    /// The handshake is done, as the side that was dialled learns.
    Up,
    /// A frame and its length on the wire.
    Frame(Box<Frame>, u32),
    /// Bytes of a malicious peer's.
    Garbage(Bytes),
    /// The other side is gone.
    Down(String),
}

/// What came of an arrival.
#[derive(Debug)]
pub enum Arrival {
    /// A partition holds it back.
    Stalled,
    /// It is there: at this peer, on this end of the link.
    Item {
        /// At whom.
        peer: usize,
        /// The receiving end.
        link: LinkId,
        /// What.
        item: Item,
    },
}

#[derive(Debug)]
struct Link {
    /// Dialler, acceptor.
    ends: [usize; 2],
    /// Whether the peer at that end still has the link.
    open: [bool; 2],
    /// From the dialler, from the acceptor.
    directions: [Direction; 2],
}

#[derive(Debug, Default)]
struct Direction {
    base: Micros,
    sent: u64,
    last_arrival: Micros,
    /// On their way, in order; one planned arrival for each, or one count of `stalled`.
    flight: VecDeque<Item>,
    stalled: u32,
}

/// All links there ever were.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    conditions: Conditions,
    partition: Partition,
    links: Vec<Link>,
    /// All ends that a peer ever had.
    of_peer: Vec<Vec<LinkId>>,
    shed: u64,
}

impl Network {
    /// No link yet.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            seed,
            conditions,
            partition: Partition::none(),
            links: Vec::new(),
            of_peer: Vec::new(),
            shed: 0,
        }
    }

    /// What it does to frames.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// From now on it does this to frames.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Frames shed so far.
    pub fn shed(&self) -> u64 {
        self.shed
    }

    /// Whether a dial between the two fails.
    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        self.partition.blocks_either(a, b)
    }

    /// Round-trip time between two peers without jitter.
    pub fn round_trip(&self, a: usize, b: usize) -> Micros {
        let delay = &self.conditions.delay;
        delay.base(self.seed, a, b) + delay.base(self.seed, b, a)
    }

    /// A new link, open at the dialler's end; answers that end. The acceptor's end opens when `Item::Up` arrives.
    pub fn link(&mut self, dialler: usize, acceptor: usize) -> LinkId {
        let direction = |from, to| Direction {
            base: self.conditions.delay.base(self.seed, from, to),
            ..Direction::default()
        };
        let directions = [direction(dialler, acceptor), direction(acceptor, dialler)];
        self.links.push(Link { ends: [dialler, acceptor], open: [true, false], directions });
        let end = LinkId((self.links.len() as u64 - 1) << 1);
        for (peer, end) in [(dialler, end), (acceptor, LinkId(end.0 | 1))] {
            if self.of_peer.len() <= peer {
                self.of_peer.resize(peer + 1, Vec::new());
            }
            self.of_peer[peer].push(end);
        }
        end
    }

    /// Whether this end is open.
    pub fn is_open(&self, end: LinkId) -> bool {
        self.links.get((end.0 >> 1) as usize).is_some_and(|link| link.open[(end.0 & 1) as usize])
    }

    /// Opens or closes this end.
    pub fn set_open(&mut self, end: LinkId, open: bool) {
        if let Some(link) = self.links.get_mut((end.0 >> 1) as usize) {
            link.open[(end.0 & 1) as usize] = open;
        }
    }

    /// The peer at the other end.
    pub fn other(&self, end: LinkId) -> usize {
        self.links[(end.0 >> 1) as usize].ends[(end.0 & 1 ^ 1) as usize]
    }

    /// Ends of a peer's that are open, in the order in which the links were made.
    pub fn open_ends(&self, peer: usize) -> Vec<LinkId> {
        self.ends(peer).filter(|end| self.is_open(*end)).collect()
    }

    /// Ends of a peer's that are closed while the other end is still open.
    pub fn half_open(&self, peer: usize) -> Vec<LinkId> {
        self.ends(peer).filter(|end| !self.is_open(*end) && self.is_open(LinkId(end.0 ^ 1))).collect()
    }

    fn ends(&self, peer: usize) -> impl Iterator<Item = LinkId> {
        self.of_peer.get(peer).into_iter().flatten().copied()
    }

    /// Puts an item on the wire at an end; answers when it arrives at the other, or `None` where it was shed.
    pub fn send(&mut self, now: Micros, end: LinkId, item: Item) -> Option<Micros> {
        let Conditions { drop, tcp_loss, .. } = self.conditions;
        let link = &mut self.links[(end.0 >> 1) as usize];
        let side = (end.0 & 1) as usize;
        let round_trip = link.directions[0].base + link.directions[1].base;
        let direction = &mut link.directions[side];
        let draw = direction.sent;
        direction.sent += 1;
        let mut late = 0;
        if let Item::Frame(frame, bytes) = &item {
            if loss::may_be_shed(&frame.message) && loss::is_shed(drop, self.seed, end.0, draw) {
                self.shed += 1;
                return None;
            }
            late = loss::retransmission(tcp_loss, *bytes, round_trip, self.seed, end.0, draw);
        }
        let travel = Delay::of_frame(direction.base, self.seed, end.0, draw);
        let at = direction.last_arrival.max(now + travel + late);
        direction.last_arrival = at;
        direction.flight.push_back(item);
        Some(at)
    }

    /// The planned arrival of what was sent at `end` has come.
    pub fn arrive(&mut self, end: LinkId) -> Arrival {
        let side = (end.0 & 1) as usize;
        let link = &mut self.links[(end.0 >> 1) as usize];
        let (from, to) = (link.ends[side], link.ends[side ^ 1]);
        let direction = &mut link.directions[side];
        if self.partition.blocks(from, to) {
            direction.stalled += 1;
            return Arrival::Stalled;
        }
        let item = direction.flight.pop_front().expect("one arrival is planned for each item in flight");
        Arrival::Item { peer: to, link: LinkId(end.0 ^ 1), item }
    }

    /// Cuts peers off from each other, or heals. Answers the arrivals to be planned: end and time.
    pub fn set_partition(&mut self, now: Micros, partition: Partition) -> Vec<(Micros, LinkId)> {
        self.partition = partition;
        let mut planned = Vec::new();
        for (index, link) in self.links.iter_mut().enumerate() {
            for side in 0..2 {
                let direction = &mut link.directions[side];
                if direction.stalled == 0 || self.partition.blocks(link.ends[side], link.ends[side ^ 1]) {
                    continue;
                }
                let end = LinkId((index as u64) << 1 | side as u64);
                let draw = unit(self.seed, Purpose::Wake, end.0, 0, direction.sent);
                let at = now + (draw * WAKE_AFTER_PARTITION_MAX as f64) as Micros;
                direction.last_arrival = direction.last_arrival.max(at);
                planned.extend((0..direction.stalled).map(|_| (at, end)));
                direction.stalled = 0;
            }
        }
        planned
    }

    /// How many links there ever were.
    pub fn links_made(&self) -> usize {
        self.links.len()
    }
}

#[cfg(test)]
mod tests {
    use sorcha_peer_core::message::Message;

    use super::*;

    fn frame(nonce: u64, message: Option<Message>) -> Item {
        let message = message.unwrap_or(Message::Ping { nonce });
        Item::Frame(Box::new(Frame { sequence: nonce, ack: 0, ack_bits: 0, message }), 100)
    }

    fn number(arrival: Arrival) -> u64 {
        match arrival {
            Arrival::Item { item: Item::Frame(frame, _), .. } => frame.sequence,
            other => panic!("no frame arrived: {other:?}"),
        }
    }

    #[test]
    fn a_link_keeps_the_order_of_its_frames_whatever_is_lost() {
        let conditions = Conditions { tcp_loss: 0.3, ..Conditions::default() };
        let mut network = Network::new(1, conditions);
        let end = network.link(0, 1);
        let at: Vec<Micros> =
            (0..500).map(|n| network.send(n * 100, end, frame(n, None)).expect("nothing is shed")).collect();
        assert!(at.is_sorted(), "a later frame must not arrive earlier");
        for n in 0..500 {
            assert_eq!(number(network.arrive(end)), n);
        }
    }

    #[test]
    fn shedding_keeps_to_its_rate_and_spares_what_holds_the_link() {
        let mut network = Network::new(1, Conditions { drop: 0.2, ..Conditions::default() });
        let end = network.link(0, 1);
        let kept =
            (0..20_000).filter(|n| network.send(*n, end, frame(*n, Some(Message::Ack))).is_some()).count();
        assert!((15_700..16_300).contains(&kept), "{kept}");
        assert_eq!(network.shed(), 20_000 - kept as u64);
        assert!((0..1_000).all(|n| network.send(n, end, frame(n, None)).is_some()));
    }

    #[test]
    fn a_partition_holds_frames_back_and_healing_delivers_them_in_order() {
        let mut network = Network::new(1, Conditions::default());
        let end = network.link(0, 1);
        assert!(network.set_partition(0, Partition::new(vec![0, 1], false)).is_empty());
        network.send(0, end, frame(1, None));
        network.send(5, end, frame(2, None));
        assert!(matches!(network.arrive(end), Arrival::Stalled));
        assert!(matches!(network.arrive(end), Arrival::Stalled));
        let planned = network.set_partition(1_000_000, Partition::none());
        assert_eq!(planned.len(), 2);
        assert!(network.send(1_000_001, end, frame(3, None)) >= Some(planned[1].0));
        assert_eq!([1, 2, 3].map(|_| number(network.arrive(end))), [1, 2, 3]);
    }

    #[test]
    fn ends_open_and_close_on_their_own() {
        let mut network = Network::new(1, Conditions::default());
        let end = network.link(4, 7);
        let far = LinkId(end.0 ^ 1);
        assert!(network.is_open(end) && !network.is_open(far));
        network.set_open(far, true);
        assert_eq!((network.other(end), network.other(far)), (7, 4));
        assert_eq!(network.open_ends(7), [far]);
        network.set_open(end, false);
        assert_eq!(network.open_ends(4), []);
        assert!(!network.is_open(LinkId(99)));
    }
}
