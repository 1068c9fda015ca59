//! Word of members that were not there: whoever hears it tries for itself.
//!
//! As SWIM tells of members that it suspects (Das, Gupta, Motivala, DSN 2002), but nobody is believed: the word only makes a peer
//! dial whom it has no link to, and it is passed on by those alone who found nobody there themselves. So a liar reaches those that
//! it is linked with, and costs each a dial.

use std::time::Duration;

use rand::Rng;

use super::members::DIAL_PAUSE;
use super::{Peer, Timer};
use crate::membership::failure::MISSED_SHARE;
use crate::message::Missing;
use crate::types::{Now, PeerId};

/// Those who hear of a member at the same time dial it within this. Guess.
const SPREAD: Duration = Duration::from_millis(500);

impl Peer {
    /// A dial found nobody at this member's address, for the first time since it had a link.
    pub(super) fn pass_on_missed(&mut self, peer: &PeerId, now: Now) {
        // Without any link it is this peer that is cut off.
        if self.links.linked() == 0 {
            return;
        }
        let Some(member) = self.roster.get(peer) else { return };
        let record = &member.record.record;
        let missing = Missing { peer: *peer, incarnation: record.incarnation, sequence: record.sequence };
        let due = self.exchange.add_missed(missing, now.time);
        self.set_opt(Timer::News, due);
    }

    pub(super) fn missed(&mut self, peers: &[Missing], now: Now) {
        for missing in peers {
            let Some(member) = self.roster.get(&missing.peer) else { continue };
            let known = (member.record.record.incarnation, member.record.record.sequence);
            if !member.is_reachable || known > (missing.incarnation, missing.sequence) {
                continue;
            }
            let is_linked = self.links.is_linked(&missing.peer);
            let spread = Duration::from_micros(self.rng.random_range(0..=SPREAD.as_micros() as u64));
            let again_after = self.config.forget_after;
            let at = (now.time, now.time + spread);
            if self.contacts.missed(missing.peer, is_linked, at, again_after) {
                self.dial_list = None;
                self.set(Timer::Dial, now.time + DIAL_PAUSE + spread);
                self.set(Timer::Forget, now.time + self.config.forget_after / MISSED_SHARE);
            }
        }
    }
}
