//! The order of reconciliation and its sums, so that a range is fingerprinted and split without reading its ids.
//!
//! A counted tree laid over the sorted ids. A node of level 0 stands for up to [`FANOUT_MAX`] adjacent ids, one of
//! level 1 for as many nodes of level 0, and so on; each row holds the node's lower bound, its number of
//! children, and count and sum of the ids below it. It divides by count, not by time, so that a burst within one
//! millisecond and a silent year cost the same. A range reads at most two partial nodes per level: for a
//! million ids some 600 rows at worst.

use std::cell::Cell;
use std::ops::Bound;

use redb::{ReadableTable, StorageError, Table};
use sorcha_peer_core::envelope::SyncKey;
use sorcha_peer_core::event::{RangeDetail, RangeQuery, RangeView};
use sorcha_peer_core::message::{Fingerprint, SyncBound};
use sorcha_peer_core::types::{TxId, WallTime};

/// Children of a node at most; one more splits it (guess: a page holds about 45 rows of the summary).
pub(super) const FANOUT_MAX: u32 = 128;
/// Levels of nodes; the topmost grows without splitting: 7 rows per 10 million ids.
pub(super) const LEVELS: u8 = 3;
/// Parts of one split at most, whatever is asked.
const PARTS_MAX: u32 = 1024;

/// Publication time and id, big-endian: sorts as [`SyncKey`] does.
pub(super) type Key = [u8; 40];
type Row = [u8; 44];

/// Before every key, and the lower bound of each level's first node.
const LOWEST: Key = [0; 40];

/// A node as its row holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Node {
    /// Nodes of the level below, or ids at level 0.
    pub(super) children: u32,
    /// Of all ids below it.
    pub(super) print: Fingerprint,
}

impl Node {
    fn to_row(self) -> Row {
        let mut row = [0; 44];
        row[..4].copy_from_slice(&self.children.to_be_bytes());
        row[4..12].copy_from_slice(&self.print.count.to_be_bytes());
        row[12..].copy_from_slice(&self.print.sum);
        row
    }

    /// What a row says.
    pub(super) fn from_row(row: &Row) -> Self {
        let (children, rest) = row.split_first_chunk::<4>().expect("a row has 44 bytes");
        let (count, rest) = rest.split_first_chunk::<8>().expect("a row has 44 bytes");
        let sum = rest.try_into().expect("a row has 44 bytes");
        let print = Fingerprint { count: u64::from_be_bytes(*count), sum };
        Self { children: u32::from_be_bytes(*children), print }
    }
}

/// The key of a transaction.
pub(super) fn key(at: SyncKey) -> Key {
    bound(SyncBound { published: at.published, id: *at.id.as_bytes() })
}

fn bound(at: SyncBound) -> Key {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&at.published.as_unix_ms().to_be_bytes());
    key[8..].copy_from_slice(&at.id);
    key
}

fn to_bound(key: &Key) -> SyncBound {
    let (published, id) = key.split_first_chunk::<8>().expect("a key has 40 bytes");
    let id = id.try_into().expect("a key has 40 bytes");
    SyncBound { published: WallTime::from_unix_ms(u64::from_be_bytes(*published)), id }
}

/// The id that a key ends in.
pub(super) fn id_of(key: &Key) -> TxId {
    TxId::from_slice(&key[8..]).expect("a key ends in 32 bytes of id")
}

/// The shortest key above `left` and not above `right`, its tail zero: short on the wire.
fn separator(left: &Key, right: &Key) -> Key {
    let differ = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let kept = (differ + 1).max(8).min(right.len());
    let mut between = [0; 40];
    between[..kept].copy_from_slice(&right[..kept]);
    between
}

/// Key of the summary's row.
pub(super) fn row_key(level: u8, lower: &Key) -> [u8; 41] {
    let mut at = [0; 41];
    at[0] = level;
    at[1..].copy_from_slice(lower);
    at
}

/// Lower bound in the key of a row.
pub(super) fn lower_of(row_key: &[u8; 41]) -> Key {
    row_key[1..].try_into().expect("a row's key has 41 bytes")
}

/// Publication time in a key, ms.
pub(super) fn published_ms(key: &Key) -> u64 {
    to_bound(key).published.as_unix_ms()
}

/// Writes ids into the order and its summary, and takes them out.
pub(super) struct Writer<'a, 'txn> {
    pub(super) order: &'a mut Table<'txn, &'static [u8; 40], ()>,
    pub(super) summary: &'a mut Table<'txn, &'static [u8; 41], &'static [u8; 44]>,
}

impl Writer<'_, '_> {
    /// Adds ids that are not there yet, in order: those of one node together.
    pub(super) fn insert(&mut self, keys: &[Key]) -> Result<(), StorageError> {
        let mut rest = keys;
        while let Some(first) = rest.first() {
            let added = self.insert_run(first, rest)?;
            rest = &rest[added..];
        }
        Ok(())
    }

    /// Adds as many of the first keys as belong to one node of level 0 and fill it; how many.
    fn insert_run(&mut self, first: &Key, keys: &[Key]) -> Result<usize, StorageError> {
        let (lower, mut node) = self.floor(0, first)?;
        let upper = self.next(0, &lower)?;
        let (mut added, mut prints) = (0, Fingerprint::default());
        for key in keys {
            if upper.is_some_and(|upper| *key >= upper) || node.children > FANOUT_MAX {
                break;
            }
            self.order.insert(key, ())?;
            prints.add(&id_of(key));
            node.children += 1;
            added += 1;
        }
        node.print.merge(&prints);
        let mut new_children = self.put(0, &lower, node)?;
        for level in 1..LEVELS {
            let (lower, mut node) = self.floor(level, first)?;
            node.print.merge(&prints);
            node.children += new_children;
            new_children = self.put(level, &lower, node)?;
        }
        Ok(added)
    }

    /// Writes a node, split where it is too large; how many nodes there are more.
    fn put(&mut self, level: u8, lower: &Key, node: Node) -> Result<u32, StorageError> {
        if node.children > FANOUT_MAX && level + 1 < LEVELS {
            self.split(level, lower, node)?;
            return Ok(1);
        }
        self.summary.insert(&row_key(level, lower), &node.to_row())?;
        Ok(0)
    }

    /// Where the node after this one begins, where there is one.
    fn next(&self, level: u8, lower: &Key) -> Result<Option<Key>, StorageError> {
        let after = (Bound::Excluded(row_key(level, lower)), Bound::Excluded(row_key(level + 1, &LOWEST)));
        let bounds = (after.0.as_ref(), after.1.as_ref());
        Ok(self.summary.range::<&[u8; 41]>(bounds)?.next().transpose()?.map(|row| lower_of(row.0.value())))
    }

    /// Takes an id out that is there. A node that is empty goes with it; the first of each level stays.
    pub(super) fn remove(&mut self, key: &Key) -> Result<(), StorageError> {
        if self.order.remove(key)?.is_none() {
            return Ok(());
        }
        let mut gone_children = 1;
        for level in 0..LEVELS {
            let (lower, mut node) = self.floor(level, key)?;
            node.print.remove(&id_of(key));
            node.children = node.children.saturating_sub(gone_children);
            gone_children = 0;
            if node.children == 0 && lower != LOWEST {
                self.summary.remove(&row_key(level, &lower))?;
                gone_children = 1;
            } else {
                self.summary.insert(&row_key(level, &lower), &node.to_row())?;
            }
        }
        Ok(())
    }

    /// The node of this level that `key` belongs to; the first of its level where there is none yet.
    fn floor(&self, level: u8, key: &Key) -> Result<(Key, Node), StorageError> {
        let found =
            self.summary.range::<&[u8; 41]>(&row_key(level, &LOWEST)..=&row_key(level, key))?.next_back();
        let Some(found) = found else {
            // Each level above has one child from the start: the first node of the level below it.
            return Ok((LOWEST, Node { children: u32::from(level > 0), print: Fingerprint::default() }));
        };
        let (at, row) = found?;
        Ok((lower_of(at.value()), Node::from_row(row.value())))
    }

    fn split(&mut self, level: u8, lower: &Key, node: Node) -> Result<(), StorageError> {
        // The tail is taken off, not half: most ids arrive in order of time, and what stays will not grow again.
        let keep = node.children * 7 / 8;
        let mut left = Node { children: keep, print: Fingerprint::default() };
        let mut right = Node { children: node.children - keep, print: Fingerprint::default() };
        let (mut last, mut at) = (*lower, None);
        if level == 0 {
            for (index, entry) in (0..node.children).zip(self.order.range::<&[u8; 40]>(lower..)?) {
                let key = *entry?.0.value();
                if index < keep {
                    left.print.add(&id_of(&key));
                    last = key;
                } else {
                    right.print.add(&id_of(&key));
                    at.get_or_insert_with(|| separator(&last, &key));
                }
            }
        } else {
            let rows = self.summary.range::<&[u8; 41]>(&row_key(level - 1, lower)..)?;
            for (index, row) in (0..node.children).zip(rows) {
                let (key, row) = row?;
                let child = Node::from_row(row.value());
                if index < keep {
                    left.print.merge(&child.print);
                } else {
                    right.print.merge(&child.print);
                    at.get_or_insert_with(|| lower_of(key.value()));
                }
            }
        }
        let at = at.expect("a node that is split has more children than it keeps");
        self.summary.insert(&row_key(level, lower), &left.to_row())?;
        self.summary.insert(&row_key(level, &at), &right.to_row())?;
        Ok(())
    }
}

/// Reads ranges of the order through its summary.
pub(super) struct Reader<O, S> {
    order: O,
    summary: S,
    rows: Cell<u64>,
}

impl<O, S> Reader<O, S>
where
    O: ReadableTable<&'static [u8; 40], ()>,
    S: ReadableTable<&'static [u8; 41], &'static [u8; 44]>,
{
    pub(super) fn new(order: O, summary: S) -> Self {
        Self { order, summary, rows: Cell::new(0) }
    }

    /// Rows read so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows.get()
    }

    fn count_row(&self) {
        self.rows.set(self.rows.get() + 1);
    }

    /// Fingerprint of the range, and its ids or parts.
    pub(super) fn inspect(&self, query: &RangeQuery) -> Result<RangeView, StorageError> {
        let from = bound(query.lower);
        let to = (query.upper != SyncBound::MAX).then(|| bound(query.upper));
        let mut all = Fingerprint::default();
        if to.is_none_or(|to| from < to) {
            let (opens, visit) = (|_, _| false, |_: &Key, print: &Fingerprint| all.merge(print));
            Walk { reader: self, opens, visit, before: 0 }.descend(LEVELS, &from, to.as_ref())?;
        }
        let detail = if query.unless == Some(all) {
            RangeDetail::Parts(Vec::new())
        } else if all.count <= u64::from(query.ids_max) {
            RangeDetail::Ids(self.ids(&from, to.as_ref(), all.count)?)
        } else if query.parts == 0 {
            let (ids, until) = self.first(&from, query.ids_max as usize)?;
            RangeDetail::First { ids, until: until.unwrap_or(query.upper) }
        } else {
            RangeDetail::Parts(self.parts(query, &from, to.as_ref(), all.count)?)
        };
        Ok(RangeView { fingerprint: all, detail })
    }

    fn ids(&self, from: &Key, to: Option<&Key>, count: u64) -> Result<Vec<TxId>, StorageError> {
        let mut ids = Vec::with_capacity(count as usize);
        if count > 0 {
            for entry in self.order.range::<&[u8; 40]>(from..)? {
                let key = *entry?.0.value();
                self.count_row();
                if to.is_some_and(|to| key >= *to) {
                    break;
                }
                ids.push(id_of(&key));
            }
        }
        Ok(ids)
    }

    /// The first `count` ids, and a bound between them and the next one, where there is one.
    fn first(&self, from: &Key, count: usize) -> Result<(Vec<TxId>, Option<SyncBound>), StorageError> {
        let mut ids = Vec::with_capacity(count);
        let mut last = *from;
        for entry in self.order.range::<&[u8; 40]>(from..)? {
            let key = *entry?.0.value();
            self.count_row();
            if ids.len() == count {
                return Ok((ids, Some(to_bound(&separator(&last, &key)))));
            }
            ids.push(id_of(&key));
            last = key;
        }
        Ok((ids, None))
    }

    fn parts(
        &self,
        query: &RangeQuery,
        from: &Key,
        to: Option<&Key>,
        count: u64,
    ) -> Result<Vec<(SyncBound, Fingerprint)>, StorageError> {
        let wanted = u64::from(query.parts.clamp(1, PARTS_MAX)).min(count);
        let cut = |part: u64| count * part / wanted;
        // A node is opened where a cut falls inside it and it is too large to put the cut at its edge.
        let grain = count / (4 * wanted);
        let opens = |before: u64, size: u64| {
            let next = before * wanted / count + 1;
            size > grain && next < wanted && cut(next) < before + size
        };
        let mut parts: Vec<(SyncBound, Fingerprint)> = Vec::with_capacity(wanted as usize);
        let (mut part, mut before) = (Fingerprint::default(), 0);
        let visit = |start: &Key, print: &Fingerprint| {
            let next = parts.len() as u64 + 1;
            if next < wanted && part.count > 0 && before >= cut(next) {
                parts.push((to_bound(start), std::mem::take(&mut part)));
            }
            part.merge(print);
            before += print.count;
        };
        Walk { reader: self, opens, visit, before: 0 }.descend(LEVELS, from, to)?;
        parts.push((query.upper, part));
        Ok(parts)
    }
}

/// One pass over a range, in pieces as large as may be. `visit` takes where a piece begins (above all keys before
/// it) and its fingerprint; `opens` may ask for a node in its parts, by the count before it and its own.
struct Walk<'a, R, P, V> {
    reader: &'a R,
    opens: P,
    visit: V,
    before: u64,
}

impl<O, S, P, V> Walk<'_, Reader<O, S>, P, V>
where
    O: ReadableTable<&'static [u8; 40], ()>,
    S: ReadableTable<&'static [u8; 41], &'static [u8; 44]>,
    P: Fn(u64, u64) -> bool,
    V: FnMut(&Key, &Fingerprint),
{
    fn take(&mut self, start: &Key, print: &Fingerprint) {
        (self.visit)(start, print);
        self.before += print.count;
    }

    /// Takes `from..to` in nodes of the level below `level`; level 0 in ids.
    fn descend(&mut self, level: u8, from: &Key, to: Option<&Key>) -> Result<(), StorageError> {
        let Some(level) = level.checked_sub(1) else { return self.ids(from, to) };
        let reader = self.reader;
        let floor =
            reader.summary.range::<&[u8; 41]>(&row_key(level, &LOWEST)..=&row_key(level, from))?.next_back();
        let Some(floor) = floor else { return Ok(()) };
        let first = *floor?.0.value();
        let mut rows = reader.summary.range::<&[u8; 41]>(&first..&row_key(level + 1, &LOWEST))?.map(|row| {
            reader.count_row();
            row.map(|(at, row)| (lower_of(at.value()), Node::from_row(row.value())))
        });
        let mut current = rows.next().transpose()?;
        while let Some((lower, node)) = current {
            if to.is_some_and(|to| lower >= *to) {
                break;
            }
            let next = rows.next().transpose()?;
            let begins_inside = *from <= lower;
            let ends_inside = match (&next, to) {
                (_, None) => true,
                (Some((upper, _)), Some(to)) => upper <= to,
                (None, Some(_)) => false,
            };
            if begins_inside && ends_inside && !(self.opens)(self.before, node.print.count) {
                self.take(&lower, &node.print);
            } else {
                let upper = match (&next, to) {
                    (Some((upper, _)), Some(to)) => Some(upper.min(to)),
                    (Some((upper, _)), None) => Some(upper),
                    (None, to) => to,
                };
                self.descend(level, from.max(&lower), upper)?;
            }
            current = next;
        }
        Ok(())
    }

    fn ids(&mut self, from: &Key, to: Option<&Key>) -> Result<(), StorageError> {
        let reader = self.reader;
        let mut previous: Option<Key> = None;
        for entry in reader.order.range::<&[u8; 40]>(from..)? {
            let key = *entry?.0.value();
            reader.count_row();
            if to.is_some_and(|to| key >= *to) {
                break;
            }
            let start = previous.map_or(*from, |previous| separator(&previous, &key));
            let mut print = Fingerprint::default();
            print.add(&id_of(&key));
            self.take(&start, &print);
            previous = Some(key);
        }
        Ok(())
    }
}
