//! The checker: states what must hold in every run, whatever fails, and keeps what did not.
//!
//! It judges from the outside, by disks, replies, deliveries and frames; it asks the core nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sorcha_peer_core::message::{Message, short_id};
use sorcha_peer_core::types::TxId;

use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::peers::Machine;
use crate::queue::Micros;

/// Violations kept of one run at most; the first ones tell the story.
const VIOLATIONS_MAX: usize = 20;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// A submission is answered with an id only when the transaction is on the disk.
    AcknowledgedIsDurable,
    /// A peer announces only what is on its disk.
    AnnouncedIsDurable,
    /// One life of a peer delivers a transaction once.
    DeliveredOnce,
    /// A submission is answered once, and while the peer lives it is answered.
    AnsweredOnce,
    /// One idempotency key at one peer has one id.
    OneKeyOneId,
    /// Once all faults are over, every acknowledged transaction is at every peer.
    NothingLost,
    /// Once all faults are over, all stores are equal.
    StoresEqual,
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
            Self::DeliveredOnce => "one id is delivered once",
            Self::AnsweredOnce => "every submission is answered once",
            Self::OneKeyOneId => "one idempotency key has one id",
            Self::NothingLost => "no acknowledged transaction is lost after healing",
            Self::StoresEqual => "all stores are equal after convergence",
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
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {:.6} s, against \"{}\": {}",
            self.at as f64 / 1e6,
            self.property.sentence(),
            self.detail
        )
    }
}

/// Watches one run.
#[derive(Debug, Default)]
pub struct Checker {
    acknowledged: BTreeMap<TxId, usize>,
    delivered: BTreeMap<usize, BTreeSet<TxId>>,
    keys: BTreeMap<(usize, String), TxId>,
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

    /// Notes a violation.
    pub fn violated(&mut self, at: Micros, property: Property, detail: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { property, at, detail });
        }
    }

    /// A peer begins a new life.
    pub fn on_start(&mut self, peer: usize) {
        self.delivered.remove(&peer);
    }

    /// A submission was answered with an id.
    pub fn on_acknowledged(&mut self, at: Micros, peer: usize, key: &str, id: TxId, disk: &Disk) {
        if !disk.store().holds(&id) {
            let detail = format!("peer {peer} acknowledged {id}, which is not on its disk");
            self.violated(at, Property::AcknowledgedIsDurable, detail);
        }
        self.acknowledged.entry(id).or_insert(peer);
        if key.is_empty() {
            return;
        }
        let first = *self.keys.entry((peer, key.to_owned())).or_insert(id);
        if first != id {
            let detail = format!("peer {peer} answered key '{key}' with {first} and later with {id}");
            self.violated(at, Property::OneKeyOneId, detail);
        }
    }

    /// A submission was answered that was not open.
    pub fn on_answered_again(&mut self, at: Micros, peer: usize, token: u64) {
        let detail = format!("peer {peer} answered submission {token}, which was not open");
        self.violated(at, Property::AnsweredOnce, detail);
    }

    /// A peer said that it accepted or received a transaction.
    pub fn on_delivered(&mut self, at: Micros, peer: usize, id: TxId) {
        if !self.delivered.entry(peer).or_default().insert(id) {
            let detail = format!("peer {peer} delivered {id} a second time");
            self.violated(at, Property::DeliveredOnce, detail);
        }
    }

    /// A peer sends a frame.
    pub fn on_sent(&mut self, at: Micros, peer: usize, message: &Message, disk: &Disk) {
        let Message::Announce { salt, short_ids } = message else { return };
        for id in disk.unsynced().filter(|id| !disk.store().holds(id)) {
            if short_ids.contains(&short_id(*salt, &id)) {
                let detail = format!("peer {peer} announced {id}, which is not on its disk yet");
                self.violated(at, Property::AnnouncedIsDurable, detail);
            }
        }
    }

    /// Whether all stores are equal and hold all that was acknowledged.
    pub fn has_converged(&self, machines: &[Machine]) -> bool {
        let Some(first) = machines.first() else { return true };
        let first = first.disk.store();
        machines.iter().all(|machine| machine.disk.store().is_equal(first))
            && self.acknowledged.keys().all(|id| first.holds(id))
    }

    /// The end: all faults are over, and time enough has passed since.
    pub fn finish(&mut self, at: Micros, machines: &[Machine], ledger: &Ledger) {
        let acknowledged: Vec<(TxId, usize)> = self.acknowledged.iter().map(|(id, by)| (*id, *by)).collect();
        for (id, by) in acknowledged {
            let missing: Vec<usize> = machines
                .iter()
                .filter(|machine| !machine.disk.store().holds(&id))
                .map(|machine| machine.number)
                .collect();
            if !missing.is_empty() {
                let detail = format!("{id}, acknowledged by peer {by}, is missing at peers {missing:?}");
                self.violated(at, Property::NothingLost, detail);
            }
        }
        if let Some(first) = machines.first() {
            for machine in &machines[1..] {
                if !machine.disk.store().is_equal(first.disk.store()) {
                    let detail = format!(
                        "peer {} holds {} transactions, peer {} holds {}",
                        first.number,
                        first.disk.store().len(),
                        machine.number,
                        machine.disk.store().len()
                    );
                    self.violated(at, Property::StoresEqual, detail);
                }
            }
        }
        for (token, submission) in ledger.submissions().iter().enumerate() {
            let machine = &machines[submission.peer];
            if submission.reply.is_none() && machine.runs() && machine.epoch == submission.epoch {
                let detail = format!(
                    "submission {token} at peer {}, made at {:.6} s, has no answer",
                    submission.peer,
                    submission.at as f64 / 1e6
                );
                self.violated(at, Property::AnsweredOnce, detail);
            }
        }
    }
}
