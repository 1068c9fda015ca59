//! Envelopes that refer to their certificate: what is read, what is refused, what it saves.

use std::sync::Arc;

use bytes::Bytes;
use sorcha_peer_core::envelope::{Carried, Envelope, Header, certificate_digest};
use sorcha_peer_core::message::{Frame, Message, Push};
use sorcha_peer_core::types::{Hash, PeerId, WallTime};
use sorcha_peer_wire::{
    decode_envelope, decode_frame, encode_envelope, encode_frame, encode_header, frame_from_proto,
    frame_to_proto,
};
use sorcha_proto::v1;
use sorcha_proto::v1::frame::Body;

/// About that of a leaf on P-256 with a SPIFFE name.
const CERTIFICATE: [u8; 600] = [7; 600];
const BODY_BYTES: usize = 256;

fn envelope() -> Arc<Envelope> {
    let header = Header {
        network: "payments".into(),
        origin: PeerId::of_uri("spiffe://acme.example/payments/peers-0"),
        incarnation: 1_700_000_000_000,
        sequence: 42,
        register: "ledger/main".into(),
        published: WallTime::from_unix_ms(1_700_000_000_123),
        body_bytes: BODY_BYTES as u64,
        body_root: Hash::from_bytes([9; 32]),
    };
    let signed = encode_header(&header);
    Arc::new(Envelope::new(header, signed, Bytes::from(vec![5; 71]), Bytes::from_static(&CERTIFICATE)))
}

fn frame(envelope: Carried) -> Frame {
    let body = Some(Bytes::from(vec![1; BODY_BYTES]).into());
    let message = Message::Push(Push { envelope, body, rows: 8, head: true, hops: 1, chunks_follow: false });
    Frame { sequence: 1000, ack: 900, ack_bits: u64::MAX, message }
}

fn referring() -> Carried {
    Carried::Referring(envelope().referring(certificate_digest(&CERTIFICATE)))
}

fn refused(spoil: impl FnOnce(&mut v1::Envelope)) -> String {
    let mut frame = frame_to_proto(&frame(referring()));
    let Some(Body::Push(v1::Push { envelope: Some(envelope), .. })) = &mut frame.body else { unreachable!() };
    spoil(envelope);
    frame_from_proto(frame).expect_err("refused").to_string()
}

#[test]
fn a_reference_comes_back_and_is_made_whole_by_the_certificate() {
    let read = decode_frame(encode_frame(&frame(referring()))).expect("a frame");
    assert_eq!(read, frame(referring()));
    let Message::Push(Push { envelope: Carried::Referring(read), .. }) = read.message else {
        panic!("it refers")
    };
    assert_eq!(read.digest(), &certificate_digest(&CERTIFICATE));
    assert_eq!(read.with(Bytes::from_static(&CERTIFICATE)), *envelope());
}

#[test]
fn both_neither_and_a_reference_of_another_length_are_refused() {
    assert_eq!(
        refused(|envelope| envelope.certificate = Bytes::from_static(&CERTIFICATE)),
        "envelope.certificate is '600 bytes': an envelope carries its certificate or refers to it, not both"
    );
    assert_eq!(
        refused(|envelope| envelope.certificate_sha256 = Bytes::new()),
        "envelope.certificate is missing"
    );
    for length in [1, 31, 33, 8192] {
        assert_eq!(
            refused(|envelope| envelope.certificate_sha256 = vec![1; length].into()),
            format!("envelope.certificate_sha256 has {length} bytes, not 32")
        );
    }
}

#[test]
fn an_envelope_outside_of_a_push_carries_its_certificate() {
    let whole = encode_envelope(&envelope(), None);
    assert_eq!(decode_envelope(whole.clone()), Ok(((*envelope()).clone(), None)));
    let digest = Bytes::from_static(&[0xab; 32]);
    let referring = v1::Envelope { certificate: Bytes::new(), certificate_sha256: digest, ..whole };
    let said = decode_envelope(referring).expect_err("refused").to_string();
    assert!(said.starts_with("envelope.certificate_sha256 is 'abab"), "{said}");
    assert!(said.ends_with("only a push between peers refers to its certificate; this one has to carry it"));
}

#[test]
fn a_push_of_256_bytes_takes_half_as_much_by_reference() {
    let bytes = |envelope| encode_frame(&frame(envelope)).len();
    let (whole, by_reference) = (bytes(envelope().into()), bytes(referring()));
    assert_eq!((whole, by_reference), (1075, 506));
}
