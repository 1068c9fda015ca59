//! The whole of local mode, from the manifest to the last process's end: starts the fleet, then waits for its
//! reports, for a changed manifest, for signals and for deadlines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sorcha_operator_plan::processes::{Notice, ProcessPlan};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::error::LocalError;
use super::event::Event;
use super::fleet::{Fleet, Outcome};
use super::load::Manifest;
use super::observe::{is_taken, observe};
use super::peer::{Change, Message, Surroundings, Wanted};
use super::report::{Format, Report};
use super::state::StateDirectory;
use super::status::StatusClient;
use super::watch::Watch;
use super::{binary, endpoints, files, leftover, lock, state};

/// Reports of peers that wait to be read at most; their tasks then wait too.
const CHANGES_MAX: usize = 256;
/// Between looks at the certificates. They are renewed with ten days left, so an hour is nothing.
const CERTIFY_INTERVAL: Duration = Duration::from_secs(3600);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest.
    pub manifest: PathBuf,
    /// Where the states of networks are kept.
    pub state_directory: Option<PathBuf>,
    /// The peer's program.
    pub peer_binary: Option<PathBuf>,
    /// How long joining may take.
    pub join_deadline: Duration,
    /// End when that is over.
    pub exit_unless_linked: bool,
    /// How events are told.
    pub format: Format,
}

/// Runs the network until a signal. Every process that it starts has ended when it returns.
pub async fn run(options: Options) -> Result<(), LocalError> {
    let signals = Signals::new()?;
    let text = super::watch::read(&options.manifest)
        .map_err(|source| LocalError::Unreadable { path: options.manifest.clone(), source })?;
    let manifest = Manifest::parse(&text)
        .map_err(|message| LocalError::Invalid { path: options.manifest.clone(), message })?;
    let own_program = std::env::current_exe().ok();
    let path = std::env::var_os("PATH");
    let binary = binary::find(options.peer_binary.as_deref(), own_program.as_deref(), path.as_deref())?;
    let base = state::base(
        options.state_directory.as_deref(),
        std::env::var_os("XDG_STATE_HOME"),
        std::env::var_os("HOME"),
    )?;
    let state = StateDirectory::open(&base, manifest.name())?;
    let path = std::path::absolute(&options.manifest).unwrap_or_else(|_| options.manifest.clone());
    let _lock = lock::take(&state.lock(), manifest.name(), &path)?;
    let watch = Watch::new(path, text);

    let (changes_sender, changes) = mpsc::channel(CHANGES_MAX);
    let (network_sender, wanted) = watch::channel(Wanted::default());
    let (kill_sender, kill) = watch::channel(false);
    let surroundings = Surroundings {
        binary: binary.clone(),
        client: StatusClient::new(),
        changes: changes_sender,
        network: wanted,
        kill,
    };
    let mut network = Network {
        report: Report::new(options.format),
        fleet: Fleet::new(surroundings, network_sender),
        notices: Vec::new(),
        trust_domain: String::new(),
        rejected: false,
        name: manifest.name().to_owned(),
        manifest,
        options,
        binary,
        state,
    };
    network.clear_leftovers().await?;
    network.begin()?;
    network.supervise(changes, watch, signals, kill_sender).await
}

/// A network that runs.
struct Network {
    options: Options,
    name: String,
    /// The last one that was right.
    manifest: Manifest,
    binary: PathBuf,
    state: StateDirectory,
    report: Report,
    fleet: Fleet,
    /// Told already.
    notices: Vec<Notice>,
    trust_domain: String,
    /// The manifest's file holds nothing that the network follows.
    rejected: bool,
}

/// How supervising goes on after something happened.
enum Verdict {
    GoOn,
    /// All peers are told to stop; then this is the outcome.
    End(Result<(), LocalError>),
}

impl Network {
    async fn clear_leftovers(&mut self) -> Result<(), LocalError> {
        let leftovers = leftover::find(self.state.root());
        leftover::end(&leftovers).await?;
        for it in leftovers {
            self.report.tell(&Event::LeftoverStopped { peer: it.peer(), pid: it.pid });
        }
        Ok(())
    }

    /// The first start: every error ends it, because nothing runs yet.
    fn begin(&mut self) -> Result<(), LocalError> {
        let plan = self.plan(&self.manifest, None)?;
        self.report.tell(&Event::Planned {
            network: self.name.clone(),
            peers: plan.peers.len(),
            directory: self.state.root().to_owned(),
            binary: self.binary.clone(),
        });
        self.prepare(&plan)?;
        let nobody = plan.peers.is_empty();
        self.fleet.want(plan.peers, self.manifest.shutdown_deadline());
        self.fleet.step();
        self.write_endpoints();
        if nobody {
            // Nobody will report, so nothing would ever be told.
            self.ready(0.0);
        }
        Ok(())
    }

    /// Observes, plans, checks. Ports of a peer that is down may be taken by others meanwhile.
    fn plan(&self, manifest: &Manifest, down: Option<&str>) -> Result<ProcessPlan, LocalError> {
        let observed = observe(&self.state, manifest.peers(), &self.fleet.ports_apart_from(down));
        let plan = manifest
            .plan(&observed)
            .map_err(|message| LocalError::Invalid { path: self.options.manifest.clone(), message })?;
        manifest.check(&plan, &observed).map_err(LocalError::Unsound)?;
        Ok(plan)
    }

    /// Writes files and certificates, tells notices that are new.
    fn prepare(&mut self, plan: &ProcessPlan) -> Result<(), LocalError> {
        for notice in &plan.notices {
            if !self.notices.contains(notice) {
                let Notice { field, message } = notice.clone();
                self.report.tell(&Event::Notice { field, message });
            }
        }
        self.notices.clone_from(&plan.notices);
        self.trust_domain.clone_from(&plan.trust_domain);
        for peer in files::write(&self.state, plan, Timestamp::now())? {
            self.report.tell(&Event::Renewed { peer });
        }
        Ok(())
    }

    /// Follows a changed manifest; where anything is wrong with it, says so and leaves the network as it is.
    fn follow(&mut self, text: Result<String, String>) {
        let path = self.options.manifest.display().to_string();
        let invalid = |message: String| format!("the manifest {path} is not valid: {message}");
        let outcome = text
            .map_err(|error| format!("the manifest {path} cannot be read: {error}"))
            .and_then(|text| Manifest::parse(&text).map_err(invalid))
            .and_then(|manifest| {
                if manifest.name() == self.name {
                    Ok(manifest)
                } else {
                    Err(invalid(format!(
                        "metadata.name is now {}, but this network is {}; write the old name, or start another \
                         `sorcha-operator local` for the new one",
                        manifest.name(),
                        self.name
                    )))
                }
            })
            .and_then(|manifest| self.change(manifest).map_err(|error| crate::cli::chain(&error)));
        let was_rejected = std::mem::replace(&mut self.rejected, outcome.is_err());
        match outcome {
            Err(message) => self.report.tell(&Event::ManifestRejected { message }),
            Ok(false) if was_rejected => {
                self.report.tell(&Event::ManifestAccepted { peers: self.fleet.size() });
            }
            Ok(_) => {}
        }
        self.fleet.step();
        self.write_endpoints();
    }

    /// True where the network changes.
    fn change(&mut self, manifest: Manifest) -> Result<bool, LocalError> {
        let plan = self.plan(&manifest, None)?;
        self.manifest = manifest;
        self.prepare(&plan)?;
        let (from, to) = (self.fleet.size(), plan.peers.len());
        let difference = self.fleet.want(plan.peers, self.manifest.shutdown_deadline());
        let changes = !difference.is_empty();
        if changes {
            let (added, removed, restarted) = (difference.added, difference.removed, difference.restarted);
            self.report.tell(&Event::Changing { from, to, added, removed, restarted });
        }
        Ok(changes)
    }

    /// Plans again after another program has taken a port of a peer that is down.
    fn relocate(&mut self, peer: &str) -> Result<(), LocalError> {
        let plan = self.plan(&self.manifest, Some(peer))?;
        self.prepare(&plan)?;
        self.fleet.relocate(plan.peers, self.manifest.shutdown_deadline());
        if let Some(port) = self.fleet.ports_of(peer).first() {
            self.report.tell(&Event::Moved { peer: peer.to_owned(), port: *port });
        }
        Ok(())
    }

    async fn supervise(
        mut self,
        mut changes: mpsc::Receiver<Message>,
        mut watch: Watch,
        mut signals: Signals,
        kill: watch::Sender<bool>,
    ) -> Result<(), LocalError> {
        let mut certify =
            tokio::time::interval_at(tokio::time::Instant::now() + CERTIFY_INTERVAL, CERTIFY_INTERVAL);
        loop {
            let verdict = tokio::select! {
                Some(message) = changes.recv() => self.take(message),
                text = watch.changed() => {
                    self.follow(text);
                    Verdict::GoOn
                }
                () = at(self.fleet.deadline(self.options.join_deadline)) => self.overdue(),
                name = signals.next() => {
                    self.report.tell(&Event::Stopping { reason: name.to_owned() });
                    Verdict::End(Ok(()))
                }
                _ = certify.tick() => {
                    self.certify();
                    Verdict::GoOn
                }
            };
            if let Verdict::End(outcome) = verdict {
                return self.stop(changes, signals, kill).await.and(outcome);
            }
        }
    }

    fn take(&mut self, message: Message) -> Verdict {
        let peer = message.peer.clone();
        let down = self.fleet.is_down(&message);
        for event in self.fleet.take(message, false) {
            self.report.tell(&event);
        }
        if down
            && self.fleet.ports_of(&peer).into_iter().any(is_taken)
            && let Err(error) = self.relocate(&peer)
        {
            self.report.tell(&Event::Warning { message: crate::cli::chain(&error) });
        }
        self.fleet.step();
        self.write_endpoints();
        let (event, outcome) = self.fleet.progress();
        if let Some(event) = event {
            self.report.tell(&event);
        }
        match outcome {
            Some(Outcome::Ready { seconds }) => self.ready(seconds),
            Some(Outcome::Settled { seconds }) => {
                self.report.tell(&Event::Settled { peers: self.fleet.size(), seconds });
            }
            None => {}
        }
        Verdict::GoOn
    }

    fn ready(&mut self, seconds: f64) {
        self.report.tell(&Event::Ready {
            network: self.name.clone(),
            seconds,
            endpoints: self.state.endpoints(),
            binary: self.binary.clone(),
            manifest: self.options.manifest.clone(),
            peers: self.fleet.endpoints(&self.name).peers,
        });
    }

    fn overdue(&mut self) -> Verdict {
        let (event, first) = self.fleet.overdue();
        self.report.tell(&event);
        if !(first && self.options.exit_unless_linked) {
            return Verdict::GoOn;
        }
        let seconds = self.options.join_deadline.as_secs();
        let message = format!(
            "the network {} was not linked after {seconds} s; allow it more time with --join-deadline, or see the \
             logs in {}",
            self.name,
            self.state.root().display()
        );
        self.report.tell(&Event::Stopping { reason: "the join deadline has passed".to_owned() });
        Verdict::End(Err(LocalError::NotLinked(message)))
    }

    fn certify(&mut self) {
        match files::certify(&self.state, &self.trust_domain, self.fleet.wanted(), Timestamp::now()) {
            Ok(renewed) => {
                for peer in renewed {
                    self.report.tell(&Event::Renewed { peer });
                }
            }
            Err(error) => self.report.tell(&Event::Warning { message: crate::cli::chain(&error) }),
        }
    }

    fn write_endpoints(&mut self) {
        if let Err(error) = endpoints::write(&self.state.endpoints(), &self.fleet.endpoints(&self.name)) {
            self.report.tell(&Event::Warning { message: crate::cli::chain(&error) });
        }
    }

    /// Stops all peers and waits for the last; a second signal kills them.
    async fn stop(
        mut self,
        mut changes: mpsc::Receiver<Message>,
        mut signals: Signals,
        kill: watch::Sender<bool>,
    ) -> Result<(), LocalError> {
        let begin = Instant::now();
        self.fleet.stop();
        let mut killed = 0;
        let mut outcome = Ok(());
        while !self.fleet.is_empty() {
            tokio::select! {
                Some(message) = changes.recv() => {
                    killed += usize::from(matches!(message.change, Change::Stopped { killed: true }));
                    self.fleet.take(message, true);
                }
                _ = signals.next(), if outcome.is_ok() => {
                    kill.send_replace(true);
                    outcome = Err(LocalError::Killed);
                }
            }
        }
        remove_endpoints(&self.state.endpoints());
        self.report.tell(&Event::Stopped { seconds: begin.elapsed().as_secs_f64(), killed });
        outcome
    }
}

/// Nobody is to look for peers that are not there.
fn remove_endpoints(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "endpoints.json could not be removed");
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The signals that mean stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, LocalError> {
        let listen = |kind| {
            signal(kind).map_err(|source| LocalError::Process { action: "listening for signals", source })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "told to terminate",
            _ = self.hang_up.recv() => "the terminal was closed",
        }
    }
}
