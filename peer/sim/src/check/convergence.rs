//! What must hold once all faults are over and time enough has passed.

use sorcha_peer_core::types::TxId;

use super::{Checker, Property};
use crate::ledger::Ledger;
use crate::network::Network;
use crate::peers::Machine;
use crate::queue::Micros;

/// An effect is answered within this time; a dial takes longest (`Conditions::dial_timeout`), a slow disk comes next.
pub const EFFECT_MAX: Micros = 30_000_000;

/// Whether a machine's store must converge: its peer keeps to the protocol and has not left for good.
pub fn counts(machine: &Machine) -> bool {
    machine.adversary.is_none() && !machine.gone
}

impl Checker {
    /// Acknowledged and not excused.
    fn owed(&self) -> impl Iterator<Item = (&TxId, &usize)> {
        self.acknowledged.iter().filter(|(id, _)| !self.excused.contains(id))
    }

    /// Whether all stores are equal and hold all that was acknowledged, and all outboxes are empty.
    pub fn has_converged(&self, machines: &[Machine]) -> bool {
        let mut counted = machines.iter().filter(|machine| counts(machine));
        let Some(first) = counted.next() else { return true };
        let store = first.disk.store();
        counted.all(|machine| machine.disk.store().is_equal(store))
            && self.owed().all(|(id, _)| store.holds(id))
            && machines.iter().filter(|machine| counts(machine)).all(|machine| outbox(machine) == 0)
    }

    /// The end: all faults are over, and time enough has passed since.
    pub fn finish(&mut self, at: Micros, machines: &[Machine], network: &Network, ledger: &Ledger) {
        self.finish_stores(at, machines);
        self.finish_peers(at, machines);
        for (token, submission) in ledger.submissions().iter().enumerate() {
            let machine = &machines[submission.peer];
            if submission.reply.is_none() && machine.runs() && machine.epoch == submission.epoch {
                let detail = format!(
                    "submission {token} at peer {}, made at {:.6} s, has no answer",
                    submission.peer,
                    submission.at as f64 / 1e6
                );
                self.violated(at, Property::AnsweredOnce, &[submission.peer], detail);
            }
        }
        self.watch(at, machines, network);
    }

    fn finish_stores(&mut self, at: Micros, machines: &[Machine]) {
        let counted: Vec<&Machine> = machines.iter().filter(|machine| counts(machine)).collect();
        let owed: Vec<(TxId, usize)> = self.owed().map(|(id, by)| (*id, *by)).collect();
        for (id, by) in owed {
            let missing: Vec<usize> = counted
                .iter()
                .filter(|machine| !machine.disk.store().holds(&id))
                .map(|machine| machine.number)
                .collect();
            if !missing.is_empty() {
                let detail = format!("{id}, acknowledged by peer {by}, is missing at peers {missing:?}");
                self.violated(at, Property::NothingLost, &[by, missing[0]], detail);
            }
        }
        let Some((first, others)) = counted.split_first() else { return };
        for machine in others {
            if !machine.disk.store().is_equal(first.disk.store()) {
                let detail = format!(
                    "peer {} holds {} transactions, peer {} holds {}",
                    first.number,
                    first.disk.store().len(),
                    machine.number,
                    machine.disk.store().len()
                );
                self.violated(at, Property::StoresEqual, &[first.number, machine.number], detail);
            }
        }
    }

    fn finish_peers(&mut self, at: Micros, machines: &[Machine]) {
        for machine in machines.iter().filter(|machine| counts(machine)) {
            let peer = machine.number;
            if outbox(machine) > 0 {
                let detail = format!("peer {peer} still has {} in its outbox", outbox(machine));
                self.violated(at, Property::OutboxEmpties, &[peer], detail);
            }
            let store = machine.disk.store();
            let left_out =
                self.deliveries.entry(peer).or_default().left_out(store).filter(|_| machine.runs());
            if let Some(id) = left_out {
                let detail = format!("peer {peer}: the subscriber never got {id}");
                self.violated(at, Property::DeliveredOnce, &[peer], detail);
            }
        }
    }

    /// What is looked at from time to time while faults are made: effects and bounds.
    pub fn watch(&mut self, at: Micros, machines: &[Machine], network: &Network) {
        for machine in machines.iter().filter(|machine| machine.runs() && machine.adversary.is_none()) {
            let peer = machine.number;
            let late = machine.asked.iter().find(|(_, asked)| at >= **asked + EFFECT_MAX);
            if let Some((op, asked)) = late {
                let detail = format!(
                    "peer {peer} has waited for its effect {} since {:.6} s",
                    op.0,
                    *asked as f64 / 1e6
                );
                self.violated(at, Property::EffectsAnswered, &[peer], detail);
            }
            let Some(core) = &machine.core else { continue };
            let waits = core.effects_under_way();
            if waits > machine.asked.len() {
                let detail = format!(
                    "peer {peer} waits for {waits} effects, of which {} were asked for",
                    machine.asked.len()
                );
                self.violated(at, Property::EffectsAnswered, &[peer], detail);
            }
            let open = network.open_ends(peer).len();
            if let Some(links) =
                core.sizes().iter().find(|size| size.name == "links").filter(|size| size.len > open)
            {
                let detail = format!("peer {peer} counts {} links, of which {open} stand", links.len);
                self.violated(at, Property::EffectsAnswered, &[peer], detail);
            }
            for size in core.sizes().into_iter().filter(|size| size.len > size.max) {
                let detail =
                    format!("peer {peer} has {} {}, at most {} are allowed", size.len, size.name, size.max);
                self.violated(at, Property::Bounded, &[peer], detail);
            }
        }
    }
}

/// Transactions that no other peer is known to hold; none where the peer does not run.
fn outbox(machine: &Machine) -> u64 {
    machine.core.as_ref().map_or(0, |core| core.status().outbox)
}
