//! Large bodies on their way in: chunk by chunk, each verified with its proof, from several holders (docs/design.md § 3.5).
//!
//! What has come of a body is there for others at once: who asks for a chunk that is still on its way waits for it here.
//! Knows holders as peers, not links: a transfer goes on when a holder is linked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::payload::Payload;
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
/// Requests of others that wait for chunks of one body; beyond it they are told that it is not here. 128 peers of
/// a row, each with its window.
const WAITING_FOR_CHUNKS_MAX: usize = 4096;
/// Transfers that wait for memory; beyond it they are left to reconciliation.
const WAITING_MAX: usize = 2048;
/// Of these, so many of one origin: it may send headers whose bodies nobody has, and they go on before that is known.
const OF_ONE_ORIGIN_MAX: usize = WAITING_MAX / 2;

/// A verified chunk, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) data: Payload,
    pub(crate) proof: Vec<Hash>,
}

#[derive(Debug)]
struct Holder {
    peer: PeerId,
    /// How often its chunks came too late: each time its window is halved and others come first.
    late: u32,
}

#[derive(Debug)]
struct Transfer {
    /// Asked last: all the others would ask it too.
    origin: PeerId,
    length: u64,
    root: Hash,
    count: u32,
    pieces: Vec<Option<(Hash, Piece)>>,
    received: u32,
    /// Links on which a chunk was asked for that has not come.
    waiting: BTreeMap<u32, Vec<LinkId>>,
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
    /// It is of nobody who has it, or is there already.
    Nothing,
    /// It does not fit its root: evidence against its sender, who is asked no more.
    Bad,
    /// One more, which these links wait for.
    Progress(Vec<LinkId>),
    /// The last one, which these links wait for.
    Whole(Arc<Body>, Vec<Piece>, Vec<LinkId>),
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

    /// Starts a transfer; it waits while the others take all the memory. `false`: too many wait, or too many of its origin.
    pub(crate) fn start(
        &mut self,
        id: TxId,
        (length, root): (u64, Hash),
        origin: &PeerId,
        holders: &[PeerId],
        now: Time,
    ) -> bool {
        if !self.transfers.contains_key(&id) {
            let of_origin = self.transfers.values().filter(|transfer| transfer.origin == *origin).count();
            if self.transfers.len() >= WAITING_MAX || of_origin >= OF_ONE_ORIGIN_MAX {
                return false;
            }
        }
        let count = tree::chunk_count(length) as u32;
        self.transfers.entry(id).or_insert_with(|| Transfer {
            origin: *origin,
            length,
            root,
            count,
            pieces: Vec::new(),
            received: 0,
            waiting: BTreeMap::new(),
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

    /// All its chunks are on their way from this peer, as if they had been asked for.
    pub(crate) fn follow(&mut self, id: &TxId, from: &PeerId, now: Time) {
        if let Some(transfer) = self.transfers.get_mut(id).filter(|transfer| transfer.active) {
            transfer.asked.extend((transfer.next..transfer.count).map(|index| (index, (*from, now))));
            transfer.next = transfer.count;
        }
    }

    /// A chunk that has come, of a body that has not come whole.
    pub(crate) fn piece(&self, id: &TxId, index: u32) -> Option<Piece> {
        let (_, piece) = self.transfers.get(id)?.pieces.get(index as usize)?.as_ref()?;
        Some(piece.clone())
    }

    /// A chunk is asked for on a link: `true` where it is on its way, and goes there when it comes.
    pub(crate) fn wait_for(&mut self, id: &TxId, index: u32, link: LinkId) -> bool {
        let Some(transfer) = self.transfers.get_mut(id) else { return false };
        let waiting: usize = transfer.waiting.values().map(Vec::len).sum();
        if index >= transfer.count || transfer.has(index) || waiting >= WAITING_FOR_CHUNKS_MAX {
            return false;
        }
        let links = transfer.waiting.entry(index).or_default();
        if !links.contains(&link) {
            links.push(link);
        }
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
    pub(crate) fn chunk(&mut self, id: &TxId, from: &PeerId, index: u32, piece: Piece, now: Time) -> Took {
        let Some(transfer) = self.transfers.get_mut(id).filter(|transfer| transfer.active) else {
            return Took::Nothing;
        };
        // A second holder sends some unasked: whose come first are taken.
        let is_holder = transfer.holders.iter().any(|known| known.peer == *from);
        if index >= transfer.count || !is_holder && !transfer.again.contains(&index) || transfer.has(index) {
            return Took::Nothing;
        }
        let leaf = tree::leaf(piece.data.plain());
        let whole = piece.data.len() == transfer.chunk_bytes(index);
        if !whole || !tree::verify(leaf, index.into(), transfer.count.into(), &piece.proof, &transfer.root) {
            self.drop_holder(id, from);
            return Took::Bad;
        }
        let waiting = transfer.put(index, leaf, piece);
        transfer.progress = now;
        if transfer.received < transfer.count {
            return Took::Progress(waiting);
        }
        let transfer = self.remove(id, now).expect("it was there a moment ago");
        let (leaves, pieces): (_, Vec<Piece>) = transfer.pieces.into_iter().flatten().unzip();
        let mut bytes = Vec::with_capacity(transfer.length as usize);
        for piece in &pieces {
            bytes.extend_from_slice(piece.data.plain());
        }
        Took::Whole(Arc::new(Body::from_verified(Bytes::from(bytes), leaves)), pieces, waiting)
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
            let mut near: Vec<(u32, bool, Duration, PeerId, LinkId)> = transfer
                .holders
                .iter()
                .filter_map(|known| {
                    let is_origin = known.peer == transfer.origin;
                    link(&known.peer).map(|(link, wait)| (known.late, is_origin, wait, known.peer, link))
                })
                .collect();
            near.sort_unstable();
            for (late, _, _, peer, link) in near {
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

    /// Transfers that made no progress for too long, and who waits for chunks of them; they are gone.
    pub(crate) fn stalled(&mut self, now: Time) -> Vec<(TxId, BTreeSet<LinkId>)> {
        let stalled = |transfer: &Transfer| transfer.active && now.since(transfer.progress) >= STALLED_AFTER;
        let ids: Vec<TxId> =
            self.transfers.iter().filter(|(_, transfer)| stalled(transfer)).map(|(id, _)| *id).collect();
        let removed = ids.into_iter().filter_map(|id| Some((id, self.remove(&id, now)?)));
        removed.map(|(id, transfer)| (id, transfer.waiting.into_values().flatten().collect())).collect()
    }

    /// When to look for chunks that did not come.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        (!self.transfers.is_empty()).then(|| now + CHUNK_WAIT_MIN / 2)
    }
}

impl Transfer {
    fn has(&self, index: u32) -> bool {
        self.pieces.get(index as usize).is_some_and(Option::is_some)
    }

    fn chunk_bytes(&self, index: u32) -> usize {
        let start = u64::from(index) * CHUNK_BYTES as u64;
        self.length.saturating_sub(start).min(CHUNK_BYTES as u64) as usize
    }

    /// Memory grows with what has come, not with what a header claims. Answers who waits for it.
    fn put(&mut self, index: u32, leaf: Hash, piece: Piece) -> Vec<LinkId> {
        if self.pieces.len() <= index as usize {
            self.pieces.resize(index as usize + 1, None);
        }
        self.pieces[index as usize] = Some((leaf, piece));
        self.received += 1;
        self.asked.remove(&index);
        self.again.remove(&index);
        self.waiting.remove(&index).unwrap_or_default()
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

    fn piece(body: &Body, index: u32) -> Piece {
        let start = index as usize * CHUNK_BYTES;
        let data = body.bytes().slice(start..body.bytes().len().min(start + CHUNK_BYTES)).into();
        Piece { data, proof: tree::proof(body.leaves(), index as usize).expect("there is such a chunk") }
    }

    #[test]
    fn a_body_comes_whole_though_one_holder_lies_and_another_is_silent() {
        let (good, liar, silent) = (PeerId::of_uri("good"), PeerId::of_uri("liar"), PeerId::of_uri("silent"));
        let body = body(100 * CHUNK_BYTES + 5);
        let id = TxId::from_bytes([1; 32]);
        let mut bodies = Bodies::new(1 << 30);
        let of = (body.bytes().len() as u64, body.root());
        bodies.start(id, of, &good, &[good, liar, silent], Time::ZERO);
        let mut now = Time::ZERO;
        for _ in 0..200 {
            for request in bodies.requests(now, link) {
                for index in request.first..request.first + request.count {
                    let piece = piece(&body, index);
                    if request.link.0 == liar.prefix() {
                        let fake = Bytes::from(vec![9; piece.data.len()]).into();
                        bodies.chunk(&id, &liar, index, Piece { data: fake, ..piece }, now);
                    } else if request.link.0 == good.prefix()
                        && let Took::Whole(whole, ..) = bodies.chunk(&id, &good, index, piece, now)
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
            assert!(bodies.start(id(number), (60, root), &holder, &[holder], Time::ZERO));
        }
        assert_eq!(bodies.bytes, 60);
        assert_eq!(bodies.requests(Time::ZERO, link).len(), 1);
        let later = Time::ZERO + STALLED_AFTER;
        assert_eq!(bodies.stalled(later), [(id(1), BTreeSet::new())]);
        assert_eq!(bodies.requests(later, link)[0].id, id(2));
        assert!(bodies.start(id(9), (u64::MAX / 2, root), &holder, &[], later));
        assert_eq!(bodies.bytes, 60, "one that is too large waits until it is alone");
    }

    #[test]
    fn who_asks_for_what_is_on_its_way_gets_it_when_it_comes() {
        let (origin, head) = (PeerId::of_uri("origin"), PeerId::of_uri("head"));
        let body = body(2 * CHUNK_BYTES);
        let id = TxId::from_bytes([1; 32]);
        let mut bodies = Bodies::new(1 << 30);
        let of = (body.bytes().len() as u64, body.root());
        bodies.start(id, of, &origin, &[origin, head], Time::ZERO);
        let asked = bodies.requests(Time::ZERO, |peer| Some((LinkId(peer.prefix()), Duration::ZERO)));
        assert!(asked.iter().all(|request| request.link.0 == head.prefix()), "the origin is asked last");

        assert!(bodies.wait_for(&id, 0, LinkId(7)) && bodies.wait_for(&id, 0, LinkId(7)));
        assert!(bodies.wait_for(&id, 1, LinkId(8)));
        assert!(!bodies.wait_for(&id, 2, LinkId(8)), "it has two chunks");
        assert!(bodies.piece(&id, 0).is_none());
        let Took::Progress(waiting) = bodies.chunk(&id, &head, 0, piece(&body, 0), Time::ZERO) else {
            panic!("one of two is progress")
        };
        assert_eq!(waiting, [LinkId(7)]);
        assert!(bodies.piece(&id, 0).is_some() && !bodies.wait_for(&id, 0, LinkId(7)));
        let Took::Whole(_, pieces, waiting) = bodies.chunk(&id, &head, 1, piece(&body, 1), Time::ZERO) else {
            panic!("two of two are all")
        };
        assert_eq!((pieces.len(), waiting), (2, vec![LinkId(8)]));
    }

    #[test]
    fn what_waits_for_chunks_is_bounded_and_told_when_they_do_not_come() {
        let origin = PeerId::of_uri("origin");
        let id = TxId::from_bytes([1; 32]);
        let mut bodies = Bodies::new(1 << 30);
        bodies.start(id, (1 << 20, Hash::from_bytes([0; 32])), &origin, &[origin], Time::ZERO);
        let taken = (0..5000).filter(|link| bodies.wait_for(&id, 0, LinkId(*link))).count();
        assert_eq!(taken, WAITING_FOR_CHUNKS_MAX);
        let (stalled, waiting) = bodies.stalled(Time::ZERO + STALLED_AFTER).remove(0);
        assert_eq!((stalled, waiting.len()), (id, WAITING_FOR_CHUNKS_MAX));
    }

    #[test]
    fn an_origin_of_headers_without_bodies_does_not_keep_another_out() {
        let mut bodies = Bodies::new(1 << 30);
        let started = |bodies: &mut Bodies, origin: &str| {
            let origin = PeerId::of_uri(origin);
            let ids = (0..2000_u32)
                .map(|number| TxId::of_header(&[&number.to_le_bytes()[..], origin.as_bytes()].concat()));
            ids.filter(|id| bodies.start(*id, (1 << 20, Hash::from_bytes([0; 32])), &origin, &[], Time::ZERO))
                .count()
        };
        assert_eq!(started(&mut bodies, "flooder"), OF_ONE_ORIGIN_MAX);
        assert_eq!(started(&mut bodies, "another"), OF_ONE_ORIGIN_MAX, "one does not keep another out");
    }
}
