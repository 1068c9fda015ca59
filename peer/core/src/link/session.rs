//! One link's numbers: sequences, acknowledgements, round-trip time, signs of life.
//!
//! A frame is acknowledged by [`Session::mark`], which the façade calls at once for most frames and, for a
//! transaction, only when it is durable here.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::{self, Bulk};
use super::rtt::Rtt;
use crate::event::Rung;
use crate::message::{Frame, LinkPeer, Message, Push};
use crate::payload::Codings;
use crate::types::{Address, LinkId, Time, TxId, WallTime};
use crate::view::Size;

/// How long an acknowledgement waits for a frame to ride on. TCP's minimal delayed acknowledgement (Linux), 40 ms.
pub(crate) const ACK_DELAY: Duration = Duration::from_millis(40);
/// The same for an announcement: nobody waits for that one, and a sign of life comes soon enough for `ANSWER_WAIT_MIN`. It takes
/// most frames of acknowledgement away: announcements are most of what travels. Guess, a quarter of that wait.
pub(crate) const ACK_DELAY_LAZY: Duration = Duration::from_millis(500);
/// Acknowledgements of announcements are due at multiples of this, so that those of all links wake the peer together: one
/// transaction brings announcements on a dozen links, each a few milliseconds after the other. Guess, half the delay.
const ACK_LAZY_EVERY: Duration = Duration::from_millis(250);
/// Marks after which an acknowledgement waits no longer: half of what one frame's bitmap reports.
const ACK_AFTER_MARKS: usize = 32;
/// Frames watched for acknowledgement on one link; further ones go unwatched, reconciliation covers them.
const WATCHED_MAX: usize = 2048;
/// Silent heartbeat intervals after which a link is dead, where its round trips take no longer.
const SILENT_INTERVALS_MAX: u32 = 3;
/// Waits for a pong, as measured (RFC 6298), after which a link is dead. Guess: TCP too gives up after several, not one. On a
/// machine so busy that answers take seconds, links given up would be dialled anew, which costs more than they did.
const SILENT_TIMEOUTS_MAX: u32 = 3;
/// No link is kept longer than this for slowness alone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Shortest wait for an acknowledgement: the other side verifies and syncs to disk before it acknowledges.
const RESEND_AFTER_MIN: Duration = Duration::from_millis(300);
/// How often an unacknowledged push goes out on the same link, the first time included; the first two at the same distance, as
/// frames are lost more often than others are slow (simulated, ten peers with a fifth of all frames lost: p99 to the last 1.2 instead of 2.1 s).
const SENDS_MAX: u8 = 4;
/// Whoever says nothing for this long after something was sent to it, is suspect: it acknowledges within
/// `ACK_DELAY` and a round trip. Guess: long enough for a lost segment of TCP and a busy disk.
const ANSWER_WAIT_MIN: Duration = Duration::from_secs(2);
/// Frames without an answer that make suspect: where a fifth of them is dropped, one in twenty links is so wrongly.
const UNANSWERED_MIN: u32 = 3;
/// Faults of protocol on one link before it is cut.
const FAULTS_MAX: u16 = 32;

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Hello went out, the other's has not come.
    Greeting,
    /// Both said hello.
    Ready,
    /// On its way out; still read, not written to.
    Closing,
}

/// Which of the other side's frames may be acknowledged, and which of those it was not told yet.
#[derive(Debug, Default)]
struct Acks {
    highest: u64,
    bits: u64,
    /// Marked and not yet reported; reported at the latest when there are `ACK_AFTER_MARKS`.
    fresh: Vec<u64>,
    due: Option<Time>,
}

impl Acks {
    fn mark(&mut self, sequence: u64) {
        if sequence > self.highest {
            let shift = sequence - self.highest;
            let old = u64::from(self.highest > 0);
            self.bits = match shift {
                1..64 => self.bits << shift | old << (shift - 1),
                64 => old << 63,
                _ => 0,
            };
            self.highest = sequence;
        } else if let behind @ 1..=64 = self.highest - sequence {
            self.bits |= 1 << (behind - 1);
        }
        self.fresh.push(sequence);
    }

    /// The report that rides on every frame.
    fn report(&mut self) -> (u64, u64) {
        let highest = self.highest;
        self.fresh.retain(|sequence| highest - sequence > 64);
        if self.fresh.is_empty() {
            self.due = None;
        }
        (self.highest, self.bits)
    }

    /// A report of its own for marks that came too late for the bitmap.
    fn late_report(&mut self) -> Option<(u64, u64)> {
        let highest = self.fresh.iter().copied().filter(|sequence| self.highest - sequence > 64).max()?;
        let mut bits = 0;
        self.fresh.retain(|sequence| match highest.checked_sub(*sequence) {
            Some(0) => false,
            Some(behind @ 1..=64) => {
                bits |= 1 << (behind - 1);
                false
            }
            _ => true,
        });
        Some((highest, bits))
    }
}

/// A frame whose acknowledgement matters.
#[derive(Debug)]
struct Watched {
    sequence: u64,
    at: Time,
    /// Bytes that it takes of the bulk window; 0 for others.
    bulk_bytes: u32,
    /// What to send again, and how often it went out.
    again: Option<(Box<Push>, u8)>,
    /// The transaction of this peer's that it carries whole: its acknowledgement says that it is held there.
    own: Option<TxId>,
}

/// What [`Session::acknowledged`] found.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    /// Bulk frames landed.
    pub(crate) bulk: bool,
    /// Transactions of this peer's that the other side holds.
    pub(crate) own: Vec<TxId>,
}

/// What [`Session::overdue`] found.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    /// To be sent again, with how often they went out.
    pub(crate) again: Vec<(Box<Push>, u8)>,
    /// When to look again.
    pub(crate) next: Option<Time>,
}

/// What silence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Nothing to do until then.
    Fine(Time),
    /// Ask now.
    Ping,
    /// Three intervals of silence.
    Dead,
}

/// One link, as long as it lives.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) link: LinkId,
    pub(crate) peer: LinkPeer,
    pub(crate) dialled: bool,
    pub(crate) address: Address,
    pub(crate) rung: Rung,
    pub(crate) since: WallTime,
    pub(crate) since_time: Time,
    pub(crate) phase: Phase,
    /// Row count that the other side last named.
    pub(crate) rows: u32,
    /// Incarnation from its hello.
    pub(crate) incarnation: u64,
    /// Set with `Phase::Closing`: when it is closed if the other side does not do so first.
    pub(crate) close_at: Option<Time>,
    pub(crate) heard: Time,
    pub(crate) heard_wall: WallTime,
    pub(crate) rtt: Rtt,
    /// It wanted something in its last round of reconciliation.
    pub(crate) fetches: bool,
    pub(crate) bulk: Bulk,
    /// The other side can be dialled, as far as its record says.
    pub(crate) reachable: bool,
    /// It stood for its peer at some time.
    pub(crate) stood: bool,
    /// It was opened by an address of the configuration, or to see whether its peer lives, not because the grid asked for it.
    pub(crate) visit: bool,
    /// Its end was said because the grid asks for no link between the two.
    pub(crate) unused: bool,
    /// What it stores is durable: it counts as a holder.
    pub(crate) keeps: bool,
    /// How bodies may travel to it beside plain; none until it has said hello.
    pub(crate) codings: Codings,
    /// From when on envelopes may refer to their certificates to it; `None`: it does not read that, or has not said hello.
    pub(crate) refers_from: Option<Time>,
    /// The store is asked what this side holds, for the other; one question at a time.
    pub(crate) is_asking: bool,
    /// Its last ping, and the first since anything was heard.
    pinged: Option<Time>,
    asked: Option<Time>,
    /// Since when something was sent to it and nothing heard, and how many frames since.
    unanswered: Option<(Time, u32)>,
    sent: u64,
    acks: Acks,
    /// `Links` has it listed for an acknowledgement at this time.
    pub(super) ack_listed: Option<Time>,
    watched: VecDeque<Watched>,
    faults: u16,
}

/// What a new session starts from.
pub(crate) struct Opening {
    pub(crate) link: LinkId,
    pub(crate) peer: LinkPeer,
    pub(crate) dialled: bool,
    pub(crate) address: Address,
    pub(crate) rung: Rung,
    pub(crate) wall: WallTime,
    pub(crate) time: Time,
}

impl Session {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 2] {
        [
            Size { name: "frames watched on one link", len: self.watched.len(), max: WATCHED_MAX },
            Size { name: "items waiting on one link", len: self.bulk.len(), max: budget::QUEUE_ITEMS_MAX },
        ]
    }

    pub(crate) fn new(opening: Opening) -> Self {
        let Opening { link, peer, dialled, address, rung, wall, time } = opening;
        Self {
            link,
            peer,
            dialled,
            address,
            rung,
            since: wall,
            since_time: time,
            phase: Phase::Greeting,
            rows: 1,
            incarnation: 0,
            close_at: None,
            heard: time,
            heard_wall: wall,
            rtt: Rtt::default(),
            fetches: false,
            bulk: Bulk::default(),
            reachable: true,
            stood: false,
            visit: false,
            unused: false,
            keeps: true,
            codings: Codings::NONE,
            refers_from: None,
            is_asking: false,
            pinged: None,
            asked: None,
            unanswered: None,
            sent: 0,
            acks: Acks::default(),
            ack_listed: None,
            watched: VecDeque::new(),
            faults: 0,
        }
    }

    /// Numbers a message and lets the acknowledgements ride along. Bodies travel as the other side reads them.
    pub(crate) fn stamp(&mut self, message: Message) -> Frame {
        // A pong is its ping's acknowledgement, and nobody waits for one of a pong. A request for records is answered by records, and
        // the next exchange finds what was lost.
        let sequence = match message {
            Message::Ack
            | Message::Ping { .. }
            | Message::Pong { .. }
            | Message::RecordsRequest { .. }
            | Message::Records { .. }
            | Message::Missed { .. } => 0,
            _ => {
                self.sent += 1;
                self.sent
            }
        };
        let (ack, ack_bits) = self.acks.report();
        Frame { sequence, ack, ack_bits, message: message.for_reader_of(self.codings) }
    }

    /// Any byte is a sign of life.
    pub(crate) fn heard_at(&mut self, time: Time, wall: WallTime) {
        self.heard = time;
        self.heard_wall = wall;
        self.unanswered = None;
    }

    /// The frame with this number may be acknowledged, within `delay`. Returns when acknowledgements are due at the latest.
    pub(crate) fn mark(&mut self, sequence: u64, now: Time, delay: Duration) -> Option<Time> {
        if sequence == 0 {
            return None;
        }
        self.acks.mark(sequence);
        let at_once = self.acks.fresh.len() >= ACK_AFTER_MARKS;
        let by = now + delay;
        let by = if delay > ACK_LAZY_EVERY { by.rounded_down(ACK_LAZY_EVERY) } else { by };
        let due = if at_once { now } else { self.acks.due.unwrap_or(by).min(by) };
        self.acks.due = Some(due);
        Some(due)
    }

    /// When an acknowledgement is due.
    pub(crate) fn ack_due(&self) -> Option<Time> {
        self.acks.due
    }

    /// The acknowledgements that are due, as frames.
    pub(crate) fn acks_due(&mut self, now: Time) -> Vec<Frame> {
        if self.acks.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut frames = Vec::new();
        while let Some((ack, ack_bits)) = self.acks.late_report() {
            frames.push(Frame { sequence: 0, ack, ack_bits, message: Message::Ack });
        }
        frames.push(self.stamp(Message::Ack));
        frames
    }

    /// Watches the frame just stamped. `again`: send it again where no acknowledgement comes. `own`: it carries this
    /// transaction of this peer's whole.
    pub(crate) fn watch(
        &mut self,
        now: Time,
        bulk_bytes: u32,
        again: Option<(Box<Push>, u8)>,
        own: Option<TxId>,
    ) -> Option<Time> {
        if self.watched.len() >= WATCHED_MAX {
            return None;
        }
        if bulk_bytes > 0 {
            self.bulk.sent(bulk_bytes);
        }
        let sends = again.as_ref().map_or(1, |(_, sends)| *sends);
        self.watched.push_back(Watched { sequence: self.sent, at: now, bulk_bytes, again, own });
        Some(now + self.resend_after(sends))
    }

    fn resend_after(&self, sends: u8) -> Duration {
        let base = (self.rtt.timeout() + ACK_DELAY).max(RESEND_AFTER_MIN);
        base.saturating_mul(1 << u32::from(sends.saturating_sub(2)).min(4))
    }

    /// Takes the other side's acknowledgements.
    pub(crate) fn acknowledged(&mut self, ack: u64, bits: u64) -> Landed {
        let mut found = Landed::default();
        if self.watched.is_empty() || ack == 0 {
            return found;
        }
        let mut landed = 0;
        self.watched.retain(|watched| {
            let done = watched.sequence <= ack
                && match ack - watched.sequence {
                    0 => true,
                    behind @ 1..=64 => bits >> (behind - 1) & 1 == 1,
                    _ => false,
                };
            if done {
                landed += watched.bulk_bytes;
                found.own.extend(watched.own);
            }
            !done
        });
        self.bulk.landed(landed);
        found.bulk = landed > 0;
        found
    }

    /// Frames whose acknowledgement is late: pushes come back to be sent again, the rest is given up.
    pub(crate) fn overdue(&mut self, now: Time) -> Overdue {
        let mut found = Overdue::default();
        let mut kept = VecDeque::new();
        for watched in std::mem::take(&mut self.watched) {
            let sends = watched.again.as_ref().map_or(SENDS_MAX, |(_, sends)| *sends);
            let due = watched.at + self.resend_after(sends);
            if due > now {
                found.next = Some(found.next.map_or(due, |next: Time| next.min(due)));
                kept.push_back(watched);
                continue;
            }
            self.bulk.landed(watched.bulk_bytes);
            if let Some((push, sends)) = watched.again
                && sends < SENDS_MAX
            {
                found.again.push((push, sends));
            }
        }
        self.watched = kept;
        found
    }

    /// Pushes without acknowledgement, to go out on another link to the same peer.
    pub(crate) fn unacknowledged(&mut self) -> Vec<Push> {
        self.watched.drain(..).filter_map(|watched| watched.again).map(|(push, _)| *push).collect()
    }

    /// What the silence on this link asks for.
    pub(crate) fn liveness(&self, now: Time, interval: Duration) -> Liveness {
        if now >= self.heard + self.patience(interval) {
            return Liveness::Dead;
        }
        let ping_at = self.heard.max(self.pinged.unwrap_or(Time::ZERO)) + interval;
        if now >= ping_at { Liveness::Ping } else { Liveness::Fine(ping_at) }
    }

    /// How long the other side may be silent.
    pub(crate) fn patience(&self, interval: Duration) -> Duration {
        let usual = interval * SILENT_INTERVALS_MAX;
        let slow = self.rtt.smoothed().map(|_| interval + self.rtt.timeout() * SILENT_TIMEOUTS_MAX);
        slow.map_or(usual, |slow| usual.max(slow.min(SILENCE_MAX)))
    }

    /// A ping; its nonce is the time, so that the pong measures the round trip.
    pub(crate) fn ping(&mut self, now: Time) -> Message {
        self.pinged = Some(now);
        self.asked.get_or_insert(now);
        Message::Ping { nonce: now.as_micros() }
    }

    /// Takes a pong; returns the round trip where the nonce is of the last ping, or of the first that nothing followed.
    pub(crate) fn pong(&mut self, nonce: u64, now: Time) -> Option<Duration> {
        let pinged = self.asked.take().into_iter().chain(self.pinged).find(|at| at.as_micros() == nonce)?;
        let rtt = now.since(pinged);
        self.rtt.sample(rtt);
        Some(rtt)
    }

    /// Something goes out that the other side acknowledges.
    pub(crate) fn expect_answer(&mut self, now: Time) {
        let (_, frames) = self.unanswered.get_or_insert((now, 0));
        *frames = frames.saturating_add(1);
    }

    /// This peer dialled, and the other side has not said hello yet.
    pub(crate) fn is_unfinished_dial(&self) -> bool {
        self.phase == Phase::Greeting && self.dialled
    }

    /// Silent for longer than an interval, or when it should have acknowledged: not to be relied on by the grid.
    pub(crate) fn is_suspect(&self, now: Time, interval: Duration) -> bool {
        let timeout = self.rtt.timeout();
        let answer_wait = ANSWER_WAIT_MIN.max(timeout * 4);
        now.since(self.heard) > interval + timeout
            || self
                .unanswered
                .is_some_and(|(since, frames)| frames >= UNANSWERED_MIN && now.since(since) > answer_wait)
    }

    /// Counts a fault of protocol; `true`: cut the link.
    pub(crate) fn fault(&mut self) -> bool {
        self.faults += 1;
        self.faults >= FAULTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PeerId;

    fn session() -> Session {
        Session::new(Opening {
            link: LinkId(1),
            peer: LinkPeer { id: PeerId::of_uri("a"), uri: "a".into() },
            dialled: true,
            address: Address::new("a:1"),
            rung: Rung::Stream,
            wall: WallTime::default(),
            time: Time::ZERO,
        })
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn every_marked_number_is_reported_once_whatever_the_order() {
        let orders: [Vec<u64>; 4] = [
            (1..=200).collect(),
            (1..=200).rev().collect(),
            (101..=200).chain(1..=100).collect(),
            vec![1, u64::MAX, 2, 70, u64::MAX - 64, u64::MAX - 65],
        ];
        for order in orders {
            let mut session = session();
            let mut told = std::collections::BTreeSet::new();
            for sequence in &order {
                let due = session.mark(*sequence, at(0), ACK_DELAY).expect("a number is marked");
                if due == at(0) {
                    told.extend(session.acks_due(at(0)).iter().flat_map(numbers));
                }
            }
            told.extend(session.acks_due(at(1000)).iter().flat_map(numbers));
            assert_eq!(told, order.iter().copied().collect());
        }
    }

    fn numbers(frame: &Frame) -> Vec<u64> {
        let behind = (0..64).filter(|bit| frame.ack_bits >> bit & 1 == 1).map(|bit| frame.ack - 1 - bit);
        std::iter::once(frame.ack).chain(behind).collect()
    }

    #[test]
    fn lazy_acknowledgements_of_all_links_fall_due_together() {
        let due = |ms| session().mark(1, at(ms), ACK_DELAY_LAZY);
        assert_eq!([due(0), due(1), due(249), due(250)], [500, 500, 500, 750].map(|ms| Some(at(ms))));
        assert_eq!(session().mark(1, at(1), ACK_DELAY), Some(at(41)));
    }

    #[test]
    fn an_acknowledgement_ends_the_watch_and_a_missing_one_returns_the_push_twice() {
        let mut session = session();
        let push = crate::testing::push(1, 10);
        for _ in 0..2 {
            session.stamp(push.clone().into());
            session.watch(at(0), 0, Some((Box::new(push.clone()), 1)), Some(push.envelope.id()));
        }
        assert_eq!(session.acknowledged(2, 0).own, [push.envelope.id()]);
        let overdue = session.overdue(at(5_000));
        assert_eq!(overdue.again.len(), 1);
        session.stamp(push.clone().into());
        session.watch(at(5_000), 0, Some((Box::new(push), SENDS_MAX)), None);
        assert!(session.overdue(at(60_000)).again.is_empty());
    }

    #[test]
    fn silence_is_asked_after_one_interval_and_ends_the_link_after_three() {
        let second = Duration::from_secs(1);
        let mut session = session();
        assert_eq!(session.liveness(at(999), second), Liveness::Fine(at(1000)));
        assert_eq!(session.liveness(at(1000), second), Liveness::Ping);
        session.ping(at(1000));
        assert_eq!(session.liveness(at(1500), second), Liveness::Fine(at(2000)));
        assert_eq!(session.liveness(at(3000), second), Liveness::Dead);
        session.heard_at(at(2900), WallTime::default());
        assert!(matches!(session.liveness(at(3000), second), Liveness::Fine(_)));
    }

    #[test]
    fn a_link_whose_answers_take_long_is_given_longer_and_not_for_ever() {
        let second = Duration::from_secs(1);
        let mut session = session();
        let (Message::Ping { nonce }, Message::Ping { .. }) =
            (session.ping(at(1000)), session.ping(at(2000)))
        else {
            panic!("a ping is a ping");
        };
        assert_eq!(
            session.pong(nonce, at(3500)),
            Some(Duration::from_millis(2500)),
            "the first was answered late"
        );
        assert_eq!(session.pong(nonce, at(3600)), None, "once");
        // 2.5 s and four variations of 1.25 s, three times, after one interval.
        session.heard_at(at(4000), WallTime::default());
        assert!(matches!(session.liveness(at(27_499), second), Liveness::Ping | Liveness::Fine(_)));
        assert_eq!(session.liveness(at(27_500), second), Liveness::Dead);
        session.ping(at(30_000));
        session.pong(at(30_000).as_micros(), at(300_000));
        assert_eq!(session.patience(second), SILENCE_MAX);
    }

    #[test]
    fn signs_of_life_are_not_numbered() {
        let mut session = session();
        let ping = session.ping(at(0));
        assert_eq!(session.stamp(ping).sequence, 0);
        assert_eq!(session.stamp(Message::Pong { nonce: 1 }).sequence, 0);
        assert_eq!(session.stamp(Message::Unavailable { ids: Vec::new() }).sequence, 1);
    }

    #[test]
    fn who_does_not_acknowledge_is_suspect_until_it_is_heard() {
        let mut session = session();
        let interval = Duration::from_secs(3600);
        assert!(!session.is_suspect(at(60_000), interval), "nothing was sent");
        session.expect_answer(at(60_000));
        session.expect_answer(at(61_000));
        assert!(!session.is_suspect(at(65_000), interval), "two frames may be lost");
        session.expect_answer(at(62_000));
        assert!(!session.is_suspect(at(62_000), interval));
        assert!(session.is_suspect(at(65_000), interval));
        session.heard_at(at(65_000), WallTime::default());
        assert!(!session.is_suspect(at(65_000), interval));
    }
}
