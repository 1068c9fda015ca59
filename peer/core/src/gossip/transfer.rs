//! One large body on its way in: who has it, which chunks have come, which are asked for, and who waits for them here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::payload::Payload;
use crate::tree::{self, Body};
use crate::types::bounds::{CHUNK_BYTES, CHUNKS_PER_REQUEST_MAX};
use crate::types::{Hash, LinkId, PeerId, Time, TxId};

/// Chunks asked of one holder and not yet come: 512 KiB fill 40 Mbit/s at 100 ms of round trip.
const WINDOW_CHUNKS: usize = 32;
/// Holders remembered for one body.
const HOLDERS_MAX: usize = 16;
/// Shortest wait for a chunk: a holder serves others too.
pub(super) const CHUNK_WAIT_MIN: Duration = Duration::from_secs(2);
/// Requests of others that wait for chunks of one body; beyond it they are told that it is not here. 128 peers of
/// a row, each with its window.
pub(super) const WAITING_FOR_CHUNKS_MAX: usize = 4096;

/// A verified chunk, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) data: Payload,
    pub(crate) proof: Vec<Hash>,
}

/// A request to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) link: LinkId,
    pub(crate) id: TxId,
    pub(crate) first: u32,
    pub(crate) count: u32,
}

#[derive(Debug)]
struct Holder {
    peer: PeerId,
    /// How often its chunks came too late: each time its window is halved and others come first.
    late: u32,
}

#[derive(Debug)]
pub(super) struct Transfer {
    /// Asked last: all the others would ask it too.
    pub(super) origin: PeerId,
    pub(super) length: u64,
    root: Hash,
    count: u32,
    pieces: Vec<Option<(Hash, Piece)>>,
    received: u32,
    /// Links on which a chunk was asked for that has not come.
    waiting: BTreeMap<u32, Vec<LinkId>>,
    waiting_count: usize,
    /// Below it every chunk was asked for at least once, or came unasked.
    next: u32,
    again: BTreeSet<u32>,
    asked: BTreeMap<u32, (PeerId, Time)>,
    holders: Vec<Holder>,
    pub(super) progress: Time,
    /// It has its share of the memory.
    pub(super) active: bool,
}

impl Transfer {
    pub(super) fn new(origin: PeerId, length: u64, root: Hash, now: Time) -> Self {
        Self {
            origin,
            length,
            root,
            count: tree::chunk_count(length) as u32,
            pieces: Vec::new(),
            received: 0,
            waiting: BTreeMap::new(),
            waiting_count: 0,
            next: 0,
            again: BTreeSet::new(),
            asked: BTreeMap::new(),
            holders: Vec::new(),
            progress: now,
            active: false,
        }
    }

    pub(super) fn add_holder(&mut self, holder: PeerId) {
        if self.holders.len() < HOLDERS_MAX && !self.is_holder(&holder) {
            self.holders.push(Holder { peer: holder, late: 0 });
        }
    }

    pub(super) fn drop_holder(&mut self, holder: &PeerId) {
        self.holders.retain(|known| known.peer != *holder);
        self.unlinked(holder);
    }

    fn is_holder(&self, peer: &PeerId) -> bool {
        self.holders.iter().any(|known| known.peer == *peer)
    }

    /// What this peer was asked for is asked again.
    pub(super) fn unlinked(&mut self, peer: &PeerId) {
        self.take_back(|asked, _| asked == peer);
    }

    /// All chunks are on their way from this peer, as if they had been asked for.
    pub(super) fn follow(&mut self, from: &PeerId, now: Time) {
        while let Some(index) = self.next_index() {
            self.asked.insert(index, (*from, now));
        }
    }

    pub(super) fn piece(&self, index: u32) -> Option<&Piece> {
        self.pieces.get(index as usize)?.as_ref().map(|(_, piece)| piece)
    }

    /// `true` where the chunk is on its way, and goes to this link when it comes.
    pub(super) fn wait_for(&mut self, index: u32, link: LinkId) -> bool {
        if index >= self.count || self.piece(index).is_some() || self.waiting_count >= WAITING_FOR_CHUNKS_MAX
        {
            return false;
        }
        let links = self.waiting.entry(index).or_default();
        if !links.contains(&link) {
            links.push(link);
            self.waiting_count += 1;
        }
        true
    }

    /// Everyone who waits for a chunk.
    pub(super) fn into_waiting(self) -> BTreeSet<LinkId> {
        self.waiting.into_values().flatten().collect()
    }

    /// Whether a chunk of this peer is taken. A second holder sends some unasked: whose come first are taken.
    pub(super) fn wants(&self, index: u32, from: &PeerId) -> bool {
        let is_known = self.is_holder(from) || self.again.contains(&index);
        index < self.count && is_known && self.piece(index).is_none()
    }

    /// Takes a chunk and answers who waits for it; `None` where it does not fit the root. Memory grows with what has come, not
    /// with what a header claims.
    pub(super) fn put(&mut self, index: u32, piece: Piece, now: Time) -> Option<Vec<LinkId>> {
        let leaf = tree::leaf(piece.data.plain());
        let (at, count) = (index.into(), self.count.into());
        if piece.data.len() != self.chunk_bytes(index)
            || !tree::verify(leaf, at, count, &piece.proof, &self.root)
        {
            return None;
        }
        if self.pieces.len() <= index as usize {
            self.pieces.resize(index as usize + 1, None);
        }
        self.pieces[index as usize] = Some((leaf, piece));
        self.received += 1;
        self.asked.remove(&index);
        self.again.remove(&index);
        self.progress = now;
        let waiting = self.waiting.remove(&index).unwrap_or_default();
        self.waiting_count -= waiting.len();
        Some(waiting)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.received == self.count
    }

    /// The body, and the chunks as they came, whose plain bytes are the body's.
    pub(super) fn into_body(self) -> (Arc<Body>, Vec<Piece>) {
        let (leaves, mut pieces): (_, Vec<Piece>) = self.pieces.into_iter().flatten().unzip();
        let mut bytes = Vec::with_capacity(self.length as usize);
        for piece in &pieces {
            bytes.extend_from_slice(piece.data.plain());
        }
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        for piece in &mut pieces {
            let end = start + piece.data.len();
            piece.data = std::mem::take(&mut piece.data).kept_in(bytes.slice(start..end));
            start = end;
        }
        (Arc::new(Body::from_verified(bytes, leaves)), pieces)
    }

    /// What to ask for now.
    pub(super) fn request(
        &mut self,
        id: TxId,
        now: Time,
        link: &impl Fn(&PeerId) -> Option<(LinkId, Duration)>,
        requests: &mut Vec<Request>,
    ) {
        self.expire(now, link);
        let mut near: Vec<(u32, bool, Duration, PeerId, LinkId)> = self
            .holders
            .iter()
            .filter_map(|known| {
                let is_origin = known.peer == self.origin;
                link(&known.peer).map(|(link, wait)| (known.late, is_origin, wait, known.peer, link))
            })
            .collect();
        near.sort_unstable();
        for (late, _, _, peer, link) in near {
            let window = (WINDOW_CHUNKS >> late.min(16)).max(1);
            let flying = self.asked.values().filter(|(asked, _)| *asked == peer).count();
            // Half a window at a time, so that requests are few and the pipe stays full.
            if flying > window / 2 {
                continue;
            }
            for _ in flying..window {
                let Some(index) = self.next_index() else { break };
                self.asked.insert(index, (peer, now));
                match requests.last_mut() {
                    Some(Request { link: last, id: of, first, count })
                        if *last == link
                            && *of == id
                            && *first + *count == index
                            && *count < CHUNKS_PER_REQUEST_MAX =>
                    {
                        *count += 1;
                    }
                    _ => requests.push(Request { link, id, first: index, count: 1 }),
                }
            }
        }
    }

    fn chunk_bytes(&self, index: u32) -> usize {
        let start = u64::from(index) * CHUNK_BYTES as u64;
        self.length.saturating_sub(start).min(CHUNK_BYTES as u64) as usize
    }

    fn next_index(&mut self) -> Option<u32> {
        if let Some(index) = self.again.pop_first() {
            return Some(index);
        }
        while self.next < self.count {
            self.next += 1;
            if self.piece(self.next - 1).is_none() {
                return Some(self.next - 1);
            }
        }
        None
    }

    /// Takes back what did not come in time.
    fn expire(&mut self, now: Time, link: &impl Fn(&PeerId) -> Option<(LinkId, Duration)>) {
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
