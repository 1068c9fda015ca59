//! Large bodies on their way in: chunk by chunk, each verified with its proof, from several holders (docs/design.md § 3.5).
//!
//! Knows holders as peers, not links: a transfer goes on when a holder is linked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::tree::{self, Body};
use crate::types::bounds::{CHUNK_BYTES, CHUNKS_PER_REQUEST_MAX};
use crate::types::{Hash, LinkId, PeerId, Time, TxId};
use crate::view::Size;

/// Chunks asked of one holder and not yet come: 512 KiB fill 40 Mbit/s at 100 ms of round trip.
const WINDOW_CHUNKS: usize = 32;
/// Holders remembered for one body.
const HOLDERS_MAX: usize = 16;
/// Shortest wait for a chunk: a holder serves others too.
const CHUNK_WAIT_MIN: Duration = Duration::from_secs(2);
/// A transfer without progress for this long is given up; reconciliation starts it again.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Transfers that wait for memory; beyond it they are left to reconciliation.
const WAITING_MAX: usize = 1024;

#[derive(Debug)]
struct Holder {
    peer: PeerId,
    /// How often its chunks came too late: each time its window is halved and others come first.
    late: u32,
}

#[derive(Debug)]
struct Transfer {
    length: u64,
    root: Hash,
    count: u32,
    buffer: Vec<u8>,
    leaves: Vec<Option<Hash>>,
    received: u32,
    /// Below it every chunk was asked for at least once.
    next: u32,
    again: BTreeSet<u32>,
    asked: BTreeMap<u32, (PeerId, Time)>,
    holders: Vec<Holder>,
    progress: Time,
    active: bool,
}

/// What a chunk did.
#[derive(Debug)]
pub(crate) enum Took {
    /// It was not asked for, or is there already.
    Nothing,
    /// It does not fit its root: evidence against its sender, who is asked no more.
    Bad,
    /// One more.
    Progress,
    /// The last one.
    Whole(Arc<Body>),
}

/// A request to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) link: LinkId,
    pub(crate) id: TxId,
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// All transfers.
#[derive(Debug)]
pub(crate) struct Bodies {
    transfers: BTreeMap<TxId, Transfer>,
    bytes: u64,
    bytes_max: u64,
}

impl Bodies {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 1] {
        [Size { name: "large bodies on their way in", len: self.transfers.len(), max: WAITING_MAX }]
    }

    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { transfers: BTreeMap::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.transfers.len()
    }

    /// Starts a transfer; it waits while the others take all the memory. `false`: too many wait.
    pub(crate) fn start(&mut self, id: TxId, length: u64, root: Hash, holders: &[PeerId], now: Time) -> bool {
        if self.transfers.len() >= WAITING_MAX && !self.transfers.contains_key(&id) {
            return false;
        }
        let count = tree::chunk_count(length) as u32;
        self.transfers.entry(id).or_insert_with(|| Transfer {
            length,
            root,
            count,
            buffer: Vec::new(),
            leaves: Vec::new(),
            received: 0,
            next: 0,
            again: BTreeSet::new(),
            asked: BTreeMap::new(),
            holders: Vec::new(),
            progress: now,
            active: false,
        });
        for holder in holders {
            self.add_holder(&id, *holder);
        }
        self.activate(now);
        true
    }

    /// One more peer has the whole body.
    pub(crate) fn add_holder(&mut self, id: &TxId, holder: PeerId) {
        if let Some(transfer) = self.transfers.get_mut(id)
            && transfer.holders.len() < HOLDERS_MAX
            && !transfer.holders.iter().any(|known| known.peer == holder)
        {
            transfer.holders.push(Holder { peer: holder, late: 0 });
        }
    }

    /// A peer does not have it after all; what it was asked for is asked of others.
    pub(crate) fn drop_holder(&mut self, id: &TxId, holder: &PeerId) {
        if let Some(transfer) = self.transfers.get_mut(id) {
            transfer.holders.retain(|known| known.peer != *holder);
            transfer.take_back(|peer, _| peer == holder);
        }
    }

    /// The link to a peer is gone: what it was asked for is asked again.
    pub(crate) fn unlinked(&mut self, peer: &PeerId) {
        self.transfers.values_mut().for_each(|transfer| transfer.take_back(|asked, _| asked == peer));
    }

    fn activate(&mut self, now: Time) {
        for transfer in self.transfers.values_mut().filter(|transfer| !transfer.active) {
            if self.bytes == 0 || self.bytes + transfer.length <= self.bytes_max {
                transfer.active = true;
                transfer.progress = now;
                self.bytes += transfer.length;
            }
        }
    }

    fn remove(&mut self, id: &TxId, now: Time) -> Option<Transfer> {
        let transfer = self.transfers.remove(id)?;
        if transfer.active {
            self.bytes -= transfer.length;
        }
        self.activate(now);
        Some(transfer)
    }

    /// Takes a chunk.
    pub(crate) fn chunk(
        &mut self,
        id: &TxId,
        from: &PeerId,
        index: u32,
        data: &Bytes,
        proof: &[Hash],
        now: Time,
    ) -> Took {
        let Some(transfer) = self.transfers.get_mut(id).filter(|transfer| transfer.active) else {
            return Took::Nothing;
        };
        let asked = transfer.asked.get(&index).is_some_and(|(peer, _)| peer == from);
        if !asked && !transfer.again.contains(&index) || transfer.has(index) {
            return Took::Nothing;
        }
        let leaf = tree::leaf(data);
        let whole = data.len() == transfer.chunk_bytes(index);
        if !whole || !tree::verify(leaf, index.into(), transfer.count.into(), proof, &transfer.root) {
            self.drop_holder(id, from);
            return Took::Bad;
        }
        transfer.put(index, leaf, data);
        transfer.progress = now;
        if transfer.received < transfer.count {
            return Took::Progress;
        }
        let transfer = self.remove(id, now).expect("it was there a moment ago");
        let leaves = transfer.leaves.into_iter().flatten().collect();
        Took::Whole(Arc::new(Body::from_verified(Bytes::from(transfer.buffer), leaves)))
    }

    /// What to ask for now. `link` gives a holder's link and how long its answer may take.
    pub(crate) fn requests(
        &mut self,
        now: Time,
        link: impl Fn(&PeerId) -> Option<(LinkId, Duration)>,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        for (id, transfer) in self.transfers.iter_mut().filter(|(_, transfer)| transfer.active) {
            transfer.expire(now, &link);
            let mut near: Vec<(u32, Duration, PeerId, LinkId)> = transfer
                .holders
                .iter()
                .filter_map(|known| {
                    link(&known.peer).map(|(link, wait)| (known.late, wait, known.peer, link))
                })
                .collect();
            near.sort_unstable();
            for (late, _, peer, link) in near {
                let window = (WINDOW_CHUNKS >> late.min(16)).max(1);
                let flying = transfer.asked.values().filter(|(asked, _)| *asked == peer).count();
                // Half a window at a time, so that requests are few and the pipe stays full.
                if flying > window / 2 {
                    continue;
                }
                for _ in flying..window {
                    let Some(index) = transfer.next_index() else { break };
                    transfer.asked.insert(index, (peer, now));
                    match requests.last_mut() {
                        Some(Request { link: last, id: of, first, count })
                            if *last == link
                                && of == id
                                && *first + *count == index
                                && *count < CHUNKS_PER_REQUEST_MAX =>
                        {
                            *count += 1;
                        }
                        _ => requests.push(Request { link, id: *id, first: index, count: 1 }),
                    }
                }
            }
        }
        requests
    }

    /// Transfers that made no progress for too long; they are gone.
    pub(crate) fn stalled(&mut self, now: Time) -> Vec<TxId> {
        let stalled = |transfer: &Transfer| transfer.active && now.since(transfer.progress) >= STALLED_AFTER;
        let ids: Vec<TxId> =
            self.transfers.iter().filter(|(_, transfer)| stalled(transfer)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.remove(id, now);
        }
        ids
    }

    /// When to look for chunks that did not come.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        (!self.transfers.is_empty()).then(|| now + CHUNK_WAIT_MIN / 2)
    }
}

impl Transfer {
    fn has(&self, index: u32) -> bool {
        self.leaves.get(index as usize).is_some_and(Option::is_some)
    }

    fn chunk_bytes(&self, index: u32) -> usize {
        let start = u64::from(index) * CHUNK_BYTES as u64;
        self.length.saturating_sub(start).min(CHUNK_BYTES as u64) as usize
    }

    /// Memory grows with what has come, not with what a header claims.
    fn put(&mut self, index: u32, leaf: Hash, data: &[u8]) {
        let start = index as usize * CHUNK_BYTES;
        let end = start + data.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        if self.leaves.len() <= index as usize {
            self.leaves.resize(index as usize + 1, None);
        }
        self.buffer[start..end].copy_from_slice(data);
        self.leaves[index as usize] = Some(leaf);
        self.received += 1;
        self.asked.remove(&index);
        self.again.remove(&index);
    }

    fn next_index(&mut self) -> Option<u32> {
        if let Some(index) = self.again.pop_first() {
            return Some(index);
        }
        (self.next < self.count).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes back what did not come in time.
    fn expire(&mut self, now: Time, link: impl Fn(&PeerId) -> Option<(LinkId, Duration)>) {
        let wait =
            |peer: &PeerId| link(peer).map_or(CHUNK_WAIT_MIN, |(_, wait)| (wait * 4).max(CHUNK_WAIT_MIN));
        let mut late: Vec<PeerId> =
            self.asked.values().filter(|(peer, at)| now >= *at + wait(peer)).map(|(peer, _)| *peer).collect();
        late.dedup();
        for holder in self.holders.iter_mut().filter(|holder| late.contains(&holder.peer)) {
            holder.late = holder.late.saturating_add(1);
        }
        self.take_back(|peer, at| now >= at + wait(peer));
    }

    fn take_back(&mut self, which: impl Fn(&PeerId, Time) -> bool) {
        let again = &mut self.again;
        self.asked.retain(|index, (peer, at)| {
            let back = which(peer, *at);
            if back {
                again.insert(*index);
            }
            !back
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: usize) -> Body {
        Body::new(Bytes::from((0..bytes).map(|at| (at / 7) as u8).collect::<Vec<_>>()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape that requests() asks for")]
    fn link(peer: &PeerId) -> Option<(LinkId, Duration)> {
        Some((LinkId(peer.prefix()), Duration::from_millis(10)))
    }

    fn chunk(body: &Body, index: u32) -> (Bytes, Vec<Hash>) {
        let start = index as usize * CHUNK_BYTES;
        let data = body.bytes().slice(start..body.bytes().len().min(start + CHUNK_BYTES));
        (data, tree::proof(body.leaves(), index as usize).expect("there is such a chunk"))
    }

    #[test]
    fn a_body_comes_whole_though_one_holder_lies_and_another_is_silent() {
        let (good, liar, silent) = (PeerId::of_uri("good"), PeerId::of_uri("liar"), PeerId::of_uri("silent"));
        let body = body(100 * CHUNK_BYTES + 5);
        let id = TxId::from_bytes([1; 32]);
        let mut bodies = Bodies::new(1 << 30);
        bodies.start(id, body.bytes().len() as u64, body.root(), &[good, liar, silent], Time::ZERO);
        let mut now = Time::ZERO;
        for _ in 0..200 {
            for request in bodies.requests(now, link) {
                for index in request.first..request.first + request.count {
                    let (data, proof) = chunk(&body, index);
                    if request.link.0 == liar.prefix() {
                        let fake = Bytes::from(vec![9; data.len()]);
                        bodies.chunk(&id, &liar, index, &fake, &proof, now);
                    } else if request.link.0 == good.prefix()
                        && let Took::Whole(whole) = bodies.chunk(&id, &good, index, &data, &proof, now)
                    {
                        assert_eq!(*whole, body);
                        assert_eq!(bodies.bytes, 0);
                        return;
                    }
                }
            }
            now = now + Duration::from_millis(500);
        }
        panic!("the body never came");
    }

    #[test]
    fn memory_is_shared_out_and_freed() {
        let holder = PeerId::of_uri("holder");
        let mut bodies = Bodies::new(100);
        let id = |number| TxId::from_bytes([number; 32]);
        let root = Hash::from_bytes([0; 32]);
        for number in 1..=3 {
            assert!(bodies.start(id(number), 60, root, &[holder], Time::ZERO));
        }
        assert_eq!(bodies.bytes, 60);
        assert_eq!(bodies.requests(Time::ZERO, link).len(), 1);
        let later = Time::ZERO + STALLED_AFTER;
        assert_eq!(bodies.stalled(later), [id(1)]);
        assert_eq!(bodies.requests(later, link)[0].id, id(2));
        assert!(bodies.start(id(9), u64::MAX / 2, root, &[], later));
        assert_eq!(bodies.bytes, 60, "one that is too large waits until it is alone");
    }
}
