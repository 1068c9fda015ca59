//! What a scenario does to machines and their peers beyond starting and stopping them: disks, malice, traps, operators.

use bytes::Bytes;
use sorcha_peer_core::event::Input;
use sorcha_peer_core::types::{LinkId, TxId};
use sorcha_peer_core::view::DrainView;

use crate::adversary::Adversary;
use crate::check::{Checker, Property, counts};
use crate::disk::Trouble;
use crate::peers::Moment;
use crate::plant::Plant;
use crate::trace::{Mark, Trace};
use crate::world::World;

impl World {
    /// Lets a disk do this wrong, or nothing any more.
    pub fn set_trouble(&mut self, peer: usize, trouble: Trouble) {
        let Trouble { full, writes_fail, reads_fail, slowness } = trouble;
        let bits = u64::from(full) | u64::from(writes_fail) << 1 | u64::from(reads_fail) << 2 | slowness << 3;
        self.trace.add(self.now, Mark::Weather, peer, 0x3 | bits << 8);
        self.machines[peer].disk.set_trouble(trouble);
    }

    /// Copies what is durable at a peer.
    pub fn back_up(&mut self, peer: usize) {
        self.machines[peer].disk.back_up();
    }

    /// Ends a peer and takes its disk: what it finds instead is the last copy of it, or nothing.
    pub fn replace_disk(&mut self, peer: usize, by_backup: bool) {
        self.crash(peer, false);
        self.trace.add(self.now, Mark::Weather, peer, 0xa | u64::from(by_backup) << 8);
        let old = self.machines[peer].disk.replace(by_backup);
        let new = self.machines[peer].disk.store();
        let elsewhere = |id: &TxId| {
            let others = self.machines.iter().filter(|other| counts(other));
            others.into_iter().any(|other| other.disk.store().holds(id))
        };
        let nowhere_else: Vec<TxId> = old.ids().filter(|id| !elsewhere(id)).copied().collect();
        if let Some(checker) = &mut self.checker {
            checker.on_other_disk(peer, new, nowhere_else);
        }
    }

    /// Makes a peer malicious, before it is started.
    pub fn corrupt(&mut self, peer: usize, adversary: Adversary) {
        self.trace.add(self.now, Mark::Weather, peer, 11);
        self.machines[peer].adversary = Some(adversary);
    }

    /// Lets a peer crash as soon as this happens at it.
    pub fn set_trap(&mut self, peer: usize, moment: Moment) {
        if self.machines[peer].runs() {
            self.machines[peer].trap = Some(moment);
        }
    }

    /// This happens at a peer; true where it crashed of it.
    pub(crate) fn springs(&mut self, peer: usize, moment: Moment) -> bool {
        let springs = self.machines[peer].trap == Some(moment);
        if springs {
            self.machines[peer].trap = None;
            self.trapped += 1;
            self.crash(peer, false);
        }
        springs
    }

    /// The last events before each violation, in the order of [`Checker::violations`].
    pub fn last_events(&self) -> &[Vec<String>] {
        &self.last_events
    }

    pub(crate) fn note_last_events(&mut self) {
        let violations = self.checker.as_ref().map(Checker::violations).unwrap_or_default();
        for violation in &violations[self.last_events.len()..] {
            self.last_events.push(self.trace.last_events(&violation.peers));
        }
    }

    /// No trap any more.
    pub fn disarm(&mut self, peer: usize) {
        self.machines[peer].trap = None;
    }

    /// Another trace, before anything has happened.
    pub fn set_trace(&mut self, trace: Trace) {
        self.trace = trace;
    }

    /// Crashes by traps so far.
    pub fn trapped(&self) -> u64 {
        self.trapped
    }

    /// Hands an input to a peer, as its operator or its driver would.
    pub fn tell(&mut self, peer: usize, input: Input) {
        self.trace.add(self.now, Mark::Weather, peer, 12);
        self.handle(peer, input);
    }

    /// How far a peer is with its drain; `None` where it runs none.
    pub fn drain_of(&self, peer: usize) -> Option<DrainView> {
        let mut view = self.machines[peer].core.as_ref()?.status().drain?;
        view.drained |= self.settings.planted == Some(Plant::DrainDoneAtOnce);
        Some(view)
    }

    /// Takes a peer that was drained out of the network for good.
    pub fn take_away(&mut self, peer: usize) {
        self.crash(peer, false);
        self.machines[peer].gone = true;
    }

    /// Looks at what must hold at any time, see [`Checker::watch`].
    pub fn watch(&mut self) {
        if let Some(checker) = &mut self.checker {
            checker.watch(self.now, &self.machines, &self.network);
        }
    }

    /// Notes a violation that the scenario found.
    pub fn violated(&mut self, property: Property, peers: &[usize], detail: String) {
        if let Some(checker) = &mut self.checker {
            checker.violated(self.now, property, peers, detail);
        }
    }

    /// With [`Plant::StaleClock`]: the core is told a time of before it was waited for.
    pub(crate) fn tick_late(&mut self, peer: usize) {
        let machine = &mut self.machines[peer];
        let now = machine.now(self.now.saturating_sub(1));
        if let Some(core) = &mut machine.core {
            core.handle(now, Input::Tick);
        }
        self.drain(peer);
    }

    /// Bytes that are no frame, or turn out to be one.
    pub(crate) fn garbage(&mut self, peer: usize, link: LinkId, bytes: Bytes) {
        let length = bytes.len() as u32;
        let input = match sorcha_peer_wire::decode_frame(bytes) {
            Ok(frame) => Input::Frame { link, frame, bytes: length },
            Err(error) => Input::BadFrame { link, error: error.to_string() },
        };
        self.handle(peer, input);
    }
}
