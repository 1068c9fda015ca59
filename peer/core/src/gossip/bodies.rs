//! Large bodies on their way in: chunk by chunk, each verified with its proof, from several holders (docs/design.md § 3.5).
//!
//! What has come of a body is there for others at once: who asks for a chunk that is still on its way waits for it here.
//! Knows holders as peers, not links: a transfer goes on when a holder is linked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::transfer::{CHUNK_WAIT_MIN, Piece, Request, Transfer};
use crate::tree::Body;
use crate::types::{Hash, LinkId, PeerId, Time, TxId};
use crate::view::Size;

/// A transfer without progress for this long is given up; reconciliation starts it again.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Transfers that wait for memory; beyond it they are left to reconciliation.
const WAITING_MAX: usize = 2048;
/// Of these, so many of one origin: it may send headers whose bodies nobody has, and they go on before that is known.
const OF_ONE_ORIGIN_MAX: usize = WAITING_MAX / 2;

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
        let transfer = self.transfers.entry(id).or_insert_with(|| Transfer::new(*origin, length, root, now));
        for holder in holders {
            transfer.add_holder(*holder);
        }
        self.activate(now);
        true
    }

    /// All its chunks are on their way from this peer, as if they had been asked for.
    pub(crate) fn follow(&mut self, id: &TxId, from: &PeerId, now: Time) {
        if let Some(transfer) = self.transfers.get_mut(id).filter(|transfer| transfer.active) {
            transfer.follow(from, now);
        }
    }

    /// A chunk that has come, of a body that has not come whole.
    pub(crate) fn piece(&self, id: &TxId, index: u32) -> Option<Piece> {
        self.transfers.get(id)?.piece(index).cloned()
    }

    /// A chunk is asked for on a link: `true` where it is on its way, and goes there when it comes.
    pub(crate) fn wait_for(&mut self, id: &TxId, index: u32, link: LinkId) -> bool {
        self.transfers.get_mut(id).is_some_and(|transfer| transfer.wait_for(index, link))
    }

    /// One more peer has the whole body.
    pub(crate) fn add_holder(&mut self, id: &TxId, holder: PeerId) {
        if let Some(transfer) = self.transfers.get_mut(id) {
            transfer.add_holder(holder);
        }
    }

    /// A peer does not have it after all; what it was asked for is asked of others.
    pub(crate) fn drop_holder(&mut self, id: &TxId, holder: &PeerId) {
        if let Some(transfer) = self.transfers.get_mut(id) {
            transfer.drop_holder(holder);
        }
    }

    /// The link to a peer is gone: what it was asked for is asked again.
    pub(crate) fn unlinked(&mut self, peer: &PeerId) {
        self.transfers.values_mut().for_each(|transfer| transfer.unlinked(peer));
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
        if !transfer.wants(index, from) {
            return Took::Nothing;
        }
        let Some(waiting) = transfer.put(index, piece, now) else {
            transfer.drop_holder(from);
            return Took::Bad;
        };
        if !transfer.is_whole() {
            return Took::Progress(waiting);
        }
        let (body, pieces) = self.remove(id, now).expect("it was there a moment ago").into_body();
        Took::Whole(body, pieces, waiting)
    }

    /// What to ask for now. `link` gives a holder's link and how long its answer may take.
    pub(crate) fn requests(
        &mut self,
        now: Time,
        link: impl Fn(&PeerId) -> Option<(LinkId, Duration)>,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        for (id, transfer) in self.transfers.iter_mut().filter(|(_, transfer)| transfer.active) {
            transfer.request(*id, now, &link, &mut requests);
        }
        requests
    }

    /// Transfers that made no progress for too long, and who waits for chunks of them; they are gone.
    pub(crate) fn stalled(&mut self, now: Time) -> Vec<(TxId, BTreeSet<LinkId>)> {
        let stalled = |transfer: &Transfer| transfer.active && now.since(transfer.progress) >= STALLED_AFTER;
        let ids: Vec<TxId> =
            self.transfers.iter().filter(|(_, transfer)| stalled(transfer)).map(|(id, _)| *id).collect();
        let removed = ids.into_iter().filter_map(|id| Some((id, self.remove(&id, now)?)));
        removed.map(|(id, transfer)| (id, transfer.into_waiting())).collect()
    }

    /// When to look for chunks that did not come.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        (!self.transfers.is_empty()).then(|| now + CHUNK_WAIT_MIN / 2)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::gossip::transfer::WAITING_FOR_CHUNKS_MAX;
    use crate::tree;
    use crate::types::bounds::CHUNK_BYTES;

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
        let Took::Whole(whole, pieces, waiting) = bodies.chunk(&id, &head, 1, piece(&body, 1), Time::ZERO)
        else {
            panic!("two of two are all")
        };
        assert_eq!((pieces.len(), waiting), (2, vec![LinkId(8)]));
        let second = whole.bytes().slice(CHUNK_BYTES..);
        assert_eq!(pieces[1].data.plain().as_ptr(), second.as_ptr(), "the bytes are in memory once");
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
