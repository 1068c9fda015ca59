//! What peers say to one another, decoded: one variant per frame of `sorcha.peer.v1` (proto/link.proto).

use std::sync::Arc;

use bytes::Bytes;

use crate::envelope::{Carried, Envelope, SignedRecord};
use crate::payload::{Codings, Payload};
use crate::types::{Hash, PeerId, TxId, WallTime};

/// A numbered message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From 1 in each direction; 0: not acknowledged.
    pub sequence: u64,
    /// Highest number received from the other side.
    pub ack: u64,
    /// Which of the 64 before `ack` were received (bit 0: `ack - 1`).
    pub ack_bits: u64,
    /// What it says.
    pub message: Message,
}

/// Records that a peer has, of those peers whose ids begin with these bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// At most `PART_BITS_MAX`; 0: all peers.
    pub part_bits: u32,
    /// The bits.
    pub part: u32,
    /// The first bytes of each record's [`mark`](crate::envelope::mark); at most `RECORD_MARKS_MAX`.
    pub marks: Vec<[u8; 8]>,
}

impl Marks {
    /// Whether it speaks of this peer.
    pub fn covers(&self, peer: &PeerId) -> bool {
        let [a, b, c, d, ..] = *peer.as_bytes();
        let first = u64::from(u32::from_be_bytes([a, b, c, d]));
        first >> (32 - self.part_bits.min(32)) == u64::from(self.part)
    }
}

/// The body of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First of each side.
    Hello(Hello),
    /// Carries only its frame's acknowledgement.
    Ack,
    /// Are you there?
    Ping {
        /// Comes back in the pong.
        nonce: u64,
    },
    /// Yes.
    Pong {
        /// Of the ping.
        nonce: u64,
    },
    /// The link ends.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// For people.
        detail: String,
    },
    /// A transaction.
    Push(Push<Carried>),
    /// The sender holds these.
    Announce {
        /// Salt of the short ids.
        salt: u64,
        /// See [`short_id`].
        short_ids: Vec<[u8; 8]>,
    },
    /// Push me these.
    Fetch {
        /// By full id.
        ids: Vec<TxId>,
        /// Salt of the announcement that `short_ids` are of.
        salt: u64,
        /// By short id.
        short_ids: Vec<[u8; 8]>,
        /// With their certificates, not by reference.
        whole: bool,
    },
    /// Send me these chunks.
    ChunkRequest {
        /// Of this transaction's body.
        id: TxId,
        /// First index.
        first: u32,
        /// How many.
        count: u32,
    },
    /// One chunk with its proof.
    Chunk {
        /// Of this transaction's body.
        id: TxId,
        /// Its index.
        index: u32,
        /// Its bytes.
        data: Payload,
        /// Inclusion proof, leaf side first.
        proof: Vec<Hash>,
    },
    /// The sender does not hold these.
    Unavailable {
        /// What was asked for.
        ids: Vec<TxId>,
    },
    /// Which of these do you hold, durably?
    HoldsRequest {
        /// At most `IDS_PER_FRAME_MAX`.
        ids: Vec<TxId>,
    },
    /// The sender holds these of what it was asked about, durably.
    Holds {
        /// At most `IDS_PER_FRAME_MAX`.
        ids: Vec<TxId>,
    },
    /// Give me records that I may not know.
    RecordsRequest {
        /// At most this many; 0: as you see fit.
        limit: u32,
        /// Digest of what the sender knows, see the proto.
        digest: Bytes,
        /// What it has of a part of all peers; only what it lacks of these is wanted.
        known: Option<Marks>,
    },
    /// Records of peers.
    Records {
        /// Each signed by its peer.
        records: Vec<Arc<SignedRecord>>,
        /// To be passed on.
        news: bool,
    },
    /// Nobody was there when these were dialled.
    Missed {
        /// At most `MISSED_PER_FRAME_MAX`.
        peers: Vec<Missing>,
    },
    /// A step of set reconciliation.
    Sync(Sync),
    /// A frame of a later version: acknowledged, counted, ignored.
    Unknown,
    /// A push or a chunk whose packed bytes do not unpack to what they stand for. Read, never written.
    Garbled {
        /// Of this transaction's body.
        id: TxId,
        /// Of the chunk; `None`: the body within a push.
        chunk: Option<u32>,
        /// What is wrong with it.
        detail: String,
    },
}

impl Message {
    /// Bytes of a body that it carries.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Push(push) => push.body.as_ref(),
            Self::Chunk { data, .. } => Some(data),
            _ => None,
        }
    }

    /// For a side that reads these codings alone: what is packed otherwise travels plain.
    #[must_use]
    pub(crate) fn for_reader_of(mut self, codings: Codings) -> Self {
        match &mut self {
            Self::Push(push) => push.body = push.body.take().map(|body| body.for_reader_of(codings)),
            Self::Chunk { data, .. } => *data = std::mem::take(data).for_reader_of(codings),
            _ => {}
        }
        self
    }
}

/// First frame of each side of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Highest version spoken.
    pub version: u32,
    /// Lowest version accepted.
    pub version_min: u32,
    /// Network id.
    pub network: String,
    /// Of the sender.
    pub incarnation: u64,
    /// 16 random bytes of the dialler's; the other side repeats them.
    pub session: [u8; 16],
    /// Highest number received in a session that shall be resumed.
    pub received: u64,
    /// The sender's row count.
    pub rows: u32,
    /// The sender's own record, once it is signed.
    pub record: Option<Arc<SignedRecord>>,
    /// The sender stores nothing that outlives its machine: it does not count as a holder.
    pub keeps_nothing: bool,
    /// What the sender reads beside plain bodies.
    pub codings: Codings,
    /// The sender reads envelopes that refer to their certificate.
    pub references: bool,
}

/// A member that was not there when it was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Who.
    pub peer: PeerId,
    /// Of the last record of it that is known: it is nothing against a later one.
    pub incarnation: u64,
    /// The same.
    pub sequence: u64,
}

/// Why a link ends, as the other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoodbyeReason {
    /// A reason of a later version, or none.
    Unspecified,
    /// The process stops.
    Shutdown,
    /// There are two links between the same two.
    Duplicate,
    /// Versions or networks differ.
    Incompatible,
    /// Too many links.
    Full,
    /// The receiver is banned.
    Banned,
    /// A link to oneself.
    OneSelf,
    /// Not wanted by the grid any more.
    Unused,
}

/// An envelope on its way through the grid: whole, but on the wire, where it is [`Carried`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push<E = Arc<Envelope>> {
    /// Header and proof.
    pub envelope: E,
    /// The body where it travels along.
    pub body: Option<Payload>,
    /// Row count of the sender.
    pub rows: u32,
    /// The receiver passes it on to its row.
    pub head: bool,
    /// 1 from the origin; 0 by repair: asked for after an announcement or by reconciliation.
    pub hops: u32,
    /// The chunks of the body follow, as if the receiver had asked for all of them.
    pub chunks_follow: bool,
}

impl<E> Push<E> {
    /// The same with another envelope, or the same envelope in another form.
    pub fn with<F>(self, envelope: F) -> Push<F> {
        let Self { envelope: _, body, rows, head, hops, chunks_follow } = self;
        Push { envelope, body, rows, head, hops, chunks_follow }
    }
}

impl From<Push> for Message {
    fn from(push: Push) -> Self {
        let envelope = Carried::Whole(push.envelope.clone());
        Self::Push(push.with(envelope))
    }
}

/// A step of range-based set reconciliation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// Chosen by the initiator.
    pub round: u64,
    /// Adjacent or not, in order.
    pub ranges: Vec<SyncRange>,
    /// The sender holds nothing older.
    pub floor: WallTime,
    /// Push me these.
    pub want: Vec<TxId>,
    /// The first message of a round.
    pub opening: bool,
    /// Something was left out: a range that is not mentioned is not known to be equal.
    pub partial: bool,
}

/// One range and what the sender says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRange {
    /// Inclusive.
    pub lower: SyncBound,
    /// Exclusive.
    pub upper: SyncBound,
    /// What it holds there.
    pub content: SyncContent,
}

/// A point in the order of (publication time, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncBound {
    /// Milliseconds since the Unix epoch.
    pub published: WallTime,
    /// An id, its tail zero where a prefix suffices.
    pub id: [u8; 32],
}

impl SyncBound {
    /// Before every transaction.
    pub const MIN: Self = Self { published: WallTime::from_unix_ms(0), id: [0; 32] };
    /// After every transaction.
    pub const MAX: Self = Self { published: WallTime::from_unix_ms(u64::MAX), id: [0xff; 32] };
}

/// What a peer holds in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncContent {
    /// Too much to list.
    Fingerprint(Fingerprint),
    /// All of it.
    Ids(Vec<TxId>),
}

/// Count and sum of the ids in a range: equal for equal sets, whatever the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// How many ids.
    pub count: u64,
    /// Their sum as little-endian integers modulo 2^256.
    pub sum: [u8; 32],
}

impl Fingerprint {
    /// Adds one id.
    pub fn add(&mut self, id: &TxId) {
        self.count = self.count.wrapping_add(1);
        add_256(&mut self.sum, id.as_bytes());
    }

    /// Adds all of another, disjoint set.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        add_256(&mut self.sum, &other.sum);
    }

    /// Takes one id away.
    pub fn remove(&mut self, id: &TxId) {
        self.count = self.count.wrapping_sub(1);
        let mut negative = id.as_bytes().map(|byte| !byte);
        let mut one = [0; 32];
        one[0] = 1;
        add_256(&mut negative, &one);
        add_256(&mut self.sum, &negative);
    }
}

fn add_256(sum: &mut [u8; 32], term: &[u8; 32]) {
    let mut carry = 0_u16;
    for (digit, add) in sum.iter_mut().zip(term) {
        let total = u16::from(*digit) + u16::from(*add) + carry;
        *digit = total as u8;
        carry = total >> 8;
    }
}

/// The short form of an id in an announcement with this salt.
pub fn short_id(salt: u64, id: &TxId) -> [u8; 8] {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(salt.to_le_bytes()).chain_update(id.as_bytes()).finalize();
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

/// Who a link leads to, from its certificate alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPeer {
    /// SHA-256 of the URI.
    pub id: PeerId,
    /// SPIFFE URI of the certificate.
    pub uri: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_forgets_what_is_removed() {
        let ids = [[0xff; 32], [1; 32], [0x80; 32]].map(TxId::from_bytes);
        let mut all = Fingerprint::default();
        for id in &ids {
            all.add(id);
        }
        all.remove(&ids[0]);
        let mut rest = Fingerprint::default();
        rest.add(&ids[2]);
        rest.add(&ids[1]);
        assert_eq!(all, rest);
    }
}
