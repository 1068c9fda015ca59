//! Malicious peers: the shipping core, whose frames are altered before they leave.
//!
//! It knows what frames look like and what would hurt; what others make of it is theirs.

use std::sync::Arc;

use bytes::Bytes;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sorcha_peer_core::envelope::{Carried, Envelope, Record, Referring, SignedRecord};
use sorcha_peer_core::message::{Frame, Message, Missing, Push};
use sorcha_peer_core::payload::Payload;
use sorcha_peer_core::types::{Hash, PeerId};

use crate::seal;

/// First byte of a signature that does not hold, see `seal`.
const FORGED: u8 = 0x66;
/// Share of the frames in question that are altered: what stays honest keeps the peer among its neighbours.
const ALTERED: f64 = 0.5;

/// What a malicious peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Malice {
    /// Spoils signatures of what it passes on, and invents transactions of others.
    ForgedSignatures,
    /// Alters bodies and chunks.
    WrongBodies,
    /// Announces what does not exist.
    FalseAnnouncements,
    /// Answers no request for transactions, chunks, records or a round of reconciliation.
    Silence,
    /// Passes nothing on.
    Withholding,
    /// Sends bytes that are no frame.
    Garbage,
    /// Sends records that others did not sign, saying that they leave.
    BogusRecords,
    /// Says that it holds what it was asked about.
    FalseHolds,
    /// Sends frames twice, and under numbers that were not due.
    WrongNumbers,
    /// Refers to certificates that nobody has.
    FalseReferences,
}

/// All of them, in their order.
pub const MALICES: [Malice; 10] = [
    Malice::ForgedSignatures,
    Malice::WrongBodies,
    Malice::FalseAnnouncements,
    Malice::Silence,
    Malice::Withholding,
    Malice::Garbage,
    Malice::BogusRecords,
    Malice::FalseHolds,
    Malice::WrongNumbers,
    Malice::FalseReferences,
];

/// What leaves in place of a frame.
#[derive(Debug)]
pub(crate) enum Leaves {
    /// A frame.
    Frame(Frame),
    /// Bytes.
    Garbage(Bytes),
}

/// A malicious peer's intentions.
#[derive(Debug)]
pub struct Adversary {
    malices: Vec<Malice>,
    rng: ChaCha8Rng,
    /// What it was asked about last, for false answers.
    victim: Option<Arc<Envelope>>,
    record: Option<Arc<SignedRecord>>,
}

impl Adversary {
    /// One with these intentions.
    pub fn new(malices: Vec<Malice>, rng: ChaCha8Rng) -> Self {
        Self { malices, rng, victim: None, record: None }
    }

    fn does(&mut self, malice: Malice) -> bool {
        self.malices.contains(&malice) && self.rng.random_bool(ALTERED)
    }

    /// What leaves instead of this frame of peer `me`.
    pub(crate) fn twist(&mut self, me: &PeerId, mut frame: Frame) -> Vec<Leaves> {
        self.remember(me, &frame.message);
        let mut leaves = Vec::new();
        if self.keeps_back(me, &frame.message) {
            return leaves;
        }
        match &mut frame.message {
            Message::Push(push) => self.twist_push(push),
            Message::Chunk { data, proof, .. } if self.does(Malice::WrongBodies) => {
                if self.rng.random_bool(0.5) || proof.is_empty() {
                    *data = altered_payload(data, self.rng.random_bool(0.5));
                } else {
                    proof.pop();
                }
            }
            Message::Announce { short_ids, .. } if self.does(Malice::FalseAnnouncements) => {
                short_ids.truncate(900);
                short_ids.extend((0..8).map(|_| self.rng.random::<[u8; 8]>()));
            }
            Message::Holds { ids } if self.does(Malice::FalseHolds) => {
                ids.extend(self.victim.iter().map(|envelope| envelope.id()));
            }
            Message::Records { records, .. } if self.does(Malice::BogusRecords) => {
                records.truncate(8);
                records.extend(self.record.as_ref().map(|record| bogus(record)));
            }
            _ => {}
        }
        if self.does(Malice::Garbage) && self.rng.random_bool(0.1) {
            let mut bytes = vec![0; self.rng.random_range(0..200)];
            self.rng.fill_bytes(&mut bytes);
            leaves.push(Leaves::Garbage(Bytes::from(bytes)));
        }
        if self.malices.contains(&Malice::ForgedSignatures) && self.rng.random_bool(0.05) {
            let invented = self.victim.as_ref().map(|victim| invented(victim, self.rng.random()));
            leaves.extend(
                invented.map(|push| {
                    Leaves::Frame(Frame { sequence: 0, ack: 0, ack_bits: 0, message: push.into() })
                }),
            );
        }
        if self.does(Malice::BogusRecords) && self.rng.random_bool(0.05) {
            let lived = |record: &Arc<SignedRecord>| Missing {
                peer: record.peer,
                incarnation: u64::MAX,
                sequence: u64::MAX,
            };
            let missed = Message::Missed { peers: self.record.iter().map(lived).collect() };
            leaves.push(Leaves::Frame(Frame { sequence: 0, ack: 0, ack_bits: 0, message: missed }));
        }
        if self.does(Malice::WrongNumbers) && self.rng.random_bool(0.2) {
            leaves.push(Leaves::Frame(frame.clone()));
            if self.rng.random_bool(0.2) {
                frame.sequence = frame.sequence.wrapping_add(self.rng.random_range(0..1 << 40));
                frame.ack = self.rng.random();
                frame.ack_bits = self.rng.random();
            }
        }
        leaves.push(Leaves::Frame(frame));
        leaves
    }

    fn remember(&mut self, me: &PeerId, message: &Message) {
        match message {
            Message::Push(push) if push.envelope.header().origin != *me => {
                if let Carried::Whole(envelope) = &push.envelope {
                    self.victim = Some(Arc::clone(envelope));
                }
            }
            Message::Records { records, .. } => {
                self.record =
                    records.iter().find(|record| record.peer != *me).cloned().or(self.record.take());
            }
            _ => {}
        }
    }

    fn keeps_back(&mut self, me: &PeerId, message: &Message) -> bool {
        match message {
            Message::Push(push) if push.hops == 0 => self.does(Malice::Silence),
            Message::Push(push) => push.envelope.header().origin != *me && self.does(Malice::Withholding),
            Message::Chunk { .. }
            | Message::Unavailable { .. }
            | Message::Sync(_)
            | Message::Holds { .. }
            | Message::Records { .. } => self.does(Malice::Silence),
            Message::Announce { .. } => self.does(Malice::Withholding),
            _ => false,
        }
    }

    fn twist_push(&mut self, push: &mut Push<Carried>) {
        if self.does(Malice::ForgedSignatures) {
            push.envelope = match &push.envelope {
                Carried::Whole(envelope) => forged(envelope).into(),
                Carried::Referring(referring) => referring_forged(&push.envelope, *referring.digest()),
            };
        }
        if self.does(Malice::FalseReferences) {
            let (header, signed) = (push.envelope.header().clone(), push.envelope.signed().clone());
            let (signature, digest) = (push.envelope.signature().clone(), self.rng.random());
            let referring = Referring::new(header, signed, signature, Hash::from_bytes(digest));
            push.envelope = Carried::Referring(referring);
        }
        if let Some(body) = &push.body
            && self.does(Malice::WrongBodies)
        {
            push.body = Some(altered_payload(body, self.rng.random_bool(0.5)));
        }
    }
}

/// Where it is packed, the packed bytes are altered: `cut`, they do not unpack any more, else to another body.
fn altered_payload(payload: &Payload, cut: bool) -> Payload {
    match payload.coded() {
        Some((coding, packed)) if cut => {
            Payload::packed(payload.plain().clone(), coding, packed.slice(..packed.len() - 1))
        }
        Some((coding, packed)) => Payload::packed(payload.plain().clone(), coding, altered(packed)),
        None => altered(payload.plain()).into(),
    }
}

fn altered(data: &Bytes) -> Bytes {
    let mut bytes = data.to_vec();
    match bytes.last_mut() {
        Some(last) => *last ^= 1,
        None => bytes.push(1),
    }
    Bytes::from(bytes)
}

/// The same header under a signature that does not hold.
fn forged(envelope: &Envelope) -> Arc<Envelope> {
    let (header, signed) = (envelope.header().clone(), envelope.signed().clone());
    let signature = spoilt(envelope.signature());
    Arc::new(Envelope::new(header, signed, signature, envelope.certificate().clone()))
}

fn referring_forged(envelope: &Carried, digest: Hash) -> Carried {
    let (header, signed) = (envelope.header().clone(), envelope.signed().clone());
    Carried::Referring(Referring::new(header, signed, spoilt(envelope.signature()), digest))
}

fn spoilt(signature: &Bytes) -> Bytes {
    let mut signature = signature.to_vec();
    if let Some(first) = signature.first_mut() {
        *first = FORGED;
    }
    signature.into()
}

/// A transaction that its origin never made.
fn invented(victim: &Envelope, sequence: u32) -> Push {
    let body = Bytes::from_static(b"never said");
    let mut header = victim.header().clone();
    header.sequence = header.sequence.wrapping_add(u64::from(sequence));
    header.body_bytes = body.len() as u64;
    header.body_root = sorcha_peer_core::tree::Body::new(body.clone()).root();
    let envelope = forged(&seal::envelope(header, victim.certificate()));
    Push { envelope, body: Some(body.into()), rows: 1, head: false, hops: 1, chunks_follow: false }
}

/// Another's record that says that it leaves, under a signature that does not hold.
fn bogus(record: &SignedRecord) -> Arc<SignedRecord> {
    let said = Record { sequence: record.record.sequence + 1, leaving: true, ..record.record.clone() };
    let mut bogus = (*seal::record(said, &record.certificate)).clone();
    bogus.signature = spoilt(&bogus.signature);
    Arc::new(bogus)
}
