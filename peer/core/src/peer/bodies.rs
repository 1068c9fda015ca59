//! Large bodies: fetched in chunks from whoever has them, and passed on chunk by chunk as they come.

use super::{Peer, Timer};
use crate::event::{Class, EvidenceKind};
use crate::gossip::bodies::Took;
use crate::gossip::intake::Verified;
use crate::gossip::transfer::Piece;
use crate::link::budget::Item;
use crate::message::Message;
use crate::payload::Payload;
use crate::types::{Hash, LinkId, Now, PeerId, TxId};

impl Peer {
    /// Chunks are asked for; those on their way here go on when they come.
    pub(super) fn chunks_asked(&mut self, link: LinkId, id: TxId, first: u32, count: u32, now: Now) {
        let asked = first..first.saturating_add(count);
        let here: Vec<u32> = asked.filter(|index| !self.bodies.wait_for(&id, *index, link)).collect();
        self.queue_bulk(link, here.into_iter().map(|index| Item::Chunk(id, index)), now);
    }

    /// A chunk that is verified and not yet on the disk.
    pub(super) fn piece(&self, id: &TxId, index: u32) -> Option<Piece> {
        match self.intake.get(id).map(|incoming| &incoming.verified) {
            Some(Verified::Whole(_, pieces)) => pieces.get(index as usize).cloned(),
            Some(_) => self.bodies.piece(id, index),
            None => None,
        }
    }

    /// The header is verified: its body is fetched from whoever has it, unless its chunks follow anyway.
    pub(super) fn fetch_body(&mut self, id: TxId, now: Now) {
        let Some(incoming) = self.intake.get(&id) else { return };
        let header = incoming.push.envelope.header();
        let body = (header.body_bytes, header.body_root);
        if self.bodies.start(id, body, &header.origin, &incoming.holders, now.time) {
            if incoming.push.chunks_follow {
                self.bodies.follow(&id, &incoming.from, now.time);
            }
            self.request_chunks(now);
        } else {
            self.give_up(id, now);
        }
    }

    fn give_up(&mut self, id: TxId, now: Now) {
        self.intake.remove(&id);
        self.seen.release(&id);
        self.sync.arrived(&id, false, now.time);
    }

    pub(super) fn request_chunks(&mut self, now: Now) {
        for (id, waiting) in self.bodies.stalled(now.time) {
            self.give_up(id, now);
            for link in waiting {
                self.send(link, Class::Control, Message::Unavailable { ids: vec![id] });
            }
        }
        let links = &self.links;
        let link = |peer: &PeerId| links.of(peer).map(|session| (session.link, session.rtt.timeout()));
        for request in self.bodies.requests(now.time, link) {
            let (id, first, count) = (request.id, request.first, request.count);
            self.send(request.link, Class::Control, Message::ChunkRequest { id, first, count });
        }
        self.timers.clear(Timer::Bodies);
        self.set_opt(Timer::Bodies, self.bodies.next(now.time));
    }

    pub(super) fn chunk(
        &mut self,
        from: PeerId,
        id: TxId,
        index: u32,
        data: Payload,
        proof: Vec<Hash>,
        now: Now,
    ) {
        let piece = Piece { data, proof };
        if self.intake.keep_early(&id, &from, index, &piece) {
            return;
        }
        let waiting = match self.bodies.chunk(&id, &from, index, piece, now.time) {
            Took::Nothing => return,
            Took::Bad => {
                let detail = format!("chunk {index} of transaction {id} does not match its root");
                self.evidence(from, EvidenceKind::BadBody, detail);
                Vec::new()
            }
            Took::Progress(waiting) => waiting,
            Took::Whole(body, pieces, waiting) => {
                self.complete(id, body, pieces, now);
                waiting
            }
        };
        for link in waiting {
            self.queue_bulk(link, std::iter::once(Item::Chunk(id, index)), now);
        }
        self.sync.touch(&id, now.time);
        self.request_chunks(now);
    }

    /// Packed bytes came that do not unpack: like any others that do not match their header.
    pub(super) fn garbled(&mut self, from: PeerId, id: TxId, chunk: Option<u32>, detail: &str, now: Now) {
        let what = chunk.map_or("the body".to_owned(), |index| format!("chunk {index}"));
        self.evidence(from, EvidenceKind::BadBody, format!("{what} of transaction {id}: {detail}"));
        if chunk.is_some() {
            self.bodies.drop_holder(&id, &from);
            self.request_chunks(now);
        }
    }

    pub(super) fn unavailable(&mut self, from: PeerId, ids: &[TxId], now: Now) {
        for id in ids {
            self.bodies.drop_holder(id, &from);
            if self.intake.get(id).is_none() {
                self.sync.arrived(id, false, now.time);
            }
        }
        self.request_chunks(now);
    }
}
