//! What happens in the world, and what effects answer.

use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::Output;
use crate::envelope::{Envelope, SignedRecord};
use crate::message::{Fingerprint, Frame, LinkPeer, SyncBound};
use crate::payload::Payload;
use crate::tree::Body;
use crate::types::{Address, Hash, LinkId, OpId, PeerId, TxId, WallTime};

/// Something happened in the world.
#[derive(Debug, Clone)]
pub enum Input {
    /// The deadline of `poll_deadline` has come.
    Tick,
    /// A local application wants a transaction accepted.
    Submit(Submit),
    /// Somebody wants to know when this many other peers hold a transaction durably.
    AwaitHolders {
        /// Comes back in [`Output::HoldersReply`].
        token: u64,
        /// Of a transaction that is held here.
        id: TxId,
        /// Answered as soon as this many others hold it (at most 64).
        wanted: u32,
        /// Answered after this time in any case; zero: at once, with what is known.
        wait: Duration,
    },
    /// What is trusted has changed: what was kept aside for its signer is looked at again.
    TrustChanged,
    /// Bring these to other peers now; those that are not in the outbox are passed over.
    RetryOutbox {
        /// Which.
        ids: Vec<TxId>,
    },
    /// Do not follow these any more; they stay in the store.
    DiscardOutbox {
        /// Which.
        ids: Vec<TxId>,
    },
    /// Answer to [`Output::Seal`].
    Sealed {
        /// Of the effect.
        op: OpId,
        /// The signed envelope, or why there is none.
        result: Result<Arc<Envelope>, String>,
    },
    /// Answer to [`Output::SealRecord`].
    RecordSealed {
        /// Of the effect.
        op: OpId,
        /// The signed record, or why there is none.
        result: Result<Arc<SignedRecord>, String>,
    },
    /// Answer to [`Output::Recall`].
    Recalled {
        /// Of the effect.
        op: OpId,
        /// The transaction accepted earlier under the key, or why that is not known.
        result: Result<Option<TxId>, StoreFault>,
    },
    /// Answer to [`Output::Verify`].
    Verified {
        /// Of the effect.
        op: OpId,
        /// What was found.
        verdict: Verdict,
    },
    /// Answer to [`Output::Persist`]: durable.
    Persisted {
        /// Of the effect.
        op: OpId,
    },
    /// Answer to [`Output::Persist`]: nothing was stored.
    PersistFailed {
        /// Of the effect.
        op: OpId,
        /// Why, as a sentence.
        fault: StoreFault,
    },
    /// Answer to [`Output::Load`].
    Loaded {
        /// Of the effect.
        op: OpId,
        /// What was found, if anything.
        found: Option<Loaded>,
    },
    /// Answer to [`Output::Lookup`]: which of the ids are held, in the order asked.
    LookedUp {
        /// Of the effect.
        op: OpId,
        /// One for each id.
        held: Vec<bool>,
    },
    /// Answer to [`Output::Inspect`]: one view per query; empty where the store failed.
    Inspected {
        /// Of the effect.
        op: OpId,
        /// In the order of the queries.
        views: Vec<RangeView>,
    },
    /// Answer to [`Output::Expire`]: how far retention is.
    Expired {
        /// Of the effect.
        op: OpId,
        /// What was done, durably; `None` where the store failed.
        result: Option<Expired>,
    },
    /// A link stands: TLS is done, the other's certificate is checked. `Hello` follows on it.
    LinkUp(LinkUp),
    /// A link is gone, for whatever reason; nothing more comes from it.
    LinkDown {
        /// Which.
        link: LinkId,
        /// As a sentence.
        reason: String,
    },
    /// Answer to [`Output::Dial`] where no link came of it.
    DialFailed {
        /// Of the effect.
        op: OpId,
        /// What the attempt ended in.
        error: DialError,
    },
    /// A frame came in.
    Frame {
        /// On this link.
        link: LinkId,
        /// Decoded.
        frame: Frame,
        /// Its length on the wire.
        bytes: u32,
    },
    /// Something came in that is no frame; the link still stands.
    BadFrame {
        /// On this link.
        link: LinkId,
        /// What is wrong with it.
        error: String,
    },
    /// The address list that this peer publishes has changed.
    Addresses {
        /// Best first.
        addresses: Vec<Address>,
    },
    /// The configured bootstrap addresses have changed.
    Bootstrap {
        /// All of them.
        addresses: Vec<Address>,
    },
    /// Accept nothing any more, and bring everything that is held here to peers that stay. Asked again it goes on.
    Drain {
        /// Peers that leave too: what they hold does not count (at most 10,000).
        leaving: Vec<PeerId>,
        /// Once that is done, tell the others to forget this peer.
        leave: bool,
    },
    /// Take back a drain: accept again.
    Resume,
    /// Stop accepting, say goodbye on every link.
    Shutdown {
        /// Whether the peer leaves for good: its record says so, and the others forget it.
        leaving: bool,
    },
}

/// A transaction as an application hands it over.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Comes back in [`Output::SubmitReply`].
    pub token: u64,
    /// Register label.
    pub register: String,
    /// Body with its tree, hashed by whoever took it in.
    pub body: Arc<Body>,
    /// Empty: none.
    pub idempotency_key: String,
}

/// A link that stands.
#[derive(Debug, Clone)]
pub struct LinkUp {
    /// New, never used before.
    pub link: LinkId,
    /// Who opened it.
    pub opened: Opened,
    /// From the certificate alone.
    pub peer: LinkPeer,
    /// Address dialled, or the source address of the other side, for people.
    pub address: Address,
    /// Which rung of the ladder carries it.
    pub rung: Rung,
}

/// Who opened a link, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// This side, for this dial.
    Dialled(OpId),
    /// This side's transport, of its own accord: to take the place of a link on a lower rung.
    Climbed,
    /// The other side.
    Accepted,
}

impl Opened {
    /// The dial that it answers.
    pub const fn op(self) -> Option<OpId> {
        match self {
            Self::Dialled(op) => Some(op),
            Self::Climbed | Self::Accepted => None,
        }
    }
}

/// The rungs of the transport ladder, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// gRPC bidirectional stream.
    Stream,
    /// gRPC unary exchange.
    Exchange,
    /// HTTP/1.1.
    Rest,
}

impl Rung {
    /// The word used in status, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Exchange => "exchange",
            Self::Rest => "rest",
        }
    }
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The address answers as another peer than the one wanted.
    #[error("{address} answers as {found}, not as the peer that was expected there")]
    OtherPeer {
        /// What was dialled.
        address: String,
        /// SPIFFE URI found.
        found: String,
    },
    /// The certificate of either side was refused.
    #[error("{0}")]
    Untrusted(String),
    /// No connection: name resolution, refused, timed out.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody took the connection, and it broke or timed out before it was a link: mostly a machine with much to do.
    #[error("{0}")]
    Unfinished(String),
}

/// What came of a check of a signed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Signature, chain, identity and validity hold.
    Valid,
    /// The signature or the identity is wrong: evidence against the one who sent it.
    Forged(String),
    /// The signer is unknown, expired or revoked: no fault of the relay's; kept aside.
    Untrusted(String),
}

/// Why the store did not store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// No space left on the device.
    #[error("the state directory is full: {0}")]
    Full(String),
    /// Any other failure.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// One step of retention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// What was published before this is gone, and is not to come back. Never moves back.
    pub floor: WallTime,
    /// Transactions removed by this step.
    pub removed: u64,
    /// There is more to be removed.
    pub more: bool,
}

/// What [`Output::Load`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadWhat {
    /// The envelope, with its body where that is at most `PUSH_BODY_BYTES_MAX`.
    Envelope,
    /// One chunk with its proof.
    Chunk {
        /// Its index.
        index: u32,
    },
}

/// What [`Output::Load`] found.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// Envelope and, where it is small, body.
    Envelope {
        /// Header and proof.
        envelope: Arc<Envelope>,
        /// The body, where it may travel in a push.
        body: Option<Payload>,
    },
    /// One chunk.
    Chunk {
        /// Its bytes.
        data: Payload,
        /// Inclusion proof, leaf side first.
        proof: Vec<Hash>,
    },
}

/// A question about one range of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeQuery {
    /// Inclusive.
    pub lower: SyncBound,
    /// Exclusive.
    pub upper: SyncBound,
    /// List the ids where there are at most this many.
    pub ids_max: u32,
    /// Otherwise split into this many parts of about equal count; 0: list the first `ids_max` instead.
    pub parts: u32,
    /// Neither where the range's fingerprint is this: then it is all that matters.
    pub unless: Option<Fingerprint>,
}

/// What the store holds in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeView {
    /// Of the whole range.
    pub fingerprint: Fingerprint,
    /// What follows it.
    pub detail: RangeDetail,
}

/// A range listed or split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeDetail {
    /// All ids, in order.
    Ids(Vec<TxId>),
    /// Adjacent parts, each up to its (exclusive) bound; the last ends at the range's upper bound. None where the fingerprint
    /// was all that matters.
    Parts(Vec<(SyncBound, Fingerprint)>),
    /// The first ids, in order, and the (exclusive) bound up to which these are all.
    First {
        /// As many as asked for.
        ids: Vec<TxId>,
        /// Below the range's upper bound.
        until: SyncBound,
    },
}
