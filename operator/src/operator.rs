//! `sorcha-operator run` as a whole: client, Lease, terms as the leader, probes, end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use rand::Rng as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::{Exit, Failure};
use crate::controller::{self, Term};
use crate::health::{Health, Pulse};
use crate::lease::{Elector, Place};
use crate::metrics::Metrics;
use crate::serve::{self, Served};

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespaces to look after; all where none is named.
    pub namespaces: Vec<String>,
    /// Image of networks that are new and name none.
    pub peer_image: String,
    /// Where metrics and probes are served.
    pub metrics_address: SocketAddr,
    /// Whether replicas choose one that acts.
    pub leader_elect: bool,
    /// Namespace of the Lease.
    pub lease_namespace: Option<String>,
    /// Name of the Lease.
    pub lease_name: String,
    /// For how long it holds without renewal.
    pub lease_duration: Duration,
    /// Name of this replica.
    pub identity: Option<String>,
    /// The kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// Its context.
    pub context: Option<String>,
    /// Networks that are looked at at the same time.
    pub concurrency: usize,
    /// Requests a second.
    pub requests_per_second: u16,
    /// How often a network is looked at though nothing happens.
    pub resync: Duration,
}

/// A loop that does not come round for this long is stuck: the longest request takes [`crate::api::DEADLINE`].
const PULSE: Duration = Duration::from_secs(90);
/// Longest time for looks that are under way when the process is to end; with the release of the Lease it stays below
/// the 30 s that Kubernetes gives a pod by default.
const END: Duration = Duration::from_secs(15);

/// Runs until a signal.
pub async fn run(options: Options) -> Result<(), Failure> {
    // another crate of the process may have been faster; ring it is in any case
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Arc::new(Metrics::new());
    let config = crate::client::config(options.kubeconfig.as_ref(), options.context.as_deref())
        .await
        .map_err(Failure::usage)?;
    let namespace = options.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = crate::client::client(config, options.requests_per_second, Arc::clone(&metrics))
        .map_err(Failure::usage)?;
    let health = Arc::new(Health::new(Pulse::new(PULSE)));
    let listener = serve::listen(options.metrics_address).await.map_err(|error| {
        let address = options.metrics_address;
        Failure::new(
            Exit::Failed,
            anyhow::anyhow!("{address} cannot be listened on: {error}. Name another with --metrics-address."),
        )
    })?;
    let identity = identity(options.identity.as_deref());
    let stop = CancellationToken::new();
    let place = Place {
        namespace,
        name: options.lease_name.clone(),
        identity: identity.clone(),
        duration: options.lease_duration,
    };
    let replica =
        Replica { options, client, identity, health: Arc::clone(&health), metrics: Arc::clone(&metrics) };
    info!(version = env!("CARGO_PKG_VERSION"), identity = replica.identity, "started");
    let served = serve::serve(listener, Served { metrics, health });
    tokio::select! {
        outcome = served => outcome.map_err(|error| Failure::new(Exit::Failed, error)),
        () = replica.run(place, &stop) => Ok(()),
        () = signals(&stop) => Err(Failure::new(Exit::Interrupted, anyhow::anyhow!("interrupted a second time"))),
    }
}

/// This process among the replicas.
struct Replica {
    options: Options,
    client: Client,
    identity: String,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Replica {
    async fn run(&self, place: Place, stop: &CancellationToken) {
        if !self.options.leader_elect {
            self.term(stop).await;
            return;
        }
        let elector = Elector::new(self.client.clone(), place);
        while !stop.is_cancelled() {
            let acquired = tokio::select! {
                held = elector.acquire(|fault| self.health.waits(fault)) => held,
                () = stop.cancelled() => return,
            };
            let mut held = acquired;
            let is_done = tokio::select! {
                // first the Lease: when it is lost nothing else may run once more
                biased;
                () = elector.keep(&mut held) => false,
                () = self.term(stop) => true,
            };
            self.metrics.lead(false);
            if is_done {
                elector.release(held).await;
            }
        }
    }

    /// One term as the leader. Dropping it stops every write.
    async fn term(&self, stop: &CancellationToken) {
        let options = controller::Options {
            namespaces: self.options.namespaces.clone(),
            image_default: self.options.peer_image.clone(),
            concurrency: self.options.concurrency,
            resync: self.options.resync,
            identity: self.identity.clone(),
        };
        let term =
            Term::new(options, self.client.clone(), Arc::clone(&self.health), Arc::clone(&self.metrics));
        self.health.leads(Arc::clone(&term.sources), Arc::clone(&term.queue));
        self.metrics.lead(true);
        let ended = async {
            stop.cancelled().await;
            tokio::time::sleep(END).await;
        };
        tokio::select! {
            () = term.run(stop) => {}
            () = ended => warn!("looks that are under way are given up after {} s", END.as_secs()),
        }
    }
}

/// A name with a random end: a process that was started again is another one.
fn identity(name: Option<&str>) -> String {
    let set = |name: String| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().and_then(set);
    let name = name.map(str::to_owned).and_then(set).or_else(host).unwrap_or_default();
    let random: u32 = rand::rng().random();
    format!("{name}_{random:08x}")
}

/// The first signal cancels; returns at the second.
async fn signals(stop: &CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    let mut wait = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    wait().await;
    info!("stopping");
    stop.cancel();
    wait().await;
}
