//! Core values to protobuf. Cannot fail: the core keeps within the bounds that `decode` checks.

use bytes::Bytes;
use prost::Message as _;
use sorcha_peer_core::envelope::{Carried, Envelope, Header, Record, SignedRecord};
use sorcha_peer_core::message::{
    Frame, GoodbyeReason, Message, Missing, Sync, SyncBound, SyncContent, SyncRange,
};
use sorcha_peer_core::payload::{Coding, Payload};
use sorcha_peer_core::types::bounds::DETAIL_BYTES_MAX;
use sorcha_peer_core::types::{Hash, TxId};
use sorcha_proto::v1;

/// The frame as it travels.
pub fn encode_frame(frame: &Frame) -> Bytes {
    frame_to_proto(frame).encode_to_vec().into()
}

/// Bytes of the frame as it travels, without the framing of the transport.
pub fn frame_len(frame: &Frame) -> usize {
    frame_to_proto(frame).encoded_len()
}

/// The frame as a protobuf message; payloads are shared, not copied.
pub fn frame_to_proto(frame: &Frame) -> v1::Frame {
    v1::Frame {
        sequence: frame.sequence,
        ack: frame.ack,
        ack_bits: frame.ack_bits,
        body: body(&frame.message),
    }
}

/// A header as it is signed.
pub fn encode_header(header: &Header) -> Bytes {
    v1::TransactionHeader {
        network: header.network.clone(),
        origin: Bytes::copy_from_slice(header.origin.as_bytes()),
        incarnation: header.incarnation,
        sequence: header.sequence,
        register: header.register.clone(),
        published_unix_ms: header.published.as_unix_ms(),
        body_bytes: header.body_bytes,
        body_root: Bytes::copy_from_slice(header.body_root.as_bytes()),
    }
    .encode_to_vec()
    .into()
}

/// A record as it is signed.
pub fn encode_record(record: &Record) -> Bytes {
    v1::PeerRecord {
        uri: record.uri.clone(),
        incarnation: record.incarnation,
        sequence: record.sequence,
        addresses: record.addresses.iter().map(|address| address.as_str().to_owned()).collect(),
        site: record.site.clone(),
        leaving: record.leaving,
        software: record.software.clone(),
    }
    .encode_to_vec()
    .into()
}

/// A signed record as one message, for the store.
pub fn encode_record_bytes(record: &SignedRecord) -> Bytes {
    signed_record(record).encode_to_vec().into()
}

/// An envelope as one message, its body as it travels.
pub fn encode_envelope(envelope: &Envelope, body: Option<&Payload>) -> v1::Envelope {
    let (body, coding) = body.map(carried).unzip();
    v1::Envelope {
        header: envelope.signed().clone(),
        signature: envelope.signature().clone(),
        certificate: envelope.certificate().clone(),
        body,
        body_coding: coding.unwrap_or(v1::Coding::Plain).into(),
        certificate_sha256: Bytes::new(),
    }
}

/// An envelope as it travels between peers.
fn envelope(envelope: &Carried, body: Option<&Payload>) -> v1::Envelope {
    match envelope {
        Carried::Whole(envelope) => encode_envelope(envelope, body),
        Carried::Referring(referring) => {
            let (body, coding) = body.map(carried).unzip();
            v1::Envelope {
                header: envelope.signed().clone(),
                signature: envelope.signature().clone(),
                certificate: Bytes::new(),
                body,
                body_coding: coding.unwrap_or(v1::Coding::Plain).into(),
                certificate_sha256: Bytes::copy_from_slice(referring.digest().as_bytes()),
            }
        }
    }
}

/// The bytes that travel, and how.
fn carried(payload: &Payload) -> (Bytes, v1::Coding) {
    match payload.coded() {
        Some((coding, packed)) => (packed.clone(), self::coding(coding)),
        None => (payload.plain().clone(), v1::Coding::Plain),
    }
}

fn coding(coding: Coding) -> v1::Coding {
    match coding {
        Coding::Lz4Block => v1::Coding::Lz4Block,
    }
}

fn signed_record(record: &SignedRecord) -> v1::SignedRecord {
    v1::SignedRecord {
        record: record.signed.clone(),
        signature: record.signature.clone(),
        certificate: record.certificate.clone(),
    }
}

fn body(message: &Message) -> Option<v1::frame::Body> {
    use v1::frame::Body;
    Some(match message {
        Message::Hello(hello) => Body::Hello(v1::Hello {
            version: hello.version,
            version_min: hello.version_min,
            network: hello.network.clone(),
            incarnation: hello.incarnation,
            session: Bytes::copy_from_slice(&hello.session),
            received: hello.received,
            rows: hello.rows,
            record: hello.record.as_deref().map(signed_record),
            keeps_nothing: hello.keeps_nothing,
            codings: hello.codings.iter().map(|coding| self::coding(coding).into()).collect(),
            references: hello.references,
        }),
        Message::Ack => Body::AckOnly(v1::Ack {}),
        Message::Ping { nonce } => Body::Ping(v1::Ping { nonce: *nonce }),
        Message::Pong { nonce } => Body::Pong(v1::Pong { nonce: *nonce }),
        Message::Goodbye { reason, detail } => {
            Body::Goodbye(v1::Goodbye { reason: goodbye(*reason).into(), detail: cut(detail) })
        }
        Message::Push(push) => Body::Push(v1::Push {
            envelope: Some(envelope(&push.envelope, push.body.as_ref())),
            rows: push.rows,
            head: push.head,
            hops: push.hops,
            chunks_follow: push.chunks_follow,
        }),
        Message::Announce { salt, short_ids } => {
            Body::Announce(v1::Announce { salt: *salt, short_ids: short_ids.concat().into() })
        }
        Message::Fetch { ids, salt, short_ids, whole } => Body::Fetch(v1::Fetch {
            ids: concat_ids(ids),
            salt: *salt,
            short_ids: short_ids.concat().into(),
            whole: *whole,
        }),
        Message::ChunkRequest { id, first, count } => {
            Body::ChunkRequest(v1::ChunkRequest { id: id_bytes(id), first: *first, count: *count })
        }
        Message::Chunk { id, index, data, proof } => {
            let (carried, coding) = carried(data);
            let is_plain = coding == v1::Coding::Plain;
            Body::Chunk(v1::Chunk {
                id: id_bytes(id),
                index: *index,
                data: carried,
                proof: proof.iter().flat_map(Hash::as_bytes).copied().collect(),
                coding: coding.into(),
                plain_bytes: if is_plain { 0 } else { data.len() as u32 },
            })
        }
        Message::Unavailable { ids } => Body::Unavailable(v1::Unavailable { ids: concat_ids(ids) }),
        Message::HoldsRequest { ids } => Body::HoldsRequest(v1::HoldsRequest { ids: concat_ids(ids) }),
        Message::Holds { ids } => Body::Holds(v1::Holds { ids: concat_ids(ids) }),
        Message::RecordsRequest { limit, digest, known } => Body::RecordsRequest(v1::RecordsRequest {
            limit: *limit,
            digest: digest.clone(),
            known: known.as_ref().map(|known| v1::Marks {
                part_bits: known.part_bits,
                part: known.part,
                marks: known.marks.concat().into(),
            }),
        }),
        Message::Records { records, news } => Body::Records(v1::Records {
            records: records.iter().map(|record| signed_record(record)).collect(),
            news: *news,
        }),
        Message::Missed { peers } => {
            let missed = |missing: &Missing| v1::MissedPeer {
                peer_id: Bytes::copy_from_slice(missing.peer.as_bytes()),
                incarnation: missing.incarnation,
                sequence: missing.sequence,
            };
            Body::Missed(v1::Missed { peers: peers.iter().map(missed).collect() })
        }
        Message::Sync(sync) => Body::Sync(sync_body(sync)),
        // What could not be read is not passed on.
        Message::Unknown | Message::Garbled { .. } => return None,
    })
}

fn sync_body(sync: &Sync) -> v1::Sync {
    v1::Sync {
        round: sync.round,
        ranges: sync.ranges.iter().map(range).collect(),
        floor_unix_ms: sync.floor.as_unix_ms(),
        want: concat_ids(&sync.want),
        opening: sync.opening,
        partial: sync.partial,
    }
}

fn range(range: &SyncRange) -> v1::SyncRange {
    use v1::sync_range::Content;
    v1::SyncRange {
        lower: Some(bound(&range.lower)),
        upper: Some(bound(&range.upper)),
        content: Some(match &range.content {
            SyncContent::Fingerprint(fingerprint) => Content::Fingerprint(v1::SyncFingerprint {
                count: fingerprint.count,
                sum: Bytes::copy_from_slice(&fingerprint.sum),
            }),
            SyncContent::Ids(ids) => Content::Ids(concat_ids(ids)),
        }),
    }
}

/// Zeroes at the end of the id are left out.
fn bound(bound: &SyncBound) -> v1::SyncBound {
    let used = bound.id.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    v1::SyncBound {
        published_unix_ms: bound.published.as_unix_ms(),
        id: Bytes::copy_from_slice(&bound.id[..used]),
    }
}

fn id_bytes(id: &TxId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn concat_ids(ids: &[TxId]) -> Bytes {
    ids.iter().flat_map(TxId::as_bytes).copied().collect()
}

fn goodbye(reason: GoodbyeReason) -> v1::goodbye::Reason {
    use v1::goodbye::Reason;
    match reason {
        GoodbyeReason::Unspecified => Reason::Unspecified,
        GoodbyeReason::Shutdown => Reason::Shutdown,
        GoodbyeReason::Duplicate => Reason::Duplicate,
        GoodbyeReason::Incompatible => Reason::Incompatible,
        GoodbyeReason::Full => Reason::Full,
        GoodbyeReason::Banned => Reason::Banned,
        GoodbyeReason::OneSelf => Reason::Self_,
        GoodbyeReason::Unused => Reason::Unused,
    }
}

/// The longest prefix of whole characters within the bound.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(DETAIL_BYTES_MAX)].to_owned()
}
