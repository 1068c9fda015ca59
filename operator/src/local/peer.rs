//! One peer: its process is started, watched, started again when it ends, and stopped when told.
//!
//! A task per peer, which takes [`Order`]s and reports every [`Change`]. It knows nothing of the other peers.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use sorcha_operator_plan::processes::PeerProcess;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::log;
use super::state::PeerFolder;
use super::status::{PeerStatus, StatusClient};

/// A running peer is asked this often while it joins.
const JOINING_INTERVAL: Duration = Duration::from_millis(60);
/// And this often once it is linked: its end is noticed at once anyway.
const LINKED_INTERVAL: Duration = Duration::from_secs(1);
/// Beyond the peer's own shutdown deadline, before it is taken for hung: process exit and reaping. A guess.
const STOP_ROOM: Duration = Duration::from_secs(2);
/// The peer ends by itself when its standard input closes, so that it does not outlive its supervisor.
const EXIT_WITH_STDIN: &str = "SORCHA_EXIT_WITH_STDIN";
/// Orders that wait for one peer at most; it takes them at once unless it is being stopped.
const ORDERS_MAX: usize = 8;

/// What a peer's task is told.
#[derive(Debug)]
pub(super) enum Order {
    /// End the process and the task.
    Stop(Farewell),
    /// End the process and start it as planned now; what is reported from then on carries this generation.
    Restart(Box<PeerProcess>, u32),
}

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// SIGTERM: it will be back.
    Stopping,
    /// It is told that it leaves the network for good.
    Leaving,
}

impl Order {
    fn farewell(&self) -> Farewell {
        match self {
            Self::Stop(farewell) => *farewell,
            Self::Restart(..) => Farewell::Stopping,
        }
    }
}

/// What a peer's task reports.
#[derive(Debug)]
pub(super) enum Change {
    /// The process runs.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// It answers, with another status than before.
    Answers(PeerStatus),
    /// It ended or could not be started, and will be started again.
    Ended {
        /// As a sentence part: "was killed by signal 9".
        how: String,
        /// Until the next start.
        restart_in: Duration,
        /// Failures in a row, where they have become worth the user's eye.
        crash_loop: Option<u32>,
    },
    /// It ended because it was told to; the task has ended.
    Stopped {
        /// It did not end in time and was killed.
        killed: bool,
    },
}

/// A change, and whose.
#[derive(Debug)]
pub(super) struct Message {
    /// Name of the peer.
    pub(super) peer: String,
    /// Of the last restart order that the task has followed; 0 before the first.
    pub(super) generation: u32,
    /// What happened.
    pub(super) change: Change,
}

/// What all peers' tasks share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The peer's program.
    pub(super) binary: PathBuf,
    /// Asks peers.
    pub(super) client: StatusClient,
    /// Reports go here.
    pub(super) changes: mpsc::Sender<Message>,
    /// Of the network as a whole.
    pub(super) network: watch::Receiver<Wanted>,
    /// True: whoever is being stopped is killed without delay.
    pub(super) kill: watch::Receiver<bool>,
}

/// What the manifest wants of the network as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// How many peers: decides when one is linked.
    pub(super) peers: usize,
    /// How long a peer gives itself to stop.
    pub(super) shutdown_deadline: Duration,
}

/// Starts the task. Dropping the sender stops the peer.
pub(super) fn start(process: PeerProcess, surroundings: Surroundings) -> mpsc::Sender<Order> {
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    let task = Peer { generation: 0, process, surroundings, orders: receiver, backoff: Backoff::default() };
    tokio::spawn(task.run());
    orders
}

struct Peer {
    generation: u32,
    process: PeerProcess,
    surroundings: Surroundings,
    orders: mpsc::Receiver<Order>,
    backoff: Backoff,
}

/// A process of ours; dropped, it is killed.
struct Running {
    child: Child,
    /// Held open for as long as this lives. Apart from `child`, which would close it when waited for.
    _stdin: Option<ChildStdin>,
    pid: u32,
    since: Instant,
}

enum Next {
    Ended(std::io::Result<ExitStatus>),
    Told(Option<Order>),
}

impl Peer {
    async fn run(mut self) {
        loop {
            let order = match spawn(&self.surroundings.binary, &self.process) {
                Ok(mut running) => {
                    self.report(Change::Started { pid: running.pid }).await;
                    match self.attend(&mut running).await {
                        Next::Ended(status) => self.failed(how(status), running.since.elapsed()).await,
                        Next::Told(order) => {
                            let mut order = order.unwrap_or(Order::Stop(Farewell::Stopping));
                            let killed = self.stop(&mut running, order.farewell()).await;
                            // Of what was ordered meanwhile the last counts, but a stop counts for good.
                            while let (Order::Restart(..), Ok(next)) = (&order, self.orders.try_recv()) {
                                order = next;
                            }
                            if matches!(order, Order::Stop(_)) {
                                self.report(Change::Stopped { killed }).await;
                                return;
                            }
                            Some(order)
                        }
                    }
                }
                Err(error) => self.failed(format!("could not be started: {error}"), Duration::ZERO).await,
            };
            match order {
                Some(Order::Stop(_)) => {
                    self.report(Change::Stopped { killed: false }).await;
                    return;
                }
                Some(Order::Restart(process, generation)) => {
                    self.process = *process;
                    self.generation = generation;
                    self.backoff = Backoff::default();
                }
                None => {}
            }
        }
    }

    /// Reports a failure and waits for the next start, or for an order.
    async fn failed(&mut self, how: String, uptime: Duration) -> Option<Order> {
        let mut rng = StdRng::from_os_rng();
        let restart_in = self.backoff.after(uptime, &mut rng);
        let crash_loop = self.backoff.is_loop().then(|| self.backoff.failures());
        self.report(Change::Ended { how, restart_in, crash_loop }).await;
        tokio::select! {
            () = tokio::time::sleep(restart_in) => None,
            order = self.orders.recv() => Some(order.unwrap_or(Order::Stop(Farewell::Stopping))),
        }
    }

    /// Watches a running process until it ends or an order comes.
    async fn attend(&mut self, running: &mut Running) -> Next {
        let api = self.process.ports.api;
        let path = PeerFolder(&self.process.directory).log();
        let mut last: Option<PeerStatus> = None;
        loop {
            let peers = self.surroundings.network.borrow().peers;
            let linked = last.as_ref().is_some_and(|status| status.is_linked(peers));
            let client = &self.surroundings.client;
            let look = async {
                tokio::time::sleep(if linked { LINKED_INTERVAL } else { JOINING_INTERVAL }).await;
                client.status(api).await
            };
            tokio::select! {
                status = running.child.wait() => return Next::Ended(status),
                order = self.orders.recv() => return Next::Told(order),
                // The network's size changed: it may have to be asked more often.
                _ = self.surroundings.network.changed() => {}
                status = look => {
                    let bounded = log::bound(&path);
                    if let Err(error) = bounded {
                        tracing::warn!(peer = self.process.name, %error, "the log could not be cut");
                    }
                    // A peer that does not answer for a moment is told by its own end, or by its own log.
                    let status = status.unwrap_or_default();
                    if last.as_ref() != Some(&status) {
                        last = Some(status.clone());
                        self.report(Change::Answers(status)).await;
                    }
                }
            }
        }
    }

    /// Ends the process and reaps it. True when it had to be killed.
    async fn stop(&mut self, running: &mut Running, farewell: Farewell) -> bool {
        if farewell == Farewell::Leaving
            && self.surroundings.client.leave(self.process.ports.api).await
            && self.ended(running).await
        {
            return false;
        }
        running.signal(Signal::TERM);
        if self.ended(running).await {
            return false;
        }
        // It ended in this very moment: then it needs no kill.
        let _ = running.child.start_kill();
        let status = running.child.wait().await;
        status.is_ok_and(|status| status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Waits for the end, until the deadline or a kill order.
    async fn ended(&mut self, running: &mut Running) -> bool {
        let deadline = self.surroundings.network.borrow().shutdown_deadline + STOP_ROOM;
        let kill = async {
            if self.surroundings.kill.wait_for(|kill| *kill).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = running.child.wait() => true,
            () = tokio::time::sleep(deadline) => false,
            () = kill => false,
        }
    }

    async fn report(&self, change: Change) {
        // Nobody listens any more only when the supervisor itself is gone.
        let message = Message { peer: self.process.name.clone(), generation: self.generation, change };
        let _ = self.surroundings.changes.send(message).await;
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        // Not reaped yet, so that the id is still this process's.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Starts the process: its own process group, so that a Ctrl-C reaches the supervisor alone; standard input a
/// pipe that closes with the supervisor; output into the log.
fn spawn(binary: &Path, process: &PeerProcess) -> std::io::Result<Running> {
    let folder = PeerFolder(&process.directory);
    fs::create_dir_all(folder.state())?;
    let log = log::open(&folder.log())?;
    let mut command = Command::new(binary);
    // What this shell sets for a peer of its own would override the plan in every peer.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"SORCHA_")) {
        command.env_remove(name);
    }
    let mut child = command
        .arg("run")
        .arg("--config")
        .arg(folder.config())
        .env(EXIT_WITH_STDIN, "1")
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().expect("a child that was not waited for has an id");
    let stdin = child.stdin.take();
    Ok(Running { child, _stdin: stdin, pid, since: Instant::now() })
}

fn how(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Err(error) => format!("was lost: {error}"),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
    }
}
