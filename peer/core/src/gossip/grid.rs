//! Rows of the grid: how many there are, who is in which, and which links they ask for (docs/design.md § 3.1, 3.2).
//!
//! Row = H(peer id) mod R, R a power of two near the square root of the number of peers, as in Kelips'
//! affinity groups. Pure arithmetic over ids.

use crate::types::{PeerId, TxId, bounds::ROWS_MAX};

/// From this many peers on there is a grid (docs/design.md § 3.1); below, everyone is sent everything.
const GRID_PEERS_MIN: usize = 24;
/// Below this many a grid that stands is given up: a few leaving peers do not switch to and fro. Guess.
const GRID_PEERS_KEEP: usize = 20;
/// Rows change when the number of peers is this many percent beyond the middle between two counts. Guess.
const HYSTERESIS_PERCENT: usize = 15;
/// Standing links into every other row, counted from both ends (docs/design.md § 3.2).
pub(crate) const LINKS_PER_ROW: usize = 2;

/// The row count for this many peers (oneself included), given the count that stands.
pub(crate) fn rows(peers: usize, standing: u32) -> u32 {
    let peers_min = if standing > 1 { GRID_PEERS_KEEP } else { GRID_PEERS_MIN };
    if peers < peers_min {
        return 1;
    }
    // Between R and 2R rows the middle, on the scale of ratios, is 2R² peers.
    let mut rows = if standing > 1 { standing } else { 4 };
    while rows < ROWS_MAX && peers * 100 > 2 * (rows as usize).pow(2) * (100 + HYSTERESIS_PERCENT) {
        rows *= 2;
    }
    while rows > 4 && peers * (100 + HYSTERESIS_PERCENT) < 2 * (rows as usize / 2).pow(2) * 100 {
        rows /= 2;
    }
    rows
}

/// The row of a peer; `rows` is a power of two.
pub fn row(peer: &PeerId, rows: u32) -> u32 {
    (peer.prefix() & u64::from(rows.max(1) - 1)) as u32
}

/// Standing links of a peer in a grid of this size, on average: its row, and its own and others' into other rows.
pub(crate) fn links_expected(peers: usize, rows: u32) -> usize {
    let rows = rows.max(1) as usize;
    peers / rows + 2 * LINKS_PER_ROW * (rows - 1) * 3 / 4
}

/// A transaction's rank of a candidate in its row: the smallest is the head. Depends on both ids alone, so
/// that everyone can tell afterwards whom the origin must have chosen.
pub fn rank(tx: &TxId, peer: &PeerId) -> u64 {
    mix(tx.prefix() ^ peer.prefix().rotate_left(32))
}

/// How many heads a transaction has in a row, where it shall have `mean` on average over rows. Depends on ids alone, so that
/// everyone can tell afterwards.
pub(crate) fn heads(tx: &TxId, row: u32, mean: f64) -> usize {
    // 53 bits fill a double's mantissa.
    let lot = (mix(tx.prefix() ^ u64::from(row).rotate_left(48)) >> 11) as f64 / (1_u64 << 53) as f64;
    mean.floor() as usize + usize::from(lot < mean.fract())
}

/// A peer's own order of the candidates of a row: spreads links evenly.
pub(crate) fn preference(me: &PeerId, other: &PeerId) -> u64 {
    mix(me.prefix() ^ other.prefix().rotate_left(17))
}

/// Finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Picks whom to dial from candidates that it is shown one after the other: all of the own row, and of each other row as
/// many as are missing there. Below the grid: all.
#[derive(Debug)]
pub(crate) struct Picker {
    me: PeerId,
    rows: u32,
    own: u32,
    mates: Vec<PeerId>,
    /// By row: links that stand or are being made.
    linked: Vec<usize>,
    /// By row: the preferred candidates, the best first.
    best: Vec<[Option<(u64, PeerId)>; LINKS_PER_ROW]>,
}

impl Picker {
    pub(crate) fn new(me: PeerId, rows: u32) -> Self {
        let rows = rows.max(1);
        let own = row(&me, rows);
        let (linked, best) = (vec![0; rows as usize], vec![[None; LINKS_PER_ROW]; rows as usize]);
        Self { me, rows, own, mates: Vec::new(), linked, best }
    }

    /// A peer that is linked or being dialled.
    pub(crate) fn linked(&mut self, peer: &PeerId) {
        self.linked[row(peer, self.rows) as usize] += 1;
    }

    /// A peer that may be dialled.
    pub(crate) fn candidate(&mut self, peer: &PeerId) {
        let row = row(peer, self.rows);
        if row == self.own {
            self.mates.push(*peer);
            return;
        }
        let mut new = Some((preference(&self.me, peer), *peer));
        for slot in &mut self.best[row as usize] {
            if slot.is_none() || new.is_some_and(|new| slot.is_some_and(|old| new < old)) {
                std::mem::swap(slot, &mut new);
            }
        }
    }

    /// Whether nobody is to be dialled.
    pub(crate) fn is_content(&self) -> bool {
        self.mates.is_empty() && self.missing().next().is_none()
    }

    /// Whom to dial, the best first: the own row, then the others.
    pub(crate) fn wanted(mut self) -> Vec<PeerId> {
        if self.rows > 1 {
            self.mates.sort_by_cached_key(|peer| preference(&self.me, peer));
        }
        let mut others: Vec<(u64, PeerId)> = self.missing().collect();
        others.sort_unstable();
        self.mates.extend(others.into_iter().map(|(_, peer)| peer));
        self.mates
    }

    fn missing(&self) -> impl Iterator<Item = (u64, PeerId)> {
        let rows = self.best.iter().zip(&self.linked);
        rows.flat_map(|(best, linked)| {
            best.iter().flatten().take(LINKS_PER_ROW.saturating_sub(*linked)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_near_the_square_root_and_change_late() {
        let table = [
            (1, 1, 1),
            (23, 1, 1),
            (24, 1, 4),
            (23, 4, 4),
            (19, 4, 1),
            (36, 4, 4),
            (37, 4, 8),
            (33, 8, 8),
            (27, 8, 4),
            (100, 1, 8),
            (1000, 1, 32),
            (10_000, 1, 128),
            (16_384, 128, 128),
        ];
        for (peers, standing, expected) in table {
            assert_eq!(rows(peers, standing), expected, "{peers} peers, {standing} rows");
        }
    }

    #[test]
    fn rows_share_heads_out_as_the_mean_says() {
        for mean in [1.0, 1.25, 2.4, 3.0] {
            let all = (0..4000_u64).map(|number| {
                let tx = TxId::of_header(&(number / 32).to_le_bytes());
                heads(&tx, (number % 32) as u32, mean)
            });
            let (sum, least, most) = all.fold((0, usize::MAX, 0), |(sum, least, most), heads| {
                (sum + heads, heads.min(least), heads.max(most))
            });
            assert!((sum as f64 / 4000.0 - mean).abs() < 0.03, "{mean}: {sum}");
            assert_eq!((least, most), (mean.floor() as usize, mean.ceil() as usize), "{mean}");
        }
    }

    #[test]
    fn a_grid_asks_for_its_own_row_and_two_of_every_other() {
        let peers: Vec<PeerId> = (0..200).map(|number: u32| PeerId::of_uri(&number.to_string())).collect();
        let (me, others) = peers.split_first().expect("there are peers");
        let pick = |linked: &[PeerId], candidates: &[PeerId]| {
            let mut picker = Picker::new(*me, 8);
            for peer in linked {
                picker.linked(peer);
            }
            for peer in candidates {
                picker.candidate(peer);
            }
            let content = picker.is_content();
            let wanted = picker.wanted();
            assert_eq!(content, wanted.is_empty());
            wanted
        };
        let wanted = pick(&[], others);
        for at in 0..8 {
            let there = |list: &[PeerId]| list.iter().filter(|peer| row(peer, 8) == at).count();
            let expected = if at == row(me, 8) { there(others) } else { LINKS_PER_ROW };
            assert_eq!(there(&wanted), expected, "row {at}");
        }
        let rest: Vec<PeerId> = others.iter().filter(|peer| !wanted.contains(peer)).copied().collect();
        assert_eq!(pick(&wanted, &rest), []);
        // One link is missing: the row's best that is not linked, whatever the order they are shown in.
        let (lost, kept) = wanted.split_last().expect("it asks for links");
        let mut shown = [rest.as_slice(), &[*lost]].concat();
        assert_eq!(pick(kept, &shown), [*lost]);
        shown.reverse();
        assert_eq!(pick(kept, &shown), [*lost]);
    }
}
