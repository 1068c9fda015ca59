//! To whom a transaction goes: from the origin to a head in every row, from a head to its row (docs/design.md § 3.3).
//!
//! Knows ids, rows and links; no transaction is kept here.

use super::grid;
use crate::types::{LinkId, PeerId, TxId};

/// Peers that a newcomer hands its transactions to, beside its own pushes. Guess: one may be down.
const HAND_OFFS: usize = 2;

/// Heads in each row that a sender with fewer rows did not see: they are a hop later than others, and one of two comes
/// sooner than one (simulated, 1,000 peers of differing views at 60 ms).
const SIBLING_HEADS: f64 = 2.0;

/// One standing link, as the push sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbour {
    pub(crate) peer: PeerId,
    pub(crate) link: LinkId,
    /// Row count that it last named.
    pub(crate) rows: u32,
    /// It has said something lately.
    pub(crate) live: bool,
    /// Others can dial it: its row is linked to it.
    pub(crate) reachable: bool,
}

/// One push to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) link: LinkId,
    pub(crate) head: bool,
    /// Row count to be named in the frame.
    pub(crate) rows: u32,
}

/// Who sends a transaction first, and by what it chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) me: &'a PeerId,
    /// Others can dial it, so its whole row is linked to it.
    pub(crate) reachable: bool,
    pub(crate) rows: u32,
    /// Heads in each row, on average over rows.
    pub(crate) heads: f64,
}

/// Hop 1: the own row, so many `heads` in every other row, and a hand-off where the own view is not complete. Who
/// cannot be dialled is linked to the reachable part of its row alone, and gives it heads like any other row.
pub(crate) fn from_origin(origin: &Origin<'_>, tx: &TxId, neighbours: &[Neighbour]) -> Vec<Target> {
    let Origin { me, reachable, rows, heads } = *origin;
    let own = if reachable { Row::All } else { Row::Heads };
    let mut targets = if rows <= 1 {
        let helpers = if reachable { 0 } else { heads.ceil() as usize };
        to_all(tx, neighbours, helpers)
    } else {
        let mine = grid::row(me, rows);
        to_rows(rows, heads, tx, neighbours, |row| if row == mine { own } else { Row::Heads })
    };
    if is_newcomer(rows, neighbours) {
        hand_off(neighbours, &mut targets);
    }
    targets
}

/// Below the grid: everyone; so many `helpers` pass it on to those that only they are linked to.
fn to_all(tx: &TxId, neighbours: &[Neighbour], helpers: usize) -> Vec<Target> {
    let mut ranked: Vec<&Neighbour> = neighbours.iter().collect();
    if helpers > 0 {
        ranked.sort_by_key(|to| (!to.live, !to.reachable, grid::rank(tx, &to.peer)));
    }
    let target = |(at, to): (usize, &&Neighbour)| Target { link: to.link, head: at < helpers, rows: 1 };
    ranked.iter().enumerate().map(target).collect()
}

/// Hop 2, at a head: the own row, and heads of the sibling rows that a sender with fewer rows did not see.
/// `holders` have it already; who is not live gets it by announcements, should it live after all.
pub(crate) fn from_head(
    me: &PeerId,
    rows: u32,
    frame_rows: u32,
    tx: &TxId,
    neighbours: &[Neighbour],
    holders: &[PeerId],
) -> Vec<Target> {
    let open = |to: &&Neighbour| to.live && !holders.contains(&to.peer);
    let open: Vec<Neighbour> = neighbours.iter().filter(open).copied().collect();
    if rows >= frame_rows {
        if rows <= 1 {
            // The sender cannot be dialled, so it is not linked to others that cannot.
            let hidden = open.iter().filter(|to| !to.reachable);
            return hidden.map(|to| Target { link: to.link, head: false, rows }).collect();
        }
        let own = grid::row(me, rows);
        return to_rows(rows, SIBLING_HEADS, tx, &open, |row| {
            if row == own {
                Row::All
            } else if row % frame_rows == own % frame_rows {
                Row::Heads
            } else {
                Row::None
            }
        });
    }
    // The sender's rows are finer: only its row was given to this head.
    let own = grid::row(me, frame_rows);
    let mine = open.iter().filter(|to| grid::row(&to.peer, frame_rows) == own);
    mine.map(|to| Target { link: to.link, head: false, rows: frame_rows }).collect()
}

/// Who of a row is sent a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    All,
    Heads,
    None,
}

fn to_rows(
    rows: u32,
    heads: f64,
    tx: &TxId,
    neighbours: &[Neighbour],
    serves: impl Fn(u32) -> Row,
) -> Vec<Target> {
    let mut candidates: Vec<(u32, bool, bool, u64, LinkId)> = Vec::with_capacity(neighbours.len());
    let mut targets = Vec::new();
    for to in neighbours {
        let row = grid::row(&to.peer, rows);
        match serves(row) {
            Row::All => targets.push(Target { link: to.link, head: false, rows }),
            Row::Heads => {
                candidates.push((row, !to.live, !to.reachable, grid::rank(tx, &to.peer), to.link));
            }
            Row::None => {}
        }
    }
    candidates.sort_unstable();
    for row in candidates.chunk_by(|one, other| one.0 == other.0) {
        let best = row.iter().take(grid::heads(tx, row[0].0, heads));
        targets.extend(best.map(|(.., link)| Target { link: *link, head: true, rows }));
    }
    targets
}

/// Most neighbours see four times as many rows or more (twice as many is what views that differ a little make of it,
/// and heads delegate), or a quarter of the rows has no link yet.
fn is_newcomer(rows: u32, neighbours: &[Neighbour]) -> bool {
    let larger = neighbours.iter().filter(|to| to.rows / 4 >= rows).count();
    if larger * 2 > neighbours.len() {
        return true;
    }
    let mut reached: Vec<u32> = neighbours.iter().map(|to| grid::row(&to.peer, rows)).collect();
    reached.sort_unstable();
    reached.dedup();
    rows > 1 && reached.len() * 4 < rows as usize * 3
}

/// A push that names one row and makes its receiver a head is delegated by it to every row that it knows.
fn hand_off(neighbours: &[Neighbour], targets: &mut Vec<Target>) {
    let mut established: Vec<&Neighbour> = neighbours.iter().filter(|to| to.rows > 1).collect();
    established.sort_by_key(|to| (!to.live, std::cmp::Reverse(to.rows), to.link));
    for to in established.into_iter().take(HAND_OFFS) {
        targets.retain(|target| target.link != to.link);
        targets.push(Target { link: to.link, head: true, rows: 1 });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn peers(count: u64) -> Vec<PeerId> {
        (0..count).map(|number| PeerId::of_uri(&number.to_string())).collect()
    }

    fn origin(me: &PeerId, rows: u32, heads: u32) -> Origin<'_> {
        Origin { me, reachable: true, rows, heads: f64::from(heads) }
    }

    /// Everyone linked to everyone; links are numbered as peers.
    fn neighbours(peers: &[PeerId], me: usize, rows: u32) -> Vec<Neighbour> {
        let link = |at: usize| LinkId(at as u64);
        let all = peers.iter().enumerate().filter(|(at, _)| *at != me);
        all.map(|(at, peer)| Neighbour { peer: *peer, link: link(at), rows, live: true, reachable: true })
            .collect()
    }

    /// Passes a transaction through two hops and counts what every peer gets.
    fn spread(rows_of: impl Fn(usize) -> u32, count: u64, tx: &TxId) -> Vec<u32> {
        let peers = peers(count);
        let mut copies = vec![0; peers.len()];
        let mut queue: Vec<(usize, usize, Target)> = Vec::new();
        let origin = from_origin(&origin(&peers[0], rows_of(0), 1), tx, &neighbours(&peers, 0, rows_of(0)));
        queue.extend(origin.into_iter().map(|target| (0, target.link.0 as usize, target)));
        while let Some((from, at, target)) = queue.pop() {
            copies[at] += 1;
            if target.head && copies[at] == 1 {
                let rows = rows_of(at);
                let holders = [peers[0], peers[from]];
                let next =
                    from_head(&peers[at], rows, target.rows, tx, &neighbours(&peers, at, rows), &holders);
                queue.extend(next.into_iter().map(|target| (at, target.link.0 as usize, target)));
            }
        }
        copies
    }

    #[test]
    fn everyone_gets_it_exactly_once() {
        for (count, rows) in [(5, 1), (23, 1), (100, 8), (1000, 32)] {
            let copies = spread(|_| rows, count, &TxId::from_bytes([7; 32]));
            assert_eq!(copies[0], 0, "not the origin");
            assert!(copies[1..].iter().all(|copies| *copies == 1), "{count} peers: {copies:?}");
        }
    }

    #[test]
    fn everyone_gets_it_though_views_differ() {
        for pattern in [[8, 16], [16, 8]] {
            let copies = spread(|at| pattern[usize::from(at % 3 == 1)], 300, &TxId::from_bytes([9; 32]));
            assert!(copies[1..].iter().all(|copies| *copies >= 1), "{pattern:?}: {copies:?}");
            assert!(copies.iter().sum::<u32>() < 2 * 300);
        }
    }

    #[test]
    fn a_newcomer_hands_off() {
        let peers = peers(100);
        let known: Vec<Neighbour> = neighbours(&peers, 0, 8).into_iter().take(3).collect();
        let targets = from_origin(&origin(&peers[0], 1, 1), &TxId::from_bytes([3; 32]), &known);
        assert_eq!(targets.iter().filter(|target| target.head && target.rows == 1).count(), HAND_OFFS);
        let reached: BTreeSet<LinkId> = targets.iter().map(|target| target.link).collect();
        assert_eq!(reached.len(), 3);
    }

    #[test]
    fn views_that_differ_by_one_doubling_make_no_newcomer() {
        let peers = peers(100);
        for (others, newcomer) in [(8, false), (16, false), (32, true)] {
            let all = neighbours(&peers, 0, others);
            let targets = from_origin(&origin(&peers[0], 8, 1), &TxId::from_bytes([3; 32]), &all);
            assert_eq!(targets.iter().any(|target| target.rows == 1), newcomer, "{others}");
        }
    }

    #[test]
    fn who_cannot_be_dialled_gives_its_own_row_a_head() {
        let peers = peers(200);
        let mut all = neighbours(&peers, 0, 8);
        let own = grid::row(&peers[0], 8);
        all.retain(|to| !to.link.0.is_multiple_of(2));
        for reachable in [true, false] {
            let from = Origin { reachable, ..origin(&peers[0], 8, 2) };
            let targets = from_origin(&from, &TxId::from_bytes([5; 32]), &all);
            let mates =
                targets.iter().filter(|target| grid::row(&peers[target.link.0 as usize], 8) == own).count();
            let heads = targets.iter().filter(|target| target.head).count();
            if reachable {
                assert!(mates > 2 && heads == 14, "{mates} mates, {heads} heads");
            } else {
                assert_eq!((mates, heads), (2, 16));
            }
        }
    }

    #[test]
    fn below_the_grid_a_helper_serves_those_that_cannot_be_dialled() {
        let peers = peers(10);
        let mut all = neighbours(&peers, 0, 1);
        for to in all.iter_mut().filter(|to| to.link.0 >= 6) {
            to.reachable = false;
        }
        let tx = TxId::from_bytes([5; 32]);
        let from = Origin { reachable: false, ..origin(&peers[0], 1, 1) };
        let targets = from_origin(&from, &tx, &all[..5]);
        assert_eq!((targets.len(), targets.iter().filter(|target| target.head).count()), (5, 1));
        let passed = from_head(&peers[1], 1, 1, &tx, &all, &[peers[0]]);
        let passed: Vec<u64> = passed.iter().map(|target| target.link.0).collect();
        assert_eq!(passed, [6, 7, 8, 9]);
    }

    #[test]
    fn heads_differ_from_transaction_to_transaction() {
        let peers = peers(100);
        let all = neighbours(&peers, 0, 8);
        let heads = |byte| -> BTreeSet<LinkId> {
            let targets = from_origin(&origin(&peers[0], 8, 1), &TxId::from_bytes([byte; 32]), &all);
            targets.iter().filter(|target| target.head).map(|target| target.link).collect()
        };
        assert_eq!(heads(1), heads(1));
        assert_ne!(heads(1), heads(2));
    }

    #[test]
    fn each_row_gets_as_many_heads_as_asked_for_reachable_ones_first() {
        let peers = peers(200);
        let mut all = neighbours(&peers, 0, 8);
        for to in all.iter_mut().filter(|to| to.link.0.is_multiple_of(3)) {
            to.reachable = false;
        }
        let own = grid::row(&peers[0], 8);
        for heads in 1..=3 {
            let targets = from_origin(&origin(&peers[0], 8, heads), &TxId::from_bytes([5; 32]), &all);
            for row in (0..8).filter(|row| *row != own) {
                let there = targets
                    .iter()
                    .filter(|target| target.head && grid::row(&peers[target.link.0 as usize], 8) == row);
                let links: Vec<u64> = there.map(|target| target.link.0).collect();
                assert_eq!(links.len(), heads as usize, "row {row}");
                assert!(links.iter().all(|link| !link.is_multiple_of(3)), "row {row}: {links:?}");
            }
        }
    }
}
