//! Which transactions are known here: a bounded memory of recent ids, and their short forms.
//!
//! What fell out of it may still be held: [`Known::MaybeHeld`] says that the store has to be asked.

use std::collections::{BTreeMap, VecDeque};

use crate::message::short_id;
use crate::types::{Time, TxId, WallTime};
use crate::view::Size;

/// Ids remembered; the oldest goes first. 65,536 are about 6 MB and 65 s at 1,000 tx/s.
const IDS_MAX: usize = 65_536;
/// Newest ids that are found by their short forms: announcements come within seconds.
const SHORT_MAX: usize = 8_192;
/// Salts in use at once: those of three epochs.
const SALTS_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On its way in.
    Pending,
    Held,
    /// Not wanted until then.
    Refused(Time),
}

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never heard of.
    New,
    /// Not remembered, but it may be in the store.
    MaybeHeld,
    /// On its way in.
    Pending,
    /// Durable here.
    Held,
    /// Turned down not long ago.
    Refused,
}

/// The bounded memory.
#[derive(Debug)]
pub(crate) struct Seen {
    /// With whether it was passed on to the own row.
    states: BTreeMap<TxId, (State, bool)>,
    order: VecDeque<(TxId, WallTime)>,
    /// Everything published since then, and seen, is still remembered.
    complete_since: WallTime,
    recent: VecDeque<TxId>,
    short: Vec<(u64, BTreeMap<[u8; 8], TxId>)>,
}

impl Seen {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 3] {
        [
            Size { name: "ids remembered", len: self.states.len(), max: IDS_MAX },
            Size { name: "ids in order", len: self.order.len(), max: IDS_MAX },
            Size { name: "ids found by short forms", len: self.recent.len(), max: SHORT_MAX },
        ]
    }

    /// A memory that starts now: what was published earlier may be in the store.
    pub(crate) fn new(wall: WallTime) -> Self {
        Self {
            states: BTreeMap::new(),
            order: VecDeque::new(),
            complete_since: wall,
            recent: VecDeque::new(),
            short: Vec::new(),
        }
    }

    /// What is known of this id, published at that time.
    pub(crate) fn known(&self, id: &TxId, published: WallTime, now: Time) -> Known {
        match self.states.get(id).map(|(state, _)| state) {
            Some(State::Pending) => Known::Pending,
            Some(State::Held) => Known::Held,
            Some(State::Refused(until)) if *until > now => Known::Refused,
            None if published <= self.complete_since => Known::MaybeHeld,
            Some(State::Refused(_)) | None => Known::New,
        }
    }

    /// Whether the id is held, on its way or refused, as far as is remembered.
    pub(crate) fn remembers(&self, id: &TxId, now: Time) -> bool {
        !matches!(self.known(id, WallTime::from_unix_ms(u64::MAX), now), Known::New)
    }

    /// On its way in.
    pub(crate) fn pending(&mut self, id: TxId, published: WallTime) {
        self.set(id, published, State::Pending);
    }

    /// Durable here.
    pub(crate) fn held(&mut self, id: TxId, published: WallTime) {
        self.set(id, published, State::Held);
    }

    /// Turned down until then.
    pub(crate) fn refused(&mut self, id: TxId, published: WallTime, until: Time) {
        self.set(id, published, State::Refused(until));
    }

    /// It came to nothing and may come again.
    pub(crate) fn release(&mut self, id: &TxId) {
        if self.states.get(id).is_some_and(|(state, _)| *state == State::Pending) {
            self.states.remove(id);
        }
    }

    /// It is about to be passed on to the own row: `true` the first time, as far as is remembered.
    pub(crate) fn relay(&mut self, id: &TxId) -> bool {
        self.states.get_mut(id).is_some_and(|(_, relayed)| !std::mem::replace(relayed, true))
    }

    fn set(&mut self, id: TxId, published: WallTime, state: State) {
        if let Some((known, _)) = self.states.get_mut(&id) {
            *known = state;
            return;
        }
        self.states.insert(id, (state, false));
        self.order.push_back((id, published));
        self.recent.push_back(id);
        for (salt, index) in &mut self.short {
            index.insert(short_id(*salt, &id), id);
        }
        while self.recent.len() > SHORT_MAX {
            if let Some(old) = self.recent.pop_front() {
                for (salt, index) in &mut self.short {
                    index.remove(&short_id(*salt, &old));
                }
            }
        }
        while self.order.len() > IDS_MAX {
            if let Some((old, published)) = self.order.pop_front() {
                self.states.remove(&old);
                self.complete_since = self.complete_since.max(published);
            }
        }
    }

    /// The id with this short form, among the newest. A salt is indexed when it is first used; the caller
    /// takes only salts of the present epochs, so that nobody can have one computed at will.
    pub(crate) fn by_short(&mut self, salt: u64, short: [u8; 8]) -> Option<TxId> {
        if !self.short.iter().any(|(known, _)| *known == salt) {
            if self.short.len() >= SALTS_MAX {
                self.short.remove(0);
            }
            self.short.push((salt, self.recent.iter().map(|id| (short_id(salt, id), *id)).collect()));
        }
        let (_, index) = self.short.iter().find(|(known, _)| *known == salt)?;
        index.get(&short).copied().filter(|id| self.states.contains_key(id))
    }

    /// Salts that are indexed.
    pub(crate) fn salts(&self) -> impl Iterator<Item = u64> {
        self.short.iter().map(|(salt, _)| *salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TxId {
        TxId::of_header(&number.to_le_bytes())
    }

    fn at(ms: u64) -> WallTime {
        WallTime::from_unix_ms(ms)
    }

    #[test]
    fn what_fell_out_may_still_be_held() {
        let mut seen = Seen::new(at(100));
        assert_eq!(seen.known(&id(1), at(100), Time::ZERO), Known::MaybeHeld);
        assert_eq!(seen.known(&id(1), at(101), Time::ZERO), Known::New);
        for number in 0..IDS_MAX as u64 + 5 {
            seen.held(id(number), at(1000 + number));
        }
        assert_eq!(seen.states.len(), IDS_MAX);
        assert_eq!(seen.recent.len(), SHORT_MAX);
        assert_eq!(seen.known(&id(4), at(1004), Time::ZERO), Known::MaybeHeld);
        assert_eq!(seen.known(&id(5), at(1005), Time::ZERO), Known::Held);
        assert_eq!(seen.known(&id(u64::MAX), at(1005), Time::ZERO), Known::New);
    }

    #[test]
    fn what_came_to_nothing_is_new_again() {
        let mut seen = Seen::new(at(0));
        seen.pending(id(1), at(1));
        assert_eq!(seen.known(&id(1), at(1), Time::ZERO), Known::Pending);
        seen.release(&id(1));
        assert_eq!(seen.known(&id(1), at(1), Time::ZERO), Known::New);
        seen.refused(id(1), at(1), Time::from_micros(10));
        assert_eq!(seen.known(&id(1), at(1), Time::from_micros(9)), Known::Refused);
        assert_eq!(seen.known(&id(1), at(1), Time::from_micros(10)), Known::New);
    }

    #[test]
    fn short_forms_are_found_whenever_the_salt_came() {
        let mut seen = Seen::new(at(0));
        seen.held(id(1), at(1));
        assert_eq!(seen.by_short(7, short_id(7, &id(1))), Some(id(1)));
        seen.held(id(2), at(2));
        assert_eq!(seen.by_short(7, short_id(7, &id(2))), Some(id(2)));
        assert_eq!(seen.by_short(7, short_id(7, &id(3))), None);
        for salt in 0..9 {
            seen.by_short(salt, [0; 8]);
        }
        assert_eq!(seen.salts().count(), SALTS_MAX);
    }

    #[test]
    fn each_is_passed_on_once() {
        let mut seen = Seen::new(at(0));
        assert!(!seen.relay(&id(1)), "it is not known");
        seen.pending(id(1), at(1));
        assert!(seen.relay(&id(1)));
        seen.held(id(1), at(1));
        assert!(!seen.relay(&id(1)));
    }
}
