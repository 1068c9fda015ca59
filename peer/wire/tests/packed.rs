//! Packed bodies as they come from others: what unpacks to what it stands for is taken, everything else is told as a
//! body that does not match, and nobody gets more memory than a body may have.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use sorcha_peer_core::envelope::{Envelope, Header};
use sorcha_peer_core::message::{Frame, Hello, Message, Push};
use sorcha_peer_core::payload::{Coding, Codings, Payload};
use sorcha_peer_core::types::bounds::{CHUNK_BYTES, PUSH_BODY_BYTES_MAX};
use sorcha_peer_core::types::{Hash, PeerId, TxId, WallTime};
use sorcha_peer_wire::{
    decode_frame, encode_frame, encode_header, frame_from_proto, frame_len, frame_to_proto, pack,
};
use sorcha_proto::v1;
use sorcha_proto::v1::frame::Body;

const ID: TxId = TxId::from_bytes([7; 32]);

fn frame(message: Message) -> Frame {
    Frame { sequence: 1, ack: 0, ack_bits: 0, message }
}

fn envelope(body_bytes: u64) -> Arc<Envelope> {
    let header = Header {
        network: "net".into(),
        origin: PeerId::of_uri("origin"),
        incarnation: 1,
        sequence: 1,
        register: String::new(),
        published: WallTime::from_unix_ms(1),
        body_bytes,
        body_root: Hash::from_bytes([0; 32]),
    };
    let signed = encode_header(&header);
    Arc::new(Envelope::new(header, signed, Bytes::new(), Bytes::from_static(b"certificate")))
}

fn push(body: Payload) -> Message {
    let envelope = envelope(body.len() as u64);
    Push { envelope, body: Some(body), rows: 1, head: false, hops: 1, chunks_follow: false }.into()
}

fn chunk(data: Payload) -> Message {
    Message::Chunk { id: ID, index: 3, data, proof: Vec::new() }
}

/// Reads a message after somebody has had his hands on it.
fn read(message: Message, spoil: impl FnOnce(&mut Body)) -> Result<Message, String> {
    let mut sent = frame_to_proto(&frame(message));
    spoil(sent.body.as_mut().expect("a known body"));
    frame_from_proto(sent).map(|frame| frame.message).map_err(|error| error.to_string())
}

fn read_chunk(packed: &[u8], plain_bytes: u32) -> Result<Message, String> {
    read(chunk(Bytes::new().into()), |body| {
        let Body::Chunk(chunk) = body else { unreachable!() };
        chunk.data = Bytes::copy_from_slice(packed);
        (chunk.coding, chunk.plain_bytes) = (v1::Coding::Lz4Block.into(), plain_bytes);
    })
}

fn read_push(packed: &[u8], body_bytes: u64) -> Result<Message, String> {
    let envelope = envelope(body_bytes);
    let push = Push { envelope, body: None, rows: 1, head: false, hops: 1, chunks_follow: false };
    read(push.into(), |body| {
        let Body::Push(push) = body else { unreachable!() };
        let envelope = push.envelope.as_mut().expect("an envelope");
        envelope.body = Some(Bytes::copy_from_slice(packed));
        envelope.body_coding = v1::Coding::Lz4Block.into();
    })
}

/// Packed bytes that make `bytes` of one letter: one literal, one long match, five literals.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut packed = vec![0x1f, b'a', 1, 0];
    let more = bytes - 1 - 19 - 5;
    packed.extend(std::iter::repeat_n(0xff, more / 255));
    packed.push((more % 255) as u8);
    packed.extend([0x50, b'a', b'a', b'a', b'a', b'a']);
    packed
}

#[test]
fn packed_bodies_are_shorter_on_the_wire_and_the_same_when_read() {
    let text = br#"{"from":"alice","to":"bob","amount":17,"at":"2026-01-01T00:00:00Z"}"#.repeat(1000);
    for (message, plain) in [
        (push(pack(Bytes::copy_from_slice(&text[..PUSH_BODY_BYTES_MAX]))), PUSH_BODY_BYTES_MAX),
        (chunk(pack(Bytes::copy_from_slice(&text[..CHUNK_BYTES]))), CHUNK_BYTES),
    ] {
        let sent = frame(message);
        assert!(frame_len(&sent) * 4 < plain, "{} of {plain} bytes", frame_len(&sent));
        let read = decode_frame(encode_frame(&sent)).expect("a frame");
        assert_eq!(read, sent);
        assert_eq!(read.message.payload().map(|body| &body.plain()[..]), Some(&text[..plain]));
    }
}

/// A bomb of 16 MiB and more that says that it stands for little, or for more than a body may have.
#[test]
fn a_bomb_is_evidence_and_takes_no_memory() {
    let bomb = bomb(4 << 20);
    assert!(bomb.len() > CHUNK_BYTES, "{}", bomb.len());
    assert_eq!(read_chunk(&bomb, 16 * 1024), Err("chunk.data is 16459, more than 16384".to_owned()));
    let bomb = self::bomb(4_000_000);
    for (plain_bytes, packed) in [(1, &bomb), (16 * 1024, &bomb)] {
        match read_chunk(packed, plain_bytes) {
            Ok(Message::Garbled { id: ID, chunk: Some(3), detail }) => {
                assert!(detail.contains("packed bytes do not make the"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    let more = 16 * 1024 + 1;
    assert_eq!(read_chunk(&bomb, more), Err("chunk.plain_bytes is 16385, more than 16384".to_owned()));
    assert_eq!(
        read_chunk(&bomb, u32::MAX),
        Err("chunk.plain_bytes is 4294967295, more than 16384".to_owned())
    );

    let bomb = self::bomb(1_000_000);
    assert!(matches!(read_push(&bomb, 4096), Ok(Message::Garbled { chunk: None, .. })));
    let said = "header.body_bytes of a packed body is 1000000, more than 4096".to_owned();
    assert_eq!(read_push(&bomb, 1_000_000), Err(said));
}

#[test]
fn a_coding_that_was_not_named_is_refused() {
    let said = read(chunk(Bytes::from_static(b"x").into()), |body| {
        let Body::Chunk(chunk) = body else { unreachable!() };
        chunk.coding = 7;
    });
    let rule = "it is not among the codings that this peer names in its Hello";
    assert_eq!(said, Err(format!("chunk.coding is '7': {rule}")));
}

#[test]
fn codings_of_later_versions_are_passed_over_and_an_older_peer_names_none() {
    let hello = Message::Hello(Hello {
        version: 1,
        version_min: 1,
        network: "net".into(),
        incarnation: 1,
        session: [0; 16],
        received: 0,
        rows: 1,
        record: None,
        keeps_nothing: false,
        codings: Codings::ALL,
        references: false,
    });
    let codings = |named: Vec<i32>| {
        let read = read(hello.clone(), |body| {
            let Body::Hello(hello) = body else { unreachable!() };
            hello.codings = named;
        });
        let Ok(Message::Hello(hello)) = read else { panic!("{read:?}") };
        hello.codings
    };
    assert_eq!(codings(vec![]), Codings::NONE);
    assert_eq!(codings(vec![9, -1, 0]), Codings::NONE);
    assert_eq!(codings(vec![9, 1, 1, 400]), Codings::ALL);
}

#[test]
fn what_could_not_be_read_is_not_passed_on() {
    let garbled = Message::Garbled { id: ID, chunk: None, detail: String::new() };
    let read = decode_frame(encode_frame(&frame(garbled))).expect("a frame");
    assert_eq!(read.message, Message::Unknown);
}

proptest! {
    /// Whatever is packed, it is the plain bytes exactly, or it is said that it is not.
    #[test]
    fn hostile_packed_bytes_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        plain_bytes in 0_u32..=16 * 1024,
    ) {
        match read_chunk(&noise, plain_bytes) {
            Ok(Message::Garbled { .. }) => {}
            Ok(Message::Chunk { data, .. }) => {
                prop_assert_eq!(data.len() as u32, plain_bytes);
                prop_assert_eq!(data.coded().map(|(coding, _)| coding), Some(Coding::Lz4Block));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        let _ = read_push(&noise, u64::from(plain_bytes));
    }

    /// A block with a few wrong bytes, as a line or a liar makes them.
    #[test]
    fn a_spoilt_block_makes_as_many_bytes_or_is_told(
        pattern in proptest::collection::vec(any::<u8>(), 1..200),
        length in 1_000_usize..=16 * 1024,
        spoilt in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in any::<usize>(),
    ) {
        let plain: Bytes = pattern.iter().copied().cycle().take(length).collect();
        let payload = pack(plain);
        let Some((_, packed)) = payload.coded() else { return Ok(()) };
        let mut packed = packed.to_vec();
        for (at, byte) in spoilt {
            let at = at % packed.len();
            packed[at] = byte;
        }
        packed.truncate(packed.len() - if cut % 3 == 0 { cut % packed.len() } else { 0 });
        match read_chunk(&packed, length as u32) {
            Ok(Message::Garbled { .. }) => {}
            Ok(Message::Chunk { data, .. }) => prop_assert_eq!(data.len(), length),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
