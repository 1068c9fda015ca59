//! The two clocks, read nowhere else for the core, the store and the APIs: monotonic for timers, wall for people.

use std::time::{Duration, Instant, SystemTime};

use sorcha_peer_core::types::{Now, Time, WallTime};

/// Reads both clocks together.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// The monotonic clock begins now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { time: Time::from_micros(us), wall: wall_now() }
    }

    /// The point of the system's own monotonic clock at this time of the core's.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_micros(time.as_micros())
    }
}

/// The system's clock; 0 where it stands before 1970.
pub fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
