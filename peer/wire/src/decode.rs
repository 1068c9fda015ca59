//! Protobuf to core values. Everything that comes in here is hostile until its bounds are checked.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sorcha_peer_core::envelope::{Carried, Envelope, Header, Record, Referring, SignedRecord};
use sorcha_peer_core::message::{
    Fingerprint, Frame, GoodbyeReason, Hello, Marks, Message, Missing, Push, Sync, SyncBound, SyncContent,
    SyncRange,
};
use sorcha_peer_core::payload::{Codings, Payload};
use sorcha_peer_core::types::bounds::{
    ADDRESS_BYTES_MAX, BODY_BYTES_MAX, CERTIFICATE_BYTES_MAX, CHUNK_BYTES, CHUNKS_PER_REQUEST_MAX,
    DETAIL_BYTES_MAX, FRAME_BYTES_MAX, HEADER_BYTES_MAX, IDS_PER_FRAME_MAX, LABEL_BYTES_MAX,
    MISSED_PER_FRAME_MAX, NETWORK_BYTES_MAX, PART_BITS_MAX, PROOF_HASHES_MAX, PUSH_BODY_BYTES_MAX,
    RECORD_ADDRESSES_MAX, RECORD_BYTES_MAX, RECORD_MARKS_MAX, RECORD_SIGNATURE_BYTES_MAX,
    RECORDS_PER_FRAME_MAX, REGISTER_BYTES_MAX, ROWS_MAX, SHORT_IDS_PER_FRAME_MAX, SIGNATURE_BYTES_MAX,
    SYNC_IDS_MAX, SYNC_RANGES_MAX, URI_BYTES_MAX,
};
use sorcha_peer_core::types::{Address, Hash, PeerId, TxId, WallTime};
use sorcha_proto::v1;

use crate::coding::{read_coding, unpack};
use crate::error::FrameError;

/// Reads one frame as it travels (at most `FRAME_BYTES_MAX`).
pub fn decode_frame(bytes: Bytes) -> Result<Frame, FrameError> {
    at_most("frame", bytes.len(), FRAME_BYTES_MAX)?;
    frame_from_proto(v1::Frame::decode(bytes).map_err(|error| malformed("Frame", &error))?)
}

/// Takes over a frame that a gRPC stream has decoded; a body of a later version becomes [`Message::Unknown`].
pub fn frame_from_proto(frame: v1::Frame) -> Result<Frame, FrameError> {
    let message = frame.body.map_or(Ok(Message::Unknown), message)?;
    Ok(Frame { sequence: frame.sequence, ack: frame.ack, ack_bits: frame.ack_bits, message })
}

/// Reads a header from the bytes that were signed.
pub fn decode_header(signed: Bytes) -> Result<Header, FrameError> {
    at_most("envelope.header", signed.len(), HEADER_BYTES_MAX)?;
    let header =
        v1::TransactionHeader::decode(signed).map_err(|error| malformed("TransactionHeader", &error))?;
    at_most("header.network", header.network.len(), NETWORK_BYTES_MAX)?;
    at_most("header.register", header.register.len(), REGISTER_BYTES_MAX)?;
    if header.register.chars().any(char::is_control) {
        let actual = header.register.escape_debug().take(80).collect();
        return Err(FrameError::Invalid { field: "header.register", actual, rule: "no control characters" });
    }
    if header.sequence == 0 {
        let rule = "sequences start at 1";
        return Err(FrameError::Invalid { field: "header.sequence", actual: "0".to_owned(), rule });
    }
    value_at_most("header.body_bytes", header.body_bytes, BODY_BYTES_MAX)?;
    Ok(Header {
        network: header.network,
        origin: PeerId::from_bytes(exactly("header.origin", &header.origin)?),
        incarnation: header.incarnation,
        sequence: header.sequence,
        register: header.register,
        published: WallTime::from_unix_ms(header.published_unix_ms),
        body_bytes: header.body_bytes,
        body_root: Hash::from_bytes(exactly("header.body_root", &header.body_root)?),
    })
}

/// Takes over an envelope with its certificate, and with its body where that travels along (at most `PUSH_BODY_BYTES_MAX`,
/// packed and plain). One that refers to its certificate is refused: that is between peers.
pub fn decode_envelope(envelope: v1::Envelope) -> Result<(Envelope, Option<Payload>), FrameError> {
    match envelope_and_body(envelope)? {
        (Carried::Whole(envelope), body) => Ok((Arc::unwrap_or_clone(envelope), body?)),
        (Carried::Referring(referring), _) => Err(FrameError::Invalid {
            field: "envelope.certificate_sha256",
            actual: referring.digest().to_string(),
            rule: "only a push between peers refers to its certificate; this one has to carry it",
        }),
    }
}

/// The inner error is of a body that does not unpack: the envelope itself can be read.
type WithBody = (Carried, Result<Option<Payload>, FrameError>);

fn envelope_and_body(envelope: v1::Envelope) -> Result<WithBody, FrameError> {
    at_most("envelope.signature", envelope.signature.len(), SIGNATURE_BYTES_MAX)?;
    at_most("envelope.certificate", envelope.certificate.len(), CERTIFICATE_BYTES_MAX)?;
    if let Some(body) = &envelope.body {
        at_most("envelope.body", body.len(), PUSH_BODY_BYTES_MAX)?;
    }
    let header = decode_header(envelope.header.clone())?;
    let coding = read_coding("envelope.body_coding", envelope.body_coding)?;
    let body = match (envelope.body, coding) {
        (Some(packed), Some(coding)) => {
            value_at_most(
                "header.body_bytes of a packed body",
                header.body_bytes,
                PUSH_BODY_BYTES_MAX as u64,
            )?;
            unpack("envelope.body", coding, packed, header.body_bytes as usize).map(Some)
        }
        (body, _) => Ok(body.map(Payload::from)),
    };
    let (signed, signature) = (envelope.header, envelope.signature);
    let carried = match (envelope.certificate, envelope.certificate_sha256) {
        (none, reference) if none.is_empty() => {
            if reference.is_empty() {
                return Err(FrameError::Missing { field: "envelope.certificate" });
            }
            let digest = Hash::from_bytes(exactly("envelope.certificate_sha256", &reference)?);
            Carried::Referring(Referring::new(header, signed, signature, digest))
        }
        (certificate, reference) if reference.is_empty() => {
            Carried::Whole(Arc::new(Envelope::new(header, signed, signature, certificate)))
        }
        (certificate, _) => {
            let actual = format!("{} bytes", certificate.len());
            let rule = "an envelope carries its certificate or refers to it, not both";
            return Err(FrameError::Invalid { field: "envelope.certificate", actual, rule });
        }
    };
    Ok((carried, body))
}

/// Takes over a signed record; addresses beyond `RECORD_ADDRESSES_MAX` are cut.
pub fn decode_record(record: v1::SignedRecord) -> Result<SignedRecord, FrameError> {
    at_most("record.signature", record.signature.len(), RECORD_SIGNATURE_BYTES_MAX)?;
    at_most("record.certificate", record.certificate.len(), CERTIFICATE_BYTES_MAX)?;
    at_most("record", record.record.len(), RECORD_BYTES_MAX)?;
    let said =
        v1::PeerRecord::decode(record.record.clone()).map_err(|error| malformed("PeerRecord", &error))?;
    at_most("record.uri", said.uri.len(), URI_BYTES_MAX)?;
    at_most("record.site", said.site.len(), LABEL_BYTES_MAX)?;
    at_most("record.software", said.software.len(), LABEL_BYTES_MAX)?;
    for address in &said.addresses {
        at_most("record.addresses", address.len(), ADDRESS_BYTES_MAX)?;
    }
    let addresses = said.addresses.into_iter().take(RECORD_ADDRESSES_MAX).map(Address::new).collect();
    let [signed, signature, certificate] = together([record.record, record.signature, record.certificate]);
    Ok(SignedRecord {
        peer: PeerId::of_uri(&said.uri),
        record: Record {
            uri: said.uri,
            incarnation: said.incarnation,
            sequence: said.sequence,
            addresses,
            site: said.site,
            leaving: said.leaving,
            software: said.software,
        },
        signed,
        signature,
        certificate,
    })
}

/// The same bytes in an allocation of their own. What is decoded shares the buffer that it was read into, and a record is
/// kept for as long as its peer is a member.
fn together<const N: usize>(parts: [Bytes; N]) -> [Bytes; N] {
    let mut all = Bytes::from(parts.concat());
    parts.map(|part| all.split_to(part.len()))
}

/// Reads a signed record as [`crate::encode_record_bytes`] wrote it.
pub fn decode_record_bytes(bytes: Bytes) -> Result<SignedRecord, FrameError> {
    at_most("record", bytes.len(), FRAME_BYTES_MAX)?;
    decode_record(v1::SignedRecord::decode(bytes).map_err(|error| malformed("SignedRecord", &error))?)
}

fn message(body: v1::frame::Body) -> Result<Message, FrameError> {
    use v1::frame::Body;
    Ok(match body {
        Body::Hello(hello) => Message::Hello(self::hello(hello)?),
        Body::AckOnly(v1::Ack {}) => Message::Ack,
        Body::Ping(ping) => Message::Ping { nonce: ping.nonce },
        Body::Pong(pong) => Message::Pong { nonce: pong.nonce },
        Body::Goodbye(goodbye) => {
            at_most("goodbye.detail", goodbye.detail.len(), DETAIL_BYTES_MAX)?;
            Message::Goodbye { reason: reason(goodbye.reason()), detail: goodbye.detail }
        }
        Body::Push(push) => {
            let envelope = push.envelope.ok_or(FrameError::Missing { field: "push.envelope" })?;
            let (envelope, body) = envelope_and_body(envelope)?;
            let rows = rows("push.rows", push.rows)?;
            let body = match body {
                Ok(body) => body,
                Err(error) => return Ok(garbled(envelope.id(), None, &error)),
            };
            let (head, hops, chunks_follow) = (push.head, push.hops, push.chunks_follow);
            Message::Push(Push { envelope, body, rows, head, hops, chunks_follow })
        }
        Body::Announce(announce) => Message::Announce {
            salt: announce.salt,
            short_ids: short_ids("announce.short_ids", &announce.short_ids)?,
        },
        Body::Fetch(fetch) => Message::Fetch {
            ids: ids("fetch.ids", &fetch.ids)?,
            salt: fetch.salt,
            short_ids: short_ids("fetch.short_ids", &fetch.short_ids)?,
            whole: fetch.whole,
        },
        Body::ChunkRequest(request) => {
            let max = u64::from(CHUNKS_PER_REQUEST_MAX);
            value_at_most("chunk_request.count", u64::from(request.count), max)?;
            let id = TxId::from_bytes(exactly("chunk_request.id", &request.id)?);
            Message::ChunkRequest { id, first: request.first, count: request.count }
        }
        Body::Chunk(chunk) => {
            at_most("chunk.data", chunk.data.len(), CHUNK_BYTES)?;
            let proof: Vec<[u8; 32]> = list("chunk.proof", &chunk.proof, PROOF_HASHES_MAX)?;
            let id = TxId::from_bytes(exactly("chunk.id", &chunk.id)?);
            let data = match read_coding("chunk.coding", chunk.coding)? {
                None => Payload::from(chunk.data),
                Some(coding) => {
                    let plain = chunk.plain_bytes as usize;
                    at_most("chunk.plain_bytes", plain, CHUNK_BYTES)?;
                    match unpack("chunk.data", coding, chunk.data, plain) {
                        Ok(data) => data,
                        Err(error) => return Ok(garbled(id, Some(chunk.index), &error)),
                    }
                }
            };
            let proof = proof.into_iter().map(Hash::from_bytes).collect();
            Message::Chunk { id, index: chunk.index, data, proof }
        }
        Body::Unavailable(gone) => Message::Unavailable { ids: ids("unavailable.ids", &gone.ids)? },
        Body::HoldsRequest(asked) => Message::HoldsRequest { ids: ids("holds_request.ids", &asked.ids)? },
        Body::Holds(held) => Message::Holds { ids: ids("holds.ids", &held.ids)? },
        Body::RecordsRequest(request) => {
            if !request.digest.is_empty() {
                exactly::<32>("records_request.digest", &request.digest)?;
            }
            let known = request.known.map(marks).transpose()?;
            Message::RecordsRequest { limit: request.limit, digest: request.digest, known }
        }
        Body::Records(records) => {
            at_most("records.records", records.records.len(), RECORDS_PER_FRAME_MAX)?;
            let news = records.news;
            let records = records
                .records
                .into_iter()
                .map(|record| decode_record(record).map(Arc::new))
                .collect::<Result<_, _>>();
            Message::Records { records: records?, news }
        }
        Body::Missed(missed) => {
            at_most("missed.peers", missed.peers.len(), MISSED_PER_FRAME_MAX)?;
            let missing = |missed: v1::MissedPeer| {
                let peer = PeerId::from_bytes(exactly("missed.peers.peer_id", &missed.peer_id)?);
                Ok(Missing { peer, incarnation: missed.incarnation, sequence: missed.sequence })
            };
            Message::Missed { peers: missed.peers.into_iter().map(missing).collect::<Result<_, _>>()? }
        }
        Body::Sync(sync) => Message::Sync(self::sync(sync)?),
    })
}

fn garbled(id: TxId, chunk: Option<u32>, error: &FrameError) -> Message {
    Message::Garbled { id, chunk, detail: error.to_string() }
}

fn hello(hello: v1::Hello) -> Result<Hello, FrameError> {
    at_most("hello.network", hello.network.len(), NETWORK_BYTES_MAX)?;
    // Those of later versions are no use to this one.
    let known =
        hello.codings.iter().filter_map(|coding| read_coding("hello.codings", *coding).ok().flatten());
    let codings = known.fold(Codings::NONE, Codings::with);
    Ok(Hello {
        version: hello.version,
        version_min: hello.version_min,
        network: hello.network,
        incarnation: hello.incarnation,
        session: exactly("hello.session", &hello.session)?,
        received: hello.received,
        rows: rows("hello.rows", hello.rows)?,
        record: hello.record.map(decode_record).transpose()?.map(Arc::new),
        keeps_nothing: hello.keeps_nothing,
        codings,
        references: hello.references,
    })
}

fn sync(sync: v1::Sync) -> Result<Sync, FrameError> {
    at_most("sync.ranges", sync.ranges.len(), SYNC_RANGES_MAX)?;
    let ranges = sync.ranges.into_iter().map(range).collect::<Result<Vec<_>, _>>()?;
    let listed: usize = ranges
        .iter()
        .map(|range| if let SyncContent::Ids(ids) = &range.content { ids.len() } else { 0 })
        .sum();
    at_most("sync.ranges.ids", listed, SYNC_IDS_MAX)?;
    Ok(Sync {
        round: sync.round,
        ranges,
        floor: WallTime::from_unix_ms(sync.floor_unix_ms),
        want: ids("sync.want", &sync.want)?,
        opening: sync.opening,
        partial: sync.partial,
    })
}

fn range(range: v1::SyncRange) -> Result<SyncRange, FrameError> {
    use v1::sync_range::Content;
    let lower = bound("sync.ranges.lower", range.lower)?;
    let upper = bound("sync.ranges.upper", range.upper)?;
    if lower > upper {
        let actual = format!("{}..{}", lower.published.as_unix_ms(), upper.published.as_unix_ms());
        return Err(FrameError::Invalid { field: "sync.ranges", actual, rule: "lower comes before upper" });
    }
    let content = match range.content.ok_or(FrameError::Missing { field: "sync.ranges.content" })? {
        Content::Fingerprint(fingerprint) => SyncContent::Fingerprint(Fingerprint {
            count: fingerprint.count,
            sum: exactly("sync.ranges.fingerprint.sum", &fingerprint.sum)?,
        }),
        Content::Ids(bytes) => {
            let ids = list("sync.ranges.ids", &bytes, SYNC_IDS_MAX)?;
            SyncContent::Ids(ids.into_iter().map(TxId::from_bytes).collect())
        }
    };
    Ok(SyncRange { lower, upper, content })
}

fn bound(field: &'static str, bound: Option<v1::SyncBound>) -> Result<SyncBound, FrameError> {
    let bound = bound.ok_or(FrameError::Missing { field })?;
    at_most(field, bound.id.len(), 32)?;
    let mut id = [0; 32];
    id[..bound.id.len()].copy_from_slice(&bound.id);
    Ok(SyncBound { published: WallTime::from_unix_ms(bound.published_unix_ms), id })
}

fn reason(reason: v1::goodbye::Reason) -> GoodbyeReason {
    use v1::goodbye::Reason;
    match reason {
        Reason::Unspecified => GoodbyeReason::Unspecified,
        Reason::Shutdown => GoodbyeReason::Shutdown,
        Reason::Duplicate => GoodbyeReason::Duplicate,
        Reason::Incompatible => GoodbyeReason::Incompatible,
        Reason::Full => GoodbyeReason::Full,
        Reason::Banned => GoodbyeReason::Banned,
        Reason::Self_ => GoodbyeReason::OneSelf,
        Reason::Unused => GoodbyeReason::Unused,
    }
}

/// A row count: 0 (unsaid) counts as 1.
fn rows(field: &'static str, rows: u32) -> Result<u32, FrameError> {
    value_at_most(field, u64::from(rows), u64::from(ROWS_MAX))?;
    let rows = rows.max(1);
    if rows.is_power_of_two() {
        Ok(rows)
    } else {
        Err(FrameError::Invalid { field, actual: rows.to_string(), rule: "a row count is a power of two" })
    }
}

fn ids(field: &'static str, bytes: &[u8]) -> Result<Vec<TxId>, FrameError> {
    Ok(list(field, bytes, IDS_PER_FRAME_MAX)?.into_iter().map(TxId::from_bytes).collect())
}

fn short_ids(field: &'static str, bytes: &[u8]) -> Result<Vec<[u8; 8]>, FrameError> {
    list(field, bytes, SHORT_IDS_PER_FRAME_MAX)
}

fn marks(known: v1::Marks) -> Result<Marks, FrameError> {
    let v1::Marks { part_bits, part, marks } = known;
    let (field, rule) = ("records_request.known.part", "at most 16 bits, of which the number has no more");
    if part_bits > PART_BITS_MAX || part >> part_bits != 0 {
        return Err(FrameError::Invalid { field, actual: format!("{part} in {part_bits} bits"), rule });
    }
    Ok(Marks { part_bits, part, marks: list("records_request.known.marks", &marks, RECORD_MARKS_MAX)? })
}

fn list<const N: usize>(field: &'static str, bytes: &[u8], max: usize) -> Result<Vec<[u8; N]>, FrameError> {
    let (entries, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(FrameError::Ragged { field, actual: bytes.len(), entry: N });
    }
    at_most(field, entries.len(), max)?;
    Ok(entries.to_vec())
}

fn exactly<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], FrameError> {
    bytes.try_into().map_err(|_| FrameError::Length { field, actual: bytes.len(), expected: N })
}

fn at_most(field: &'static str, actual: usize, max: usize) -> Result<(), FrameError> {
    value_at_most(field, actual as u64, max as u64)
}

fn value_at_most(field: &'static str, actual: u64, max: u64) -> Result<(), FrameError> {
    if actual > max { Err(FrameError::TooLarge { field, actual, max }) } else { Ok(()) }
}

fn malformed(what: &'static str, error: &prost::DecodeError) -> FrameError {
    FrameError::Malformed { what, detail: error.to_string() }
}
