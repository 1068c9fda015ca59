//! Lazy repair, telling side: short salted ids of what became durable here, batched, to links in other rows (docs/design.md § 3.4).
//!
//! The salt changes with time and network, so that a peer computes each short id once, and nobody can
//! prepare an id whose short form equals another's: that takes 2^64 tries within one epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::types::bounds::SHORT_IDS_PER_FRAME_MAX;
use crate::types::{LinkId, Time, WallTime};

/// How long one salt is used. Guess.
const EPOCH_MS: u64 = 10 * 60 * 1000;
/// An announcement waits this long for company in its frame. Guess, well below a WAN's delay.
const BATCH: Duration = Duration::from_millis(5);
/// Older transactions, come by reconciliation, are not announced: the others may have forgotten that they hold them.
const AGE_MS_MAX: u64 = 60 * 1000;

/// Announcements waiting to go out.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    waiting: BTreeMap<LinkId, Vec<[u8; 8]>>,
    due: Option<Time>,
}

impl Announcements {
    /// Queues a short id for a link; beyond a frame's bound it is left to reconciliation. Returns when they go out.
    pub(crate) fn add(&mut self, link: LinkId, short: [u8; 8], now: Time) -> Time {
        let list = self.waiting.entry(link).or_default();
        if list.len() < SHORT_IDS_PER_FRAME_MAX {
            list.push(short);
        }
        *self.due.get_or_insert(now + BATCH)
    }

    /// Everything that waits, by link.
    pub(crate) fn take(&mut self) -> BTreeMap<LinkId, Vec<[u8; 8]>> {
        self.due = None;
        std::mem::take(&mut self.waiting)
    }
}

/// Links that a first receiver tells: ceil(ln N) + 2 (docs/design.md § 3.4).
pub(crate) fn links(peers: usize) -> usize {
    (peers.max(1) as f64).ln().ceil() as usize + 2
}

/// Whether a transaction is young enough to be announced.
pub(crate) fn is_young(published: WallTime, now: WallTime) -> bool {
    now.as_unix_ms().saturating_sub(published.as_unix_ms()) <= AGE_MS_MAX
}

/// The salt of the epoch around this time.
pub(crate) fn salt(network: &str, now: WallTime) -> u64 {
    salt_of_epoch(network, now.as_unix_ms() / EPOCH_MS)
}

/// Whether a salt is of the present epoch or of one beside it: clocks differ.
pub(crate) fn is_salt(network: &str, now: WallTime, salt: u64) -> bool {
    let epoch = now.as_unix_ms() / EPOCH_MS;
    (epoch.saturating_sub(1)..=epoch.saturating_add(1)).any(|epoch| salt_of_epoch(network, epoch) == salt)
}

fn salt_of_epoch(network: &str, epoch: u64) -> u64 {
    let digest = Sha256::new()
        .chain_update(b"sorcha-announce-v1")
        .chain_update(epoch.to_le_bytes())
        .chain_update(network.as_bytes())
        .finalize();
    digest.iter().take(8).fold(0, |salt, byte| salt << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_of_neighbouring_epochs_are_taken_and_no_others() {
        let at = |epochs: u64| WallTime::from_unix_ms(epochs * EPOCH_MS + 5);
        let now = salt("net", at(10));
        for (epochs, expected) in [(8, false), (9, true), (10, true), (11, true), (12, false)] {
            assert_eq!(is_salt("net", at(epochs), now), expected, "{epochs}");
        }
        assert!(!is_salt("other", at(10), now));
    }

    #[test]
    fn announcements_go_out_together_within_a_frame() {
        let mut waiting = Announcements::default();
        let due = waiting.add(LinkId(1), [1; 8], Time::ZERO);
        assert_eq!(waiting.add(LinkId(1), [2; 8], Time::from_micros(9)), due);
        for _ in 0..5000 {
            waiting.add(LinkId(2), [3; 8], Time::ZERO);
        }
        let taken = waiting.take();
        assert_eq!((taken[&LinkId(1)].len(), taken[&LinkId(2)].len()), (2, SHORT_IDS_PER_FRAME_MAX));
        assert!(waiting.take().is_empty());
    }
}
