//! Retention: when the store is asked to remove, and what it must keep.
//!
//! The store knows what is oldest; what no other peer is known to hold is known here, and stays however old it is
//! and however full the disk: a full disk refuses what is new instead.

use std::time::Duration;

use super::{Peer, Purpose, Timer};
use crate::event::{Event, Expired, Output};
use crate::types::{Now, OpId, WallTime};

/// How often the store is asked; a question that finds nothing costs it two reads. Guess: nobody who writes an age of
/// an hour minds seconds.
const EVERY: Duration = Duration::from_secs(5);
/// What is younger stays, however many bytes there are: it may be on its way into the outbox, or to a row that counts
/// on this peer. Guess: longer than anything is under way.
const YOUNGEST: Duration = Duration::from_secs(60);

fn before(wall: WallTime, age: Duration) -> WallTime {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    WallTime::from_unix_ms(wall.as_unix_ms().saturating_sub(age))
}

impl Peer {
    pub(super) fn begin_retention(&mut self, now: Now) {
        if self.config.retention_age.is_some() || self.config.retention_bytes.is_some() {
            self.set(Timer::Retention, now.time + EVERY);
        }
    }

    /// Asks the store to remove what is not kept any more.
    pub(super) fn retain(&mut self, now: Now) {
        let lowest = self.floors.lowest(self.links.standing().map(|session| session.link));
        let unproven = self.outbox.oldest(lowest).unwrap_or(now.wall);
        let op = self.op(Purpose::Expire);
        self.outputs.push_back(Output::Expire {
            op,
            before: self.config.retention_age.map_or(WallTime::default(), |age| before(now.wall, age)),
            bytes_max: self.config.retention_bytes.unwrap_or(u64::MAX),
            keep_from: unproven.min(before(now.wall, YOUNGEST)),
        });
    }

    pub(super) fn expired(&mut self, op: OpId, result: Option<Expired>, now: Now) {
        self.ops.remove(&op);
        let Expired { floor, removed, more } = result.unwrap_or_default();
        self.floors.rise(floor);
        self.outbox.expired(self.floors.own());
        self.held = self.held.saturating_sub(removed);
        if removed > 0 {
            self.event(Event::Expired { removed, floor });
        }
        self.set(Timer::Retention, if more { now.time } else { now.time + EVERY });
    }
}
