//! A peer's line: frames leave one after another at its bandwidth, the most urgent class first.

use std::collections::BTreeMap;

use sorcha_peer_core::event::Class;

use super::Item;
use crate::queue::Micros;

/// What waits for the line, and until when the line is taken.
#[derive(Debug, Default)]
pub struct Egress {
    waiting: BTreeMap<(Urgency, u64), Departure>,
    next: u64,
    busy: bool,
}

/// Order of departure. A close leaves after all that was queued before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A frame of this class.
    Frame(Class),
    /// The end of a link.
    Close,
}

/// Something on its way to the line.
#[derive(Debug)]
pub struct Departure {
    /// Direction that it takes.
    pub direction: u64,
    /// What it is.
    pub item: Item,
    /// Bytes on the line.
    pub bytes: u32,
}

impl Egress {
    /// Queues a departure. True where the line was free: call [`Egress::depart`] at once.
    pub fn queue(&mut self, urgency: Urgency, departure: Departure) -> bool {
        self.waiting.insert((urgency, self.next), departure);
        self.next += 1;
        !self.busy
    }

    /// Puts the next departure on the line; says how long the line is taken by it.
    pub fn depart(&mut self, bandwidth_bps: u64) -> Option<(Departure, Micros)> {
        let next = self.waiting.pop_first();
        self.busy = next.is_some();
        let (_, departure) = next?;
        let taken = u64::from(departure.bytes) * 8 * 1_000_000 / bandwidth_bps.max(1);
        Some((departure, taken))
    }

    /// Forgets all that waits: the machine is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_frames_overtake_and_a_close_waits_for_all() {
        let mut egress = Egress::default();
        let departure = |direction| Departure { direction, item: Item::Up, bytes: 1250 };
        assert!(egress.queue(Urgency::Close, departure(0)));
        egress.queue(Urgency::Frame(Class::Bulk), departure(1));
        egress.queue(Urgency::Frame(Class::Control), departure(2));
        egress.queue(Urgency::Frame(Class::Bulk), departure(3));
        let mut order = Vec::new();
        while let Some((departure, taken)) = egress.depart(10_000_000) {
            assert_eq!(taken, 1_000);
            order.push(departure.direction);
        }
        assert_eq!(order, [2, 1, 3, 0]);
    }
}
