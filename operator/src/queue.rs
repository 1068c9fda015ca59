//! Which networks are to be looked at, and when: each at most once at a time, none more often than it deserves.
//!
//! Knows keys and times only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// So many looks in a row are free (a guess: the pods of a network that starts change in bursts).
const BURST: f64 = 20.0;
/// Then so many a second: whoever fights with the operator over a field makes it no busier than this (a guess).
const LOOKS_PER_SECOND: f64 = 2.0;

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// After this time, or as soon as something happens.
    After(Duration),
    /// Not before this time, whatever happens: it failed.
    NotBefore(Duration),
}

/// A queue of keys. Bounded by the number of networks.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    entries: BTreeMap<K, Entry>,
    due: BTreeSet<(Instant, K)>,
}

#[derive(Debug)]
struct Entry {
    running: bool,
    /// Something happened while it ran.
    again: bool,
    due: Option<Instant>,
    not_before: Option<Instant>,
    credit: f64,
    counted: Instant,
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self { running: false, again: false, due: None, not_before: None, credit: BURST, counted: now }
    }

    /// The next moment at which it may be looked at because something happened.
    fn soonest(&mut self, now: Instant) -> Instant {
        let earned = now.saturating_duration_since(self.counted).as_secs_f64() * LOOKS_PER_SECOND;
        self.credit = (self.credit + earned).min(BURST);
        self.counted = now;
        let wait = if self.credit >= 1.0 { 0.0 } else { (1.0 - self.credit) / LOOKS_PER_SECOND };
        let earned = now + Duration::from_secs_f64(wait);
        self.not_before.map_or(earned, |not_before| not_before.max(earned))
    }
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        let state = State { entries: BTreeMap::new(), due: BTreeSet::new() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<K: Ord + Clone> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Something happened to it.
    pub fn add(&self, key: K) {
        self.lock().add(key, Instant::now());
        self.changed.notify_one();
    }

    /// Something happened to all of them.
    pub fn add_all(&self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.add(key);
        }
    }

    /// Waits for the next one that is due. It is nobody else's until [`Self::done`].
    pub async fn next(&self) -> K {
        loop {
            let until = {
                let mut state = self.lock();
                match state.take(Instant::now()) {
                    Ok(key) => return key,
                    Err(until) => until,
                }
            };
            match until {
                Some(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = self.changed.notified() => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// It was looked at; `None` forgets it until something happens.
    pub fn done(&self, key: &K, next: Option<Next>) {
        self.lock().done(key, next, Instant::now());
        self.changed.notify_one();
    }

    /// How many wait to be looked at now.
    pub fn waiting(&self) -> usize {
        let now = Instant::now();
        self.lock().due.iter().take_while(|(due, _)| *due <= now).count()
    }
}

impl<K: Ord + Clone> State<K> {
    fn add(&mut self, key: K, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::new(now));
        if entry.running {
            entry.again = true;
            return;
        }
        let at = entry.soonest(now);
        if entry.due.is_none_or(|due| due > at) {
            self.schedule(key, at);
        }
    }

    fn schedule(&mut self, key: K, at: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Some(before) = entry.due.replace(at) {
            self.due.remove(&(before, key.clone()));
        }
        self.due.insert((at, key));
    }

    /// The first that is due, else when one will be.
    fn take(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        match self.due.first() {
            Some((due, _)) if *due <= now => {}
            first => return Err(first.map(|(due, _)| *due)),
        }
        let (_, key) = self.due.pop_first().expect("looked at above");
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = None;
            entry.not_before = None;
            entry.running = true;
            entry.soonest(now);
            entry.credit = (entry.credit - 1.0).max(0.0);
        }
        Ok(key)
    }

    fn done(&mut self, key: &K, next: Option<Next>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = false;
        let again = std::mem::take(&mut entry.again);
        let at = match next {
            Some(Next::NotBefore(wait)) => {
                entry.not_before = Some(now + wait);
                now + wait
            }
            _ if again => entry.soonest(now),
            Some(Next::After(wait)) => now + wait,
            None => {
                self.entries.remove(key);
                return;
            }
        };
        self.schedule(key.clone(), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state() -> (State<&'static str>, Instant) {
        (State { entries: BTreeMap::new(), due: BTreeSet::new() }, Instant::now())
    }

    #[test]
    fn what_happens_while_it_runs_is_looked_at_after() {
        let (mut state, now) = state();
        state.add("a", now);
        assert_eq!(state.take(now), Ok("a"));
        state.add("a", now);
        assert_eq!(state.take(now), Err(None), "one look at a time");
        state.done(&"a", Some(Next::After(60 * SECOND)), now);
        assert_eq!(state.take(now), Ok("a"));
        state.done(&"a", Some(Next::After(60 * SECOND)), now);
        assert_eq!(state.take(now), Err(Some(now + 60 * SECOND)));
        assert_eq!(state.take(now + 60 * SECOND), Ok("a"));
        state.done(&"a", None, now);
        assert!(state.entries.is_empty() && state.due.is_empty());
    }

    #[test]
    fn after_a_failure_nothing_shortens_the_wait() {
        let (mut state, now) = state();
        state.add("a", now);
        assert_eq!(state.take(now), Ok("a"));
        state.add("a", now);
        state.done(&"a", Some(Next::NotBefore(10 * SECOND)), now);
        state.add("a", now + SECOND);
        assert_eq!(state.take(now + SECOND), Err(Some(now + 10 * SECOND)));
        assert_eq!(state.take(now + 10 * SECOND), Ok("a"));
        state.done(&"a", Some(Next::After(60 * SECOND)), now + 10 * SECOND);
        state.add("a", now + 11 * SECOND);
        assert_eq!(state.take(now + 11 * SECOND), Ok("a"), "the wait is over");
    }

    #[test]
    fn a_fight_over_a_field_is_no_hot_loop() {
        let (mut state, start) = state();
        let mut now = start;
        let mut looks = 0;
        while now < start + 60 * SECOND {
            state.add("a", now);
            if state.take(now).is_ok() {
                looks += 1;
                state.done(&"a", Some(Next::After(60 * SECOND)), now);
            }
            now += Duration::from_millis(10);
        }
        assert!((130..=141).contains(&looks), "{looks} looks in a minute: a burst of 20, then 2 a second");
    }
}
