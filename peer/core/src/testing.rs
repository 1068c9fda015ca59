//! Values for the tests of this crate.

use std::sync::Arc;

use bytes::Bytes;

use crate::envelope::{Envelope, Header, Record, SignedRecord};
use crate::message::Push;
use crate::tree::Body;
use crate::types::{Address, PeerId, WallTime};

/// An envelope of this number with a body of this length; its header bytes are unique to the number.
pub(crate) fn envelope(number: u64, body_bytes: usize) -> Arc<Envelope> {
    let body = Body::new(Bytes::from(vec![number as u8; body_bytes]));
    let header = Header {
        network: "test".into(),
        origin: PeerId::of_uri("origin"),
        incarnation: 1,
        sequence: number,
        register: String::new(),
        published: WallTime::from_unix_ms(1_000_000 + number),
        body_bytes: body_bytes as u64,
        body_root: body.root(),
    };
    let signed = Bytes::from(format!("header {number} {body_bytes}"));
    Arc::new(Envelope::new(header, signed, Bytes::from_static(b"s"), Bytes::from_static(b"c")))
}

/// A push of that envelope with its body.
pub(crate) fn push(number: u64, body_bytes: usize) -> Push {
    let body = Some(Bytes::from(vec![number as u8; body_bytes]).into());
    Push { envelope: envelope(number, body_bytes), body, rows: 1, head: false, hops: 1, chunks_follow: false }
}

/// A record of the peer with this name.
pub(crate) fn record(name: &str, incarnation: u64, sequence: u64) -> Arc<SignedRecord> {
    let uri = format!("spiffe://test/test/{name}");
    Arc::new(SignedRecord {
        peer: PeerId::of_uri(&uri),
        record: Record {
            uri,
            incarnation,
            sequence,
            addresses: vec![Address::new(format!("{name}:7450"))],
            site: String::new(),
            leaving: false,
            software: String::new(),
        },
        signed: Bytes::from(format!("{name} {incarnation} {sequence}")),
        signature: Bytes::new(),
        certificate: Bytes::new(),
    })
}
