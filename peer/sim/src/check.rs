//! The checker: states what must hold in every run, whatever fails, and keeps what did not.
//!
//! It judges from the outside: by disks, replies, deliveries and frames. Of the core it asks only the views that the
//! shipping peer shows too.

mod convergence;
mod delivery;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use sorcha_peer_core::event::{EvidenceKind, Verdict, Verifiable};
use sorcha_peer_core::message::{Frame, Message, short_id};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{LinkId, PeerId, TxId};

pub use self::convergence::{EFFECT_MAX, counts};
use self::delivery::Delivery;
use crate::disk::{Disk, Store};
use crate::queue::Micros;
use crate::seal;

/// Violations kept of one run at most; the first ones tell the story.
const VIOLATIONS_MAX: usize = 20;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Property {
    /// A submission is answered with an id only when the transaction is on the disk.
    AcknowledgedIsDurable,
    /// A peer announces only what is on its disk.
    AnnouncedIsDurable,
    /// A peer acknowledges a whole transaction to another, or says that it holds it, only when it is on its disk.
    HeldIsDurable,
    /// What a peer has said to hold is on its disk after a crash.
    SurvivesCrash,
    /// One subscriber under one cursor gets an id once in one life of the peer, and never again what it acknowledged
    /// durably; nothing below the cursor was left out.
    DeliveredOnce,
    /// A subscriber gets transactions in the order in which they became durable there.
    DeliveredInOrder,
    /// A submission is answered once, and while the peer lives it is answered.
    AnsweredOnce,
    /// One idempotency key at one peer has one id, as long as the peer keeps its disk.
    OneKeyOneId,
    /// One origin, incarnation and sequence have one id, even where the origin lost its disk.
    OneSequenceOneId,
    /// What is stored carries a signature that holds, over a body that matches it.
    NothingForgedStored,
    /// No peer that keeps to the protocol is accused of breaking it.
    NobodyAccused,
    /// Once all faults are over, every acknowledged transaction is at every peer.
    NothingLost,
    /// Once all faults are over, all stores are equal.
    StoresEqual,
    /// Once all faults are over, every outbox empties.
    OutboxEmpties,
    /// What a drained peer held is held by one that stays.
    DrainedIsElsewhere,
    /// Where nothing fails, a peer that leaves has soon drained, and is soon known to nobody.
    LeaverForgotten,
    /// Every effect is answered to the core, and the core waits for none that was answered.
    EffectsAnswered,
    /// Every collection of the core keeps to its named bound.
    Bounded,
    /// A core that is woken gets on: it does not ask to be woken for the same time again and again.
    NoWakeLoop,
    /// What the core sends is read as the same by `sorcha-peer-wire`.
    FramesSurviveTheWire,
    /// Nothing panics.
    NoPanic,
}

impl Property {
    /// The property as a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::AcknowledgedIsDurable => "nothing is acknowledged before it is durable",
            Self::AnnouncedIsDurable => "nothing is announced before it is durable",
            Self::HeldIsDurable => "nothing is said to be held before it is durable",
            Self::SurvivesCrash => "what a peer said to hold is there after a crash",
            Self::DeliveredOnce => "one id is delivered once under one cursor, and none is left out",
            Self::DeliveredInOrder => "transactions are delivered in the order of their arrival",
            Self::AnsweredOnce => "every submission is answered once",
            Self::OneKeyOneId => "one idempotency key has one id",
            Self::OneSequenceOneId => "one origin, incarnation and sequence have one id",
            Self::NothingForgedStored => "nothing forged is stored",
            Self::NobodyAccused => "nobody is accused who kept to the protocol",
            Self::NothingLost => "no acknowledged transaction is lost after healing",
            Self::StoresEqual => "all stores are equal after convergence",
            Self::OutboxEmpties => "every outbox empties after healing",
            Self::DrainedIsElsewhere => "what a drained peer held is held by one that stays",
            Self::LeaverForgotten => "a peer that leaves is drained and forgotten",
            Self::EffectsAnswered => "every effect is answered",
            Self::Bounded => "every collection keeps to its bound",
            Self::NoWakeLoop => "a core that is woken gets on",
            Self::FramesSurviveTheWire => "a frame is read as it was written",
            Self::NoPanic => "nothing panics",
        }
    }
}

/// Something that should not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which property.
    pub property: Property,
    /// When.
    pub at: Micros,
    /// Peers concerned.
    pub peers: Vec<usize>,
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, sentence) = (self.at as f64 / 1e6, self.property.sentence());
        write!(f, "at {at:.6} s, against \"{sentence}\": {}", self.detail)
    }
}

/// Watches one run.
#[derive(Debug, Default)]
pub struct Checker {
    /// By honest peers, and where.
    acknowledged: BTreeMap<TxId, usize>,
    /// What was nowhere but on a disk that was taken away.
    excused: BTreeSet<TxId>,
    /// What each peer said to hold.
    promised: BTreeMap<usize, BTreeSet<TxId>>,
    deliveries: BTreeMap<usize, Delivery>,
    keys: BTreeMap<(usize, String), TxId>,
    sequences: BTreeMap<(PeerId, u64, u64), TxId>,
    /// Whole transactions that came in, by receiving end and number.
    arrived: BTreeMap<LinkId, BTreeMap<u64, TxId>>,
    violations: Vec<Violation>,
}

impl Checker {
    /// What did not hold so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Acknowledged transactions, and where.
    pub fn acknowledged(&self) -> &BTreeMap<TxId, usize> {
        &self.acknowledged
    }

    /// Notes a violation by or at these peers.
    pub fn violated(&mut self, at: Micros, property: Property, peers: &[usize], detail: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { property, at, peers: peers.to_vec(), detail });
        }
    }

    /// A submission was answered with an id.
    pub fn on_acknowledged(&mut self, at: Micros, peer: usize, key: &str, id: TxId, disk: &Disk) {
        if !disk.store().holds(&id) {
            let detail = format!("peer {peer} acknowledged {id}, which is not on its disk");
            self.violated(at, Property::AcknowledgedIsDurable, &[peer], detail);
        }
        self.acknowledged.entry(id).or_insert(peer);
        self.promised.entry(peer).or_default().insert(id);
        if key.is_empty() {
            return;
        }
        let first = *self.keys.entry((peer, key.to_owned())).or_insert(id);
        if first != id {
            let detail = format!("peer {peer} answered key '{key}' with {first} and later with {id}");
            self.violated(at, Property::OneKeyOneId, &[peer], detail);
        }
    }

    /// A submission was answered that was not open.
    pub fn on_answered_again(&mut self, at: Micros, peer: usize, token: u64) {
        let detail = format!("peer {peer} answered submission {token}, which was not open");
        self.violated(at, Property::AnsweredOnce, &[peer], detail);
    }

    /// A frame of an honest peer is about to be handed to the core at this end.
    pub fn on_frame(&mut self, link: LinkId, frame: &Frame) {
        let Message::Push(push) = &frame.message else { return };
        let Some(body) = &push.body else { return };
        let header = push.envelope.header();
        let whole = Body::new(body.plain().clone()).root() == header.body_root;
        let signed = seal::holds(push.envelope.signature());
        if frame.sequence > 0 && whole && signed {
            self.arrived.entry(link).or_default().insert(frame.sequence, push.envelope.id());
        }
    }

    /// A link has ended at this end.
    pub fn on_link_down(&mut self, link: LinkId) {
        self.arrived.remove(&link);
    }

    /// A peer sends a frame.
    pub fn on_sent(&mut self, at: Micros, peer: usize, link: LinkId, frame: &Frame, disk: &Disk) {
        for id in self.acknowledged_by(link, frame.ack, frame.ack_bits) {
            self.promises(at, peer, id, "acknowledged the frame of", disk);
        }
        match &frame.message {
            Message::Announce { salt, short_ids } => {
                for id in disk.unsynced().filter(|id| !disk.store().holds(id)) {
                    if short_ids.contains(&short_id(*salt, &id)) {
                        let detail = format!("peer {peer} announced {id}, which is not on its disk yet");
                        self.violated(at, Property::AnnouncedIsDurable, &[peer], detail);
                    }
                }
            }
            Message::Holds { ids } => {
                for id in ids {
                    self.promises(at, peer, *id, "said that it holds", disk);
                }
            }
            _ => {}
        }
    }

    /// Which of the whole transactions that came in at this end these numbers acknowledge.
    fn acknowledged_by(&mut self, link: LinkId, ack: u64, bits: u64) -> Vec<TxId> {
        let Some(arrived) = self.arrived.get_mut(&link) else { return Vec::new() };
        let mut ids = Vec::new();
        arrived.retain(|sequence, id| {
            let told = match ack.checked_sub(*sequence) {
                Some(0) => true,
                Some(behind @ 1..=64) => bits >> (behind - 1) & 1 == 1,
                _ => false,
            };
            if told {
                ids.push(*id);
            }
            !told
        });
        ids
    }

    fn promises(&mut self, at: Micros, peer: usize, id: TxId, how: &str, disk: &Disk) {
        if disk.store().holds(&id) {
            self.promised.entry(peer).or_default().insert(id);
        } else {
            let detail = format!("peer {peer} {how} {id}, which is not on its disk");
            self.violated(at, Property::HeldIsDurable, &[peer], detail);
        }
    }

    /// A transaction has become durable at an honest peer.
    pub fn on_durable(&mut self, at: Micros, peer: usize, id: &TxId, store: &Store) {
        let Some((envelope, body)) = store.transaction(id) else { return };
        let header = envelope.header();
        let signed = seal::verdict(&Verifiable::Envelope(envelope.clone())) == Verdict::Valid;
        if !signed || Body::new(body.bytes().clone()).root() != header.body_root {
            let what = if signed { "with a body that is not its own" } else { "with a forged signature" };
            let detail = format!("peer {peer} stored {id} {what}");
            self.violated(at, Property::NothingForgedStored, &[peer], detail);
        }
        let number = (header.origin, header.incarnation, header.sequence);
        let first = *self.sequences.entry(number).or_insert(*id);
        if first != *id && signed {
            let detail = format!(
                "{first} and {id} are both number {} of incarnation {} of {}",
                header.sequence, header.incarnation, header.origin
            );
            self.violated(at, Property::OneSequenceOneId, &[peer], detail);
        }
    }

    /// A core reported evidence against an honest peer.
    pub fn on_accused(&mut self, at: Micros, peer: usize, accused: usize, kind: EvidenceKind, detail: &str) {
        if matches!(kind, EvidenceKind::Protocol | EvidenceKind::BadSignature | EvidenceKind::BadBody) {
            let kind = kind.as_str();
            let detail = format!("peer {peer} accuses peer {accused} of {kind}: {detail}");
            self.violated(at, Property::NobodyAccused, &[peer, accused], detail);
        }
    }

    /// A peer has crashed; this is what its disk still has.
    pub fn on_crash(&mut self, at: Micros, peer: usize, store: &Store) {
        let lost = self.promised.get(&peer).and_then(|ids| ids.iter().find(|id| !store.holds(id))).copied();
        if let Some(id) = lost {
            let detail = format!("peer {peer} said that it holds {id}; after a crash it is not on its disk");
            self.violated(at, Property::SurvivesCrash, &[peer], detail);
        }
        if let Some(delivery) = self.deliveries.get_mut(&peer) {
            delivery.end_life();
        }
    }

    /// A peer got another disk, with less on it. What was `nowhere_else` is gone through no fault of the network's.
    pub fn on_other_disk(&mut self, peer: usize, store: &Store, nowhere_else: Vec<TxId>) {
        self.excused.extend(nowhere_else);
        if let Some(ids) = self.promised.get_mut(&peer) {
            ids.retain(|id| store.holds(id));
        }
        self.keys.retain(|(at, key), id| *at != peer || store.recall(key) == Some(*id));
        self.deliveries.insert(peer, Delivery::resumed(store));
    }

    /// The subscriber at a peer gets what stands at this position of the order of arrival, counted from 0.
    pub fn on_delivered(&mut self, at: Micros, peer: usize, position: usize, id: TxId, store: &Store) {
        let found = self.deliveries.entry(peer).or_default().deliver(position, id, store);
        if let Some((property, what)) = found {
            self.violated(at, property, &[peer], format!("peer {peer}: {what}"));
        }
    }

    /// The subscriber's cursor at a peer is durable: everything before this position is done with.
    pub fn on_cursor(&mut self, at: Micros, peer: usize, store: &Store) {
        if let Some(what) = self.deliveries.entry(peer).or_default().settle(store) {
            self.violated(at, Property::DeliveredOnce, &[peer], format!("peer {peer}: {what}"));
        }
    }
}
