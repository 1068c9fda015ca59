//! What happens next: events by virtual time, ties in the order in which they were put in.
//!
//! It knows neither peers nor networks; the same pushes give the same pops.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Virtual time: microseconds since the simulation began.
pub type Micros = u64;

/// Events in the order of their time.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    /// Nothing planned.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    /// Plans `event` for `at`, after all that is planned for the same time already.
    pub fn push(&mut self, at: Micros, event: E) {
        let order = self.next;
        self.next += 1;
        self.heap.push(Entry { at, order, event });
    }

    /// The earliest event, where there is one at or before `until`.
    pub fn pop_until(&mut self, until: Micros) -> Option<(Micros, E)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    /// How many events are planned.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
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
    use super::*;

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
