//! What is encoded is decoded to the same; hostile bytes become an error or a value, never a panic.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use sorcha_peer_core::envelope::{Carried, Envelope, Header, Record, Referring, SignedRecord};
use sorcha_peer_core::message::{
    Fingerprint, Frame, GoodbyeReason, Hello, Marks, Message, Missing, Push, Sync, SyncBound, SyncContent,
    SyncRange,
};
use sorcha_peer_core::payload::{Codings, Payload};
use sorcha_peer_core::types::{Address, Hash, PeerId, TxId, WallTime, bounds};
use sorcha_peer_wire::{
    FrameError, decode_frame, decode_header, decode_record_bytes, encode_frame, encode_header, encode_record,
    encode_record_bytes, frame_from_proto, frame_len, frame_to_proto, pack,
};

fn id() -> impl Strategy<Value = TxId> {
    any::<[u8; 32]>().prop_map(TxId::from_bytes)
}

fn marks() -> impl Strategy<Value = Marks> {
    let marks = proptest::collection::vec(any::<[u8; 8]>(), 0..5);
    (0..=bounds::PART_BITS_MAX, any::<u32>(), marks).prop_map(|(part_bits, part, marks)| Marks {
        part_bits,
        part: part & ((1 << part_bits) - 1),
        marks,
    })
}

fn ids() -> impl Strategy<Value = Vec<TxId>> {
    proptest::collection::vec(id(), 0..5)
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn header() -> impl Strategy<Value = Header> {
    (
        "[a-z]{1,20}",
        any::<[u8; 32]>(),
        any::<u64>(),
        1..u64::MAX,
        "[a-zé/]{0,40}",
        any::<u64>(),
        0..1000_u64,
        any::<[u8; 32]>(),
    )
        .prop_map(|(network, origin, incarnation, sequence, register, published, body_bytes, root)| {
            Header {
                network,
                origin: PeerId::from_bytes(origin),
                incarnation,
                sequence,
                register,
                published: WallTime::from_unix_ms(published),
                body_bytes,
                body_root: Hash::from_bytes(root),
            }
        })
}

/// Bytes that repeat themselves more or less, as text does, packed where that pays.
fn payload(max: usize) -> impl Strategy<Value = Payload> {
    (proptest::collection::vec(any::<u8>(), 1..40), 0..max, any::<bool>()).prop_map(
        |(pattern, length, packs)| {
            let plain: Bytes = pattern.iter().copied().cycle().take(length).collect();
            if packs { pack(plain) } else { plain.into() }
        },
    )
}

/// An envelope whose header tells its body's length, with its certificate or a reference to it, and the body.
fn with_body() -> impl Strategy<Value = (Carried, Option<Payload>)> {
    let certificate = prop_oneof![bytes(600).prop_map(Ok), any::<[u8; 32]>().prop_map(Err)];
    let parts = (header(), bytes(72), certificate, proptest::option::of(payload(4096)));
    parts.prop_map(|(mut header, signature, certificate, body)| {
        header.body_bytes = body.as_ref().map_or(header.body_bytes, |body| body.len() as u64);
        let signed = encode_header(&header);
        let carried = match certificate {
            Ok(none) if none.is_empty() => Err([0; 32]),
            other => other,
        };
        let carried = match carried {
            Ok(certificate) => Arc::new(Envelope::new(header, signed, signature, certificate)).into(),
            Err(digest) => {
                Carried::Referring(Referring::new(header, signed, signature, Hash::from_bytes(digest)))
            }
        };
        (carried, body)
    })
}

fn record() -> impl Strategy<Value = Arc<SignedRecord>> {
    (
        "spiffe://[a-z]{1,9}/[a-z]{1,9}/[a-z]{1,9}",
        any::<u64>(),
        any::<u64>(),
        proptest::collection::vec("[a-z]{1,20}:[0-9]{1,5}", 0..8),
        "[a-z]{0,20}",
        any::<bool>(),
        bytes(72),
        bytes(600),
    )
        .prop_map(|(uri, incarnation, sequence, addresses, site, leaving, signature, certificate)| {
            let addresses = addresses.into_iter().map(Address::new).collect();
            let software = "sorcha-peer/0.1".to_owned();
            let record = Record { uri, incarnation, sequence, addresses, site, leaving, software };
            let signed = encode_record(&record);
            Arc::new(SignedRecord { peer: record.peer(), record, signed, signature, certificate })
        })
}

fn range() -> impl Strategy<Value = SyncRange> {
    let bound = || {
        (any::<u64>(), any::<[u8; 32]>(), 0..=32_usize).prop_map(|(published, mut id, used)| {
            id[used..].fill(0);
            SyncBound { published: WallTime::from_unix_ms(published), id }
        })
    };
    let content = prop_oneof![
        (any::<u64>(), any::<[u8; 32]>())
            .prop_map(|(count, sum)| SyncContent::Fingerprint(Fingerprint { count, sum })),
        ids().prop_map(SyncContent::Ids),
    ];
    (bound(), bound(), content).prop_map(|(one, two, content)| SyncRange {
        lower: one.min(two),
        upper: one.max(two),
        content,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let rows = || (0..10_u32).prop_map(|power| 1 << power);
    let shorts = || proptest::collection::vec(any::<[u8; 8]>(), 0..5);
    let reasons = [
        GoodbyeReason::Unspecified,
        GoodbyeReason::Shutdown,
        GoodbyeReason::Duplicate,
        GoodbyeReason::Incompatible,
        GoodbyeReason::Full,
        GoodbyeReason::Banned,
        GoodbyeReason::OneSelf,
        GoodbyeReason::Unused,
    ];
    prop_oneof![
        (
            any::<u32>(),
            any::<u32>(),
            "[a-z]{1,20}",
            any::<u64>(),
            any::<[u8; 16]>(),
            any::<u64>(),
            rows(),
            proptest::option::of(record())
        )
            .prop_map(
                |(version, version_min, network, incarnation, session, received, rows, record)| {
                    Message::Hello(Hello {
                        version,
                        version_min,
                        network,
                        incarnation,
                        session,
                        received,
                        rows,
                        record,
                        keeps_nothing: incarnation.is_multiple_of(2),
                        codings: if received.is_multiple_of(2) { Codings::ALL } else { Codings::NONE },
                        references: received.is_multiple_of(3),
                    })
                }
            ),
        Just(Message::Ack),
        any::<u64>().prop_map(|nonce| Message::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Message::Pong { nonce }),
        (proptest::sample::select(reasons.to_vec()), "[ -~]{0,60}")
            .prop_map(|(reason, detail)| Message::Goodbye { reason, detail }),
        (with_body(), rows(), any::<bool>(), any::<u32>(), any::<bool>()).prop_map(
            |((envelope, body), rows, head, hops, chunks_follow)| {
                Message::Push(Push { envelope, body, rows, head, hops, chunks_follow })
            }
        ),
        (any::<u64>(), shorts()).prop_map(|(salt, short_ids)| Message::Announce { salt, short_ids }),
        (ids(), any::<u64>(), shorts(), any::<bool>())
            .prop_map(|(ids, salt, short_ids, whole)| { Message::Fetch { ids, salt, short_ids, whole } }),
        (id(), any::<u32>(), 0..=64_u32).prop_map(|(id, first, count)| Message::ChunkRequest {
            id,
            first,
            count
        }),
        (id(), any::<u32>(), payload(16 * 1024), proptest::collection::vec(any::<[u8; 32]>(), 0..15))
            .prop_map(|(id, index, data, proof)| {
                let proof = proof.into_iter().map(Hash::from_bytes).collect();
                Message::Chunk { id, index, data, proof }
            }),
        ids().prop_map(|ids| Message::Unavailable { ids }),
        ids().prop_map(|ids| Message::HoldsRequest { ids }),
        ids().prop_map(|ids| Message::Holds { ids }),
        (any::<u32>(), proptest::option::of(any::<[u8; 32]>()), proptest::option::of(marks())).prop_map(
            |(limit, digest, known)| {
                let digest = digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(&digest));
                Message::RecordsRequest { limit, digest, known }
            }
        ),
        (proptest::collection::vec(record(), 0..3), any::<bool>())
            .prop_map(|(records, news)| Message::Records { records, news }),
        proptest::collection::vec((any::<[u8; 32]>(), any::<u64>(), any::<u64>()), 0..5).prop_map(|peers| {
            let missing = |(peer, incarnation, sequence)| Missing {
                peer: PeerId::from_bytes(peer),
                incarnation,
                sequence,
            };
            Message::Missed { peers: peers.into_iter().map(missing).collect() }
        }),
        (any::<u64>(), proptest::collection::vec(range(), 0..4), any::<u64>(), ids(), any::<bool>())
            .prop_map(|(round, ranges, floor, want, opening)| {
                let floor = WallTime::from_unix_ms(floor);
                Message::Sync(Sync { round, ranges, floor, want, opening, partial: !opening })
            }),
        Just(Message::Unknown),
    ]
}

proptest! {
    #[test]
    fn every_frame_survives_the_wire(sequence: u64, ack: u64, ack_bits: u64, message in message()) {
        let frame = Frame { sequence, ack, ack_bits, message };
        let bytes = encode_frame(&frame);
        prop_assert_eq!(bytes.len(), frame_len(&frame));
        prop_assert_eq!(decode_frame(bytes), Ok(frame));
    }

    #[test]
    fn a_stored_record_comes_back(record in record()) {
        prop_assert_eq!(decode_record_bytes(encode_record_bytes(&record)), Ok((*record).clone()));
    }

    #[test]
    fn hostile_bytes_never_panic(noise in bytes(300), message in message(), at: usize, byte: u8) {
        let _ = decode_frame(noise.clone());
        let _ = decode_header(noise.clone());
        let _ = decode_record_bytes(noise);
        let mut bytes = encode_frame(&Frame { sequence: 1, ack: 2, ack_bits: 3, message }).to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = decode_frame(bytes.into());
    }
}

/// A frame that is right but for one thing, and what is said of it.
fn check(spoil: impl FnOnce(&mut sorcha_proto::v1::frame::Body), message: Message, expected: &str) {
    let mut frame = frame_to_proto(&Frame { sequence: 1, ack: 0, ack_bits: 0, message });
    spoil(frame.body.as_mut().expect("a known body"));
    let error = frame_from_proto(frame).expect_err(expected);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_breaks_a_bound_is_named() {
    use sorcha_proto::v1::frame::Body;
    let announce = || Message::Announce { salt: 1, short_ids: Vec::new() };
    check(
        |body| {
            if let Body::Announce(announce) = body {
                announce.short_ids = vec![0; 9].into();
            }
        },
        announce(),
        "announce.short_ids has 9 bytes, no multiple of 8",
    );
    check(
        |body| {
            if let Body::Announce(announce) = body {
                announce.short_ids = vec![0; 8 * 1025].into();
            }
        },
        announce(),
        "announce.short_ids is 1025, more than 1024",
    );
    let request = Message::ChunkRequest { id: TxId::from_bytes([1; 32]), first: 0, count: 1 };
    check(
        |body| {
            if let Body::ChunkRequest(request) = body {
                request.count = 65;
            }
        },
        request.clone(),
        "chunk_request.count is 65, more than 64",
    );
    check(
        |body| {
            if let Body::ChunkRequest(request) = body {
                request.id = vec![0; 31].into();
            }
        },
        request,
        "chunk_request.id has 31 bytes, not 32",
    );
    let known = Some(Marks { part_bits: 3, part: 7, marks: Vec::new() });
    let asked = Message::RecordsRequest { limit: 0, digest: Bytes::new(), known };
    let marks = |change: fn(&mut sorcha_proto::v1::Marks)| {
        move |body: &mut Body| {
            if let Body::RecordsRequest(sorcha_proto::v1::RecordsRequest { known: Some(known), .. }) = body {
                change(known);
            }
        }
    };
    let rule = "at most 16 bits, of which the number has no more";
    let part = |said: &str| format!("records_request.known.part is '{said}': {rule}");
    check(marks(|known| known.part = 8), asked.clone(), &part("8 in 3 bits"));
    check(marks(|known| known.part_bits = 17), asked.clone(), &part("7 in 17 bits"));
    check(
        marks(|known| known.marks = vec![0; 8 * 4097].into()),
        asked,
        "records_request.known.marks is 4097, more than 4096",
    );
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
        codings: Codings::NONE,
        references: false,
    });
    check(
        |body| {
            if let Body::Hello(hello) = body {
                hello.rows = 3;
            }
        },
        hello,
        "hello.rows is '3': a row count is a power of two",
    );
}

#[test]
fn a_longer_frame_than_allowed_is_refused_unread() {
    let error = decode_frame(Bytes::from(vec![0; bounds::FRAME_BYTES_MAX + 1])).expect_err("too long");
    assert_eq!(error, FrameError::TooLarge { field: "frame", actual: 65_537, max: 65_536 });
}

#[test]
fn a_round_of_reconciliation_fits_into_a_frame_at_its_bounds() {
    let ids = |count: usize| -> Vec<TxId> {
        (0..count).map(|number| TxId::of_header(&number.to_le_bytes())).collect()
    };
    let bound = |ms| SyncBound { published: WallTime::from_unix_ms(ms), id: [0xff; 32] };
    let range =
        |at: u64, content| SyncRange { lower: bound(u64::MAX - 99 + at), upper: SyncBound::MAX, content };
    let fingerprint = Fingerprint { count: u64::MAX, sum: [0xff; 32] };
    let mut ranges = vec![range(0, SyncContent::Ids(ids(bounds::SYNC_IDS_MAX)))];
    ranges.extend(
        (1..bounds::SYNC_RANGES_MAX as u64).map(|at| range(at, SyncContent::Fingerprint(fingerprint))),
    );
    let want = ids(bounds::IDS_PER_FRAME_MAX);
    let floor = WallTime::from_unix_ms(u64::MAX);
    let sync = |ranges| {
        let sync = Sync { round: u64::MAX, ranges, floor, want: want.clone(), opening: true, partial: true };
        Frame { sequence: u64::MAX, ack: u64::MAX, ack_bits: u64::MAX, message: Message::Sync(sync) }
    };
    let bytes = encode_frame(&sync(ranges.clone()));
    assert!(bytes.len() <= bounds::FRAME_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(decode_frame(bytes), Ok(sync(ranges.clone())));
    ranges[0].content = SyncContent::Ids(ids(bounds::SYNC_IDS_MAX + 1));
    assert!(decode_frame(encode_frame(&sync(ranges))).is_err());
}

#[test]
fn a_body_of_a_later_version_is_unknown_and_keeps_its_number() {
    // Field 47 of Frame, empty message: not known to this version.
    let mut bytes = sorcha_proto::v1::Frame { sequence: 7, ..Default::default() }.encode_to_vec();
    bytes.extend([0xfa, 0x02, 0x00]);
    let frame = decode_frame(bytes.into()).expect("tolerated");
    assert_eq!((frame.sequence, frame.message), (7, Message::Unknown));
}

#[test]
fn fields_of_a_later_version_survive_relaying() {
    let header = Header {
        network: "net".into(),
        origin: PeerId::of_uri("origin"),
        incarnation: 1,
        sequence: 1,
        register: String::new(),
        published: WallTime::from_unix_ms(1),
        body_bytes: 0,
        body_root: Hash::from_bytes([0; 32]),
    };
    let mut signed = encode_header(&header).to_vec();
    // Field 40 (varint) of TransactionHeader.
    signed.extend([0xc0, 0x02, 0x05]);
    let signed = Bytes::from(signed);
    let decoded = decode_header(signed.clone()).expect("tolerated");
    let envelope = Arc::new(Envelope::new(decoded, signed.clone(), Bytes::new(), Bytes::from_static(b"c")));
    let push =
        Push { envelope: envelope.clone(), body: None, rows: 1, head: false, hops: 1, chunks_follow: false };
    let frame = Frame { sequence: 1, ack: 0, ack_bits: 0, message: push.into() };
    let Message::Push(relayed) = decode_frame(encode_frame(&frame)).expect("a frame").message else {
        panic!("not a push")
    };
    assert_eq!((relayed.envelope.signed(), relayed.envelope.id()), (&signed, envelope.id()));
}
