//! The façade: takes inputs, sequences the rooms, queues outputs. What is decided is decided in the rooms.
//!
//! Its parts: `peer/links` (a link's life), `peer/held` (what others hold, drains), `peer/members` (records, dialling, forgetting), `peer/rows` (the row count), `peer/submit`
//! (local transactions), `peer/transactions` (others' transactions), `peer/repair` (announcements,
//! fetches), `peer/bodies` (large bodies in chunks), `peer/references` (certificates that are referred to), `peer/reconcile` (rounds of sync), `peer/retain` (retention), `peer/sizes` and `peer/views` (what it shows of
//! itself), `peer/timers` (deadlines).

mod bodies;
#[cfg(test)]
mod faults;
mod held;
mod links;
mod members;
mod missed;
mod reconcile;
mod references;
mod repair;
mod retain;
mod rows;
mod sizes;
mod submit;
#[cfg(test)]
mod tests;
mod timers;
mod transactions;
mod views;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::timers::{Timer, Timers};
use crate::admit::Admission;
use crate::config::{Config, Identity, Start};
use crate::envelope::SignedRecord;
use crate::event::{Class, Event, EvidenceKind, Input, Output, StoreFault, Wake};
use crate::gossip::announce::Announcements;
use crate::gossip::bodies::Bodies;
use crate::gossip::fetch::{self, Fetches, Short};
use crate::gossip::intake::Intake;
use crate::gossip::misses::Misses;
use crate::gossip::seen::Seen;
use crate::link::budget::Item;
use crate::link::table::Links;
use crate::membership::bootstrap::Bootstrap;
use crate::membership::exchange::Exchange;
use crate::membership::failure::Contacts;
use crate::membership::roster::Roster;
use crate::membership::window::Window;
use crate::message::{Message, SyncRange};
use crate::origins::Origins;
use crate::outbox::drain::Drain;
use crate::outbox::holders::Holders;
use crate::outbox::pending::Outbox;
use crate::quarantine::Quarantine;
use crate::sync::floor::Floors;
use crate::sync::ranges::Listed;
use crate::sync::schedule::{Schedule, Side};
use crate::types::{Address, LinkId, Now, OpId, PeerId, Time, TxId, WallTime};
use crate::view::{PeerView, State, StatusView};

/// What an effect on its way is for.
#[derive(Debug)]
enum Purpose {
    DialBootstrap(Address),
    /// `visit`: to see whether it lives, not because the grid asks for it.
    DialMember {
        peer: PeerId,
        address: Address,
        visit: bool,
    },
    SealRecord {
        leaving: bool,
    },
    Recall,
    Seal,
    PersistOwn,
    VerifyRecord {
        record: Arc<SignedRecord>,
        from: PeerId,
        news: bool,
    },
    VerifyTransaction(TxId),
    Persist(TxId),
    LookupTransaction(TxId),
    AnswerHolds {
        link: LinkId,
        ids: Vec<TxId>,
    },
    RetryOutbox,
    Load {
        link: LinkId,
        item: Item,
    },
    LoadForRow {
        rows: u32,
        hops: u32,
        holders: Vec<PeerId>,
    },
    OpenSync {
        link: LinkId,
        floor: WallTime,
    },
    Expire,
    AnswerSync {
        link: LinkId,
        side: Side,
        number: u64,
        ranges: Vec<SyncRange>,
        listed: Vec<Listed>,
    },
}

/// Whether the peer still takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Its leaving record is being signed.
    Leaving,
    /// Goodbyes are said.
    Draining,
}

/// One peer as a state machine; see the crate's documentation for the contract.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    uri: String,
    me: PeerId,
    incarnation: u64,
    phase: Phase,
    rng: ChaCha8Rng,
    outputs: VecDeque<Output>,
    ops: BTreeMap<OpId, Purpose>,
    last_op: u64,
    timers: Timers,
    links: Links,
    bootstrap: Bootstrap,
    roster: Roster,
    contacts: Contacts,
    exchange: Exchange,
    /// Row count that links are wanted for, since when, and the one that transactions travel by.
    rows: u32,
    rows_since: Time,
    pushing_rows: u32,
    began: Time,
    /// Whom to dial, best last, as found when it was last looked; `None`: look again. And until when that holds.
    dial_list: Option<Vec<PeerId>>,
    dial_list_until: Option<Time>,
    /// Dials that were not answered.
    dialling: usize,
    dial_window: Window,
    /// Members forgotten since the own record was last sealed.
    forgotten: usize,
    admission: Admission,
    seen: Seen,
    intake: Intake,
    misses: Misses,
    announcements: Announcements,
    fetches: Fetches<Short>,
    references: references::References,
    bodies: Bodies,
    /// Links that wait for a chunk which is being read; each has `LOADS_MAX` under way at most.
    chunk_loads: BTreeMap<(TxId, u32), Vec<LinkId>>,
    sync: Schedule,
    floors: Floors,
    store_fault: Option<StoreFault>,
    outbox: Outbox,
    holders: Holders,
    quarantine: Quarantine,
    origins: Origins,
    last_state: State,
    drain: Option<Drain>,
    /// Transactions held, as the store said when a round was last opened.
    held: u64,
    caught_up: bool,
    /// The process ends.
    stopping: bool,
}

impl Peer {
    /// A peer that has just started; its first outputs wait in `poll_output`.
    pub fn new(config: Config, identity: Identity, start: Start, now: Now) -> Self {
        let me = identity.peer();
        let Start { incarnation, seed, known, held, floor } = start;
        let mut peer = Self {
            admission: Admission::new(config.body_bytes_max, config.submissions_max),
            bodies: Bodies::new(config.fetch_bytes_max),
            chunk_loads: BTreeMap::new(),
            seen: Seen::new(now.wall),
            uri: identity.uri,
            me,
            incarnation,
            phase: Phase::Running,
            rng: ChaCha8Rng::seed_from_u64(seed),
            outputs: VecDeque::new(),
            ops: BTreeMap::new(),
            last_op: 0,
            timers: Timers::default(),
            links: Links::default(),
            bootstrap: Bootstrap::default(),
            roster: Roster::default(),
            contacts: Contacts::default(),
            exchange: Exchange::default(),
            rows: 1,
            rows_since: now.time,
            pushing_rows: 1,
            began: now.time,
            dial_list: None,
            dial_list_until: None,
            dialling: 0,
            dial_window: Window::default(),
            forgotten: 0,
            intake: Intake::default(),
            misses: Misses::default(),
            announcements: Announcements::default(),
            fetches: Fetches::new(fetch::ANNOUNCED),
            references: references::References::default(),
            sync: Schedule::default(),
            floors: Floors::new(floor),
            store_fault: None,
            outbox: Outbox::new(held),
            holders: Holders::default(),
            quarantine: Quarantine::default(),
            origins: Origins::default(),
            last_state: State::Offline,
            drain: None,
            held,
            caught_up: false,
            stopping: false,
            config,
        };
        peer.begin(&known, now);
        peer
    }

    /// Changes the state once; drain `poll_output` afterwards.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => self.tick(now),
            Input::Submit(submit) => self.submit(submit, now),
            Input::AwaitHolders { token, id, wanted, wait } => {
                self.await_holders(token, id, wanted, wait, now);
            }
            Input::TrustChanged => self.release_quarantine(now),
            Input::RetryOutbox { ids } => self.retry_outbox(&ids),
            Input::DiscardOutbox { ids } => ids.iter().for_each(|id| self.outbox.confirmed(id)),
            Input::Sealed { op, result } => self.sealed(op, result),
            Input::RecordSealed { op, result } => self.record_sealed(op, result.ok(), now),
            Input::Recalled { op, result } => self.recalled(op, result, now),
            Input::Verified { op, verdict } => match self.ops.remove(&op) {
                Some(Purpose::VerifyRecord { record, from, news }) => {
                    self.record_verified(&record, verdict, from, news, now);
                }
                Some(Purpose::VerifyTransaction(id)) => self.transaction_verified(id, verdict, now),
                _ => {}
            },
            Input::Persisted { op } => {
                self.store_works();
                match self.ops.remove(&op) {
                    Some(Purpose::PersistOwn) => self.own_persisted(op, now),
                    Some(Purpose::Persist(id)) => self.persisted(id, now),
                    _ => {}
                }
            }
            Input::PersistFailed { op, fault } => {
                self.store_failed(&fault);
                match self.ops.remove(&op) {
                    Some(Purpose::PersistOwn) => self.own_not_persisted(op, fault),
                    Some(Purpose::Persist(id)) => self.not_persisted(id, now),
                    _ => {}
                }
            }
            Input::Loaded { op, found } => self.loaded(op, found, now),
            Input::LookedUp { op, held } => match self.ops.remove(&op) {
                Some(Purpose::LookupTransaction(id)) => {
                    self.transaction_looked_up(id, held.first().copied().unwrap_or(false), now);
                }
                Some(Purpose::AnswerHolds { link, ids }) => self.say_holds(link, ids, &held),
                _ => {}
            },
            Input::Inspected { op, views } => self.inspected(op, views, now),
            Input::Expired { op, result } => self.expired(op, result, now),
            Input::LinkUp(up) => self.link_up(up, now),
            Input::LinkDown { link, reason } => self.link_down(link, reason, now),
            Input::DialFailed { op, error } => self.dial_failed(op, error, now),
            Input::Frame { link, frame, .. } => self.frame(link, frame, now),
            Input::BadFrame { link, error } => self.fault(link, error),
            Input::Addresses { addresses } => self.readdressed(addresses, now),
            Input::Bootstrap { addresses } => {
                self.begin_with(addresses);
                self.set(Timer::Dial, now.time);
            }
            Input::Drain { leaving, leave } => self.drain(leaving, leave, now),
            Input::Resume => self.resume(now),
            Input::Shutdown { leaving } => self.shut_down(leaving, now),
        }
    }

    /// What shall happen in the world, in order; `None` when all is drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle` wants to be called with [`Input::Tick`] at the latest, and why.
    pub fn poll_deadline(&self) -> Option<(Time, Wake)> {
        self.timers.next()
    }

    /// The peer at a glance.
    pub fn status(&self) -> StatusView {
        self.status_view()
    }

    /// All other peers that are known, by id.
    pub fn peers(&self) -> Vec<PeerView> {
        self.peer_views()
    }

    fn tick(&mut self, now: Now) {
        for (timer, at) in self.timers.due(now.time) {
            self.timers.clear(timer);
            match timer {
                Timer::Dial => self.dial(now),
                Timer::Liveness => self.check_liveness(at, now),
                Timer::News => self.spread_news(now),
                Timer::Exchange => self.exchange_records(now),
                Timer::Acks => self.send_acks(now),
                Timer::Resend => self.resend(now),
                Timer::Announce => self.send_announcements(now),
                Timer::Fetch => self.fetch(now),
                Timer::Bodies => self.request_chunks(now),
                Timer::HeldBack => self.release_held_back(now),
                Timer::SyncPeriodic => self.sync_periodically(now),
                Timer::SyncRound => self.sync_next(now),
                Timer::Outbox => self.ask_about_outbox(now),
                Timer::Drain => self.go_on_draining(now),
                Timer::Holders => self.ask_for_holders(now),
                Timer::Quarantine => self.release_quarantine(now),
                Timer::Forget => self.forget_unreachable(now),
                Timer::Retention => self.retain(now),
            }
        }
    }

    /// The timer fires at the earlier of `at` and what it was set to.
    fn set(&mut self, timer: Timer, at: Time) {
        self.timers.set(timer, at);
    }

    fn set_opt(&mut self, timer: Timer, at: Option<Time>) {
        if let Some(at) = at {
            self.set(timer, at);
        }
    }

    fn op(&mut self, purpose: Purpose) -> OpId {
        self.last_op += 1;
        let op = OpId(self.last_op);
        self.ops.insert(op, purpose);
        op
    }

    fn send(&mut self, link: LinkId, class: Class, message: Message) {
        if let Some(session) = self.links.get_mut(link) {
            let frame = session.stamp(message);
            self.outputs.push_back(Output::Send { link, class, frame });
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn evidence(&mut self, peer: PeerId, kind: EvidenceKind, detail: String) {
        self.event(Event::Evidence { peer, kind, detail });
    }

    fn store_failed(&mut self, fault: &StoreFault) {
        if self.store_fault.as_ref() != Some(fault) {
            self.store_fault = Some(fault.clone());
            self.event(Event::StoreFault { fault: Some(fault.clone()) });
        }
    }

    fn store_works(&mut self) {
        if self.store_fault.take().is_some() {
            self.event(Event::StoreFault { fault: None });
        }
    }

    /// Peers in the network, as far as known, this one included.
    fn network_size(&self) -> usize {
        self.roster.len() + 1
    }
}
