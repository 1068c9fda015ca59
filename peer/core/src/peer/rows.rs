//! The row count: what the number of members asks for, and what transactions travel by until the links for it stand.
//!
//! Links are wanted for the new count at once and those of the old one are kept, so that both sets stand while the
//! count changes (docs/design.md § 3.2); frames go on naming the old count until the new links carry them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::links::HIGHER_ID_WAIT;
use super::{Peer, Timer};
use crate::event::Event;
use crate::gossip::grid::{self, Picker};
use crate::types::{Now, PeerId, Time};

/// Transactions travel by the new row count at the latest after this time: some members may not be reached at all. Guess:
/// a few tries to dial.
const CHANGE_MAX: Duration = Duration::from_secs(30);
/// Percent of the links for a row count that have to stand before transactions travel by it. Guess: what is missing
/// then is left to announcements.
const LINKED_PERCENT_MIN: usize = 90;

/// How a member stands.
enum Reach {
    /// It has a link or is being dialled.
    Linked,
    /// It has one that the grid did not ask for, which stays only while the grid lacks others.
    Visited,
    /// It may be dialled from this time on; `in_doubt`: nobody knows whether it lives.
    Next { at: Time, in_doubt: bool },
}

/// What the grid wants.
pub(super) struct ToDial {
    /// Whom to dial now, best last.
    pub(super) list: Vec<PeerId>,
    /// When to look again, where somebody waits for the next attempt.
    pub(super) again: Option<Time>,
    /// Whether a link is wanted at all, now or later.
    pub(super) is_missing: bool,
}

impl Peer {
    /// The number of members has changed, or may have.
    pub(super) fn update_rows(&mut self, now: Now) {
        let to = self.config.rows.unwrap_or_else(|| grid::rows(self.network_size(), self.rows));
        let from = self.rows;
        if from != to {
            self.rows = to;
            self.rows_since = now.time;
            self.event(Event::RowsChanged { from, to });
            self.dial_list = None;
            self.set(Timer::Dial, now.time + CHANGE_MAX);
        }
    }

    /// Lets transactions travel by the row count that stands, once its links do.
    pub(super) fn settle_rows(&mut self, now: Now) {
        if self.pushing_rows != self.rows
            && (now.time.since(self.rows_since) >= CHANGE_MAX || self.is_linked_for(self.rows))
        {
            self.pushing_rows = self.rows;
        }
    }

    /// Whether nearly the whole own row and nearly all other rows with reachable members have a link.
    fn is_linked_for(&self, rows: u32) -> bool {
        let own = grid::row(&self.me, rows);
        // By row: has a member that can be dialled, has a link.
        let mut others = vec![(false, false); rows as usize];
        let (mut mates, mut linked_mates) = (0, 0);
        for (peer, _) in self.roster.iter().filter(|(_, member)| member.is_reachable) {
            let (row, linked) = (grid::row(peer, rows), self.links.is_linked(peer));
            if row == own {
                mates += 1;
                linked_mates += usize::from(linked);
            } else {
                let slot = &mut others[row as usize];
                *slot = (true, slot.1 || linked);
            }
        }
        let rows_there = others.iter().filter(|(there, _)| *there).count();
        let rows_linked = others.iter().filter(|(_, linked)| *linked).count();
        linked_mates * 100 >= mates * LINKED_PERCENT_MIN
            && rows_linked * 100 >= rows_there * LINKED_PERCENT_MIN
    }

    /// Whether the grid wants a link to a member that may be dialled at all, and has none.
    pub(super) fn misses_links(&self) -> bool {
        let mut picker = Picker::new(self.me, self.rows);
        self.survey(&self.links.reached(), |peer, standing| match standing {
            Reach::Linked => picker.linked(peer),
            Reach::Visited => {}
            Reach::Next { .. } => picker.candidate(peer),
        });
        !picker.is_content()
    }

    /// Whom to dial now. `reached`: peers with a link that stands or is about to say hello.
    pub(super) fn to_dial(&self, reached: &[PeerId], now: Now) -> ToDial {
        // Both sides of a network that starts as a whole would dial; nobody dials one without an address.
        let higher = self.began + HIGHER_ID_WAIT;
        let waits = higher > now.time && !self.config.advertise.is_empty();
        // Where the best candidates wait for their next attempt, the grid takes others that may be dialled now.
        let (mut ready, mut all) = (Picker::new(self.me, self.rows), Picker::new(self.me, self.rows));
        let (mut waiting, mut doubts) = (BTreeMap::new(), Vec::new());
        self.survey(reached, |peer, standing| match standing {
            Reach::Linked => {
                ready.linked(peer);
                all.linked(peer);
            }
            Reach::Visited => {}
            Reach::Next { at, in_doubt } => {
                let at = if waits && *peer < self.me { at.max(higher) } else { at };
                all.candidate(peer);
                if in_doubt {
                    doubts.push((*peer, at));
                }
                if at <= now.time {
                    ready.candidate(peer);
                } else {
                    waiting.insert(*peer, at);
                }
            }
        });
        let is_missing = !all.is_content();
        let mut list = ready.wanted();
        list.reverse();
        // Of the others those of whom is not known whether they live come last.
        let wanted: BTreeSet<PeerId> = list.iter().copied().collect();
        let due = doubts.iter().filter(|(peer, at)| *at <= now.time && !wanted.contains(peer));
        list.splice(0..0, due.map(|(peer, _)| *peer));
        let again = if waiting.is_empty() {
            None
        } else {
            let doubts = doubts.iter().filter_map(|(peer, _)| waiting.get(peer));
            all.wanted().iter().filter_map(|peer| waiting.get(peer)).chain(doubts).min().copied()
        };
        ToDial { list, again, is_missing }
    }

    /// Shows all members that have a link or are being dialled, and those that say where to dial them, with the time of the
    /// next attempt. Links and contacts stand in the order of ids as the roster does, so that one walk finds them all.
    fn survey(&self, reached: &[PeerId], mut show: impl FnMut(&PeerId, Reach)) {
        let visited = self.links.visited();
        let (mut reached, mut contacts) = (reached.iter().peekable(), self.contacts.iter().peekable());
        for (peer, member) in self.roster.iter() {
            while reached.next_if(|other| *other < peer).is_some() {}
            while contacts.next_if(|(other, _)| *other < peer).is_some() {}
            let contact = contacts.peek().filter(|(other, _)| *other == peer).map(|(_, contact)| contact);
            if visited.binary_search(peer).is_ok() {
                show(peer, Reach::Visited);
            } else if reached.peek() == Some(&peer) || contact.is_some_and(|contact| contact.dialling) {
                show(peer, Reach::Linked);
            } else if member.is_reachable {
                let at = contact.map_or(Time::ZERO, |contact| contact.next());
                show(
                    peer,
                    Reach::Next { at, in_doubt: contact.is_some_and(|contact| contact.is_in_doubt()) },
                );
            }
        }
    }

    /// Links that stand, are being made, or are being dialled, by row, but for visits.
    pub(super) fn links_by_row(&self) -> Vec<usize> {
        let mut rows = vec![0; self.rows.max(1) as usize];
        let dialled = self.contacts.iter().filter(|(_, contact)| contact.dialling).map(|(peer, _)| *peer);
        let visited = self.links.visited();
        let reached = self.links.reached().into_iter().filter(|peer| visited.binary_search(peer).is_err());
        for peer in reached.chain(dialled) {
            rows[grid::row(&peer, self.rows) as usize] += 1;
        }
        rows
    }
}
