//! Transactions and records as signed values: read once by `peer/wire`, stored and relayed verbatim.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::types::{Address, Hash, PeerId, TxId, WallTime};

/// What the origin signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Network id; envelopes of another network are refused.
    pub network: String,
    /// Who published it.
    pub origin: PeerId,
    /// Number of the origin's start: later starts have higher ones.
    pub incarnation: u64,
    /// From 1 in each incarnation, without gaps.
    pub sequence: u64,
    /// Label of the register it belongs to.
    pub register: String,
    /// When the origin published it.
    pub published: WallTime,
    /// Length of the body.
    pub body_bytes: u64,
    /// Root of the tree over the body's chunks.
    pub body_root: Hash,
}

/// A header with the bytes that were signed and their signature: what an envelope is beside its certificate.
#[derive(Debug, PartialEq, Eq)]
struct Signed {
    id: TxId,
    header: Header,
    bytes: Bytes,
    signature: Bytes,
}

impl Signed {
    fn key(&self) -> SyncKey {
        SyncKey { published: self.header.published, id: self.id }
    }
}

/// A header with the bytes that were signed and their proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    signed: Arc<Signed>,
    certificate: Bytes,
}

impl Envelope {
    /// `signed` are the header's bytes as they travel; `header` is what they say.
    pub fn new(header: Header, signed: Bytes, signature: Bytes, certificate: Bytes) -> Self {
        let signed = Signed { id: TxId::of_header(&signed), header, bytes: signed, signature };
        Self { signed: Arc::new(signed), certificate }
    }

    /// Hash of the signed bytes.
    pub fn id(&self) -> TxId {
        self.signed.id
    }

    /// What the signed bytes say.
    pub fn header(&self) -> &Header {
        &self.signed.header
    }

    /// The header's bytes as they travel.
    pub fn signed(&self) -> &Bytes {
        &self.signed.bytes
    }

    /// ECDSA P-256 over domain and signed bytes, ASN.1 DER.
    pub fn signature(&self) -> &Bytes {
        &self.signed.signature
    }

    /// The origin's certificate, DER.
    pub fn certificate(&self) -> &Bytes {
        &self.certificate
    }

    /// Where it stands in the order of reconciliation.
    pub fn key(&self) -> SyncKey {
        self.signed.key()
    }

    /// The same with its certificate by reference; `digest` is the certificate's SHA-256. Nothing is copied.
    pub fn referring(&self, digest: Hash) -> Referring {
        Referring { signed: self.signed.clone(), digest }
    }
}

/// An envelope that names its certificate by SHA-256 instead of carrying it. It is nothing that could be verified, stored or
/// given out; whoever knows the certificate makes an [`Envelope`] of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referring {
    signed: Arc<Signed>,
    digest: Hash,
}

impl Referring {
    /// As [`Envelope::new`].
    pub fn new(header: Header, signed: Bytes, signature: Bytes, digest: Hash) -> Self {
        Envelope::new(header, signed, signature, Bytes::new()).referring(digest)
    }

    /// Hash of the signed bytes.
    pub fn id(&self) -> TxId {
        self.signed.id
    }

    /// SHA-256 of the certificate.
    pub fn digest(&self) -> &Hash {
        &self.digest
    }

    /// Made whole; the caller has compared the certificate with the digest.
    pub fn with(&self, certificate: Bytes) -> Envelope {
        Envelope { signed: self.signed.clone(), certificate }
    }
}

/// By what a [`Referring`] names a certificate (DER): its SHA-256.
pub fn certificate_digest(certificate: &[u8]) -> Hash {
    Hash::from_bytes(Sha256::digest(certificate).into())
}

/// An envelope as it travels between peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// With its certificate.
    Whole(Arc<Envelope>),
    /// With its certificate by reference.
    Referring(Referring),
}

impl Carried {
    fn signed_part(&self) -> &Signed {
        match self {
            Self::Whole(envelope) => &envelope.signed,
            Self::Referring(referring) => &referring.signed,
        }
    }

    /// Hash of the signed bytes.
    pub fn id(&self) -> TxId {
        self.signed_part().id
    }

    /// What the signed bytes say.
    pub fn header(&self) -> &Header {
        &self.signed_part().header
    }

    /// The header's bytes as they travel.
    pub fn signed(&self) -> &Bytes {
        &self.signed_part().bytes
    }

    /// ECDSA P-256 over domain and signed bytes, ASN.1 DER.
    pub fn signature(&self) -> &Bytes {
        &self.signed_part().signature
    }

    /// Where it stands in the order of reconciliation.
    pub fn key(&self) -> SyncKey {
        self.signed_part().key()
    }

    /// Bytes that its certificate takes on the wire.
    pub fn certificate_len(&self) -> usize {
        match self {
            Self::Whole(envelope) => envelope.certificate.len(),
            Self::Referring(referring) => referring.digest.as_bytes().len(),
        }
    }
}

impl From<Arc<Envelope>> for Carried {
    fn from(envelope: Arc<Envelope>) -> Self {
        Self::Whole(envelope)
    }
}

/// The order of reconciliation: publication time, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncKey {
    /// When it was published.
    pub published: WallTime,
    /// Its id.
    pub id: TxId,
}

/// What a peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// SPIFFE URI.
    pub uri: String,
    /// Number of the peer's start: later starts have higher ones.
    pub incarnation: u64,
    /// Higher replaces lower.
    pub sequence: u64,
    /// Where it can be dialled, best first; empty: nowhere.
    pub addresses: Vec<Address>,
    /// Its operator's word for where it is.
    pub site: String,
    /// It goes; forget it.
    pub leaving: bool,
    /// Program and version.
    pub software: String,
}

impl Record {
    /// The id of the peer that it speaks of.
    pub fn peer(&self) -> PeerId {
        PeerId::of_uri(&self.uri)
    }

    /// Whether this replaces `other` of the same peer.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.incarnation, self.sequence) > (other.incarnation, other.sequence)
    }
}

/// A record with the bytes that were signed and their proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRecord {
    /// Cached: SHA-256 of the record's URI.
    pub peer: PeerId,
    /// What the signed bytes say.
    pub record: Record,
    /// The record's bytes as they travel.
    pub signed: Bytes,
    /// ECDSA P-256 over domain and signed bytes, ASN.1 DER.
    pub signature: Bytes,
    /// The peer's certificate, DER.
    pub certificate: Bytes,
}

impl SignedRecord {
    /// Whether it says nothing that `old` of the same peer does not, and comes so much later by its peer's clock as a peer renews its
    /// record by itself.
    pub(crate) fn only_renews(&self, old: &Self, refresh_ms: u64) -> bool {
        let (new, before) = (&self.record, &old.record);
        let later = new.sequence.saturating_sub(before.sequence) >= refresh_ms;
        let as_before = Record { sequence: new.sequence, ..before.clone() };
        later && *new == as_before && self.certificate == old.certificate
    }
}

/// SHA-256 of (peer, incarnation, sequence), the numbers as 8 bytes little-endian each: a record as a summand of the digest
/// that a `RecordsRequest` carries.
pub fn mark(peer: &PeerId, record: &Record) -> TxId {
    let digest = Sha256::new()
        .chain_update(peer.as_bytes())
        .chain_update(record.incarnation.to_le_bytes())
        .chain_update(record.sequence.to_le_bytes());
    TxId::from_bytes(digest.finalize().into())
}
