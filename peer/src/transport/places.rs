//! How many of something each one may hold at a time: connections by peer, handshakes by source address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Taken<K> = Arc<Mutex<BTreeMap<K, usize>>>;

/// Counts by holder. Holders without a place take no memory.
#[derive(Debug)]
pub(super) struct Places<K: Ord> {
    taken: Taken<K>,
    each_max: usize,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<K: Ord> {
    holder: K,
    taken: Taken<K>,
}

impl<K: Ord + Clone> Places<K> {
    pub(super) fn new(each_max: usize) -> Self {
        Self { taken: Taken::default(), each_max }
    }

    /// A place for `holder`; `None` where it has all that one may have.
    pub(super) fn take(&self, holder: &K) -> Option<Place<K>> {
        let mut taken = lock(&self.taken);
        let held = taken.get(holder).copied().unwrap_or_default();
        if held >= self.each_max {
            return None;
        }
        taken.insert(holder.clone(), held + 1);
        Some(Place { holder: holder.clone(), taken: Arc::clone(&self.taken) })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(held) = taken.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

/// Counting cannot break half way.
fn lock<K: Ord>(taken: &Mutex<BTreeMap<K, usize>>) -> MutexGuard<'_, BTreeMap<K, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one source may easily have many addresses of: an IPv4 address, or 64 bits of an IPv6 address (RFC 6177).
/// `None` for this machine, where a crowd of peers may start at once.
pub(super) fn source(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    if address.is_loopback() {
        return None;
    }
    Some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_more_than_allowed_and_places_come_back() {
        let places = Places::new(2);
        let (first, second) = (places.take(&"one"), places.take(&"one"));
        assert!(first.is_some() && second.is_some() && places.take(&"one").is_none());
        let other = places.take(&"two");
        assert!(other.is_some());
        drop(first);
        assert!(places.take(&"one").is_some());
        drop((second, other));
        assert!(lock(&places.taken).is_empty());
    }

    #[test]
    fn a_source_is_a_host_or_a_site() {
        let of = |text: &str| source(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(of("192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::"));
        assert_eq!((of("127.0.0.1"), of("::1")), (None, None));
    }
}
