//! The configured addresses: ways into the network, dialled until somebody is linked there, and again whenever nobody known is
//! there any more. Links that the grid asks for are none of theirs: thousands begin with the same few.

use rand_chacha::ChaCha8Rng;

use crate::backoff::Retry;
use crate::types::{Address, PeerId, Time};
use crate::view::BootstrapView;

/// Bootstrap addresses taken from the configuration; the rest is ignored.
const ADDRESSES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nobody,
    Peer(PeerId),
    /// The own address: never dialled again.
    Myself,
}

#[derive(Debug)]
struct Seed {
    address: Address,
    found: Found,
    dialling: bool,
    retry: Retry,
    /// What the last dial ended in; empty where it came to a link.
    last_error: String,
}

/// All bootstrap addresses with what was found there.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    seeds: Vec<Seed>,
}

impl Bootstrap {
    /// Takes a new list, to begin with one that `lot` chooses: not all peers of a network begin with the same. What is known of
    /// addresses that stay is kept.
    pub(crate) fn replace(&mut self, mut addresses: Vec<Address>, lot: u64) {
        let mut old = std::mem::take(&mut self.seeds);
        addresses.truncate(ADDRESSES_MAX);
        let first = lot % addresses.len().max(1) as u64;
        addresses.rotate_left(first as usize);
        for address in addresses {
            if self.seeds.iter().any(|seed| seed.address == address) {
                continue;
            }
            let known = old.iter().position(|seed| seed.address == address).map(|at| old.swap_remove(at));
            let new = || Seed {
                address,
                found: Found::Nobody,
                dialling: false,
                retry: Retry::default(),
                last_error: String::new(),
            };
            self.seeds.push(known.unwrap_or_else(new));
        }
    }

    /// A peer says that these are its own: where nobody was met yet, it is taken to be the one there.
    pub(crate) fn claimed(&mut self, addresses: &[Address], peer: &PeerId) {
        for seed in &mut self.seeds {
            if seed.found == Found::Nobody && addresses.contains(&seed.address) {
                seed.found = Found::Peer(*peer);
            }
        }
    }

    /// Addresses to be dialled now; each counts as being dialled from here on. `settled`: no way to this peer is looked for.
    pub(crate) fn due(
        &mut self,
        now: Time,
        slots: usize,
        own: &[Address],
        settled: impl Fn(&PeerId) -> bool,
    ) -> Vec<Address> {
        let mut due = Vec::new();
        for seed in &mut self.seeds {
            if due.len() < slots && seed.is_open(own, &settled) && seed.retry.next() <= now {
                seed.dialling = true;
                due.push(seed.address.clone());
            }
        }
        due
    }

    /// When the next address is to be dialled.
    pub(crate) fn next(&self, own: &[Address], settled: impl Fn(&PeerId) -> bool) -> Option<Time> {
        self.seeds.iter().filter(|seed| seed.is_open(own, &settled)).map(|seed| seed.retry.next()).min()
    }

    /// The address answered as this peer.
    pub(crate) fn reached(&mut self, address: &Address, peer: PeerId, me: &PeerId) {
        if let Some(seed) = self.seed(address) {
            seed.dialling = false;
            seed.retry.reset();
            seed.last_error.clear();
            seed.found = if peer == *me { Found::Myself } else { Found::Peer(peer) };
        }
    }

    /// Nobody answered; returns the failures in a row.
    pub(crate) fn failed(
        &mut self,
        address: &Address,
        error: String,
        now: Time,
        rng: &mut ChaCha8Rng,
    ) -> u32 {
        self.seed(address).map_or(1, |seed| {
            seed.dialling = false;
            seed.last_error = error;
            seed.retry.failed_at_first(now, rng);
            seed.retry.failures()
        })
    }

    /// The link to whoever was found at some address is gone: not to be dialled again before `next`.
    pub(crate) fn lost(&mut self, peer: &PeerId, next: Time) {
        for seed in &mut self.seeds {
            if seed.found == Found::Peer(*peer) {
                seed.retry.hold_until(next);
            }
        }
    }

    /// The address is being dialled.
    pub(crate) fn is_dialling(&self, address: &Address) -> bool {
        self.seeds.iter().any(|seed| seed.dialling && seed.address == *address)
    }

    /// No address but the own one: nobody is expected.
    pub(crate) fn is_alone(&self, own: &[Address]) -> bool {
        self.seeds.iter().all(|seed| seed.found == Found::Myself || own.contains(&seed.address))
    }

    /// All of them.
    pub(crate) fn views(&self, me: &PeerId) -> Vec<BootstrapView> {
        let view = |seed: &Seed| BootstrapView {
            address: seed.address.clone(),
            peer: match seed.found {
                Found::Nobody => None,
                Found::Peer(peer) => Some(peer),
                Found::Myself => Some(*me),
            },
            failures: seed.retry.failures(),
            last_error: seed.last_error.clone(),
        };
        self.seeds.iter().map(view).collect()
    }

    fn seed(&mut self, address: &Address) -> Option<&mut Seed> {
        self.seeds.iter_mut().find(|seed| seed.address == *address)
    }
}

impl Seed {
    fn is_open(&self, own: &[Address], settled: impl Fn(&PeerId) -> bool) -> bool {
        let settled = match &self.found {
            Found::Nobody => false,
            Found::Peer(peer) => settled(peer),
            Found::Myself => true,
        };
        !settled && !self.dialling && !own.contains(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn an_address_is_dialled_until_somebody_is_linked_there() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (me, other) = (PeerId::of_uri("me"), PeerId::of_uri("other"));
        let mut bootstrap = Bootstrap::default();
        let addresses = ["a:1", "b:1", "self:1", "mine:1"].map(Address::new);
        bootstrap.replace(addresses.to_vec(), 4);
        let own = [Address::new("mine:1")];
        let mut now = Time::ZERO;
        assert_eq!(bootstrap.due(now, 9, &own, |_| false), addresses[..3]);
        assert!(bootstrap.due(now, 9, &own, |_| false).is_empty(), "they are being dialled");
        bootstrap.reached(&addresses[0], other, &me);
        bootstrap.failed(&addresses[1], "refused".into(), now, &mut rng);
        bootstrap.reached(&addresses[2], me, &me);
        let views = bootstrap.views(&me);
        let shown = |at: usize| (views[at].peer, views[at].failures, views[at].last_error.as_str());
        assert_eq!(
            (shown(0), shown(1), shown(2)),
            ((Some(other), 0, ""), (None, 1, "refused"), (Some(me), 0, ""))
        );
        now = bootstrap.next(&own, |_| true).expect("b is tried again");
        assert_eq!(bootstrap.due(now, 9, &own, |peer| *peer == other), addresses[1..2]);
        bootstrap.failed(&addresses[1], "refused".into(), now, &mut rng);
        assert_eq!(bootstrap.due(now, 9, &own, |_| false), addresses[..1], "its peer is linked no longer");
    }

    #[test]
    fn peers_begin_with_different_addresses_and_ask_nobody_for_whom_they_know() {
        let addresses = ["a:1", "b:1", "c:1"].map(Address::new);
        let mut bootstrap = Bootstrap::default();
        bootstrap.replace(addresses.to_vec(), 7);
        let known = PeerId::of_uri("c");
        bootstrap.claimed(&[Address::new("x:1"), addresses[2].clone()], &known);
        bootstrap.claimed(&addresses[2..], &PeerId::of_uri("liar"));
        let due = bootstrap.due(Time::ZERO, 9, &[], |peer| *peer == known);
        assert_eq!(due, [addresses[1].clone(), addresses[0].clone()]);
        assert_eq!(bootstrap.due(Time::ZERO, 9, &[], |_| false), addresses[2..]);
    }
}
