//! One simulated machine: the shipping core, its disk, its clocks and its line.

use std::collections::BTreeMap;

use bytes::Bytes;
use sorcha_peer_core::config::Identity;
use sorcha_peer_core::message::Message;
use sorcha_peer_core::peer::Peer;
use sorcha_peer_core::types::{Address, Now, OpId, PeerId, Time, WallTime};

use crate::adversary::Adversary;
use crate::disk::Disk;
use crate::network::egress::Egress;
use crate::plant::Plant;
use crate::queue::Micros;
use crate::seal;

/// Wall clock of the simulation's begin: 2026-01-01T00:00:00Z.
pub const WALL_START_MS: u64 = 1_767_225_600_000;

/// How a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// The peer runs.
    Running,
    /// The process is gone, the machine answers: connections are refused.
    Stopped,
    /// The machine is gone without a word: nothing answers.
    Dead,
}

/// How a peer keeps from others what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withholding {
    /// It announces what it will not give.
    Lying,
    /// It says nothing.
    Silent,
}

impl Withholding {
    /// Whether it keeps back this message of peer `me`: everything that would give others' transactions away. Its own go
    /// out, and it keeps its links, so that nobody notices.
    pub fn keeps_back(self, me: &PeerId, message: &Message) -> bool {
        match message {
            Message::Push(push) => push.envelope.header().origin != *me,
            Message::Chunk { .. } | Message::Unavailable { .. } => true,
            Message::Announce { .. } => self == Self::Silent,
            _ => false,
        }
    }
}
/// Moments at which a peer may crash; each is a step between two that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// A header has been signed, and the core does not know yet.
    Sealed,
    /// A write was handed to the disk, and is not committed.
    Written,
    /// A group was committed, and nobody was told.
    Committed,
    /// The core has answered a submission, and has not yet sent it to anybody.
    Answered,
    /// A transaction was put on the first link.
    Pushed,
    /// A link has come up.
    Linked,
    /// The store has summarised itself for a round of reconciliation.
    Inspected,
}

/// All of them.
pub const MOMENTS: [Moment; 7] = [
    Moment::Sealed,
    Moment::Written,
    Moment::Committed,
    Moment::Answered,
    Moment::Pushed,
    Moment::Linked,
    Moment::Inspected,
];

/// A machine with a peer.
#[derive(Debug)]
pub struct Machine {
    /// Its number, from 0.
    pub number: usize,
    /// SHA-256 of its URI.
    pub id: PeerId,
    /// Name in the certificate.
    pub identity: Identity,
    /// Where it can be dialled.
    pub address: Address,
    /// Shared by all that it signs.
    pub certificate: Bytes,
    /// Numbers of the machines it begins with.
    pub bootstrap: Vec<usize>,
    /// It is behind a NAT: it dials, and cannot be dialled.
    pub behind_nat: bool,
    /// It takes transactions and passes none on.
    pub withholds: Option<Withholding>,
    /// The row count that it sees; `None`: as it follows from its roster.
    pub rows: Option<u32>,
    /// When its peer was last started.
    pub started: Micros,
    /// It is malicious, and does this.
    pub adversary: Option<Adversary>,
    /// It has left for good.
    pub gone: bool,
    /// It crashes as soon as this happens at it.
    pub trap: Option<Moment>,
    /// Effects on their way, and since when; kept where a checker watches.
    pub asked: BTreeMap<OpId, Micros>,
    /// Where its subscriber stands in the order of arrival.
    pub subscribed: usize,
    /// The shipping core, while it runs.
    pub core: Option<Peer>,
    /// How it stands.
    pub power: Power,
    /// Counts starts and ends, so that answers to an earlier life are dropped.
    pub epoch: u32,
    /// Its disk; survives the peer.
    pub disk: Disk,
    /// Its line.
    pub egress: Egress,
    /// The verifying thread is busy until then.
    pub verifying_until: Micros,
    /// How often its peer was woken at this time.
    pub ticked: (Micros, u32),
    /// The earliest wake-up that is planned.
    pub wake: Option<Micros>,
    /// How far its wall clock is ahead of the simulation's, ms.
    pub wall_ahead_ms: i64,
    /// Its monotonic clock's reading at the simulation's begin.
    monotonic_start: Micros,
}

impl Machine {
    /// A machine that does not run yet.
    pub fn new(seed: u64, number: usize, bootstrap: Vec<usize>, plant: Option<Plant>) -> Self {
        let identity = Identity { uri: format!("spiffe://sim.test/sim/peer-{number:05}") };
        Self {
            number,
            id: identity.peer(),
            certificate: seal::certificate(seed, number, &identity.uri),
            identity,
            address: address_of(number),
            bootstrap,
            behind_nat: false,
            withholds: None,
            rows: None,
            started: 0,
            adversary: None,
            gone: false,
            trap: None,
            asked: BTreeMap::new(),
            subscribed: 0,
            core: None,
            power: Power::Stopped,
            epoch: 0,
            disk: Disk::new(plant),
            egress: Egress::default(),
            verifying_until: 0,
            ticked: (0, 0),
            wake: None,
            wall_ahead_ms: 0,
            // Unlike on every machine, so that a time of one peer's means nothing to another.
            monotonic_start: 3_600_000_000 + number as u64 * 1_000_003,
        }
    }

    /// Where it tells others to dial it.
    pub fn advertised(&self) -> Vec<Address> {
        if self.behind_nat { Vec::new() } else { vec![self.address.clone()] }
    }

    /// Both clocks as the peer reads them.
    pub fn now(&self, at: Micros) -> Now {
        let wall = (WALL_START_MS + at / 1000).saturating_add_signed(self.wall_ahead_ms);
        Now { time: Time::from_micros(self.monotonic_start + at), wall: WallTime::from_unix_ms(wall) }
    }

    /// The simulation's time of a point on the peer's monotonic clock.
    pub fn at(&self, time: Time) -> Micros {
        time.as_micros().saturating_sub(self.monotonic_start)
    }

    /// Whether the peer runs.
    pub fn runs(&self) -> bool {
        self.power == Power::Running
    }
}

/// Where machine `number` listens.
pub fn address_of(number: usize) -> Address {
    Address::new(format!("10.{}.{}.{}:7450", number >> 16 & 255, number >> 8 & 255, number & 255))
}

/// The machine that an address belongs to, whether or not there is one of that number.
pub fn number_of(address: &Address) -> Option<usize> {
    let octets = address.as_str().strip_prefix("10.")?.strip_suffix(":7450")?;
    octets.split('.').try_fold(0, |number, octet| Some(number << 8 | usize::from(octet.parse::<u8>().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_machine() {
        for number in [0, 1, 255, 256, 9_999, 70_000] {
            assert_eq!(number_of(&address_of(number)), Some(number));
        }
        assert_eq!(number_of(&Address::new("elsewhere:7450")), None);
    }

    #[test]
    fn a_machine_reads_its_own_clocks() {
        let mut machine = Machine::new(1, 3, Vec::new(), None);
        machine.wall_ahead_ms = -5;
        let now = machine.now(2_000_000);
        assert_eq!(now.wall.as_unix_ms(), WALL_START_MS + 1_995);
        assert_eq!(machine.at(now.time), 2_000_000);
    }
}
