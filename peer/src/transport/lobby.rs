//! Who has connected and not shaken hands yet.
//!
//! A handshake costs a hundred times what a connection does, so where more come than can be served the order matters: served
//! first come first, those who have waited longest have given up by the time they are served, and ask again; all work is
//! then for nobody. Here whoever came last goes first, and the longest waiting is turned away when there is no room
//! (adaptive LIFO, Maurer, "Fail at Scale", ACM Queue 13(8), 2015).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A bounded number of guests, some of whom have a turn.
#[derive(Debug)]
pub(super) struct Lobby {
    guests: Mutex<Guests>,
    guests_max: usize,
}

#[derive(Debug)]
struct Guests {
    next: u64,
    here: BTreeMap<u64, CancellationToken>,
    turns: usize,
    /// The one who came last is at the end.
    waiting: Vec<oneshot::Sender<Turn>>,
}

/// Somebody's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    number: u64,
    turned_away: CancellationToken,
    lobby: Arc<Lobby>,
}

/// A turn; given to the next when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Lobby>);

impl Lobby {
    pub(super) fn new(guests_max: usize, turns: usize) -> Self {
        let guests = Guests { next: 0, here: BTreeMap::new(), turns, waiting: Vec::new() };
        Self { guests: Mutex::new(guests), guests_max }
    }

    /// Lets in whoever comes, and turns the one away who has been here longest where there is no room.
    pub(super) fn enter(self: &Arc<Self>) -> Guest {
        let mut guests = self.lock();
        if guests.here.len() >= self.guests_max
            && let Some((_, oldest)) = guests.here.pop_first()
        {
            oldest.cancel();
        }
        let (number, turned_away) = (guests.next, CancellationToken::new());
        guests.next += 1;
        guests.here.insert(number, turned_away.clone());
        Guest { number, turned_away, lobby: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(self: &Arc<Self>) {
        let mut guests = self.lock();
        let next = loop {
            match guests.waiting.pop() {
                Some(next) if next.is_closed() => {}
                next => break next,
            }
        };
        let Some(next) = next else {
            guests.turns += 1;
            return;
        };
        // Whoever has gone this moment drops the turn, which comes back here: not under the lock.
        drop(guests);
        drop(next.send(Turn(Arc::clone(self))));
    }
}

impl Guest {
    /// Ends when there is no room any more for whoever has been here longest.
    pub(super) async fn turned_away(&self) {
        self.turned_away.cancelled().await;
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn {
        let waits = {
            let mut guests = self.lobby.lock();
            if guests.turns > 0 {
                guests.turns -= 1;
                None
            } else {
                // Those who have gone meanwhile are struck off now and then.
                if guests.waiting.len() > 2 * self.lobby.guests_max {
                    guests.waiting.retain(|waiting| !waiting.is_closed());
                }
                let (sender, receiver) = oneshot::channel();
                guests.waiting.push(sender);
                Some(receiver)
            }
        };
        match waits {
            None => Turn(Arc::clone(&self.lobby)),
            Some(receiver) => match receiver.await {
                Ok(turn) => turn,
                // The list of those who wait lives as long as the lobby, which this guest holds.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.lock().here.remove(&self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_came_last_is_served_first_and_whoever_has_gone_is_passed_over() {
        let lobby = Arc::new(Lobby::new(9, 1));
        let guests: Vec<Guest> = (0..4).map(|_| lobby.enter()).collect();
        let turn = guests[0].turn().now_or_never().expect("nobody else is there");
        let mut waiting: Vec<_> = guests[1..].iter().map(|guest| Box::pin(guest.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        drop(waiting.pop());
        drop(turn);
        assert!(waiting[0].as_mut().now_or_never().is_none());
        let turn = waiting[1].as_mut().now_or_never().expect("it came last of those who are still there");
        drop(turn);
        // Given, and not taken any more: it goes on to the next.
        drop(waiting);
        let next = guests[3].turn().now_or_never();
        assert!(next.is_some());
    }

    #[test]
    fn who_has_waited_longest_gives_way() {
        let lobby = Arc::new(Lobby::new(2, 1));
        let guests: Vec<Guest> = (0..3).map(|_| lobby.enter()).collect();
        let gone: Vec<bool> =
            guests.iter().map(|guest| guest.turned_away().now_or_never().is_some()).collect();
        assert_eq!(gone, [true, false, false]);
        drop(guests);
        assert!(lobby.lock().here.is_empty());
    }

    #[test]
    fn those_who_gave_up_take_no_memory() {
        let lobby = Arc::new(Lobby::new(2, 0));
        let guest = lobby.enter();
        for _ in 0..100 {
            assert!(guest.turn().now_or_never().is_none());
        }
        assert!(lobby.lock().waiting.len() <= 5);
    }
}
