//! Signatures of the right size that cost nothing: the simulator checks behaviour, not cryptography.
//!
//! Header and record bytes come from `sorcha-peer-wire`, so that sizes and ids are the real ones.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngCore;
use sorcha_peer_core::envelope::{Envelope, Header, Record, SignedRecord};
use sorcha_peer_core::event::{Verdict, Verifiable};
use sorcha_peer_core::types::PeerId;

use crate::random;

/// An ECDSA P-256 signature in ASN.1 DER has 70 to 72 bytes.
const SIGNATURE_BYTES: usize = 72;
/// A leaf certificate with a SPIFFE name, P-256, by one intermediate issuer: about this long (measured with rcgen).
const CERTIFICATE_BYTES: usize = 550;
/// Of the certificate, repeated in its signatures: with another certificate they do not hold.
const KEY_BYTES: usize = 8;
/// First byte of an honest signature (DER SEQUENCE); an attacker's begins with another.
const HONEST: u8 = 0x30;

/// A peer's certificate: its URI, filled up with noise that does not compress.
pub fn certificate(seed: u64, number: usize, uri: &str) -> Bytes {
    let mut bytes = vec![0; CERTIFICATE_BYTES];
    random::child(seed, "certificate", number as u64).fill_bytes(&mut bytes);
    let named = uri.len().min(CERTIFICATE_BYTES);
    bytes[..named].copy_from_slice(&uri.as_bytes()[..named]);
    Bytes::from(bytes)
}

/// Signs a header.
pub fn envelope(header: Header, certificate: &Bytes) -> Arc<Envelope> {
    let signed = sorcha_peer_wire::encode_header(&header);
    let signature = signature(HONEST, &signed, certificate);
    Arc::new(Envelope::new(header, signed, signature, certificate.clone()))
}

/// Signs a record.
pub fn record(record: Record, certificate: &Bytes) -> Arc<SignedRecord> {
    let signed = sorcha_peer_wire::encode_record(&record);
    let signature = signature(HONEST, &signed, certificate);
    let peer = PeerId::of_uri(&record.uri);
    Arc::new(SignedRecord { peer, record, signed, signature, certificate: certificate.clone() })
}

/// What a check of the signature finds.
pub fn verdict(item: &Verifiable) -> Verdict {
    let (signature, certificate) = match item {
        Verifiable::Envelope(envelope) => (envelope.signature(), envelope.certificate()),
        Verifiable::Record(record) => (&record.signature, &record.certificate),
    };
    if holds(signature) && signature.ends_with(key(certificate)) {
        Verdict::Valid
    } else {
        Verdict::Forged("the signature does not match the certificate's key".into())
    }
}

/// What stands for the key in a certificate: noise at its end.
fn key(certificate: &[u8]) -> &[u8] {
    &certificate[certificate.len().saturating_sub(KEY_BYTES)..]
}

/// Whether a signature is an honest one, whatever the certificate.
pub fn holds(signature: &Bytes) -> bool {
    signature.first() == Some(&HONEST)
}

fn signature(first: u8, signed: &[u8], certificate: &[u8]) -> Bytes {
    let mut bytes = vec![first; SIGNATURE_BYTES];
    // Some of what is signed, so that two signatures differ.
    for (byte, from) in bytes[1..].iter_mut().zip(signed.iter().rev()) {
        *byte = *from;
    }
    let key = key(certificate);
    bytes[SIGNATURE_BYTES - key.len()..].copy_from_slice(key);
    Bytes::from(bytes)
}
