//! What happens next: events by virtual time, ties in the order in which they were put in.
//!
//! A calendar (Brown 1988): what is due soon lies in slots of a fixed width, unsorted; the slot whose time has come is
//! sorted, and what is due later than the slots reach waits in a heap of its own. At a million planned events a slot
//! is some kilobytes, where one heap over all of them is a walk through cold memory for each.
//!
//! It knows neither peers nor networks; the same pushes give the same pops.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Virtual time: microseconds since the simulation began.
pub type Micros = u64;

/// A slot is 2^9 = 512 µs wide: at 10,000 peers some hundred events.
const SLOT_BITS: u32 = 9;
/// Slots of the calendar, a power of two: it reaches 2.1 s, longer than nearly all frames travel.
const SLOTS: u64 = 4096;

/// Events in the order of their time.
#[derive(Debug)]
pub struct Queue<E> {
    /// Due up to the end of slot `at_slot`.
    soon: BinaryHeap<Entry<E>>,
    /// Due in slot `number` after `at_slot`, at `number % SLOTS`.
    slots: Vec<Vec<Entry<E>>>,
    /// How many there are in `slots`.
    in_slots: usize,
    /// Due after all slots.
    far: BinaryHeap<Entry<E>>,
    at_slot: u64,
    next: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    order: u64,
    event: E,
}

fn slot(at: Micros) -> u64 {
    at >> SLOT_BITS
}

impl<E> Queue<E> {
    /// Nothing planned.
    pub fn new() -> Self {
        Self {
            soon: BinaryHeap::new(),
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            in_slots: 0,
            far: BinaryHeap::new(),
            at_slot: 0,
            next: 0,
        }
    }

    /// Plans `event` for `at`, after all that is planned for the same time already.
    pub fn push(&mut self, at: Micros, event: E) {
        let order = self.next;
        self.next += 1;
        self.put(Entry { at, order, event });
    }

    fn put(&mut self, entry: Entry<E>) {
        let slot = slot(entry.at);
        if slot <= self.at_slot {
            self.soon.push(entry);
        } else if slot < self.at_slot + SLOTS {
            self.slots[(slot % SLOTS) as usize].push(entry);
            self.in_slots += 1;
        } else {
            self.far.push(entry);
        }
    }

    /// The earliest event, where there is one at or before `until`.
    pub fn pop_until(&mut self, until: Micros) -> Option<(Micros, E)> {
        while self.soon.is_empty() {
            if self.at_slot >= slot(until) || !self.turn() {
                return None;
            }
        }
        if self.soon.peek()?.at > until {
            return None;
        }
        self.soon.pop().map(|entry| (entry.at, entry.event))
    }

    /// Goes on to the next slot that may hold something; `false` where nothing is planned.
    fn turn(&mut self) -> bool {
        self.at_slot = match self.far.peek() {
            _ if self.in_slots > 0 => self.at_slot + 1,
            Some(first) => slot(first.at),
            None => return false,
        };
        let due = std::mem::take(&mut self.slots[(self.at_slot % SLOTS) as usize]);
        self.in_slots -= due.len();
        self.soon = BinaryHeap::from(due);
        while self.far.peek().is_some_and(|first| slot(first.at) < self.at_slot + SLOTS) {
            if let Some(entry) = self.far.pop() {
                self.put(entry);
            }
        }
        true
    }

    /// How many events are planned.
    pub fn len(&self) -> usize {
        self.soon.len() + self.in_slots + self.far.len()
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

// The heap is a maximum heap: the earliest entry is the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // A queue that passes through seconds of empty slots takes a while in an unoptimised build.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_calendar_keeps_the_order_of_one_heap(
            steps in prop::collection::vec((0..4_u8, 0..6_000_000_u64, 1..6_usize), 1..60)
        ) {
            // Each step plans some events, near or far from now or for a time that has passed, and pops what is due then.
            let (mut queue, mut heap) = (Queue::new(), BinaryHeap::new());
            let (mut now, mut order) = (0_u64, 0_u64);
            for (scale, after, count) in steps {
                let after = after >> (scale * 6);
                for number in 0..count as u64 {
                    let at = if scale == 3 { now.saturating_sub(after) } else { now + after * number };
                    queue.push(at, order);
                    heap.push(Entry { at, order, event: order });
                    order += 1;
                }
                let until = now + after;
                while heap.peek().is_some_and(|entry| entry.at <= until) {
                    let expected = heap.pop().map(|entry| (entry.at, entry.event));
                    prop_assert_eq!(queue.pop_until(until), expected);
                }
                prop_assert_eq!(queue.pop_until(until), None);
                prop_assert_eq!(queue.len(), heap.len());
                now = until;
            }
            while let Some(entry) = heap.pop() {
                prop_assert_eq!(queue.pop_until(u64::MAX), Some((entry.at, entry.event)));
            }
            prop_assert!(queue.is_empty());
        }
    }

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_planning() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "d"), (1, "a"), (3, "b"), (3, "c")] {
            queue.push(at, name);
        }
        let mut seen = Vec::new();
        while let Some((at, name)) = queue.pop_until(4) {
            seen.push((at, name));
        }
        assert_eq!(seen, [(1, "a"), (3, "b"), (3, "c")]);
        assert_eq!(queue.len(), 1);
    }
}
