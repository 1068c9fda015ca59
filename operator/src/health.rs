//! Whether the parts of the process do what they are for: what probes are answered from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kube::runtime::watcher;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::kind::Kind;
use crate::observe::NetworkKey;
use crate::queue::Queue;

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Of what.
    pub kind: Kind,
    /// The namespace; none for the whole cluster.
    pub scope: Option<String>,
}

/// All watches of a leader. Ready when each has listed its objects once.
#[derive(Debug, Default)]
pub struct Sources {
    state: Mutex<BTreeMap<Source, State>>,
    has_pod_monitors: AtomicBool,
    changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    has_listed: bool,
    fault: Option<String>,
}

impl Sources {
    /// These watches, none of which has listed yet.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        let state = sources.into_iter().map(|source| (source, State::default())).collect();
        Self { state: Mutex::new(state), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, State>> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// It has listed its objects.
    pub fn works(&self, source: &Source) {
        let mut sources = self.lock();
        let state = sources.entry(source.clone()).or_default();
        state.has_listed = true;
        if state.fault.take().is_some() {
            info!(kind = source.kind.name(), "the watch works again");
        }
        drop(sources);
        self.changed.notify_waiters();
    }

    /// It failed, and tries again by itself.
    pub fn fails(&self, source: &Source, error: &watcher::Error) {
        let fault = sentence(source, error);
        let mut sources = self.lock();
        let state = sources.entry(source.clone()).or_default();
        // a watch that ends and is resumed is the way of things
        if state.has_listed && !matches!(error, watcher::Error::InitialListFailed(_)) {
            tracing::debug!("{fault}");
        } else if state.fault.as_ref() != Some(&fault) {
            warn!("{fault}");
            state.fault = Some(fault);
        }
    }

    /// Whether the cluster knows PodMonitor. True when that has changed.
    pub fn set_pod_monitors(&self, known: bool) -> bool {
        self.has_pod_monitors.swap(known, Ordering::Relaxed) != known
    }

    /// Whether the cluster knows PodMonitor.
    pub fn has_pod_monitors(&self) -> bool {
        self.has_pod_monitors.load(Ordering::Relaxed)
    }

    /// Why not every watch has listed; none when all have.
    pub fn missing(&self) -> Option<String> {
        let sources = self.lock();
        let missing: Vec<_> = sources.iter().filter(|(_, state)| !state.has_listed).collect();
        let fault = missing.iter().find_map(|(_, state)| state.fault.clone());
        let (source, _) = missing.first()?;
        Some(fault.unwrap_or_else(|| format!("the first list of {} is under way", source.kind.plural())))
    }

    /// Waits until all have listed.
    pub async fn ready(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.missing().is_none() {
                return;
            }
            changed.await;
        }
    }
}

/// What is wrong with a watch and what to do.
fn sentence(source: &Source, error: &watcher::Error) -> String {
    let (kind, group) = (source.kind.plural(), source.kind.api_version());
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(&**status),
        _ => None,
    };
    match status.map(|status| status.code) {
        Some(404) if source.kind == Kind::SorchaPeerNetwork => {
            "the cluster does not know SorchaPeerNetwork: install the definition with \
             `sorcha-operator crd | kubectl apply --server-side -f -`, or with the chart."
                .to_owned()
        }
        Some(401) => format!(
            "{kind} of {group} cannot be listed: the API server does not accept the operator's credentials. Check \
             its ServiceAccount token or kubeconfig."
        ),
        Some(403) => {
            let told = status.map(|status| status.message.as_str()).unwrap_or_default();
            let place =
                source.scope.as_ref().map_or("the cluster".to_owned(), |it| format!("namespace {it}"));
            format!(
                "{kind} of {group} cannot be listed: the operator lacks the permission ({told}). Grant list and watch \
                 on {kind} in {place}, as the chart does."
            )
        }
        _ => format!("{kind} of {group} cannot be watched: {}", crate::cli::chain(error)),
    }
}

/// A loop that must come round again and again.
#[derive(Debug)]
pub struct Pulse {
    begin: Instant,
    last_ms: AtomicU64,
    longest: Duration,
}

impl Pulse {
    /// A loop that takes this long at most.
    pub fn new(longest: Duration) -> Self {
        Self { begin: Instant::now(), last_ms: AtomicU64::new(0), longest }
    }

    /// It came round.
    pub fn beat(&self) {
        self.last_ms.store(self.begin.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// It came round in time.
    pub fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(last) <= self.longest
    }
}

/// What the process does now.
#[derive(Debug, Default)]
enum Mode {
    /// It has not heard from the API server yet.
    #[default]
    Starting,
    /// Another replica leads, as the API server said at this time.
    Standby(Instant),
    /// The API server does not answer, or does not give the Lease.
    Cut(String),
    /// It leads.
    Leading(Arc<Sources>, Arc<Queue<NetworkKey>>),
}

/// A standby that has not heard from the API server for this long is not ready; it asks every two seconds.
const SILENCE: Duration = Duration::from_secs(30);

/// What probes are answered from.
#[derive(Debug)]
pub struct Health {
    mode: Mutex<Mode>,
    /// Of the loop that acts, or waits to.
    pub pulse: Pulse,
}

impl Health {
    /// Of a process that has just begun.
    pub fn new(pulse: Pulse) -> Self {
        Self { mode: Mutex::default(), pulse }
    }

    fn set(&self, mode: Mode) {
        self.pulse.beat();
        *self.lock() = mode;
    }

    fn lock(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().expect("nobody panics while holding it")
    }

    /// Another replica leads; or why nobody can tell.
    pub fn waits(&self, fault: Option<String>) {
        self.set(fault.map_or_else(|| Mode::Standby(Instant::now()), Mode::Cut));
    }

    /// This replica leads.
    pub fn leads(&self, sources: Arc<Sources>, queue: Arc<Queue<NetworkKey>>) {
        self.set(Mode::Leading(sources, queue));
    }

    /// Networks that wait to be looked at.
    pub fn waiting(&self) -> usize {
        match &*self.lock() {
            Mode::Leading(_, queue) => queue.waiting(),
            _ => 0,
        }
    }

    /// Why the process must be restarted; none where it need not.
    pub fn stuck(&self) -> Option<String> {
        (!self.pulse.is_alive())
            .then(|| format!("the main loop stands still for {} s", self.pulse.longest.as_secs()))
    }

    /// Why it cannot do its work now; none where it can, or stands by.
    pub fn not_ready(&self) -> Option<String> {
        match &*self.lock() {
            Mode::Starting => Some("the API server has not answered yet".to_owned()),
            Mode::Standby(heard) if heard.elapsed() > SILENCE => {
                Some(format!("the API server has not answered for {} s", heard.elapsed().as_secs()))
            }
            Mode::Standby(_) => None,
            Mode::Cut(fault) => Some(fault.clone()),
            Mode::Leading(sources, _) => sources.missing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_ready_when_every_list_is_read_and_a_standby_at_once() {
        let health = Health::new(Pulse::new(Duration::from_secs(60)));
        assert!(health.not_ready().is_some());
        health.waits(None);
        assert_eq!(health.not_ready(), None);
        health.waits(Some("no way".to_owned()));
        assert_eq!(health.not_ready().as_deref(), Some("no way"));
        let source = |kind| Source { kind, scope: None };
        let sources = Arc::new(Sources::new([source(Kind::Pod), source(Kind::SorchaPeerNetwork)]));
        health.leads(Arc::clone(&sources), Arc::default());
        assert_eq!(health.not_ready().as_deref(), Some("the first list of pods is under way"));
        sources.works(&source(Kind::Pod));
        let status = kube::core::Status::failure("not found", "NotFound").with_code(404);
        let error = watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()));
        sources.fails(&source(Kind::SorchaPeerNetwork), &error);
        assert!(health.not_ready().is_some_and(|it| it.contains("install the definition")));
        sources.works(&source(Kind::SorchaPeerNetwork));
        assert_eq!((health.not_ready(), health.stuck()), (None, None));
    }
}
