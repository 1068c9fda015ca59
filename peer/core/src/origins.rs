//! Which transaction stands under which number of an origin: two under one number are equivocation.
//!
//! Knows numbers and ids, no peers that relay: whoever passes both on is not at fault, their origin is.

use std::collections::{BTreeMap, VecDeque};

use crate::envelope::Header;
use crate::types::{PeerId, TxId};

/// Numbers remembered, about 2 MB; the oldest goes. Guess: some minutes of a busy network, within which a second
/// transaction under the same number comes where a state directory was copied or rolled back.
const NUMBERS_MAX: usize = 16_384;

type Number = (PeerId, u64, u64);

/// The numbers used lately.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    used: BTreeMap<Number, TxId>,
    order: VecDeque<Number>,
}

impl Origins {
    /// A verified transaction stands under this number. Answers the other one that does, where there is one.
    pub(crate) fn used(&mut self, header: &Header, id: TxId) -> Option<TxId> {
        let number = (header.origin, header.incarnation, header.sequence);
        if let Some(other) = self.used.get(&number) {
            return (*other != id).then_some(*other);
        }
        if self.order.len() >= NUMBERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.used.remove(&oldest);
        }
        self.order.push_back(number);
        self.used.insert(number, id);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_second_transaction_under_one_number_is_noticed_and_memory_is_bounded() {
        let mut origins = Origins::default();
        let first = testing::envelope(1, 10);
        assert_eq!(origins.used(first.header(), first.id()), None);
        assert_eq!(origins.used(first.header(), first.id()), None, "the same once more");
        let other = TxId::from_bytes([7; 32]);
        assert_eq!(origins.used(first.header(), other), Some(first.id()));
        for sequence in 0..2 * NUMBERS_MAX as u64 {
            let header = Header { sequence, incarnation: 9, ..first.header().clone() };
            origins.used(&header, TxId::of_header(&sequence.to_le_bytes()));
        }
        assert_eq!((origins.used.len(), origins.order.len()), (NUMBERS_MAX, NUMBERS_MAX));
    }
}
