//! A warm start: links stand from the beginning as they do in a network that has run for a while.
//!
//! The shipping core makes them, from its ordinary inputs: it dials whom its grid wants, both sides say hello with equal
//! rosters, measure their round trip and reconcile. What is left out is the way in between. Peers take turns; in each
//! a peer takes, one after another, what the others have sent it since its last, so that its memory is touched once per turn
//! and not once per frame. Effects are answered on the spot. A pong comes after the pair's round trip, which makes
//! the estimates what they would be. Nothing is shed, and no transaction may be under way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use sorcha_peer_core::event::{DialError, Input, LinkUp, Opened, Output, Rung};
use sorcha_peer_core::message::{Frame, LinkPeer, Message};
use sorcha_peer_core::peer::Peer;
use sorcha_peer_core::types::{Address, LinkId, OpId};

use crate::peers::{Machine, number_of};
use crate::queue::Micros;
use crate::seal;
use crate::trace::Mark;
use crate::world::World;

/// It takes this long at least: by then the higher of two ids dials too.
const LEAST: Micros = 3_000_000;
/// It takes this long at most: rounds of reconciliation on new links follow one another, 64 at most.
const MOST: Micros = 120_000_000;
/// A peer is woken this often in a turn at most; the rest waits for the next.
const TICKS_PER_TURN_MAX: u32 = 1_000;
/// What is left to the network as it runs: frames per peer and step below which links and rounds are done, and only what
/// happens now and then goes on. Guess.
const REST_PER_PEER: f64 = 0.25;

/// What a peer is given in a step.
#[derive(Debug)]
enum Given {
    /// By its own machine.
    Own(Input),
    /// At this end of a link.
    At(LinkId, Input),
}

/// What waits for peers' next turns; of the peer that has its turn, when pongs come, on which link, and their nonces.
#[derive(Debug, Default)]
struct Post {
    given: Vec<Vec<Given>>,
    /// How much was put in since the last step began.
    handed: usize,
    pings: BinaryHeap<Reverse<(Micros, LinkId, u64)>>,
}

impl Post {
    fn put(&mut self, peer: usize, given: Given) {
        self.given[peer].push(given);
        self.handed += 1;
    }
}

impl World {
    /// Lets peers that were booted, and have sent nothing yet, link.
    pub(crate) fn link_at_once(&mut self) {
        let began = self.now;
        // About as long as a dial and hellos take.
        let step = (self.network.conditions().delay.mean_ms * 4_000.0) as Micros + 25_000;
        let mut clocks = vec![began; self.machines.len()];
        let mut post = Post { given: self.machines.iter().map(|_| Vec::new()).collect(), ..Post::default() };
        let rest = (self.machines.len() as f64 * REST_PER_PEER) as usize;
        for at in (began..began + MOST).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            if at >= began + LEAST && post.handed <= rest {
                break;
            }
            post.handed = 0;
            for (peer, clock) in clocks.iter_mut().enumerate() {
                *clock = self.take_turn(peer, at.max(*clock), at + step, &mut post);
            }
        }
        self.now = clocks.into_iter().max().unwrap_or(began);
        // What is under way goes on in the network.
        for (peer, given) in post.given.into_iter().enumerate() {
            for given in given {
                if let Some(input) = self.opened(given) {
                    self.handle(peer, input);
                }
            }
            self.plan_wake(peer);
        }
    }

    /// One peer's turn in a step that ends at `end`; answers its clock's reading afterwards.
    fn take_turn(&mut self, peer: usize, at: Micros, end: Micros, post: &mut Post) -> Micros {
        self.take(peer, at, None, post);
        for given in std::mem::take(&mut post.given[peer]) {
            if let Some(input) = self.opened(given) {
                self.take(peer, at, Some(input), post);
            }
        }
        let (mut clock, mut ticks) = (at, 0);
        loop {
            let machine = &self.machines[peer];
            let deadline = machine.core.as_ref().and_then(Peer::poll_deadline);
            let due = deadline.map(|(time, _)| machine.at(time)).filter(|due| *due < end);
            let back = post.pings.peek().map(|Reverse((back, ..))| *back);
            if back.is_some_and(|back| due.is_none_or(|due| back <= due))
                && let Some(Reverse((back, link, nonce))) = post.pings.pop()
            {
                clock = clock.max(back);
                // Number 0 asks for no acknowledgement: the other side has not really spoken.
                let pong = Frame { sequence: 0, ack: 0, ack_bits: 0, message: Message::Pong { nonce } };
                let bytes = sorcha_peer_wire::frame_len(&pong) as u32;
                self.take(peer, clock, Some(Input::Frame { link, frame: pong, bytes }), post);
            } else if let Some(due) = due
                && ticks < TICKS_PER_TURN_MAX
            {
                clock = clock.max(due);
                ticks += 1;
                self.take(peer, clock, Some(Input::Tick), post);
            } else {
                return clock;
            }
        }
    }

    /// What is given, unless it comes on a link that has ended.
    fn opened(&mut self, given: Given) -> Option<Input> {
        let (link, input) = match given {
            Given::Own(input) => return Some(input),
            Given::At(link, input) => (link, input),
        };
        match input {
            Input::LinkUp(_) => {
                self.network.set_open(link, true);
                self.trace.add(self.now, Mark::Link, self.network.other(LinkId(link.0 ^ 1)), link.0 << 1 | 1);
            }
            _ if !self.network.is_open(link) => return None,
            Input::LinkDown { .. } => self.network.set_open(link, false),
            _ => {}
        }
        Some(input)
    }

    /// Hands a peer an input, and lets its effects happen.
    fn take(&mut self, peer: usize, at: Micros, input: Option<Input>, post: &mut Post) {
        // Mostly one input and no answer: nothing is allocated then.
        let (mut next, mut inputs) = (input, VecDeque::new());
        loop {
            if let Some(input) = next.take() {
                let machine = &mut self.machines[peer];
                let now = machine.now(at);
                let Some(core) = &mut machine.core else { return };
                core.handle(now, input);
            }
            while let Some(output) = self.machines[peer].core.as_mut().and_then(Peer::poll_output) {
                inputs.extend(self.done(peer, at, output, post));
            }
            next = inputs.pop_front();
            if next.is_none() {
                return;
            }
        }
    }

    /// Does what a peer wants done; answers effects that are answered at once.
    fn done(&mut self, peer: usize, at: Micros, output: Output, post: &mut Post) -> Option<Input> {
        match output {
            Output::Send { link, frame, .. } => self.hand_over(peer, at, link, frame, post),
            Output::Dial { op, address, .. } => return Some(self.connect(peer, op, address, post)),
            Output::Close { link, reason } if self.network.is_open(link) => {
                self.network.set_open(link, false);
                self.trace.add(self.now, Mark::Link, peer, link.0 << 1);
                let far =
                    Input::LinkDown { link: LinkId(link.0 ^ 1), reason: "closed by the other side".into() };
                post.put(self.network.other(link), Given::At(LinkId(link.0 ^ 1), far));
                post.put(peer, Given::Own(Input::LinkDown { link, reason }));
            }
            Output::Close { .. } => {}
            Output::SealRecord { op, record } => {
                let record = seal::record(record, &self.machines[peer].certificate);
                return Some(Input::RecordSealed { op, result: Ok(record) });
            }
            Output::Verify { op, item } => {
                return Some(Input::Verified { op, verdict: seal::verdict(&item) });
            }
            Output::Inspect { op, queries } => {
                let views = self.machines[peer].disk.store().inspect(&queries);
                return Some(Input::Inspected { op, views });
            }
            other => self.effect(peer, other),
        }
        None
    }

    fn hand_over(&mut self, peer: usize, at: Micros, link: LinkId, frame: Frame, post: &mut Post) {
        if !self.network.is_open(link) {
            return;
        }
        let to = self.network.other(link);
        match frame.message {
            Message::Ping { nonce } => {
                let back = at + self.network.round_trip(peer, to);
                post.pings.push(Reverse((back, link, nonce)));
            }
            // Nobody waits for one: no transaction is under way.
            Message::Ack => {}
            Message::Records { .. } if self.settings.records_frozen => {}
            _ => {
                let link = LinkId(link.0 ^ 1);
                let bytes = sorcha_peer_wire::frame_len(&frame) as u32;
                post.put(to, Given::At(link, Input::Frame { link, frame, bytes }));
            }
        }
    }

    fn connect(&mut self, peer: usize, op: OpId, address: Address, post: &mut Post) -> Input {
        let target = number_of(&address)
            .filter(|target| self.machines.get(*target).is_some_and(|to| to.runs() && !to.behind_nat));
        let Some(target) = target else {
            let error = DialError::Unreachable(format!("{address}: no answer"));
            return Input::DialFailed { op, error };
        };
        let link = self.network.link(peer, target);
        self.trace.add(self.now, Mark::Link, peer, link.0 << 1 | 1);
        let up = |link, opened, other: &Machine, address| {
            let peer = LinkPeer { id: other.id, uri: other.identity.uri.clone() };
            Input::LinkUp(LinkUp { link, opened, peer, address, rung: Rung::Stream })
        };
        let (near, far) = (&self.machines[peer], &self.machines[target]);
        let source = Address::new(format!("{}.source", near.address));
        let accepted = LinkId(link.0 ^ 1);
        post.put(target, Given::At(accepted, up(accepted, Opened::Accepted, near, source)));
        up(link, Opened::Dialled(op), far, address)
    }
}
