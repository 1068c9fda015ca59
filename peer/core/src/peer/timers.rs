//! Deadlines that the façade keeps, each for one purpose.

use crate::event::Wake;
use crate::types::Time;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Dial,
    Liveness,
    News,
    Exchange,
    Acks,
    Resend,
    Announce,
    Fetch,
    Bodies,
    HeldBack,
    SyncPeriodic,
    SyncRound,
    Outbox,
    Drain,
    Holders,
    Quarantine,
    Forget,
    Retention,
}

/// All of them, in the order of their numbers, which is the one in which they fire.
const ALL: [Timer; 18] = [
    Timer::Dial,
    Timer::Liveness,
    Timer::News,
    Timer::Exchange,
    Timer::Acks,
    Timer::Resend,
    Timer::Announce,
    Timer::Fetch,
    Timer::Bodies,
    Timer::HeldBack,
    Timer::SyncPeriodic,
    Timer::SyncRound,
    Timer::Outbox,
    Timer::Drain,
    Timer::Holders,
    Timer::Quarantine,
    Timer::Forget,
    Timer::Retention,
];

impl Timer {
    fn wake(self) -> Wake {
        match self {
            Self::Dial => Wake::Dial,
            Self::Liveness => Wake::Liveness,
            Self::News | Self::Exchange => Wake::PeerExchange,
            Self::Acks | Self::Resend | Self::Announce | Self::Fetch | Self::Bodies | Self::HeldBack => {
                Wake::Gossip
            }
            Self::SyncPeriodic | Self::SyncRound | Self::Outbox | Self::Drain | Self::Holders => Wake::Sync,
            Self::Forget | Self::Quarantine => Wake::Membership,
            Self::Retention => Wake::Retention,
        }
    }
}

/// No deadline.
const NEVER: Time = Time::from_micros(u64::MAX);

/// The deadlines, side by side: they are looked at after every input.
#[derive(Debug)]
pub(super) struct Timers([Time; ALL.len()]);

impl Default for Timers {
    fn default() -> Self {
        Self([NEVER; ALL.len()])
    }
}

impl Timers {
    /// It fires at the earlier of `at` and what it was set to.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        let slot = &mut self.0[timer as usize];
        *slot = at.min(*slot);
    }

    /// It does not fire.
    pub(super) fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    /// The earliest, and why.
    pub(super) fn next(&self) -> Option<(Time, Wake)> {
        let set = ALL.iter().zip(self.0).filter(|(_, at)| *at < NEVER);
        set.map(|(timer, at)| (at, timer.wake())).min()
    }

    /// Those that are due, each with when it was to fire.
    pub(super) fn due(&self, now: Time) -> impl Iterator<Item = (Timer, Time)> + use<> {
        let times = self.0;
        ALL.into_iter().zip(times).filter(move |(_, at)| *at <= now && *at < NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_counts_and_what_is_due_fires_in_order() {
        assert!(ALL.iter().enumerate().all(|(at, timer)| *timer as usize == at));
        let at = Time::from_micros;
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.due(at(9)).count()), (None, 0));
        for (timer, time) in [(Timer::SyncRound, 5), (Timer::Dial, 7), (Timer::Acks, 5), (Timer::Dial, 8)] {
            timers.set(timer, at(time));
        }
        assert_eq!(timers.next(), Some((at(5), Wake::Gossip)));
        assert_eq!(timers.due(at(6)).collect::<Vec<_>>(), [(Timer::Acks, at(5)), (Timer::SyncRound, at(5))]);
        timers.clear(Timer::Acks);
        assert_eq!(timers.next(), Some((at(5), Wake::Sync)));
        assert_eq!(timers.due(at(7)).collect::<Vec<_>>(), [(Timer::Dial, at(7)), (Timer::SyncRound, at(5))]);
    }
}
