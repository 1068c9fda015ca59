//! `sorcha-operator run` as a whole: client, terms as the leader, probes, end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::Failure;
use crate::controller::{self, Term};
use crate::health::Pulse;

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

/// Runs until a signal.
pub async fn run(options: Options) -> Result<(), Failure> {
    // another crate of the process may have been faster; ring it is in any case
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = crate::client::config(options.kubeconfig.as_ref(), options.context.as_deref())
        .await
        .map_err(Failure::usage)?;
    let client = crate::client::client(config).map_err(Failure::usage)?;
    let stop = CancellationToken::new();
    tokio::spawn(signals(stop.clone()));
    let term = Term::new(
        controller::Options {
            namespaces: options.namespaces,
            image_default: options.peer_image,
            concurrency: options.concurrency,
            resync: options.resync,
            identity: options.identity.unwrap_or_else(|| "sorcha-operator".to_owned()),
        },
        client,
        Arc::new(Pulse::new(PULSE)),
    );
    info!(version = env!("CARGO_PKG_VERSION"), "looking after networks");
    term.run(&stop).await;
    Ok(())
}

async fn signals(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
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
    std::process::exit(130);
}
