//! The test vectors in `proto/vectors`: the same bytes in every version and every language.
//!
//! `SORCHA_WRITE_VECTORS=1` writes them anew; a change to them is a change of the protocol.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use sorcha_peer_core::envelope::{Envelope, Header, Record, SignedRecord};
use sorcha_peer_core::message::{
    Frame, Hello, Message, Push, Sync, SyncBound, SyncContent, SyncRange, short_id,
};
use sorcha_peer_core::tree::{self, Body};
use sorcha_peer_core::types::{Address, PeerId, TxId, WallTime};
use sorcha_peer_wire::{
    decode_frame, decode_header, decode_record_bytes, encode_frame, encode_header, encode_record,
    encode_record_bytes,
};

const URI: &str = "spiffe://acme.example/payments/peers-0";

fn header() -> Header {
    let body = Body::new(Bytes::from_static(b"hello, register"));
    Header {
        network: "payments".into(),
        origin: PeerId::of_uri(URI),
        incarnation: 3,
        sequence: 42,
        register: "ledger/main".into(),
        published: WallTime::from_unix_ms(1_700_000_000_123),
        body_bytes: body.bytes().len() as u64,
        body_root: body.root(),
    }
}

fn envelope() -> Arc<Envelope> {
    let signed = encode_header(&header());
    Arc::new(Envelope::new(
        header(),
        signed,
        Bytes::from_static(&[0x30, 0x01]),
        Bytes::from_static(&[0x30, 0x02]),
    ))
}

fn record() -> SignedRecord {
    let record = Record {
        uri: URI.into(),
        incarnation: 3,
        sequence: 1_700_000_000_000,
        addresses: vec![Address::new("peers-0.payments.svc:7450"), Address::new("[2001:db8::1]:7450")],
        site: "eu-west".into(),
        leaving: false,
        software: "sorcha-peer/0.1.0".into(),
    };
    let signed = encode_record(&record);
    let (signature, certificate) = (Bytes::from_static(&[0x30, 0x03]), Bytes::from_static(&[0x30, 0x04]));
    SignedRecord { peer: record.peer(), record, signed, signature, certificate }
}

fn frames() -> Vec<(&'static str, Frame)> {
    let id = envelope().id();
    let body = Some(Bytes::from_static(b"hello, register"));
    let range = SyncRange {
        lower: SyncBound::MIN,
        upper: SyncBound { published: WallTime::from_unix_ms(1_700_000_000_124), id: [0; 32] },
        content: SyncContent::Ids(vec![id]),
    };
    let hello = Hello {
        version: 1,
        version_min: 1,
        network: "payments".into(),
        incarnation: 3,
        session: [7; 16],
        received: 0,
        rows: 8,
        record: Some(Arc::new(record())),
        keeps_nothing: false,
    };
    let messages = [
        ("hello", Message::Hello(hello)),
        ("ack", Message::Ack),
        ("ping", Message::Ping { nonce: 99 }),
        ("push", Message::Push(Push { envelope: envelope(), body, rows: 8, head: true, hops: 1 })),
        ("announce", Message::Announce { salt: 5, short_ids: vec![short_id(5, &id)] }),
        ("chunk_request", Message::ChunkRequest { id, first: 3, count: 16 }),
        (
            "sync",
            Message::Sync(Sync {
                round: 9,
                ranges: vec![range],
                floor: WallTime::default(),
                want: vec![id],
                opening: true,
                partial: false,
            }),
        ),
    ];
    let number = |(at, (name, message))| {
        let sequence = if message == Message::Ack { 0 } else { at as u64 + 1 };
        (name, Frame { sequence, ack: 12, ack_bits: 0b101, message })
    };
    messages.into_iter().enumerate().map(number).collect()
}

fn expected() -> Vec<(&'static str, Value)> {
    let header = header();
    let signed = encode_header(&header);
    let transaction = json!({
        "network": header.network,
        "origin_uri": URI,
        "origin": header.origin.to_string(),
        "incarnation": header.incarnation,
        "sequence": header.sequence,
        "register": header.register,
        "published_unix_ms": header.published.as_unix_ms(),
        "body": hex::encode("hello, register"),
        "body_root": header.body_root.to_string(),
        "header": hex::encode(&signed),
        "id": TxId::of_header(&signed).to_string(),
    });
    let record = record();
    let signed_record = json!({
        "uri": record.record.uri,
        "peer": record.peer.to_string(),
        "record": hex::encode(&record.signed),
        "signed_record": hex::encode(encode_record_bytes(&record)),
    });
    let frames =
        frames().into_iter().map(|(name, frame)| (name.to_owned(), json!(hex::encode(encode_frame(&frame)))));
    vec![("transaction", transaction), ("record", signed_record), ("frames", Value::Object(frames.collect()))]
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors").join(format!("{name}.json"))
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(value.as_str().expect("a text")).expect("hexadecimal").into()
}

#[test]
fn this_version_writes_the_bytes_of_the_vectors() {
    for (name, value) in expected() {
        if std::env::var_os("SORCHA_WRITE_VECTORS").is_some() {
            let text = serde_json::to_string_pretty(&value).expect("json") + "\n";
            std::fs::write(path(name), text).expect("the vectors can be written");
        }
        let text = std::fs::read_to_string(path(name)).expect("the vectors are there");
        let stored: Value = serde_json::from_str(&text).expect("json");
        assert_eq!(stored, value, "proto/vectors/{name}.json");
    }
}

#[test]
fn this_version_reads_the_bytes_of_the_vectors() {
    let read = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path(name)).expect("the vectors are there"))
            .expect("json")
    };
    assert_eq!(decode_header(bytes(&read("transaction")["header"])), Ok(header()));
    assert_eq!(decode_record_bytes(bytes(&read("record")["signed_record"])), Ok(record()));
    let stored = read("frames");
    for (name, frame) in frames() {
        assert_eq!(decode_frame(bytes(&stored[name])), Ok(frame), "{name}");
    }
}

/// The file was computed by another implementation, of the RFC's own recursive definition.
#[test]
fn trees_and_proofs_are_those_of_the_vectors() {
    let vectors = std::fs::read(path("tree")).expect("the vectors are there");
    let vectors: Value = serde_json::from_slice(&vectors).expect("JSON");
    for vector in vectors["trees"].as_array().expect("a list") {
        let number = |name: &str| vector[name].as_u64().expect("a number");
        let (bytes, index, chunks) = (number("bytes"), number("index"), number("chunks"));
        let body: Vec<u8> = (0..bytes).map(|at| ((at * 7 + 3) % 251) as u8).collect();
        let body = Body::new(Bytes::from(body));
        assert_eq!(hex::encode(body.root().as_bytes()), vector["root"], "{bytes} bytes");
        assert_eq!(tree::chunk_count(bytes), chunks);
        let leaf = body.leaves()[index as usize];
        assert_eq!(hex::encode(leaf.as_bytes()), vector["leaf"]);
        let proof = tree::proof(body.leaves(), index as usize).expect("within the body");
        let shown: Vec<String> = proof.iter().map(|hash| hex::encode(hash.as_bytes())).collect();
        assert_eq!(json!(shown), vector["proof"], "{bytes} bytes, chunk {index}");
        assert!(tree::verify(leaf, index, chunks, &proof, &body.root()));
    }
}
