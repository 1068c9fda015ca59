//! The configured addresses: dialled until somebody is linked there, for as long as the peer lives.

use rand_chacha::ChaCha8Rng;

use crate::backoff::Retry;
use crate::types::{Address, PeerId, Time};

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
}

/// All bootstrap addresses with what was found there.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    seeds: Vec<Seed>,
}

impl Bootstrap {
    /// Takes a new list; what is known of addresses that stay is kept.
    pub(crate) fn replace(&mut self, addresses: Vec<Address>) {
        let mut old = std::mem::take(&mut self.seeds);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            if self.seeds.iter().any(|seed| seed.address == address) {
                continue;
            }
            let known = old.iter().position(|seed| seed.address == address).map(|at| old.swap_remove(at));
            let new = || Seed { address, found: Found::Nobody, dialling: false, retry: Retry::default() };
            self.seeds.push(known.unwrap_or_else(new));
        }
    }

    /// Addresses to be dialled now; each counts as being dialled from here on.
    pub(crate) fn due(
        &mut self,
        now: Time,
        slots: usize,
        own: &[Address],
        linked: impl Fn(&PeerId) -> bool,
    ) -> Vec<Address> {
        let mut due = Vec::new();
        for seed in &mut self.seeds {
            if due.len() < slots && seed.is_open(own, &linked) && seed.retry.next() <= now {
                seed.dialling = true;
                due.push(seed.address.clone());
            }
        }
        due
    }

    /// When the next address is to be dialled.
    pub(crate) fn next(&self, own: &[Address], linked: impl Fn(&PeerId) -> bool) -> Option<Time> {
        self.seeds.iter().filter(|seed| seed.is_open(own, &linked)).map(|seed| seed.retry.next()).min()
    }

    /// The address answered as this peer.
    pub(crate) fn reached(&mut self, address: &Address, peer: PeerId, me: &PeerId) {
        if let Some(seed) = self.seed(address) {
            seed.dialling = false;
            seed.retry.reset();
            seed.found = if peer == *me { Found::Myself } else { Found::Peer(peer) };
        }
    }

    /// Nobody answered; returns the failures in a row.
    pub(crate) fn failed(&mut self, address: &Address, now: Time, rng: &mut ChaCha8Rng) -> u32 {
        self.seed(address).map_or(1, |seed| {
            seed.dialling = false;
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

    fn seed(&mut self, address: &Address) -> Option<&mut Seed> {
        self.seeds.iter_mut().find(|seed| seed.address == *address)
    }
}

impl Seed {
    fn is_open(&self, own: &[Address], linked: impl Fn(&PeerId) -> bool) -> bool {
        let settled = match &self.found {
            Found::Nobody => false,
            Found::Peer(peer) => linked(peer),
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
        bootstrap.replace(addresses.to_vec());
        let own = [Address::new("mine:1")];
        let mut now = Time::ZERO;
        assert_eq!(bootstrap.due(now, 9, &own, |_| false), addresses[..3]);
        assert!(bootstrap.due(now, 9, &own, |_| false).is_empty(), "they are being dialled");
        bootstrap.reached(&addresses[0], other, &me);
        bootstrap.failed(&addresses[1], now, &mut rng);
        bootstrap.reached(&addresses[2], me, &me);
        now = bootstrap.next(&own, |_| true).expect("b is tried again");
        assert_eq!(bootstrap.due(now, 9, &own, |peer| *peer == other), addresses[1..2]);
        bootstrap.failed(&addresses[1], now, &mut rng);
        assert_eq!(bootstrap.due(now, 9, &own, |_| false), addresses[..1], "its peer is linked no longer");
    }
}
