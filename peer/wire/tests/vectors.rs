//! The test vectors of `proto/vectors` that are bytes on the wire: the same in every version and every language.
//! Size: most of it is the list of frames, one after another as the vectors have them.

#[path = "../../../proto/vectors/support.rs"]
mod support;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Value, json};
use sorcha_peer_core::envelope::{Carried, Envelope, Header, Record, SignedRecord, certificate_digest};
use sorcha_peer_core::message::{
    Fingerprint, Frame, GoodbyeReason, Hello, Message, Missing, Push, Sync, SyncBound, SyncContent,
    SyncRange, short_id,
};
use sorcha_peer_core::payload::{Coding, Codings, Payload};
use sorcha_peer_core::tree::{self, Body};
use sorcha_peer_core::types::bounds::CHUNK_BYTES;
use sorcha_peer_core::types::{Address, PeerId, TxId, WallTime};
use sorcha_peer_wire::{
    decode_frame, decode_header, decode_record_bytes, encode_frame, encode_header, encode_record,
    encode_record_bytes, frame_to_proto, pack,
};
use sorcha_proto::v1;

const URI: &str = "spiffe://acme.example/payments/peers-0";
const BODY: &[u8] = b"hello, register";
/// Of the transaction whose body travels packed, and of the one that is fetched in chunks.
const LINE: &[u8] = br#"{"from":"alice","to":"bob","amount":17}"#;
const SHORT_BYTES: usize = 4000;
const LONG_BYTES: usize = 3 * CHUNK_BYTES + 100;

fn repeated(pattern: &[u8], bytes: usize) -> Bytes {
    pattern.iter().copied().cycle().take(bytes).collect()
}

fn header_of(body: &Bytes, sequence: u64) -> Header {
    Header {
        network: "payments".into(),
        origin: PeerId::of_uri(URI),
        incarnation: 3,
        sequence,
        register: "ledger/main".into(),
        published: WallTime::from_unix_ms(1_700_000_000_123),
        body_bytes: body.len() as u64,
        body_root: Body::new(body.clone()).root(),
    }
}

fn header() -> Header {
    header_of(&Bytes::from_static(BODY), 42)
}

/// A field of `signatures.json`, which the crate of certificates makes.
fn signed(pointer: &str) -> Bytes {
    let file = support::read("signatures").expect("the vectors are there");
    bytes(file.pointer(pointer).expect("the vectors are whole"))
}

fn envelope() -> Arc<Envelope> {
    let (signature, certificate) = (signed("/transaction/signature"), signed("/origin/certificate"));
    Arc::new(Envelope::new(header(), encode_header(&header()), signature, certificate))
}

/// By reference to the certificate of its record.
fn referring() -> Carried {
    Carried::Referring(envelope().referring(certificate_digest(&signed("/origin/certificate"))))
}

/// Not signed: what they show are bodies.
fn unsigned(body: &Bytes, sequence: u64) -> Arc<Envelope> {
    let header = header_of(body, sequence);
    let signed = encode_header(&header);
    Arc::new(Envelope::new(header, signed, Bytes::new(), self::signed("/origin/certificate")))
}

fn record_as_signed() -> Record {
    Record {
        uri: URI.into(),
        incarnation: 3,
        sequence: 1_700_000_000_000,
        addresses: vec![Address::new("peers-0.payments.svc:7450"), Address::new("[2001:db8::1]:7450")],
        site: "eu-west".into(),
        leaving: false,
        software: "sorcha-peer/0.1.0".into(),
    }
}

fn record() -> SignedRecord {
    let record = record_as_signed();
    let bytes = encode_record(&record);
    let (signature, certificate) = (signed("/record/signature"), signed("/origin/certificate"));
    SignedRecord { peer: record.peer(), record, signed: bytes, signature, certificate }
}

/// Packed bytes as `packed.json` has them, beside the plain ones.
fn packed(name: &str) -> Payload {
    let file = support::read("packed").expect("the vectors are there");
    let block = file["blocks"].as_array().expect("a list").iter().find(|block| block["name"] == name);
    let block = block.expect("the vectors are whole");
    Payload::packed(plain_of(&block["plain"]), Coding::Lz4Block, bytes(&block["packed"]))
}

fn hello(codings: Codings, references: bool) -> Hello {
    Hello {
        version: 1,
        version_min: 1,
        network: "payments".into(),
        incarnation: 3,
        session: [7; 16],
        received: 0,
        rows: 8,
        record: Some(Arc::new(record())),
        keeps_nothing: false,
        codings,
        references,
    }
}

fn sync_frame(id: TxId) -> Sync {
    let upper = SyncBound { published: WallTime::from_unix_ms(1_700_000_000_124), id: [0; 32] };
    let mut prefix = [0; 32];
    prefix[..3].copy_from_slice(&[0xab, 0, 0xcd]);
    let middle = SyncBound { published: WallTime::from_unix_ms(1_700_000_000_123), id: prefix };
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(&id);
    let ranges = vec![
        SyncRange { lower: SyncBound::MIN, upper: middle, content: SyncContent::Fingerprint(fingerprint) },
        SyncRange { lower: middle, upper, content: SyncContent::Ids(vec![id]) },
    ];
    let floor = WallTime::from_unix_ms(1_600_000_000_000);
    Sync { round: 9, ranges, floor, want: vec![id], opening: true, partial: false }
}

/// Frames with what they say, in the words of the .proto files.
fn frames() -> Vec<(&'static str, Value, Frame)> {
    let id = envelope().id();
    let hex_id = id.to_string();
    let chunks_follow = false;
    let plain = |envelope: Arc<Envelope>, body, rows, head, hops| Push {
        envelope,
        body,
        rows,
        head,
        hops,
        chunks_follow,
    };
    let push = |envelope, body, rows, head, hops| Message::from(plain(envelope, body, rows, head, hops));
    let short = repeated(LINE, SHORT_BYTES);
    let (short_envelope, long) = (unsigned(&short, 43), repeated(LINE, LONG_BYTES));
    let long_id = unsigned(&long, 44).id();
    let long = Body::new(long);
    let proof = |index| tree::proof(long.leaves(), index).expect("there is such a chunk");
    let last = long.bytes().slice(3 * CHUNK_BYTES..);
    let body = || Some(Payload::from(Bytes::from_static(BODY)));
    let shorts = vec![short_id(5, &id)];
    let messages = [
        (
            "hello",
            json!({"rows": 8, "codings": [], "references": false}),
            Message::Hello(hello(Codings::NONE, false)),
        ),
        (
            "hello_codings",
            json!({"rows": 8, "codings": ["LZ4_BLOCK"], "references": false}),
            Message::Hello(hello(Codings::ALL, false)),
        ),
        (
            "hello_references",
            json!({"rows": 8, "codings": ["LZ4_BLOCK"], "references": true}),
            Message::Hello(hello(Codings::ALL, true)),
        ),
        ("ack", json!({"ack": 12, "acknowledges": [9, 11, 12]}), Message::Ack),
        ("ping", json!({"nonce": 99}), Message::Ping { nonce: 99 }),
        ("pong", json!({"nonce": 99}), Message::Pong { nonce: 99 }),
        (
            "goodbye",
            json!({"reason": "REASON_SHUTDOWN", "detail": "see you"}),
            Message::Goodbye { reason: GoodbyeReason::Shutdown, detail: "see you".into() },
        ),
        (
            "push",
            json!({"id": hex_id, "rows": 8, "head": true, "hops": 1, "body": hex::encode(BODY)}),
            push(envelope(), body(), 8, true, 1),
        ),
        (
            "push_of_a_head",
            json!({"id": hex_id, "rows": 8, "head": false, "hops": 2, "body": hex::encode(BODY)}),
            push(envelope(), body(), 8, false, 2),
        ),
        (
            "push_without_body",
            json!({"id": long_id.to_string(), "rows": 1, "head": false, "hops": 1, "body": null}),
            push(unsigned(long.bytes(), 44), None, 1, false, 1),
        ),
        (
            "push_before_chunks",
            json!({"id": long_id.to_string(), "rows": 8, "head": true, "hops": 1, "body": null, "chunks_follow": true}),
            Message::from(Push {
                chunks_follow: true,
                ..plain(unsigned(long.bytes(), 44), None, 8, true, 1)
            }),
        ),
        (
            "push_packed",
            json!({"id": short_envelope.id().to_string(), "rows": 1, "head": false, "hops": 0, "body_coding": "LZ4_BLOCK",
                   "body": {"repeat": hex::encode(LINE), "bytes": SHORT_BYTES}}),
            push(short_envelope, Some(packed("short body")), 1, false, 0),
        ),
        (
            "push_referring",
            json!({"id": hex_id, "rows": 8, "head": true, "hops": 1, "body": hex::encode(BODY), "certificate_of": URI}),
            Message::Push(plain(envelope(), body(), 8, true, 1).with(referring())),
        ),
        (
            "announce",
            json!({"salt": 5, "ids": [hex_id]}),
            Message::Announce { salt: 5, short_ids: shorts.clone() },
        ),
        (
            "fetch",
            json!({"ids": [hex_id], "salt": 5, "short_ids_of": [hex_id], "whole": false}),
            Message::Fetch { ids: vec![id], salt: 5, short_ids: shorts, whole: false },
        ),
        (
            "fetch_whole",
            json!({"ids": [hex_id], "salt": 0, "short_ids_of": [], "whole": true}),
            Message::Fetch { ids: vec![id], salt: 0, short_ids: Vec::new(), whole: true },
        ),
        (
            "chunk_request",
            json!({"id": long_id.to_string(), "first": 0, "count": 4}),
            Message::ChunkRequest { id: long_id, first: 0, count: 4 },
        ),
        (
            "chunk",
            json!({"id": long_id.to_string(), "index": 3, "coding": "PLAIN", "data": hex::encode(&last)}),
            Message::Chunk { id: long_id, index: 3, data: last.into(), proof: proof(3) },
        ),
        (
            "chunk_packed",
            json!({"id": long_id.to_string(), "index": 0, "coding": "LZ4_BLOCK",
                   "data": {"repeat": hex::encode(LINE), "bytes": CHUNK_BYTES}}),
            Message::Chunk { id: long_id, index: 0, data: packed("chunk"), proof: proof(0) },
        ),
        ("unavailable", json!({"ids": [hex_id]}), Message::Unavailable { ids: vec![id] }),
        ("holds_request", json!({"ids": [hex_id]}), Message::HoldsRequest { ids: vec![id] }),
        ("holds", json!({"ids": [hex_id]}), Message::Holds { ids: vec![id] }),
        (
            "records_request",
            json!({"limit": 7, "digest": hex::encode([0x11; 32])}),
            Message::RecordsRequest { limit: 7, digest: Bytes::from_static(&[0x11; 32]), known: None },
        ),
        (
            "records",
            json!({"peers": [PeerId::of_uri(URI).to_string()], "news": true}),
            Message::Records { records: vec![Arc::new(record())], news: true },
        ),
        (
            "sync",
            json!({"round": 9, "opening": true, "ranges": ["fingerprint", "ids"], "want": [hex_id]}),
            Message::Sync(sync_frame(id)),
        ),
        (
            "missed",
            json!({"peers": [{"peer": PeerId::of_uri(URI).to_string(), "incarnation": 3, "sequence": 5}]}),
            Message::Missed {
                peers: vec![Missing { peer: PeerId::of_uri(URI), incarnation: 3, sequence: 5 }],
            },
        ),
    ];
    let number = |(at, (name, says, message))| {
        let sequence = if message == Message::Ack { 0 } else { at as u64 + 1 };
        (name, says, Frame { sequence, ack: 12, ack_bits: 0b101, message })
    };
    messages.into_iter().enumerate().map(number).collect()
}

fn transaction() -> Value {
    let header = header();
    let signed = encode_header(&header);
    json!({
        "about": "A transaction. The id is SHA-256(\"sorcha-tx-v1\" || header); signatures.json has the signature.",
        "network": header.network,
        "origin_uri": URI,
        "origin": header.origin.to_string(),
        "incarnation": header.incarnation,
        "sequence": header.sequence,
        "register": header.register,
        "published_unix_ms": header.published.as_unix_ms(),
        "body": hex::encode(BODY),
        "body_root": header.body_root.to_string(),
        "header": hex::encode(&signed),
        "id": TxId::of_header(&signed).to_string(),
    })
}

/// The bytes that are signed alone: their signature is made of them.
fn record_value() -> Value {
    let record = record_as_signed();
    json!({
        "about": "What a peer says of itself, as it is signed; frames.json has it with its signature (hello, records).",
        "uri": record.uri,
        "peer": record.peer().to_string(),
        "addresses": record.addresses.iter().map(Address::as_str).collect::<Vec<_>>(),
        "record": hex::encode(encode_record(&record)),
    })
}

fn frames_value() -> Value {
    let frames = frames().into_iter().map(|(name, says, frame)| {
        json!({
            "name": name,
            "sequence": frame.sequence,
            "says": says,
            "frame": hex::encode(encode_frame(&frame)),
        })
    });
    json!({
        "about": "Frames as they travel, what they say in the words of the .proto files, each acknowledging 12, 11 and 9 (ack 12, ack_bits 0b101). A reader must read what is \
                  said; a writer that keeps to the order of field numbers writes the same bytes. The packed ones may be packed \
                  otherwise.",
        "frames": frames.collect::<Vec<_>>(),
    })
}

/// Plain bytes by name, with blocks of LZ4 that make them. The first ones a writer made, the others show what a reader
/// must bear.
fn blocks() -> Vec<(&'static str, Value, Vec<u8>)> {
    let repeat = |pattern: &[u8], bytes: usize| json!({"repeat": hex::encode(pattern), "bytes": bytes});
    let mut run = vec![0x1f, b'a', 1, 0];
    run.extend([0xff; 64]);
    run.extend([3, 0x50, b'a', b'a', b'a', b'a', b'a']);
    let run_bytes = 1 + 19 + 64 * 255 + 3 + 5;
    let mut literals = vec![0xf0, 0xff, 10];
    literals.extend(repeated(LINE, 15 + 255 + 10));
    vec![
        ("short body", repeat(LINE, SHORT_BYTES), packed_now(LINE, SHORT_BYTES)),
        ("chunk", repeat(LINE, CHUNK_BYTES), packed_now(LINE, CHUNK_BYTES)),
        ("nothing", repeat(b"a", 0), vec![0]),
        ("literals alone, their length in three bytes", repeat(LINE, 280), literals),
        ("a match that overlaps itself, its length in 65 bytes", repeat(b"a", run_bytes), run),
        (
            "a match of period two",
            repeat(b"ab", 2 + 18 + 6),
            [&[0x2e, b'a', b'b', 2, 0, 0x60][..], b"ababab"].concat(),
        ),
    ]
}

/// As the file has it where that still holds: another version of the library may pack otherwise, and both are right.
fn packed_now(pattern: &[u8], bytes_plain: usize) -> Vec<u8> {
    let plain = repeated(pattern, bytes_plain);
    let file = support::read("packed").unwrap_or_default();
    let kept = file["blocks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|block| plain_of(&block["plain"]) == plain)
        .map(|block| bytes(&block["packed"]));
    for kept in kept {
        if unpacks(&kept, plain.len()).as_ref() == Some(&plain) {
            return kept.to_vec();
        }
    }
    let payload = pack(plain);
    payload.coded().expect("it packs well").1.to_vec()
}

/// What a chunk with these packed bytes is read as.
fn unpacks(packed: &[u8], plain_bytes: usize) -> Option<Bytes> {
    match decode_frame(chunk_with(packed, plain_bytes, v1::Coding::Lz4Block.into()).into()) {
        Ok(Frame { message: Message::Chunk { data, .. }, .. }) => Some(data.plain().clone()),
        _ => None,
    }
}

fn chunk_with(packed: &[u8], plain_bytes: usize, coding: i32) -> Vec<u8> {
    let chunk = v1::Chunk {
        id: Bytes::from_static(&[7; 32]),
        index: 3,
        data: Bytes::copy_from_slice(packed),
        proof: Bytes::new(),
        coding,
        plain_bytes: plain_bytes as u32,
    };
    let body = Some(v1::frame::Body::Chunk(chunk));
    v1::Frame { sequence: 1, ack: 0, ack_bits: 0, body }.encode_to_vec()
}

fn packed_value() -> Value {
    let blocks = blocks()
        .into_iter()
        .map(|(name, plain, packed)| json!({"name": name, "plain": plain, "packed": hex::encode(packed)}));
    json!({
        "about": "Bodies packed as CODING_LZ4_BLOCK: `bytes` bytes of `repeat` again and again. A reader must make exactly the \
                  plain bytes of each; a writer may pack otherwise, or not at all.",
        "blocks": blocks.collect::<Vec<_>>(),
    })
}

/// Frames that something is wrong with, or new in, and what a reader does.
fn odd_frames() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use v1::frame::Body as Said;
    let frame = |message| frame_to_proto(&Frame { sequence: 1, ack: 0, ack_bits: 0, message });
    let spoilt = |message, spoil: fn(&mut Said)| {
        let mut frame = frame(message);
        spoil(frame.body.as_mut().expect("a known body"));
        frame.encode_to_vec()
    };
    let id = envelope().id();
    let bomb = |blocks: usize| {
        let mut packed = vec![0x1f, b'a', 1, 0];
        packed.extend(std::iter::repeat_n(0xff, blocks));
        packed.extend([0, 0x50, b'a', b'a', b'a', b'a', b'a']);
        packed
    };
    let lz4 = v1::Coding::Lz4Block.into();
    let push = |body_bytes: &Bytes| {
        Message::from(Push {
            envelope: unsigned(body_bytes, 1),
            body: None,
            rows: 1,
            head: false,
            hops: 1,
            chunks_follow: false,
        })
    };
    let packed_push = |plain_bytes: usize, packed: Vec<u8>| {
        let mut frame = frame(push(&repeated(b"a", plain_bytes)));
        if let Some(Said::Push(v1::Push { envelope: Some(envelope), .. })) = &mut frame.body {
            (envelope.body, envelope.body_coding) = (Some(packed.into()), lz4);
        }
        frame.encode_to_vec()
    };
    let mut later = v1::Frame { sequence: 7, ..v1::Frame::default() }.encode_to_vec();
    later.extend([0xfa, 0x02, 0x00]);
    let mut more = encode_header(&header()).to_vec();
    more.extend([0xc0, 0x02, 0x05]);
    let certificate = signed("/origin/certificate");
    let envelope = Envelope::new(header(), more.into(), Bytes::new(), certificate.clone());
    let newer = Message::from(Push {
        envelope: Arc::new(envelope),
        body: None,
        rows: 1,
        head: false,
        hops: 1,
        chunks_follow: false,
    });
    let proven_by = |certificate: Bytes, certificate_sha256: Bytes| {
        let mut frame = frame(push(&Bytes::new()));
        if let Some(Said::Push(v1::Push { envelope: Some(envelope), .. })) = &mut frame.body {
            (envelope.certificate, envelope.certificate_sha256) = (certificate, certificate_sha256);
        }
        frame.encode_to_vec()
    };
    let digest = Bytes::copy_from_slice(certificate_digest(&certificate).as_bytes());
    vec![
        ("taken", "an envelope that refers to a certificate", proven_by(Bytes::new(), digest.clone())),
        (
            "protocol",
            "an envelope that carries its certificate and refers to it",
            proven_by(certificate, digest.clone()),
        ),
        (
            "protocol",
            "an envelope with neither a certificate nor a reference",
            proven_by(Bytes::new(), Bytes::new()),
        ),
        (
            "protocol",
            "an envelope that refers to a certificate by 31 bytes",
            proven_by(Bytes::new(), digest.slice(1..)),
        ),
        (
            "taken",
            "a header with a field of a later version; it stays part of the id",
            frame(newer).encode_to_vec(),
        ),
        ("ignored", "a body of a later version, field 47", later),
        ("protocol", "no protobuf", vec![0xff; 9]),
        (
            "protocol",
            "short ids of 9 bytes",
            spoilt(Message::Announce { salt: 1, short_ids: vec![[0; 8]] }, |body| {
                if let Said::Announce(announce) = body {
                    announce.short_ids = Bytes::from_static(&[0; 9]);
                }
            }),
        ),
        (
            "protocol",
            "65 chunks asked for at once",
            spoilt(Message::ChunkRequest { id, first: 0, count: 1 }, |body| {
                if let Said::ChunkRequest(request) = body {
                    request.count = 65;
                }
            }),
        ),
        (
            "protocol",
            "three rows",
            spoilt(push(&Bytes::new()), |body| {
                if let Said::Push(push) = body {
                    push.rows = 3;
                }
            }),
        ),
        ("protocol", "a coding that nobody has named", chunk_with(b"x", 1, 7)),
        (
            "protocol",
            "a packed chunk that says it stands for 16 KiB and one byte",
            chunk_with(&bomb(64), 16_385, lz4),
        ),
        ("protocol", "a packed body of a header that says 4 KiB and one byte", packed_push(4097, bomb(16))),
        (
            "garbled",
            "a packed chunk that makes 1 MB and stands for 16 KiB",
            chunk_with(&bomb(4096), 16_384, lz4),
        ),
        (
            "garbled",
            "a packed chunk that makes 16,345 bytes and stands for one more",
            chunk_with(&bomb(64), 16_346, lz4),
        ),
        (
            "garbled",
            "a packed body that makes 16,345 bytes, of a header that says 4 KiB",
            packed_push(4096, bomb(64)),
        ),
        ("garbled", "a match that begins before the body", chunk_with(&[0x1f, b'a', 9, 0, 0], 24, lz4)),
        ("garbled", "a match of distance 0", chunk_with(&[0x1f, b'a', 0, 0, 0], 24, lz4)),
        ("garbled", "a block that breaks off in a length", chunk_with(&[0xf0, 0xff, 0xff], 600, lz4)),
        ("garbled", "no block at all", chunk_with(&[], 0, lz4)),
    ]
}

fn odd_value() -> Value {
    let frames = odd_frames()
        .into_iter()
        .map(|(does, what, frame)| json!({"what": what, "reader": does, "frame": hex::encode(frame)}));
    json!({
        "about": "What a reader does with frames that something is wrong with, or new in. taken: read as usual. ignored: \
                  acknowledged and passed over. protocol: evidence against the sender; the link goes on, unless \
                  it is no protobuf at all. garbled: the same \
                  as a body or chunk that does not match its header; nothing of it is used.",
        "frames": frames.collect::<Vec<_>>(),
    })
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(value.as_str().expect("a text")).expect("hexadecimal").into()
}

fn plain_of(value: &Value) -> Bytes {
    repeated(&bytes(&value["repeat"]), value["bytes"].as_u64().expect("a number") as usize)
}

#[test]
fn this_version_writes_the_bytes_of_the_vectors() {
    // Frames carry what the files before them hold.
    support::check("transaction", &transaction());
    support::check("record", &record_value());
    support::check("packed", &packed_value());
    support::check("frames", &frames_value());
    support::check("odd", &odd_value());
}

#[test]
fn this_version_reads_the_bytes_of_the_vectors() {
    let read = |name: &str| support::read(name).expect("the vectors are there");
    assert_eq!(decode_header(bytes(&read("transaction")["header"])), Ok(header()));
    let stored = read("frames");
    let stored = stored["frames"].as_array().expect("a list");
    for (name, _, frame) in frames() {
        let found = stored.iter().find(|stored| stored["name"] == name).expect("each is there");
        assert_eq!(decode_frame(bytes(&found["frame"])), Ok(frame), "{name}");
    }
    assert_eq!(decode_record_bytes(encode_record_bytes(&record())), Ok(record()));
}

#[test]
fn packed_vectors_make_their_plain_bytes() {
    let file = support::read("packed").expect("the vectors are there");
    for block in file["blocks"].as_array().expect("a list") {
        let plain = plain_of(&block["plain"]);
        assert_eq!(unpacks(&bytes(&block["packed"]), plain.len()), Some(plain), "{}", block["name"]);
    }
}

#[test]
fn odd_vectors_are_taken_as_they_say() {
    let file = support::read("odd").expect("the vectors are there");
    for odd in file["frames"].as_array().expect("a list") {
        let read = decode_frame(bytes(&odd["frame"])).map(|frame| frame.message);
        let does = match &read {
            Err(_) => "protocol",
            Ok(Message::Garbled { .. }) => "garbled",
            Ok(Message::Unknown) => "ignored",
            Ok(_) => "taken",
        };
        assert_eq!(odd["reader"], does, "{}", odd["what"]);
    }
}
