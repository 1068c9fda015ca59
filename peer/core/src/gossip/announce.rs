//! Lazy repair, telling side: short salted ids of what became durable here, batched, to links in other rows (docs/design.md § 3.4).
//!
//! The salt changes with time and network, so that a peer computes each short id once, and nobody can
//! prepare an id whose short form equals another's: that takes 2^64 tries within one epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::types::bounds::SHORT_IDS_PER_FRAME_MAX;
use crate::types::{LinkId, PeerId, Time, TxId, WallTime};
use crate::view::Size;

/// How long one salt is used. Guess.
const EPOCH_MS: u64 = 10 * 60 * 1000;
/// An announcement waits this long for company in its frame. Guess, well below a WAN's delay.
const BATCH: Duration = Duration::from_millis(5);
/// The same below the grid, while few pushes are missed: there the origin sends to everyone, and again where nobody
/// acknowledges; this repairs what an origin that died, or has no link, left out. Guess.
const BATCH_DIRECT: Duration = Duration::from_millis(25);
/// Links told below the grid while few pushes are missed: those of the next ids, so that each peer is told by two.
const DIRECT_LINKS: usize = 2;
/// Older transactions, come by reconciliation, are not announced: the others may have forgotten that they hold them.
const AGE_MS_MAX: u64 = 60 * 1000;

/// Links of one later wave (docs/design.md § 3.4).
const WAVE_LINKS: usize = 3;
/// Later waves while few pushes are missed, and while many are (docs/design.md § 3.4).
const WAVES: usize = 1;
const WAVES_LOSSY: usize = 4;
/// Transactions with waves to come; beyond it the first wave has to do. 4 s at 2,000 transactions/s.
const WAVES_MAX: usize = 8192;
/// A well-linked peer tells at most this many times as many as others do: where four of five peers are behind NAT, the fifth
/// is who tells them (simulated, 1,000 such peers with a fifth of all frames lost: 99.8 instead of 99.6 % within 3 s, 3 % more frames).
const WELL_LINKED_MAX: usize = 4;

/// Announcements waiting to go out.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    /// By link and salt.
    waiting: BTreeMap<(LinkId, u64), Vec<[u8; 8]>>,
    due: Option<Time>,
    /// Links still to be told, by the time of the next wave.
    later: BTreeMap<(Time, TxId), Vec<LinkId>>,
}

impl Announcements {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 1] {
        [Size { name: "announcements for a later wave", len: self.later.len(), max: WAVES_MAX }]
    }

    /// Queues a short id for a link; beyond a frame's bound it is left to reconciliation.
    pub(crate) fn add(&mut self, link: LinkId, salt: u64, short: [u8; 8], now: Time) {
        self.add_by(link, salt, short, now + BATCH);
    }

    /// As [`Announcements::add`], in less of a hurry.
    pub(crate) fn add_direct(&mut self, link: LinkId, salt: u64, short: [u8; 8], now: Time) {
        self.add_by(link, salt, short, now + BATCH_DIRECT);
    }

    fn add_by(&mut self, link: LinkId, salt: u64, short: [u8; 8], due: Time) {
        let list = self.waiting.entry((link, salt)).or_default();
        if list.len() < SHORT_IDS_PER_FRAME_MAX {
            list.push(short);
        }
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// These links are told in waves from then on.
    pub(crate) fn add_later(&mut self, id: TxId, links: Vec<LinkId>, at: Time) {
        if !links.is_empty() && self.later.len() < WAVES_MAX {
            self.later.insert((at, id), links);
        }
    }

    /// The next waves that are due; the ones after them follow an `interval` later.
    pub(crate) fn due_waves(&mut self, now: Time, interval: Duration) -> Vec<(TxId, Vec<LinkId>)> {
        let mut waves = Vec::new();
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let ((_, id), mut links) = entry.remove_entry();
            let rest = links.split_off(links.len().min(WAVE_LINKS));
            self.add_later(id, rest, now + interval.max(BATCH));
            waves.push((id, links));
        }
        waves
    }

    /// Everything that waits, by link and salt.
    pub(crate) fn take(&mut self) -> BTreeMap<(LinkId, u64), Vec<[u8; 8]>> {
        self.due = None;
        std::mem::take(&mut self.waiting)
    }

    /// When something goes out next.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.into_iter().chain(self.later.first_key_value().map(|((at, _), _)| *at)).min()
    }
}

/// Of the links that may be told below the grid, those that are: the ones whose ids come next after the own one.
pub(crate) fn direct<'a>(me: &PeerId, pool: impl Iterator<Item = (&'a PeerId, LinkId)>) -> Vec<LinkId> {
    let mut pool: Vec<(u64, LinkId)> =
        pool.map(|(peer, link)| (peer.prefix().wrapping_sub(me.prefix()), link)).collect();
    pool.sort_unstable();
    pool.into_iter().take(DIRECT_LINKS).map(|(_, link)| link).collect()
}

/// Links that are told in later waves, together.
pub(crate) fn later_links(lossy: bool) -> usize {
    WAVE_LINKS * if lossy { WAVES_LOSSY } else { WAVES }
}

/// Links that a first receiver tells at once: ceil(ln N) + 2, and in proportion more where it has more links than
/// the grid asks for (docs/design.md § 3.4): such a peer is known to many who have few.
pub(crate) fn first_links(peers: usize, links: usize, links_expected: usize) -> usize {
    let base = self::links(peers);
    (base * links / links_expected.max(1)).clamp(base, base * WELL_LINKED_MAX)
}

fn links(peers: usize) -> usize {
    (peers.max(1) as f64).ln().ceil() as usize + 2
}

/// Whether a transaction is young enough to be announced.
pub(crate) fn is_young(published: WallTime, now: WallTime) -> bool {
    now.as_unix_ms().saturating_sub(published.as_unix_ms()) <= AGE_MS_MAX
}

/// The salt of the epoch around this time.
pub fn salt(network: &str, now: WallTime) -> u64 {
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
        waiting.add(LinkId(1), 7, [1; 8], Time::ZERO);
        waiting.add(LinkId(1), 7, [2; 8], Time::from_micros(9));
        assert_eq!(waiting.next(), Some(Time::ZERO + BATCH));
        for _ in 0..5000 {
            waiting.add(LinkId(2), 7, [3; 8], Time::ZERO);
        }
        waiting.add(LinkId(2), 8, [3; 8], Time::ZERO);
        let lengths: Vec<usize> = waiting.take().values().map(Vec::len).collect();
        assert_eq!(lengths, [2, SHORT_IDS_PER_FRAME_MAX, 1], "one frame for each link and salt");
        assert_eq!((waiting.take().len(), waiting.next()), (0, None));
    }

    #[test]
    fn later_waves_tell_three_links_each() {
        let mut announcements = Announcements::default();
        let (id, wave) = (TxId::from_bytes([1; 32]), Duration::from_millis(90));
        let links: Vec<LinkId> = (0..7).map(LinkId).collect();
        announcements.add_later(id, links.clone(), Time::ZERO + wave);
        assert!(announcements.due_waves(Time::ZERO, wave).is_empty());
        let mut told = Vec::new();
        while let Some(at) = announcements.next() {
            for (_, links) in announcements.due_waves(at, wave) {
                assert!(links.len() <= WAVE_LINKS);
                told.push((at, links));
            }
        }
        assert_eq!(told.iter().flat_map(|(_, links)| links.clone()).collect::<Vec<_>>(), links);
        assert_eq!(told.last().map(|(at, _)| *at), Some(Time::ZERO + wave * 3));
        for number in 0..2 * WAVES_MAX as u64 {
            announcements.add_later(TxId::of_header(&number.to_le_bytes()), vec![LinkId(1)], Time::ZERO);
        }
        assert_eq!(announcements.later.len(), WAVES_MAX);
    }

    #[test]
    fn below_the_grid_each_peer_is_told_by_two_others() {
        let peers: Vec<PeerId> = (0..7).map(|number| PeerId::of_uri(&format!("peer {number}"))).collect();
        let mut told = BTreeMap::new();
        for me in &peers {
            let others = peers.iter().enumerate().filter(|(_, peer)| *peer != me);
            for link in direct(me, others.map(|(number, peer)| (peer, LinkId(number as u64)))) {
                *told.entry(link).or_insert(0) += 1;
            }
        }
        assert_eq!(told, (0..7).map(|number| (LinkId(number), 2)).collect());
        let mut waiting = Announcements::default();
        waiting.add_direct(LinkId(1), 7, [1; 8], Time::ZERO);
        assert_eq!(waiting.next(), Some(Time::ZERO + BATCH_DIRECT));
        waiting.add(LinkId(1), 7, [2; 8], Time::ZERO);
        assert_eq!(waiting.next(), Some(Time::ZERO + BATCH), "the one in a hurry takes the others along");
    }

    #[test]
    fn well_linked_peers_tell_more() {
        for (links, expected) in [(10, 9), (100, 9), (150, 13), (300, 27), (900, 36)] {
            assert_eq!(first_links(1000, links, 100), expected, "{links} links");
        }
    }
}
