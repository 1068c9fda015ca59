//! The loop around the pure core: await an input, hand it over, drain the outputs, start the effects.
//!
//! It decides nothing. Nothing here blocks: effects answer later, as inputs, through the completions
//! channel, which needs no bound of its own because the core bounds the operations under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sorcha_peer_core::event::{Accepted, Event, Submit, SubmitRefused};
use sorcha_peer_core::peer::Peer;
use sorcha_peer_core::{Input, Output};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, wall_now};
use crate::effects::Effects;
use crate::metrics::Metrics;
use crate::node::{Command, NodeEvent};

/// Inputs taken from one channel before the others are looked at again, so that a flood from the
/// network does not keep local commands waiting (guess; each takes microseconds).
const BATCH_MAX: usize = 64;
/// Longest sleep without a look at the deadline, so that a clock fault cannot stall the peer (guess).
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Where the driver's inputs come from.
#[derive(Debug)]
pub struct Sources {
    /// From links; bounded, so that the sockets feel it when the core is behind.
    pub network: mpsc::Receiver<Input>,
    /// Answers of effects.
    pub completions: mpsc::UnboundedReceiver<Input>,
    /// From the local APIs.
    pub commands: mpsc::Receiver<Command>,
    /// Resolves when the process shall stop.
    pub stop: oneshot::Receiver<Stop>,
    /// The process shall end at once: nothing is waited for any more.
    pub hurry: CancellationToken,
}

/// How the process shall stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The peer leaves for good: the others are told to forget it.
    pub leaving: bool,
}

/// The core with everything around it.
pub struct Driver {
    core: Peer,
    clock: Clock,
    effects: Effects,
    metrics: Metrics,
    events: broadcast::Sender<Arc<NodeEvent>>,
    submissions: BTreeMap<u64, oneshot::Sender<Result<Accepted, SubmitRefused>>>,
    last_submission: u64,
    /// Who waits for holders; the core bounds them.
    holders: BTreeMap<u64, oneshot::Sender<u32>>,
}

impl Driver {
    /// Puts the parts together; nothing runs yet.
    pub fn new(
        core: Peer,
        clock: Clock,
        effects: Effects,
        metrics: Metrics,
        events: broadcast::Sender<Arc<NodeEvent>>,
    ) -> Self {
        Self {
            core,
            clock,
            effects,
            metrics,
            events,
            submissions: BTreeMap::new(),
            last_submission: 0,
            holders: BTreeMap::new(),
        }
    }

    /// Runs until it is stopped and all links have said goodbye and ended, or `deadline` after the stop has passed.
    /// Says when it was told to stop.
    pub async fn run(mut self, mut sources: Sources, deadline: Duration) -> Instant {
        self.drain();
        let stop = loop {
            self.effects.flush();
            let wake = self.sleep_until();
            tokio::select! {
                Some(input) = sources.network.recv() => {
                    self.handle(input);
                    self.drain_batch(&mut sources);
                }
                Some(input) = sources.completions.recv() => {
                    self.handle(input);
                    self.drain_batch(&mut sources);
                }
                Some(command) = sources.commands.recv() => {
                    if let Some(stop) = self.command(command) {
                        break stop;
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => self.handle(Input::Tick),
                stop = &mut sources.stop => break stop.unwrap_or(Stop { leaving: false }),
            }
        };
        let began = Instant::now();
        self.shut_down(&mut sources, stop, began + deadline).await;
        began
    }

    async fn shut_down(&mut self, sources: &mut Sources, stop: Stop, last: Instant) {
        tracing::info!(leaving = stop.leaving, "stopping: saying goodbye on every link");
        self.effects.transport.take_nothing_on();
        self.handle(Input::Shutdown { leaving: stop.leaving });
        loop {
            // The core lets go of a link when it has said goodbye; what is queued on it must still go out.
            let links = self.effects.transport.links();
            if links == 0 && self.core.status().submissions_pending == 0 {
                return;
            }
            self.effects.flush();
            let wake = self.sleep_until().min(last);
            tokio::select! {
                Some(input) = sources.network.recv() => self.handle(input),
                Some(input) = sources.completions.recv() => self.handle(input),
                Some(command) = sources.commands.recv() => {
                    // A second wish to stop changes nothing.
                    self.command(command);
                }
                () = sources.hurry.cancelled() => return,
                () = tokio::time::sleep_until(wake.into()) => {
                    if Instant::now() >= last {
                        tracing::warn!(links, "stopping with links still open: the shutdown deadline has passed");
                        return;
                    }
                    self.handle(Input::Tick);
                }
            }
        }
    }

    fn drain_batch(&mut self, sources: &mut Sources) {
        for _ in 0..BATCH_MAX {
            let Ok(input) = sources.completions.try_recv() else { break };
            self.handle(input);
        }
        for _ in 0..BATCH_MAX {
            let Ok(input) = sources.network.try_recv() else { break };
            self.handle(input);
        }
    }

    fn sleep_until(&self) -> Instant {
        let latest = Instant::now() + SLEEP_MAX;
        self.core.poll_deadline().map_or(latest, |(time, _)| self.clock.instant(time).min(latest))
    }

    fn command(&mut self, command: Command) -> Option<Stop> {
        match command {
            Command::Submit { register, body, idempotency_key, reply } => {
                self.last_submission += 1;
                let token = self.last_submission;
                self.submissions.insert(token, reply);
                self.handle(Input::Submit(Submit { token, register, body, idempotency_key }));
            }
            Command::Holders { id, wanted, wait, reply } => {
                self.last_submission += 1;
                let token = self.last_submission;
                self.holders.insert(token, reply);
                self.handle(Input::AwaitHolders { token, id, wanted, wait });
            }
            // Whoever asked and went away needs no answer; so below.
            Command::Outbox(limit, reply) => drop(reply.send(self.core.outbox(self.clock.now(), limit))),
            Command::RetryOutbox(ids, reply) => {
                self.handle(Input::RetryOutbox { ids });
                let _gone = reply.send(());
            }
            Command::DiscardOutbox(ids, reply) => {
                self.handle(Input::DiscardOutbox { ids });
                let _gone = reply.send(());
            }
            Command::Quarantine { retry, reply } => {
                if retry {
                    self.handle(Input::TrustChanged);
                }
                drop(reply.send(self.core.quarantine()));
            }
            Command::Status(reply) => drop(reply.send(self.core.status())),
            Command::Peers(reply) => drop(reply.send(self.core.peers())),
            Command::Drain { leaving, leave, reply } => {
                self.handle(Input::Drain { leaving, leave });
                if let Some(view) = self.core.status().drain {
                    drop(reply.send(view));
                }
            }
            Command::Resume(reply) => {
                self.handle(Input::Resume);
                // Whoever asked may have gone.
                let _gone = reply.send(());
            }
            Command::Leave(reply) => {
                let _gone = reply.send(());
                return Some(Stop { leaving: true });
            }
        }
        None
    }

    fn handle(&mut self, input: Input) {
        if let Input::Frame { bytes, frame, .. } = &input {
            self.metrics.frames_received(1, u64::from(*bytes));
            self.metrics.body_received(frame.message.payload());
        }
        self.core.handle(self.clock.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Event(event) => self.publish(event),
                Output::SubmitReply { token, result } => {
                    if let Some(reply) = self.submissions.remove(&token) {
                        // A client that went away learns the outcome by its idempotency key.
                        drop(reply.send(result));
                    }
                }
                Output::HoldersReply { token, holders } => {
                    if let Some(reply) = self.holders.remove(&token) {
                        let _gone = reply.send(holders);
                    }
                }
                effect => self.effects.start(effect),
            }
        }
    }

    fn publish(&mut self, event: Event) {
        self.metrics.observe_event(&event);
        crate::log::event(&event);
        // Nobody may be watching.
        drop(self.events.send(Arc::new(NodeEvent { at: wall_now(), event })));
    }
}

#[cfg(test)]
mod tests;
