//! All peers of the network: what should run, what does run, and the next step from the one to the other.
//!
//! Reacts to what the peers' tasks report; waits for nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sorcha_operator_plan::processes::{PeerProcess, Ports};
use tokio::sync::{mpsc, watch};

use super::endpoints::{Endpoint, Endpoints};
use super::event::{Event, Unlinked};
use super::log;
use super::peer::{self, Change, Farewell, Message, Order, Surroundings, Wanted};
use super::state::PeerFolder;
use super::status::PeerStatus;

/// Log lines shown of a peer that is in trouble. A guess: the cause is usually in the last few.
const LOG_LINES: usize = 10;

/// The peers, wanted and real.
pub(super) struct Fleet {
    surroundings: Surroundings,
    network: watch::Sender<Wanted>,
    /// In the plan's order.
    wanted: Vec<PeerProcess>,
    members: BTreeMap<String, Member>,
    goal: Option<Goal>,
    /// What was told last of the way to the goal.
    progress: (usize, usize, usize),
}

/// One peer's task as the fleet sees it.
struct Member {
    process: PeerProcess,
    orders: mpsc::Sender<Order>,
    pid: Option<u32>,
    status: PeerStatus,
    /// Of the last restart order; reports of an older one are of a process that is being replaced.
    generation: u32,
    /// It ended by itself then and is not linked again yet.
    ended: Option<Instant>,
    leaving: bool,
}

/// What all peers being linked will mean.
struct Goal {
    first: bool,
    since: Instant,
    overdue: bool,
}

/// What a new plan changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// To be started.
    pub(super) added: Vec<String>,
    /// To leave.
    pub(super) removed: Vec<String>,
    /// To be restarted, one after another.
    pub(super) restarted: Vec<String>,
}

impl Difference {
    /// True when nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.restarted.is_empty()
    }
}

impl Fleet {
    /// No peers yet. `network` is the other end of what the surroundings hold.
    pub(super) fn new(surroundings: Surroundings, network: watch::Sender<Wanted>) -> Self {
        Self {
            surroundings,
            network,
            wanted: Vec::new(),
            members: BTreeMap::new(),
            goal: None,
            progress: (0, 0, 0),
        }
    }

    /// Takes a new plan and says what it changes. [`Self::step`] then acts on it.
    pub(super) fn want(&mut self, wanted: Vec<PeerProcess>, shutdown_deadline: Duration) -> Difference {
        let mut difference = Difference::default();
        for process in &wanted {
            match self.members.get(&process.name) {
                Some(member) if member.is_outdated(process, wanted.len()) => {
                    difference.restarted.push(process.name.clone());
                }
                Some(member) if !member.leaving => {}
                _ => difference.added.push(process.name.clone()),
            }
        }
        let names: BTreeSet<&str> = wanted.iter().map(|process| process.name.as_str()).collect();
        let gone = self.wanted.iter().filter(|process| !names.contains(process.name.as_str()));
        difference.removed = gone.map(|process| process.name.clone()).collect();
        if !difference.is_empty() {
            let first = self.members.is_empty() || self.goal.as_ref().is_some_and(|goal| goal.first);
            self.goal = Some(Goal { first, since: Instant::now(), overdue: false });
        }
        self.network.send_replace(Wanted { peers: wanted.len(), shutdown_deadline });
        self.wanted = wanted;
        difference
    }

    /// Takes a plan in which a peer that is down has other ports; that is no new goal.
    pub(super) fn relocate(&mut self, wanted: Vec<PeerProcess>, shutdown_deadline: Duration) {
        let goal = self.goal.take();
        self.want(wanted, shutdown_deadline);
        self.goal = goal;
    }

    /// Starts, restarts and dismisses what is due now.
    pub(super) fn step(&mut self) {
        let wanted: BTreeSet<&str> = self.wanted.iter().map(|process| process.name.as_str()).collect();
        for (name, member) in &mut self.members {
            if !wanted.contains(name.as_str()) && !member.leaving {
                member.leaving = true;
                member.order(Order::Stop(Farewell::Leaving));
            }
        }
        let mut whole = self.is_settled();
        for process in &self.wanted {
            match self.members.get_mut(&process.name) {
                None => {
                    let orders = peer::start(process.clone(), self.surroundings.clone());
                    self.members.insert(process.name.clone(), Member::new(process.clone(), orders));
                }
                // It is on its way out; it starts again once it is gone.
                Some(member) if member.leaving => {}
                Some(member) if member.is_outdated(process, self.wanted.len()) => {
                    // One at a time, and only from a whole network; but who is not linked anyway waits for nothing.
                    let linked = member.is_linked(self.wanted.len());
                    if !linked || whole {
                        whole = false;
                        member.process = process.clone();
                        member.pid = None;
                        member.status = PeerStatus::default();
                        member.generation += 1;
                        member.order(Order::Restart(Box::new(process.clone()), member.generation));
                    }
                }
                Some(member) => member.process.clone_from(process),
            }
        }
    }

    /// Takes in what a peer's task reports; tells what the user should know of it.
    pub(super) fn take(&mut self, message: Message, stopping: bool) -> Vec<Event> {
        let size = self.wanted.len();
        let Message { peer, generation, change } = message;
        let Some(member) = self.members.get_mut(&peer) else { return Vec::new() };
        let current = generation == member.generation;
        let mut events = Vec::new();
        match change {
            Change::Started { pid } => {
                if current {
                    member.pid = Some(pid);
                    member.status = PeerStatus::default();
                }
                events.push(Event::Started { peer, pid });
            }
            Change::Answers(status) => {
                if let (true, Some(pid)) = (current, member.pid) {
                    member.status = status;
                    if member.is_linked(size)
                        && let Some(ended) = member.ended.take()
                    {
                        events.push(Event::Returned { peer, pid, ms: millis(ended.elapsed()) });
                    }
                }
            }
            Change::Ended { how, restart_in, crash_loop } => {
                if current {
                    member.pid = None;
                    member.status = PeerStatus::default();
                    member.ended.get_or_insert_with(Instant::now);
                }
                events.push(Event::Exited { peer: peer.clone(), how, restart_in_ms: millis(restart_in) });
                if let Some(failures) = crash_loop {
                    let log = PeerFolder(&member.process.directory).log();
                    let lines = log::last_lines(&log, LOG_LINES);
                    events.push(Event::CrashLoop { peer, failures, log, lines });
                }
            }
            Change::Stopped { killed } => {
                let directory = member.process.directory.clone();
                self.members.remove(&peer);
                if !stopping {
                    events.push(Event::Removed { peer, directory, killed });
                }
            }
        }
        events
    }

    /// What is to be told of the way to the goal, and of reaching it: true for the first time that all are linked.
    pub(super) fn progress(&mut self) -> (Option<Event>, Option<Outcome>) {
        let Some(goal) = &self.goal else { return (None, None) };
        let (first, since) = (goal.first, goal.since);
        let size = self.wanted.len();
        let present = || self.wanted.iter().filter_map(|process| self.members.get(&process.name));
        let running = present().filter(|member| !member.status.state.is_empty()).count();
        let linked = present().filter(|member| member.is_linked(size)).count();
        let now = (running, linked, size);
        let event = (self.progress != now).then_some(Event::Progress { running, linked, of: size });
        self.progress = now;
        if !self.is_settled() || self.needs_any_restart() {
            return (event, None);
        }
        self.goal = None;
        let seconds = since.elapsed().as_secs_f64();
        (event, Some(if first { Outcome::Ready { seconds } } else { Outcome::Settled { seconds } }))
    }

    /// When the goal is late.
    pub(super) fn deadline(&self, after: Duration) -> Option<Instant> {
        self.goal.as_ref().filter(|goal| !goal.overdue).map(|goal| goal.since + after)
    }

    /// The deadline has passed: who is not linked, and whether that was the first start.
    pub(super) fn overdue(&mut self) -> (Event, bool) {
        let size = self.wanted.len();
        let mut peers = Vec::new();
        for process in &self.wanted {
            let how = match self.members.get(&process.name) {
                Some(member) if member.is_linked(size) => continue,
                Some(member) if !member.status.state.is_empty() => {
                    format!("is linked to {} of {}", member.status.peers_linked, size.saturating_sub(1))
                }
                Some(member) if member.pid.is_some() => {
                    format!("does not answer on port {}", process.ports.api)
                }
                _ => "does not run".to_owned(),
            };
            let log = PeerFolder(&process.directory).log();
            let lines = log::last_lines(&log, LOG_LINES);
            peers.push(Unlinked { peer: process.name.clone(), how, log, lines });
        }
        let (first, since) = match &mut self.goal {
            Some(goal) => {
                goal.overdue = true;
                (goal.first, goal.since)
            }
            None => (false, Instant::now()),
        };
        (Event::NotLinked { seconds: since.elapsed().as_secs_f64(), peers }, first)
    }

    /// Tells every peer to stop. [`Self::is_empty`] once all have.
    pub(super) fn stop(&mut self) {
        self.goal = None;
        self.wanted.clear();
        for member in self.members.values_mut() {
            member.leaving = true;
            member.order(Order::Stop(Farewell::Stopping));
        }
    }

    /// Peers wanted.
    pub(super) fn size(&self) -> usize {
        self.wanted.len()
    }

    /// The processes wanted, in the plan's order.
    pub(super) fn wanted(&self) -> &[PeerProcess] {
        &self.wanted
    }

    /// True when no process is left.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Ports that are the network's own, apart from those of one peer that is known to be down. A peer whose process
    /// may have started a moment ago counts as holding its ports.
    pub(super) fn ports_apart_from(&self, down: Option<&str>) -> BTreeSet<u16> {
        let others = self.members.iter().filter(|(name, _)| Some(name.as_str()) != down);
        others.flat_map(|(_, member)| ports_of(&member.process)).collect()
    }

    /// True when this report is of a peer that is down now, with the ports that it is wanted on.
    pub(super) fn is_down(&self, message: &Message) -> bool {
        let current = self.members.get(&message.peer).is_some_and(|it| it.generation == message.generation);
        current && matches!(message.change, Change::Ended { .. })
    }

    /// Ports of one wanted peer.
    pub(super) fn ports_of(&self, name: &str) -> Vec<u16> {
        let process = self.wanted.iter().find(|process| process.name == name);
        process.map(|process| ports_of(process).to_vec()).unwrap_or_default()
    }

    /// For `endpoints.json`.
    pub(super) fn endpoints(&self, network: &str) -> Endpoints {
        let pid = |name: &str| self.members.get(name).and_then(|member| member.pid);
        let peers = self.wanted.iter().map(|process| Endpoint::of(process, pid(&process.name))).collect();
        Endpoints { network: network.to_owned(), peers }
    }

    /// Every wanted peer is there and linked, and nobody else is.
    fn is_settled(&self) -> bool {
        let linked = |process: &PeerProcess| {
            self.members.get(&process.name).is_some_and(|it| !it.leaving && it.is_linked(self.wanted.len()))
        };
        self.members.len() == self.wanted.len() && self.wanted.iter().all(linked)
    }

    fn needs_any_restart(&self) -> bool {
        self.wanted.iter().any(|process| {
            self.members.get(&process.name).is_some_and(|it| it.is_outdated(process, self.wanted.len()))
        })
    }
}

/// The goal was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    /// For the first time.
    Ready {
        /// Since the first start.
        seconds: f64,
    },
    /// After a change.
    Settled {
        /// Since the change.
        seconds: f64,
    },
}

impl Member {
    fn new(process: PeerProcess, orders: mpsc::Sender<Order>) -> Self {
        let status = PeerStatus::default();
        Self { process, orders, pid: None, status, generation: 0, ended: None, leaving: false }
    }

    fn is_linked(&self, peers: usize) -> bool {
        self.pid.is_some() && !self.status.state.is_empty() && self.status.is_linked(peers)
    }

    /// Whether the process has to be started anew to follow its plan. New bootstrap addresses are no reason: a peer
    /// that runs learns of the others from them. Addresses that are gone are one where it has not met the others.
    fn is_outdated(&self, wanted: &PeerProcess, peers: usize) -> bool {
        let mut config = self.process.config.clone();
        config.bootstrap.clone_from(&wanted.config.bootstrap);
        if config != wanted.config || self.process.uri != wanted.uri || self.process.ports != wanted.ports {
            return true;
        }
        let addresses =
            |process: &PeerProcess| process.config.bootstrap.addresses.clone().unwrap_or_default();
        let now = addresses(wanted);
        !self.is_linked(peers) && addresses(&self.process).iter().any(|address| !now.contains(address))
    }

    /// Only a peer that is being stopped lets orders queue. Where the queue is full, and where the task has ended,
    /// the sender is dropped, which means stop; a restart that is lost so is seen and ordered again.
    fn order(&mut self, order: Order) {
        if self.orders.try_send(order).is_err() {
            self.orders = mpsc::channel(1).0;
        }
    }
}

fn ports_of(process: &PeerProcess) -> [u16; 3] {
    let Ports { peer, api, admin } = process.ports;
    [peer, api, admin]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
