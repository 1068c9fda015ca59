//! What every rival is given: nodes, addresses, who dials whom, who sends what when.
//!
//! Everything follows from the seed, so that all rivals see the same arrivals. Knows no rival.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Port of every node, TCP or UDP; each node has an address of its own.
const PORT: u16 = 7450;
/// All addresses; they exist in the namespace of the comparison alone.
pub const NETWORK: &str = "10.77.0.0/16";

/// One comparison for one rival.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Nodes in the network.
    pub nodes: usize,
    /// Whom each node dials at first. Of two nodes one dials the other at most.
    pub dials: Vec<Vec<usize>>,
    /// Stretches of time with one payload length each; the first warms up and is not measured.
    pub phases: Vec<Phase>,
    /// Where nodes that keep something keep it.
    pub directory: PathBuf,
}

/// A stretch with one payload length.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    /// Bytes of each payload.
    pub bytes: usize,
    /// Messages a second, on average.
    pub rate: f64,
    /// From the start of the run to the start of the phase.
    pub begins: Duration,
    /// From the start of the run to its end; some rest after the last message is part of it.
    pub ends: Duration,
    /// Messages in the order of time.
    pub sends: Vec<Send>,
}

/// One message.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Send {
    /// Number of the message in the whole run; its first eight bytes.
    pub number: u64,
    /// Who sends it.
    pub node: usize,
    /// When, from the start of the run.
    pub at: Duration,
}

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Nodes.
    pub nodes: usize,
    /// Whom each node dials.
    pub dials: usize,
    /// Payload lengths and messages a second, a phase each.
    pub payloads: Vec<(usize, f64)>,
    /// Messages in each phase.
    pub messages: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Messages that warm up: bytes of each, how many, how many a second.
const WARM_UP: (usize, usize, f64) = (1024, 50, 4.0);
/// Rest after each phase: what is repaired late counts as what it costs.
const REST: Duration = Duration::from_secs(3);

impl Plan {
    /// Arrivals are a Poisson process; senders are uniform.
    pub fn new(wishes: &Wishes, directory: PathBuf) -> Self {
        let mut random = StdRng::seed_from_u64(wishes.seed);
        let mut dials: Vec<Vec<usize>> = Vec::new();
        for node in 0..wishes.nodes {
            let free = |other: &usize| {
                *other != node && !dials.get(*other).is_some_and(|dialled| dialled.contains(&node))
            };
            let others: Vec<usize> = (0..wishes.nodes).filter(free).collect();
            dials.push(others.choose_multiple(&mut random, wishes.dials).copied().collect());
        }
        let mut phases = Vec::new();
        let (mut now, mut number) = (Duration::ZERO, 0);
        let measured = wishes.payloads.iter().map(|(bytes, rate)| (*bytes, wishes.messages, *rate));
        for (bytes, messages, rate) in std::iter::once(WARM_UP).chain(measured) {
            let begins = now;
            let mut sends = Vec::new();
            for _ in 0..messages {
                now += Duration::from_secs_f64(-random.random_range(f64::EPSILON..1.0).ln() / rate);
                sends.push(Send { number, node: random.random_range(0..wishes.nodes), at: now });
                number += 1;
            }
            now += REST;
            phases.push(Phase { bytes, rate, begins, ends: now, sends });
        }
        Self { nodes: wishes.nodes, dials, phases, directory }
    }

    /// Where a node listens.
    pub fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from((address(node), PORT))
    }

    /// The key of a node, for rivals whose identity is a key.
    pub fn key(&self, node: usize) -> [u8; 32] {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(node as u64 + 1).to_le_bytes());
        key
    }
}

/// The address of a node.
pub fn address(node: usize) -> Ipv4Addr {
    let number = u16::try_from(node + 257).expect("a few thousand nodes at most");
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

/// A payload: its number, then bytes that do not compress.
pub fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0; bytes.max(8)];
    StdRng::seed_from_u64(number).fill(&mut payload[..]);
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// The number of a payload.
pub fn number_of(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_phases_do_not_overlap() {
        let wishes =
            Wishes { nodes: 50, dials: 8, payloads: vec![(256, 5.0), (4096, 2.0)], messages: 20, seed: 3 };
        let text = |wishes: &Wishes| serde_json::to_string(&Plan::new(wishes, PathBuf::new())).unwrap();
        assert_eq!(text(&wishes), text(&wishes));
        let plan = Plan::new(&wishes, PathBuf::new());
        assert_eq!(plan.phases.iter().map(|phase| phase.sends.len()).sum::<usize>(), WARM_UP.1 + 40);
        assert!(plan.phases.windows(2).all(|pair| pair[0].ends == pair[1].begins));
        assert_eq!(number_of(&payload(9, 256)), Some(9));
        assert_eq!(address(0).octets(), [10, 77, 1, 1]);
    }

    #[test]
    fn of_two_nodes_one_dials_the_other_at_most() {
        for (nodes, dials, links) in [(50, 8, 400), (9, 8, 36)] {
            let wishes = Wishes { nodes, dials, payloads: Vec::new(), messages: 0, seed: 1 };
            let plan = Plan::new(&wishes, PathBuf::new());
            let mut pairs: Vec<(usize, usize)> = (0..nodes)
                .flat_map(|node| {
                    plan.dials[node].iter().map(move |other| (node.min(*other), node.max(*other)))
                })
                .collect();
            assert!(pairs.iter().all(|(one, other)| one != other));
            pairs.sort_unstable();
            pairs.dedup();
            assert_eq!(pairs.len(), links);
        }
    }
}
