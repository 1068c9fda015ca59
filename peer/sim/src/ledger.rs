//! What was seen: frames and bytes by kind, and for each transaction who held it when.
//!
//! It only counts; what is good or bad is said by `check` and by the scenarios.

use std::collections::BTreeMap;

use sorcha_peer_core::envelope::Header;
use sorcha_peer_core::event::Wake;
use sorcha_peer_core::message::Message;
use sorcha_peer_core::types::{Hash, TxId};

use crate::queue::Micros;

/// Kinds of frames as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Hello and goodbye.
    Session,
    /// Acknowledgements without anything else.
    Ack,
    /// Pings and pongs.
    Ping,
    /// Transactions on their way.
    Push,
    /// Short ids.
    Announce,
    /// Requests for transactions or chunks, and that they are not there.
    Fetch,
    /// Chunks of bodies.
    Chunk,
    /// Records of peers and requests for them.
    Records,
    /// Reconciliation.
    Sync,
}

/// All kinds, in their order.
pub const KINDS: [Kind; 9] = [
    Kind::Session,
    Kind::Ack,
    Kind::Ping,
    Kind::Push,
    Kind::Announce,
    Kind::Fetch,
    Kind::Chunk,
    Kind::Records,
    Kind::Sync,
];

impl Kind {
    /// The kind of a message.
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Hello(_) | Message::Goodbye { .. } => Self::Session,
            Message::Ack | Message::Unknown | Message::Garbled { .. } => Self::Ack,
            Message::Ping { .. } | Message::Pong { .. } => Self::Ping,
            Message::Push(_) => Self::Push,
            Message::Announce { .. } => Self::Announce,
            Message::Fetch { .. } | Message::ChunkRequest { .. } | Message::Unavailable { .. } => Self::Fetch,
            Message::Chunk { .. } => Self::Chunk,
            Message::RecordsRequest { .. } | Message::Records { .. } | Message::Missed { .. } => {
                Self::Records
            }
            Message::Sync(_) | Message::HoldsRequest { .. } | Message::Holds { .. } => Self::Sync,
        }
    }

    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Ack => "ack",
            Self::Ping => "ping",
            Self::Push => "push",
            Self::Announce => "announce",
            Self::Fetch => "fetch",
            Self::Chunk => "chunk",
            Self::Records => "records",
            Self::Sync => "sync",
        }
    }

    /// Whether a transaction causes it at once (reconciliation is not counted: it runs without one too).
    fn is_gossip(self) -> bool {
        matches!(self, Self::Push | Self::Announce | Self::Fetch | Self::Chunk)
    }
}

/// Frames and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Bytes of their encoding.
    pub bytes: u64,
}

/// One submission and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Where.
    pub peer: usize,
    /// When.
    pub at: Micros,
    /// Of which life of the peer.
    pub epoch: u32,
    /// Empty: none.
    pub idempotency_key: String,
    /// The id or the refusal, once answered.
    pub reply: Option<Result<TxId, String>>,
}

/// One transaction on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// Where it was submitted.
    pub origin: usize,
    /// When.
    pub submitted: Micros,
    /// Length of its body.
    pub body_bytes: u64,
    /// When it became durable at each peer; `None` while it has not.
    pub held: Vec<Option<Micros>>,
    /// Body bytes that were sent, by pushes and chunks.
    pub payload_sent: u64,
    /// Of these, what arrived at a running peer.
    pub payload_arrived: u64,
    /// Hops of the first copy, summed over the peers that got it by gossip.
    pub hops_sum: u64,
    /// Peers in that sum.
    pub hops_count: u64,
    /// Longest way.
    pub hops_max: u32,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: BTreeMap<Kind, Count>,
    egress: Vec<u64>,
    submissions: Vec<Submission>,
    /// Submissions without an id yet, by peer and body.
    unsealed: BTreeMap<(usize, [u8; 32]), u64>,
    journeys: BTreeMap<TxId, Journey>,
    evidence: BTreeMap<&'static str, u64>,
    wakes: BTreeMap<Wake, u64>,
}

impl Ledger {
    /// Frames of a kind sent so far, shed ones included.
    pub fn sent(&self, kind: Kind) -> Count {
        self.sent.get(&kind).copied().unwrap_or_default()
    }

    /// Forgets frame counts: a new stretch is measured.
    pub fn begin_stretch(&mut self) {
        self.sent.clear();
        self.egress.clear();
    }

    /// The most gossip frames that one peer sent since the stretch began.
    pub fn egress_max(&self) -> u64 {
        self.egress.iter().copied().max().unwrap_or(0)
    }

    /// Submissions, in their order; the place is the token.
    pub fn submissions(&self) -> &[Submission] {
        &self.submissions
    }

    /// Journeys of all transactions that got an id, accepted or not.
    pub fn journeys(&self) -> &BTreeMap<TxId, Journey> {
        &self.journeys
    }

    /// One journey.
    pub fn journey(&self, id: &TxId) -> Option<&Journey> {
        self.journeys.get(id)
    }

    /// Evidence that cores reported, by kind.
    pub fn evidence(&self) -> &BTreeMap<&'static str, u64> {
        &self.evidence
    }

    /// How often cores were woken, by reason.
    pub fn wakes(&self) -> &BTreeMap<Wake, u64> {
        &self.wakes
    }

    /// A core was woken for this reason.
    pub fn on_wake(&mut self, why: Wake) {
        *self.wakes.entry(why).or_default() += 1;
    }

    /// A core reported evidence of this kind.
    pub fn on_evidence(&mut self, kind: &'static str) {
        *self.evidence.entry(kind).or_default() += 1;
    }

    /// A frame was put on a link.
    pub fn on_sent(&mut self, peer: usize, message: &Message, bytes: u32) {
        let kind = Kind::of(message);
        let count = self.sent.entry(kind).or_default();
        count.frames += 1;
        count.bytes += u64::from(bytes);
        if kind.is_gossip() {
            if self.egress.len() <= peer {
                self.egress.resize(peer + 1, 0);
            }
            self.egress[peer] += 1;
        }
        if let Some((id, bytes)) = payload(message)
            && let Some(journey) = self.journeys.get_mut(&id)
        {
            journey.payload_sent += bytes;
        }
    }

    /// A frame arrived at a running peer.
    pub fn on_arrived(&mut self, message: &Message) {
        if let Some((id, bytes)) = payload(message)
            && let Some(journey) = self.journeys.get_mut(&id)
        {
            journey.payload_arrived += bytes;
        }
    }

    /// An application submitted; answers the token.
    pub fn on_submit(&mut self, submission: Submission, body_root: Hash) -> u64 {
        let token = self.submissions.len() as u64;
        self.unsealed.insert((submission.peer, *body_root.as_bytes()), token);
        self.submissions.push(submission);
        token
    }

    /// A submission was answered. False where it had been answered already, or never made.
    pub fn on_reply(&mut self, token: u64, reply: Result<TxId, String>) -> bool {
        match self.submissions.get_mut(token as usize) {
            Some(submission) if submission.reply.is_none() => {
                submission.reply = Some(reply);
                true
            }
            _ => false,
        }
    }

    /// A peer's transaction got its id: the journey of the submission with this body begins.
    pub fn on_sealed(&mut self, origin: usize, id: TxId, header: &Header) {
        let of = (origin, *header.body_root.as_bytes());
        let Some(token) = self.unsealed.remove(&of) else { return };
        let submitted = self.submissions[token as usize].at;
        let journey = Journey {
            origin,
            submitted,
            body_bytes: header.body_bytes,
            held: Vec::new(),
            payload_sent: 0,
            payload_arrived: 0,
            hops_sum: 0,
            hops_count: 0,
            hops_max: 0,
        };
        self.journeys.insert(id, journey);
    }

    /// A transaction became durable at a peer.
    pub fn on_durable(&mut self, at: Micros, peer: usize, id: &TxId) {
        if let Some(journey) = self.journeys.get_mut(id) {
            hold(journey, peer, at);
        }
    }

    /// The core said over how many hops a transaction came; 0 by reconciliation.
    pub fn on_received(&mut self, id: &TxId, hops: u32) {
        if let Some(journey) = self.journeys.get_mut(id)
            && hops > 0
        {
            journey.hops_sum += u64::from(hops);
            journey.hops_count += 1;
            journey.hops_max = journey.hops_max.max(hops);
        }
    }
}

fn hold(journey: &mut Journey, peer: usize, at: Micros) {
    if journey.held.len() <= peer {
        journey.held.resize(peer + 1, None);
    }
    journey.held[peer].get_or_insert(at);
}

/// The transaction whose body a message carries, and how much of it; an empty body counts as one byte.
fn payload(message: &Message) -> Option<(TxId, u64)> {
    match message {
        Message::Push(push) => Some((push.envelope.id(), push.body.as_ref()?.len().max(1) as u64)),
        Message::Chunk { id, data, .. } => Some((*id, data.len().max(1) as u64)),
        _ => None,
    }
}
