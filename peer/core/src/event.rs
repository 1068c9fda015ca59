//! What goes into the core and what comes out of it.
//!
//! Size: one contract, read as a whole: an effect and its answer stand in the same file.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::envelope::{Envelope, Header, Record, SignedRecord};
use crate::message::{Fingerprint, Frame, LinkPeer, SyncBound};
use crate::tree::Body;
use crate::types::{Address, Hash, LinkId, OpId, PeerId, TxId};

/// Something happened in the world.
#[derive(Debug, Clone)]
pub enum Input {
    /// The deadline of `poll_deadline` has come.
    Tick,
    /// A local application wants a transaction accepted.
    Submit(Submit),
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
        /// The transaction accepted earlier under the key.
        id: Option<TxId>,
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
    /// Of the dial that it came from; `None` where the other side dialled.
    pub dial: Option<OpId>,
    /// From the certificate alone.
    pub peer: LinkPeer,
    /// Address dialled, or the source address of the other side, for people.
    pub address: Address,
    /// Which rung of the ladder carries it.
    pub rung: Rung,
}

/// The rungs of the transport ladder.
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
        body: Option<Bytes>,
    },
    /// One chunk.
    Chunk {
        /// Its bytes.
        data: Bytes,
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
    /// Otherwise split into this many parts of about equal count.
    pub parts: u32,
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
    /// Adjacent parts, each up to its (exclusive) bound; the last ends at the range's upper bound.
    Parts(Vec<(SyncBound, Fingerprint)>),
}

/// Something the driver shall do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Put a frame on a link's queue.
    Send {
        /// Which link.
        link: LinkId,
        /// Which queue.
        class: Class,
        /// To be encoded.
        frame: Frame,
    },
    /// Open a link.
    Dial {
        /// Answered by `LinkUp` or `DialFailed`.
        op: OpId,
        /// Where.
        address: Address,
        /// Who must answer there; `None` for a bootstrap address.
        expect: Option<PeerId>,
    },
    /// Send what is queued, then close.
    Close {
        /// Which link; `LinkDown` follows.
        link: LinkId,
        /// As a sentence, for the log.
        reason: String,
    },
    /// Encode and sign a header.
    Seal {
        /// Answered by `Sealed`.
        op: OpId,
        /// What to sign.
        header: Header,
    },
    /// Encode and sign the own record.
    SealRecord {
        /// Answered by `RecordSealed`.
        op: OpId,
        /// What to sign.
        record: Record,
    },
    /// Which transaction was accepted under this key?
    Recall {
        /// Answered by `Recalled`.
        op: OpId,
        /// The key.
        idempotency_key: String,
    },
    /// Check signature, chain, identity and validity.
    Verify {
        /// Answered by `Verified`.
        op: OpId,
        /// What to check.
        item: Verifiable,
    },
    /// Make durable.
    Persist {
        /// Answered by `Persisted` or `PersistFailed`.
        op: OpId,
        /// Header and proof.
        envelope: Arc<Envelope>,
        /// The whole body.
        body: Arc<Body>,
        /// Of a local submission; empty: none.
        idempotency_key: String,
    },
    /// Read from the store.
    Load {
        /// Answered by `Loaded`.
        op: OpId,
        /// Which transaction.
        id: TxId,
        /// What of it.
        what: LoadWhat,
    },
    /// Which of these does the store hold?
    Lookup {
        /// Answered by `LookedUp`.
        op: OpId,
        /// At most `IDS_PER_FRAME_MAX`.
        ids: Vec<TxId>,
    },
    /// Summarise ranges of the store.
    Inspect {
        /// Answered by `Inspected`.
        op: OpId,
        /// At most `SYNC_RANGES_MAX`.
        queries: Vec<RangeQuery>,
    },
    /// Keep this record over restarts; not answered.
    Remember {
        /// Verified.
        record: Arc<SignedRecord>,
    },
    /// Keep it no longer; not answered.
    Forget {
        /// Whose record.
        peer: PeerId,
    },
    /// Answer to [`Input::Submit`].
    SubmitReply {
        /// Of the submission.
        token: u64,
        /// The id, durable, or why not.
        result: Result<Accepted, SubmitRefused>,
    },
    /// For logs, metrics and those who watch.
    Event(Event),
}

/// Queues of a link, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Hello, acknowledgements, pings, goodbyes, records, requests.
    Control,
    /// Announcements.
    Announce,
    /// Pushes.
    Push,
    /// Chunks and what reconciliation sends.
    Bulk,
}

/// A signed value.
#[derive(Debug, Clone)]
pub enum Verifiable {
    /// A transaction's header: the certificate must have been valid when it was published.
    Envelope(Arc<Envelope>),
    /// A peer's record: the certificate must be valid now.
    Record(Arc<SignedRecord>),
}

/// A submission that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: TxId,
    /// The key was known: the id is of the transaction accepted earlier.
    pub duplicate: bool,
    /// When it was published, milliseconds since the Unix epoch; 0 for a duplicate.
    pub published_unix_ms: u64,
}

/// Why a submission was not accepted. Nothing was stored; `retry` says whether trying again helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitRefused {
    /// Longer than the peer's bound.
    #[error(
        "the body has {bytes} bytes; this peer accepts at most {max}: split it, or raise limits.bodyBytesMax"
    )]
    BodyTooLarge {
        /// Given.
        bytes: u64,
        /// Allowed.
        max: u64,
    },
    /// Register label longer than 128 bytes or with control characters.
    #[error("register '{register}' is not a label: use at most 128 bytes without control characters")]
    BadRegister {
        /// Given, cut to 80 characters.
        register: String,
    },
    /// Longer than 64 bytes.
    #[error("the idempotency key has {bytes} bytes; use at most 64")]
    BadKey {
        /// Given.
        bytes: usize,
    },
    /// Too many submissions are under way.
    #[error("{pending} submissions are under way, as many as this peer takes at once: try again in {} ms", retry_after.as_millis())]
    Busy {
        /// How many.
        pending: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// The store refused.
    #[error("{0}")]
    Store(StoreFault),
    /// No signature could be made.
    #[error("the transaction could not be signed: {0}")]
    Unsigned(String),
    /// The peer is stopping.
    #[error("the peer is shutting down: submit to another, or again after its restart")]
    Draining,
}

/// What happened, for people and metrics. Names of variants are stable words in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link said hello.
    LinkReady {
        /// Which.
        link: LinkId,
        /// To whom.
        peer: LinkPeer,
        /// This side dialled.
        dialled: bool,
    },
    /// A link ended.
    LinkEnded {
        /// Which.
        link: LinkId,
        /// To whom.
        peer: LinkPeer,
        /// As a sentence.
        reason: String,
    },
    /// No link came of a dial.
    DialFailed {
        /// What was dialled.
        address: Address,
        /// How often in a row.
        failures: u32,
        /// What it ended in.
        error: DialError,
    },
    /// A peer became known.
    PeerJoined {
        /// Who.
        peer: PeerId,
        /// SPIFFE URI.
        uri: String,
    },
    /// A peer was forgotten.
    PeerLeft {
        /// Who.
        peer: PeerId,
        /// SPIFFE URI.
        uri: String,
        /// As a sentence.
        reason: String,
    },
    /// The grid has another number of rows.
    RowsChanged {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// A transaction of this peer's is durable.
    Accepted {
        /// Which.
        id: TxId,
        /// Body length.
        body_bytes: u64,
    },
    /// A transaction of another's is durable.
    Received {
        /// Which.
        id: TxId,
        /// Who brought it.
        from: PeerId,
        /// Hops from the origin; 0 by repair: fetched after an announcement, or reconciled.
        hops: u32,
        /// Body length.
        body_bytes: u64,
        /// Publication to durability by both peers' wall clocks, ms; 0 where the clocks disagree.
        age_ms: u64,
    },
    /// A transaction came again.
    Duplicate {
        /// Who brought it.
        from: PeerId,
    },
    /// The store refuses, or does so no longer.
    StoreFault {
        /// `None`: it works again.
        fault: Option<StoreFault>,
    },
    /// A round of reconciliation ended.
    SyncEnded {
        /// With whom.
        peer: PeerId,
        /// Transactions that came of it.
        received: u64,
        /// Transactions that went out.
        sent: u64,
    },
    /// Something in favour of, or against, a peer.
    Evidence {
        /// Whose link brought it.
        peer: PeerId,
        /// What.
        kind: EvidenceKind,
        /// As a sentence.
        detail: String,
    },
}

/// Kinds of evidence against a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceKind {
    /// A frame that cannot be read or breaks its bounds.
    Protocol,
    /// A signature that does not hold.
    BadSignature,
    /// A body or chunk that does not match its root.
    BadBody,
    /// An envelope or hello of another network.
    OtherNetwork,
    /// A publication time in the future: a clock fault, no malice.
    ClockAhead,
    /// A signer that is unknown, expired or revoked: no fault of the relay's.
    UntrustedSigner,
    /// What was announced was not delivered.
    Unanswered,
}

impl EvidenceKind {
    /// The word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::BadSignature => "bad_signature",
            Self::BadBody => "bad_body",
            Self::OtherNetwork => "other_network",
            Self::ClockAhead => "clock_ahead",
            Self::UntrustedSigner => "untrusted_signer",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Why the core wants to be woken; the earliest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// A link is to be dialled.
    Dial,
    /// A link is to be pinged or given up.
    Liveness,
    /// Records are to be exchanged.
    PeerExchange,
    /// A push, a fetch or an announcement is to be repeated or sent.
    Gossip,
    /// A round of reconciliation is due.
    Sync,
    /// A member is to be forgotten.
    Membership,
}
