//! The order of reconciliation over what a disk holds, with sums, so that a range costs no walk over all ids.
//!
//! Keys stand in sorted blocks, each with its fingerprint: a range takes whole blocks and two partial ones.

use sorcha_peer_core::envelope::SyncKey;
use sorcha_peer_core::event::{RangeDetail, RangeQuery, RangeView};
use sorcha_peer_core::message::{Fingerprint, SyncBound};
use sorcha_peer_core::types::TxId;

/// Keys of a block at most; it is split in half beyond. Guess: near the square root of the stores simulated.
const BLOCK_KEYS_MAX: usize = 128;

/// Keys in order, with sums.
#[derive(Debug, Clone, Default)]
pub struct Index {
    blocks: Vec<Block>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Block {
    keys: Vec<SyncKey>,
    fingerprint: Fingerprint,
}

impl Index {
    /// Adds a key; false where it is there already.
    pub fn insert(&mut self, key: SyncKey) -> bool {
        if self.blocks.is_empty() {
            self.blocks.push(Block { keys: Vec::new(), fingerprint: Fingerprint::default() });
        }
        let at = self.block_of(&key);
        let block = &mut self.blocks[at];
        let Err(place) = block.keys.binary_search(&key) else { return false };
        block.keys.insert(place, key);
        block.fingerprint.add(&key.id);
        self.count += 1;
        if block.keys.len() > BLOCK_KEYS_MAX {
            let upper = Block::of(block.keys.split_off(BLOCK_KEYS_MAX / 2));
            *block = Block::of(std::mem::take(&mut block.keys));
            self.blocks.insert(at + 1, upper);
        }
        true
    }

    /// The first key.
    pub fn first(&self) -> Option<&SyncKey> {
        self.blocks.first().and_then(|block| block.keys.first())
    }

    /// Takes the first key out.
    pub fn take_first(&mut self) {
        let Some(block) = self.blocks.first_mut().filter(|block| !block.keys.is_empty()) else { return };
        let key = block.keys.remove(0);
        block.fingerprint.remove(&key.id);
        self.count -= 1;
        if block.keys.is_empty() && self.blocks.len() > 1 {
            self.blocks.remove(0);
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last key.
    pub fn latest(&self) -> Option<&SyncKey> {
        self.blocks.last()?.keys.last()
    }

    /// Answers one query as the shipping store would.
    pub fn view(&self, query: &RangeQuery) -> RangeView {
        let (from, to) = (self.rank(&query.lower), self.rank(&query.upper));
        let to = to.max(from);
        let fingerprint = self.sum(from, to);
        let (held, parts) = (to - from, query.parts.max(1) as usize);
        if query.unless == Some(fingerprint) {
            return RangeView { fingerprint, detail: RangeDetail::Parts(Vec::new()) };
        }
        if held <= query.ids_max as usize {
            return RangeView { fingerprint, detail: RangeDetail::Ids(self.ids(from, to)) };
        }
        if query.parts == 0 {
            let end = from + query.ids_max as usize;
            let detail = RangeDetail::First { ids: self.ids(from, end), until: bound_of(&self.key(end)) };
            return RangeView { fingerprint, detail };
        }
        let parts = parts.min(held);
        let detail = (0..parts)
            .map(|part| {
                let (start, end) = (from + held * part / parts, from + held * (part + 1) / parts);
                let bound = if part + 1 == parts { query.upper } else { bound_of(&self.key(end)) };
                (bound, self.sum(start, end))
            })
            .collect();
        RangeView { fingerprint, detail: RangeDetail::Parts(detail) }
    }

    /// The sum over everything.
    pub fn fingerprint(&self) -> Fingerprint {
        self.sum(0, self.count)
    }

    fn block_of(&self, key: &SyncKey) -> usize {
        self.blocks.partition_point(|block| block.keys.first().is_some_and(|first| first <= key)).max(1) - 1
    }

    /// How many keys lie below the bound.
    fn rank(&self, bound: &SyncBound) -> usize {
        let mut rank = 0;
        for block in &self.blocks {
            match block.keys.last() {
                Some(last) if bound_of(last) < *bound => rank += block.keys.len(),
                _ => return rank + block.keys.partition_point(|key| bound_of(key) < *bound),
            }
        }
        rank
    }

    fn key(&self, rank: usize) -> SyncKey {
        let mut left = rank;
        for block in &self.blocks {
            if let Some(key) = block.keys.get(left) {
                return *key;
            }
            left -= block.keys.len();
        }
        panic!("rank {rank} lies beyond the {} keys", self.count);
    }

    fn sum(&self, from: usize, to: usize) -> Fingerprint {
        let mut sum = Fingerprint::default();
        self.walk(from, to, |block, keys| {
            if keys.len() == block.keys.len() {
                sum.merge(&block.fingerprint);
            } else {
                for key in keys {
                    sum.add(&key.id);
                }
            }
        });
        sum
    }

    fn ids(&self, from: usize, to: usize) -> Vec<TxId> {
        let mut ids = Vec::with_capacity(to - from);
        self.walk(from, to, |_, keys| ids.extend(keys.iter().map(|key| key.id)));
        ids
    }

    fn walk(&self, from: usize, to: usize, mut visit: impl FnMut(&Block, &[SyncKey])) {
        let mut start = 0;
        for block in &self.blocks {
            let end = start + block.keys.len();
            if start >= to {
                return;
            }
            if end > from {
                visit(block, &block.keys[from.max(start) - start..to.min(end) - start]);
            }
            start = end;
        }
    }
}

impl Block {
    fn of(keys: Vec<SyncKey>) -> Self {
        let mut fingerprint = Fingerprint::default();
        for key in &keys {
            fingerprint.add(&key.id);
        }
        Self { keys, fingerprint }
    }
}

fn bound_of(key: &SyncKey) -> SyncBound {
    SyncBound { published: key.published, id: *key.id.as_bytes() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sorcha_peer_core::types::WallTime;

    use super::*;

    fn key(n: u64) -> SyncKey {
        let id = TxId::of_header(&n.to_le_bytes());
        SyncKey { published: WallTime::from_unix_ms(n % 97), id }
    }

    proptest! {
        #[test]
        fn a_view_agrees_with_a_plain_list(
            count in 0_u64..900, lower in 0_u64..100, upper in 0_u64..100, ids_max in 0_u32..50, parts in 0_u32..20,
        ) {
            let mut index = Index::default();
            let mut plain: Vec<SyncKey> = (0..count).map(key).collect();
            for key in &plain {
                prop_assert!(index.insert(*key));
            }
            plain.sort_unstable();
            let bound = |ms| SyncBound { published: WallTime::from_unix_ms(ms), id: [0; 32] };
            let query = RangeQuery { lower: bound(lower), upper: bound(upper), ids_max, parts, unless: None };
            let view = index.view(&query);
            let within: Vec<TxId> = plain
                .iter()
                .filter(|key| (lower..upper).contains(&key.published.as_unix_ms()))
                .map(|key| key.id)
                .collect();
            let mut sum = Fingerprint::default();
            for id in &within {
                sum.add(id);
            }
            prop_assert_eq!(view.fingerprint, sum);
            match view.detail {
                RangeDetail::Ids(ids) => prop_assert_eq!(ids, within),
                RangeDetail::First { ids, until } => {
                    prop_assert_eq!((parts, &ids[..]), (0, &within[..ids_max as usize]));
                    let rest = RangeQuery { lower: until, upper: bound(upper), ids_max: u32::MAX, parts: 1, unless: None };
                    let rest = index.view(&rest).detail;
                    prop_assert_eq!(rest, RangeDetail::Ids(within[ids_max as usize..].to_vec()));
                }
                RangeDetail::Parts(parts_found) => {
                    prop_assert!(within.len() > ids_max as usize && parts_found.len() <= parts as usize);
                    prop_assert_eq!(parts_found.last().map(|part| part.0), Some(query.upper));
                    let mut total = Fingerprint::default();
                    let mut from = query.lower;
                    for (to, sum) in parts_found {
                        let part = RangeQuery { lower: from, upper: to, ids_max: 0, parts: 1, unless: None };
                        prop_assert_eq!(index.view(&part).fingerprint, sum);
                        total.merge(&sum);
                        from = to;
                    }
                    prop_assert_eq!(total, sum);
                }
            }
        }
    }

    #[test]
    fn what_is_taken_out_at_the_front_leaves_the_sums_of_the_rest() {
        let mut index = Index::default();
        let mut keys: Vec<SyncKey> = (0..500).map(key).collect();
        for key in &keys {
            index.insert(*key);
        }
        keys.sort_unstable();
        for key in &keys[..300] {
            assert_eq!(index.first(), Some(key));
            index.take_first();
        }
        let mut rest = Index::default();
        for key in &keys[300..] {
            rest.insert(*key);
        }
        assert_eq!((index.fingerprint(), index.len()), (rest.fingerprint(), 200));
    }

    #[test]
    fn a_key_is_held_once() {
        let mut index = Index::default();
        assert!(index.insert(key(1)) && !index.insert(key(1)));
        assert_eq!(index.len(), 1);
    }
}
