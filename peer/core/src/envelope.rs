//! Transactions and records as signed values: read once by `peer/wire`, stored and relayed verbatim.

use bytes::Bytes;

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

/// A header with the bytes that were signed and their proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    id: TxId,
    header: Header,
    signed: Bytes,
    signature: Bytes,
    certificate: Bytes,
}

impl Envelope {
    /// `signed` are the header's bytes as they travel; `header` is what they say.
    pub fn new(header: Header, signed: Bytes, signature: Bytes, certificate: Bytes) -> Self {
        Self { id: TxId::of_header(&signed), header, signed, signature, certificate }
    }

    /// Hash of the signed bytes.
    pub fn id(&self) -> TxId {
        self.id
    }

    /// What the signed bytes say.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The header's bytes as they travel.
    pub fn signed(&self) -> &Bytes {
        &self.signed
    }

    /// ECDSA P-256 over domain and signed bytes, ASN.1 DER.
    pub fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// The origin's certificate, DER.
    pub fn certificate(&self) -> &Bytes {
        &self.certificate
    }

    /// Where it stands in the order of reconciliation.
    pub fn key(&self) -> SyncKey {
        SyncKey { published: self.header.published, id: self.id }
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
