//! Announcements, fetches of what was missed, and everything that is sent in bulk.

use std::time::Duration;

use rand::Rng;

use super::{Peer, Purpose, Timer};
use crate::event::{Class, EvidenceKind, LoadWhat, Loaded, Output};
use crate::gossip::intake::Verified;
use crate::gossip::transfer::Piece;
use crate::gossip::{announce, grid};
use crate::link::budget::Item;
use crate::message::{Message, Push, short_id};
use crate::payload::Payload;
use crate::types::bounds::PUSH_BODY_BYTES_MAX;
use crate::types::{LinkId, Now, OpId, PeerId, TxId, WallTime};

/// Mean one-way delays that an announced transaction is waited for, while few pushes are missed and while many are.
/// docs/design.md § 3.4 began with 1.5 and 0.75. Of what is fetched before its push comes, 1.25 makes 1.081 copies of a
/// transaction in 100 peers at 80 ms, 1.3 makes 1.07 (simulated).
const WAIT_DELAYS: f64 = 1.3;
const WAIT_DELAYS_LOSSY: f64 = 0.9;
/// Mean one-way delays between two waves of announcements, while few pushes are missed and while many are. Guess: the
/// wave follows when those told before would have asked.
const WAVE_DELAYS: f64 = 1.5;
const WAVE_DELAYS_LOSSY: f64 = 0.75;
/// Shortest wait for an announced transaction whose push may be on its way: a scheduler's hiccup. Guess.
const FETCH_WAIT_MIN: Duration = Duration::from_millis(10);
/// What an announcer needs beside the round trip to answer: a read from its store. Guess.
const ANSWER_TIME: Duration = Duration::from_millis(30);
/// Bytes of a bulk frame beside its payload, roughly.
const FRAME_OVERHEAD_BYTES: usize = 128;

impl Peer {
    /// Tells a few links, in other rows where there are any, that a transaction is held here.
    pub(super) fn announce(&mut self, id: TxId, published: WallTime, holders: &[PeerId], now: Now) {
        if !announce::is_young(published, now.wall) {
            return;
        }
        if self.pushing_rows <= 1 && !self.misses.is_lossy() {
            return self.announce_direct(id, holders, now);
        }
        let own = grid::row(&self.me, self.pushing_rows);
        let elsewhere = |peer: &PeerId| self.pushing_rows <= 1 || grid::row(peer, self.pushing_rows) != own;
        let peers = self.network_size();
        let expected = grid::links_expected(peers, self.pushing_rows);
        let first = announce::first_links(peers, self.links.linked(), expected);
        let later = announce::later_links(self.misses.is_lossy());
        // Sessions are many and far apart in memory: only those that are drawn are looked at.
        let mut pool: Vec<LinkId> = self
            .links
            .standing_links()
            .filter(|(peer, _)| elsewhere(peer) && !holders.contains(peer))
            .map(|(_, link)| link)
            .collect();
        let (interval, wanted) = (self.config.heartbeat_interval, first + later);
        let mut drawn = Vec::with_capacity(wanted.min(pool.len()));
        while drawn.len() < wanted && !pool.is_empty() {
            let at = self.rng.random_range(0..pool.len());
            let answers = self.links.get(pool[at]).filter(|session| !session.is_suspect(now.time, interval));
            // Who cannot be dialled has fewer links to be pushed over, and is drawn twice as often.
            if answers.is_some_and(|session| session.reachable && self.rng.random_bool(0.5)) {
                continue;
            }
            let link = pool.swap_remove(at);
            if answers.is_some() {
                drawn.push(link);
            }
        }
        let mut links = drawn.into_iter();
        let salt = announce::salt(&self.config.network, now.wall);
        let short = short_id(salt, &id);
        for link in links.by_ref().take(first) {
            self.announcements.add(link, salt, short, now.time);
        }
        let later = links.take(later).collect();
        self.announcements.add_later(id, later, now.time + self.wave_interval());
        self.wake_for_announcements();
    }

    fn announce_direct(&mut self, id: TxId, holders: &[PeerId], now: Now) {
        let interval = self.config.heartbeat_interval;
        let answers =
            |link| self.links.get(link).is_some_and(|session| !session.is_suspect(now.time, interval));
        let pool =
            self.links.standing_links().filter(|(peer, link)| !holders.contains(peer) && answers(*link));
        let salt = announce::salt(&self.config.network, now.wall);
        let short = short_id(salt, &id);
        for link in announce::direct(&self.me, pool) {
            self.announcements.add_direct(link, salt, short, now.time);
        }
        self.wake_for_announcements();
    }

    fn wave_interval(&self) -> Duration {
        self.links.mean_delay().mul_f64(if self.misses.is_lossy() { WAVE_DELAYS_LOSSY } else { WAVE_DELAYS })
    }

    fn wake_for_announcements(&mut self) {
        self.timers.clear(Timer::Announce);
        self.set_opt(Timer::Announce, self.announcements.next());
    }

    pub(super) fn send_announcements(&mut self, now: Now) {
        let waves = self.announcements.due_waves(now.time, self.wave_interval());
        if !waves.is_empty() {
            let salt = announce::salt(&self.config.network, now.wall);
            for (id, links) in waves {
                let short = short_id(salt, &id);
                for link in links {
                    self.announcements.add(link, salt, short, now.time);
                }
            }
        }
        for ((link, salt), short_ids) in self.announcements.take() {
            self.send(link, Class::Announce, Message::Announce { salt, short_ids });
            if let Some(session) = self.links.get_mut(link) {
                session.expect_answer(now.time);
            }
        }
        self.wake_for_announcements();
    }

    pub(super) fn announced(&mut self, link: LinkId, salt: u64, short_ids: &[[u8; 8]], now: Now) {
        let Some(peer) = self.links.get(link).map(|session| session.peer.id) else { return };
        if !announce::is_salt(&self.config.network, now.wall, salt) {
            // Another epoch: the clocks differ by more than ten minutes, reconciliation has to do.
            return;
        }
        let delays = WAIT_DELAYS + (WAIT_DELAYS_LOSSY - WAIT_DELAYS) * self.misses.lossiness();
        let wait = self.links.mean_delay().mul_f64(delays).max(FETCH_WAIT_MIN);
        for short in short_ids {
            if let Some(id) = self.seen.by_short(salt, *short) {
                self.bodies.add_holder(&id, peer);
            } else {
                let due = self.fetches.announced((salt, *short), link, now.time + wait);
                self.set_opt(Timer::Fetch, due);
            }
        }
    }

    /// Who announced an id that has come; it is not asked for any more.
    pub(super) fn announcers_of(&mut self, id: &TxId) -> Vec<LinkId> {
        if self.fetches.is_empty() {
            return Vec::new();
        }
        let fetches = &mut self.fetches;
        self.seen.salts().flat_map(|salt| fetches.arrived(&(salt, short_id(salt, id)))).collect()
    }

    pub(super) fn fetch(&mut self, now: Now) {
        let wait = |peer: &Self, link| peer.links.get(link).map(|session| session.rtt.answer() + ANSWER_TIME);
        self.fetch_whole(wait, now);
        let links = &self.links;
        let asks = self
            .fetches
            .due(now.time, |link| links.get(link).map(|session| session.rtt.answer() + ANSWER_TIME));
        self.set_opt(Timer::Fetch, asks.next);
        for (link, missing) in asks.requests {
            for of_salt in missing.chunk_by(|(one, _), (other, _)| one == other) {
                let (salt, short_ids) = (of_salt[0].0, of_salt.iter().map(|(_, short)| *short).collect());
                let fetch = Message::Fetch { ids: Vec::new(), salt, short_ids, whole: false };
                self.send(link, Class::Control, fetch);
            }
        }
        for link in asks.in_vain {
            if let Some(peer) = self.links.get(link).map(|session| session.peer.id) {
                let detail = "what it announced did not come when it was asked for".to_owned();
                self.evidence(peer, EvidenceKind::Unanswered, detail);
            }
        }
    }

    pub(super) fn fetch_asked(
        &mut self,
        link: LinkId,
        ids: &[TxId],
        salt: u64,
        short: &[[u8; 8]],
        whole: bool,
        now: Now,
    ) {
        let mut wanted = ids.to_vec();
        if announce::is_salt(&self.config.network, now.wall, salt) {
            wanted.extend(short.iter().filter_map(|short| self.seen.by_short(salt, *short)));
        }
        if whole {
            self.refer_later(link, now);
        }
        self.queue_bulk(link, wanted.into_iter().map(if whole { Item::Whole } else { Item::Fetched }), now);
    }

    pub(super) fn queue_bulk(&mut self, link: LinkId, items: impl Iterator<Item = Item>, now: Now) {
        let Some(session) = self.links.get_mut(link) else { return };
        for item in items {
            if !session.bulk.push(item) {
                break;
            }
        }
        self.send_bulk(link, now);
    }

    /// Loads as much for a link as its window lets through.
    pub(super) fn send_bulk(&mut self, link: LinkId, now: Now) {
        while let Some(item) = self.links.get_mut(link).and_then(|session| session.bulk.next()) {
            if let Item::Chunk(id, index) = item
                && let Some(Piece { data, proof }) = self.piece(&id, index)
            {
                self.serve(link, item, Some(Loaded::Chunk { data, proof }), now);
                continue;
            }
            let (id, what) = match item {
                Item::Envelope(id) | Item::Fetched(id) | Item::Whole(id) => (id, LoadWhat::Envelope),
                Item::Chunk(id, index) => {
                    // Many ask for the same at the same time: it is read once.
                    let links = self.chunk_loads.entry((id, index)).or_default();
                    links.push(link);
                    if links.len() > 1 {
                        continue;
                    }
                    (id, LoadWhat::Chunk { index })
                }
            };
            let op = self.op(Purpose::Load { link, item });
            self.outputs.push_back(Output::Load { op, id, what });
        }
    }

    pub(super) fn loaded(&mut self, op: OpId, found: Option<Loaded>, now: Now) {
        let (link, item) = match self.ops.remove(&op) {
            Some(Purpose::Load { link, item }) => (link, item),
            Some(Purpose::RetryOutbox) => {
                if let Some(Loaded::Envelope { envelope, body }) = found {
                    self.push_again(&envelope, body.as_ref(), now);
                }
                return;
            }
            Some(Purpose::LoadForRow { rows, hops, holders }) => {
                if let Some(Loaded::Envelope { envelope, body }) = found {
                    self.push_to_row(&envelope, body.as_ref(), rows, hops, &holders, now);
                }
                return;
            }
            _ => return,
        };
        if let Item::Chunk(id, index) = item {
            for link in self.chunk_loads.remove(&(id, index)).unwrap_or_default() {
                self.serve(link, item, found.clone(), now);
                self.send_bulk(link, now);
            }
            return;
        }
        self.serve(link, item, found, now);
        self.send_bulk(link, now);
    }

    /// Sends what was asked for, or says that it is not here.
    fn serve(&mut self, link: LinkId, item: Item, found: Option<Loaded>, now: Now) {
        let Some(session) = self.links.get_mut(link) else { return };
        session.bulk.loaded();
        let codings = session.codings;
        let id = match item {
            Item::Envelope(id) | Item::Fetched(id) | Item::Whole(id) | Item::Chunk(id, _) => id,
        };
        let found = match item {
            Item::Whole(_) => found.or_else(|| self.passed_on(&id)),
            _ => found,
        };
        let (class, message, bytes) = match (item, found) {
            (
                Item::Envelope(_) | Item::Fetched(_) | Item::Whole(_),
                Some(Loaded::Envelope { envelope, body }),
            ) => {
                let body = body.map(|body| body.for_reader_of(codings));
                let payload = body.as_ref().map_or(0, Payload::carried_len) + envelope.signed().len();
                let is_whole = matches!(item, Item::Whole(_));
                let reference = if is_whole { None } else { self.reference_to(&envelope, now) };
                let envelope = self.carried_on(link, &envelope, reference.as_ref(), now);
                let bytes = payload + envelope.certificate_len();
                let class = if matches!(item, Item::Envelope(_)) { Class::Bulk } else { Class::Push };
                // 0 hops: repair, so that the other side does not take it for a push of the grid.
                let rows = self.pushing_rows;
                let push = Push { envelope, body, rows, head: false, hops: 0, chunks_follow: false };
                (class, Message::Push(push), bytes)
            }
            (Item::Chunk(_, index), Some(Loaded::Chunk { data, proof })) => {
                let data = data.for_reader_of(codings);
                let bytes = data.carried_len() + 32 * proof.len();
                (Class::Bulk, Message::Chunk { id, index, data, proof }, bytes)
            }
            _ => (Class::Control, Message::Unavailable { ids: vec![id] }, 0),
        };
        self.send(link, class, message);
        if bytes > 0
            && let Some(session) = self.links.get_mut(link)
        {
            let due = session.watch(now.time, (bytes + FRAME_OVERHEAD_BYTES) as u32, None, None);
            self.set_opt(Timer::Resend, due);
        }
    }

    /// What this peer passed on before it was durable here.
    fn passed_on(&self, id: &TxId) -> Option<Loaded> {
        let incoming = self.intake.get(id)?;
        let Verified::Whole(body, _) = incoming.verified.clone() else { return None };
        let body = (body.len() <= PUSH_BODY_BYTES_MAX).then_some(body);
        Some(Loaded::Envelope { envelope: incoming.push.envelope.clone(), body })
    }
}
