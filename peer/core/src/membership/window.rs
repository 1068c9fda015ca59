//! How many dials may be under way.
//!
//! As TCP finds out how much a path carries (slow start and congestion avoidance, RFC 5681 § 3.1): few at first, twice as
//! many each time they are answered, half as many where the other side was there and did not get so far as to say hello in
//! time. Where many peers start on machines that are busy with handshakes, all go slower instead of giving up and starting
//! again. Addresses where nobody is say nothing about that.

use std::time::Duration;

use crate::types::Time;

/// Dials under way at once: enough to fill a grid's links in seconds, few enough for any file limit.
pub(crate) const DIALS_MAX: usize = 32;
/// At first. Guess.
const DIALS_START: usize = 4;
/// What the dials of one moment meet counts once. Guess: what a loaded machine needs for the handshakes under way.
const CUT_EVERY: Duration = Duration::from_secs(2);

/// The window.
#[derive(Debug)]
pub(crate) struct Window {
    width: usize,
    /// From this width on it grows by one each time as many dials were answered.
    slow_from: usize,
    answered: usize,
    cut: Option<Time>,
}

impl Default for Window {
    fn default() -> Self {
        Self { width: DIALS_START, slow_from: DIALS_MAX, answered: 0, cut: None }
    }
}

impl Window {
    /// Dials that may be under way.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// A dial came to a link that said hello.
    pub(crate) fn answered(&mut self) {
        self.answered += 1;
        if self.width < self.slow_from || self.answered >= self.width {
            self.answered = 0;
            self.width = (self.width + 1).min(DIALS_MAX);
        }
    }

    /// Somebody was there, and nothing came of it in time.
    pub(crate) fn unfinished(&mut self, now: Time) {
        if self.cut.is_none_or(|cut| now >= cut + CUT_EVERY) {
            self.cut = Some(now);
            self.width = (self.width / 2).max(1);
            self.slow_from = self.width;
            self.answered = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_fast_and_after_a_cut_slowly() {
        let mut window = Window::default();
        (DIALS_START..DIALS_MAX + 9).for_each(|_| window.answered());
        assert_eq!(window.width(), DIALS_MAX);
        for _ in 0..20 {
            window.unfinished(Time::ZERO);
        }
        assert_eq!(window.width(), DIALS_MAX / 2, "one moment counts once");
        (0..DIALS_MAX / 2).for_each(|_| window.answered());
        assert_eq!(window.width(), DIALS_MAX / 2 + 1);
        for second in (2..40).step_by(2) {
            window.unfinished(Time::ZERO + Duration::from_secs(second));
        }
        assert_eq!(window.width(), 1, "one is always tried");
    }
}
