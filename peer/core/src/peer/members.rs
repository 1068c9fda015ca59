//! Records of peers: the own one, others', news of them; whom to dial; whom to forget.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::rows::ToDial;
use super::{Peer, Phase, Purpose, Timer};
use crate::config::Known;
use crate::envelope::{Record, SignedRecord};
use crate::event::{Class, Event, EvidenceKind, Output, Verdict, Verifiable};
use crate::gossip::grid;
use crate::membership::exchange::{self, Difference};
use crate::membership::failure::{Contact, MISSED_SHARE};
use crate::membership::roster::Change;
use crate::message::{LinkPeer, Marks, Message};
use crate::types::bounds::RECORD_ADDRESSES_MAX;
use crate::types::{Address, LinkId, Now, OpId, PeerId, Time};

/// Records passed on go to this many links where there is a grid; below it to all. Guess: with 4 copies a
/// push epidemic misses 2 % of the peers (e^-4), whom the periodic exchange finds within seconds while it brings something;
/// with 8 a network of 1,000 that starts reads each record eight times.
const NEWS_LINKS: usize = 4;
/// Records of peers that leave go to this many, for no exchange tells of them: with 12 copies six in a million are missed
/// (e^-12; with 8 the soak found one peer in 150 networks that missed one).
const FAREWELL_LINKS: usize = 12;
/// Changes of the roster and of links are answered by dials after this pause, so that a burst of them costs one
/// look at the whole roster. Well below two round trips of a WAN, which a dial takes. Guess.
pub(super) const DIAL_PAUSE: Duration = Duration::from_millis(25);
/// A member whose record was not renewed for this many refresh intervals is forgotten though nobody here dials it.
const LEASE_REFRESHES: u32 = 4;

impl Peer {
    pub(super) fn begin(&mut self, known: &Known, now: Now) {
        self.config.advertise.truncate(RECORD_ADDRESSES_MAX);
        self.roster.load(known, &self.me, now.time);
        self.begin_with(self.config.bootstrap.clone());
        self.update_rows(now);
        self.pushing_rows = self.rows;
        self.seal_own(false, now);
        self.set(Timer::Dial, now.time);
        self.plan_exchange(now);
        let sync = self.spread_out(self.config.sync_interval);
        self.set(Timer::SyncPeriodic, now.time + sync);
        self.begin_retention(now);
        self.dial(now);
    }

    /// Takes addresses to begin with.
    pub(super) fn begin_with(&mut self, bootstrap: Vec<Address>) {
        self.bootstrap.replace(bootstrap, self.me.prefix());
        for (peer, member) in self.roster.iter() {
            self.bootstrap.claimed(&member.record.record.addresses, peer);
        }
    }

    fn plan_exchange(&mut self, now: Now) {
        let pause = self.exchange.pause(self.config.refresh_interval);
        let next = self.spread_out(pause);
        self.set(Timer::Exchange, now.time + next);
    }

    /// Between half and one and a half of it.
    pub(super) fn spread_out(&mut self, interval: Duration) -> Duration {
        let us = interval.as_micros() as u64;
        Duration::from_micros(self.rng.random_range(us / 2..=us / 2 + us))
    }

    pub(super) fn seal_own(&mut self, leaving: bool, now: Now) {
        let record = Record {
            uri: self.uri.clone(),
            incarnation: self.incarnation,
            sequence: 0,
            addresses: self.config.advertise.clone(),
            site: self.config.site.clone(),
            leaving,
            software: self.config.software.clone(),
        };
        if let Some(record) = self.exchange.seal(record, now.wall) {
            self.forgotten = 0;
            let op = self.op(Purpose::SealRecord { leaving });
            self.outputs.push_back(Output::SealRecord { op, record });
        }
    }

    pub(super) fn record_sealed(&mut self, op: OpId, record: Option<Arc<SignedRecord>>, now: Now) {
        let Some(Purpose::SealRecord { leaving }) = self.ops.remove(&op) else { return };
        let again = self.exchange.sealed(record, now.time);
        if leaving && self.phase == Phase::Leaving {
            self.spread_news(now);
            self.say_goodbye(now);
        } else if again || leaving {
            self.seal_own(self.phase == Phase::Leaving, now);
        }
        self.set(Timer::News, now.time);
    }

    pub(super) fn readdressed(&mut self, mut addresses: Vec<Address>, now: Now) {
        addresses.truncate(RECORD_ADDRESSES_MAX);
        if addresses != self.config.advertise {
            self.config.advertise = addresses;
            self.seal_own(false, now);
        }
    }

    /// A peer that was cut off is forgotten with its present record; a newer one brings it back everywhere.
    pub(super) fn reseal_after_isolation(&mut self, now: Now) {
        let first = self.links.linked() == 1;
        let cut_off = now.time.since(self.exchange.sealed_at()) >= self.config.forget_after / 2;
        if first && cut_off || self.forgotten * 4 >= self.network_size() && self.forgotten > 0 {
            self.seal_own(false, now);
        }
    }

    /// Has a record checked, if it would change anything.
    pub(super) fn consider(&mut self, record: Arc<SignedRecord>, from: PeerId, news: bool) {
        let from_itself = record.peer == from;
        let wanted = record.peer != self.me && self.roster.wants(&record, from_itself);
        if wanted && self.exchange.check(&record) {
            let op = self.op(Purpose::VerifyRecord { record: record.clone(), from, news });
            self.outputs.push_back(Output::Verify { op, item: Verifiable::Record(record) });
        }
    }

    pub(super) fn record_verified(
        &mut self,
        record: &Arc<SignedRecord>,
        verdict: Verdict,
        from: PeerId,
        news: bool,
        now: Now,
    ) {
        let from_itself = record.peer == from;
        self.exchange.checked(record);
        match verdict {
            Verdict::Valid => {}
            // Whoever sent it, not whoever it speaks of.
            Verdict::Forged(detail) => return self.evidence(from, EvidenceKind::BadSignature, detail),
            Verdict::Untrusted(detail) => {
                return self.evidence(record.peer, EvidenceKind::UntrustedSigner, detail);
            }
        }
        let (peer, uri) = (record.peer, record.record.uri.clone());
        let refresh_ms = self.config.refresh_interval.as_millis() as u64;
        let periodic = self.roster.get(&peer).is_some_and(|old| record.only_renews(&old.record, refresh_ms));
        let change = self.roster.take(record.clone(), from_itself, now.time);
        if change == Change::Joined && !news && !from_itself {
            self.exchange.brought();
        }
        match change {
            Change::None => return,
            Change::Joined => {
                self.outputs.push_back(Output::Remember { record: record.clone() });
                self.event(Event::PeerJoined { peer, uri });
                let is_first = self.me < peer || self.config.advertise.is_empty();
                let wait = if is_first { Duration::ZERO } else { super::links::HIGHER_ID_WAIT };
                self.contacts.renewed(&peer, now.time + wait);
            }
            Change::Renewed => {
                self.outputs.push_back(Output::Remember { record: record.clone() });
                self.contacts.renewed(&peer, Time::ZERO);
            }
            Change::Left => {
                self.contacts.forget(&peer);
                self.outputs.push_back(Output::Forget { peer });
                self.event(Event::PeerLeft { peer, uri, reason: "it said that it leaves".to_owned() });
            }
        }
        if let Some(session) = self.links.of_mut(&peer) {
            session.reachable = !record.record.addresses.is_empty();
        }
        if change != Change::Left {
            self.bootstrap.claimed(&record.record.addresses, &peer);
        }
        self.update_rows(now);
        self.dial_list = None;
        self.set(Timer::Dial, now.time + DIAL_PAUSE);
        // An answer that overtakes the news must not end its way.
        if news || from_itself || change == Change::Renewed {
            let due = self.exchange.add_news(record.clone(), periodic, now.time);
            self.set_opt(Timer::News, due);
        }
    }

    pub(super) fn spread_news(&mut self, now: Now) {
        let mut links: Vec<LinkId> = self.links.standing().map(|session| session.link).collect();
        let (mut farewell, mut news) = (links.len(), links.len());
        if self.rows > 1 && links.len() > NEWS_LINKS {
            (farewell, news) = (farewell.min(FAREWELL_LINKS), NEWS_LINKS);
            // What is drawn is at the end.
            links.partial_shuffle(&mut self.rng, farewell);
        }
        let peers = self.exchange.take_missed();
        let told = if peers.is_empty() { &[] } else { &links[links.len() - farewell..] };
        for link in told {
            self.send(*link, Class::Control, Message::Missed { peers: peers.clone() });
        }
        let (leaving, staying) = self.exchange.take_news(now.time);
        self.set_opt(Timer::News, self.exchange.more_missed());
        for (frames, count) in [(leaving, farewell), (staying, news)] {
            for records in frames {
                for link in &links[links.len() - count..] {
                    let message = Message::Records { records: records.clone(), news: true };
                    self.send(*link, Class::Control, message);
                }
            }
        }
    }

    pub(super) fn records(&mut self, from: PeerId, records: Vec<Arc<SignedRecord>>, news: bool) {
        for record in records {
            self.consider(record, from, news);
        }
    }

    pub(super) fn ask_for_records(&mut self, link: LinkId, unprompted: bool, now: Now) {
        if self.exchange.may_ask(link, now.time, unprompted) {
            let digest = self.roster.digest(self.exchange.own().map(|own| &**own)).to_vec().into();
            let known = self.exchange.own().into_iter().chain(self.roster.records());
            let known = Some(exchange::marks(known, self.roster.len() + 1, &mut self.rng));
            self.send(link, Class::Control, Message::RecordsRequest { limit: 0, digest, known });
        }
    }

    pub(super) fn records_asked(
        &mut self,
        link: LinkId,
        limit: u32,
        digest: &[u8],
        known: Option<&Marks>,
        now: Now,
    ) {
        let own = self.exchange.own().cloned();
        if self.roster.digest(own.as_deref()) == digest {
            self.send(link, Class::Control, Message::Records { records: Vec::new(), news: false });
            return;
        }
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let all = own.iter().chain(self.roster.records());
        let Difference { lacked_there, lacked_here } = exchange::compare(known, all);
        if lacked_there.is_empty() {
            self.send(link, Class::Control, Message::Records { records: Vec::new(), news: false });
        } else if self.exchange.may_answer(now.time) {
            for records in exchange::pack(lacked_there.into_iter().take(limit)) {
                self.send(link, Class::Control, Message::Records { records, news: false });
            }
        }
        if lacked_here {
            self.ask_for_records(link, false, now);
        }
    }

    pub(super) fn exchange_records(&mut self, now: Now) {
        let links: Vec<LinkId> = self.links.standing().map(|session| session.link).collect();
        if let Some(link) = links.choose(&mut self.rng) {
            self.ask_for_records(*link, false, now);
        }
        if now.time.since(self.exchange.sealed_at()) >= self.config.refresh_interval {
            self.seal_own(false, now);
        }
        let lease = self.config.refresh_interval * LEASE_REFRESHES;
        let stale = self.roster.stale(now.time, lease);
        for peer in stale.into_iter().filter(|peer| !self.links.is_linked(peer)).collect::<Vec<_>>() {
            self.forget(peer, "its record was not renewed", now);
        }
        self.end_visits(now);
        self.plan_exchange(now);
    }

    pub(super) fn dial(&mut self, now: Now) {
        if self.phase != Phase::Running {
            return;
        }
        self.settle_rows(now);
        self.end_visits(now);
        let room = self.config.links_max.saturating_sub(self.links.len() + self.dialling);
        let width = self.dial_window.width().saturating_sub(self.links.greeting_dialled());
        let slots = width.saturating_sub(self.dialling).min(room);
        let reached = self.links.reached();
        // Whom the roster knows is dialled where the grid asks for it.
        let (roster, is_linked) = (&self.roster, self.links.linked() > 0);
        let is_known =
            |peer: &PeerId| is_linked && roster.get(peer).is_some_and(|member| member.is_reachable);
        let is_settled = |peer: &PeerId| reached.binary_search(peer).is_ok() || is_known(peer);
        let due = self.bootstrap.due(now.time, slots, &self.config.advertise, is_settled);
        let mut next = self.bootstrap.next(&self.config.advertise, is_settled);
        for address in due {
            self.dialling += 1;
            let op = self.op(Purpose::DialBootstrap(address.clone()));
            self.outputs.push_back(Output::Dial { op, address, expect: None });
        }
        if self.dial_list.is_none() || self.dial_list_until.is_some_and(|until| until <= now.time) {
            let ToDial { list, again, is_missing } = self.to_dial(&reached, now);
            (self.dial_list, self.dial_list_until) = (Some(list), again);
            self.note_state(Some(is_missing));
        } else if self.links.linked() == 0 {
            self.note_state(None);
        }
        next = next.into_iter().chain(self.dial_list_until).min();
        let mut list = self.dial_list.take().unwrap_or_default();
        self.dial_from(&mut list, width, &reached, now);
        self.dial_list.get_or_insert(list);
        // Whatever is ready and was not dialled waits for a slot; an answered dial sets this timer again.
        if let Some(next) = next.filter(|next| *next > now.time) {
            self.set(Timer::Dial, next);
        }
    }

    /// Dials from the end of a list as many as there is room for, and are still wanted.
    fn dial_from(&mut self, list: &mut Vec<PeerId>, width: usize, reached: &[PeerId], now: Now) {
        let mut by_row = if list.is_empty() { Vec::new() } else { self.links_by_row() };
        let own = grid::row(&self.me, self.rows);
        while self.dialling < width && self.links.len() + self.dialling < self.config.links_max {
            let Some(peer) = list.pop() else { break };
            let row = grid::row(&peer, self.rows);
            let in_doubt = self.contacts.get(&peer).is_some_and(Contact::is_in_doubt);
            let is_full = self.rows > 1 && row != own && by_row[row as usize] >= grid::LINKS_PER_ROW;
            if is_full && !in_doubt
                || reached.binary_search(&peer).is_ok()
                || self.contacts.next(&peer).is_none_or(|at| at > now.time)
            {
                continue;
            }
            let Some(member) = self.roster.get(&peer) else { continue };
            let addresses = member.record.record.addresses.clone();
            if addresses.iter().any(|address| self.bootstrap.is_dialling(address)) {
                // It is about to be linked by the bootstrap address; that dial's end sets the timer again.
                continue;
            }
            let address = addresses[self.contacts.dialling(peer, addresses.len())].clone();
            self.dialling += 1;
            by_row[row as usize] += usize::from(!is_full);
            let op = self.op(Purpose::DialMember { peer, address: address.clone(), visit: is_full });
            self.outputs.push_back(Output::Dial { op, address, expect: Some(peer) });
        }
    }

    /// Answers whether the grid had not asked for it.
    pub(super) fn dial_answered(&mut self, op: OpId, peer: &LinkPeer) -> bool {
        let purpose = self.ops.remove(&op);
        if matches!(purpose, Some(Purpose::DialBootstrap(_) | Purpose::DialMember { .. })) {
            self.dialling = self.dialling.saturating_sub(1);
        }
        match purpose {
            Some(Purpose::DialBootstrap(address)) => {
                self.bootstrap.reached(&address, peer.id, &self.me);
                self.dial_list = None;
                return true;
            }
            Some(Purpose::DialMember { peer, visit, .. }) => {
                self.contacts.answered(&peer);
                return visit;
            }
            _ => {}
        }
        false
    }

    pub(super) fn forget_unreachable(&mut self, now: Now) {
        // Without any link it is this peer that is cut off.
        if self.links.linked() > 0 {
            for peer in self.contacts.unreachable(now.time, self.config.forget_after) {
                self.forget(peer, "it could not be reached", now);
            }
        }
        if let Some(since) = self.contacts.unreachable_since() {
            let earliest = now.time + self.config.forget_after / 16;
            self.set(Timer::Forget, earliest.max(since + self.config.forget_after / MISSED_SHARE));
        }
    }

    fn forget(&mut self, peer: PeerId, reason: &str, now: Now) {
        self.contacts.forget(&peer);
        let Some(record) = self.roster.forget(&peer, now.time) else { return };
        self.forgotten += 1;
        self.outputs.push_back(Output::Forget { peer });
        let (uri, reason) = (record.record.uri.clone(), reason.to_owned());
        self.event(Event::PeerLeft { peer, uri, reason });
        self.update_rows(now);
        self.dial_list = None;
        self.set(Timer::Dial, now.time + DIAL_PAUSE);
    }
}
