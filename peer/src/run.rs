//! `sorcha-peer run`: puts the parts together, waits for a reason to stop, takes them apart in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sorcha_peer_config::problem::Origin;
use sorcha_peer_config::{Compression, Config, LogFormat, Mode};
use sorcha_peer_core::Input;
use sorcha_peer_core::config as core_config;
use sorcha_peer_core::event::Rung;
use sorcha_peer_core::payload::Codings;
use sorcha_peer_core::peer::Peer;
use sorcha_peer_core::types::Address;
use sorcha_peer_pki::SpiffeId;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::listen::{ApiAddress, BindError, Bound, Listener};
use crate::api::operate::Operator;
use crate::api::readiness::{Certificate, Readiness};
use crate::cli::RunArgs;
use crate::cli::console::Failure;
use crate::clock::Clock;
use crate::driver::{Driver, Sources, Stop};
use crate::effects::{Effects, Gathered};
use crate::metrics::Metrics;
use crate::node::{Identity, NodeHandle};
use crate::store::{OpenError, Store, StoreOptions};
use crate::tls::{self, TlsError, TlsState};
use crate::transport::{Transport, TransportConfig, TransportError};
use crate::verify::{SignaturePool, pace_of_commits};

/// Frames that wait for the driver; the sockets feel it when they do (guess: a few ms of work, and at most 32 MiB
/// where everybody sends frames of the largest size).
const INPUTS_MAX: usize = 512;
/// Requests of the local APIs that wait for the driver.
const COMMANDS_MAX: usize = 1_024;
/// Events that a slow watcher may be behind.
const EVENTS_MAX: usize = 1_024;
/// Threads for reads of the store and other blocking work.
const BLOCKING_THREADS_MAX: usize = 16;
/// How often the directory of certificates is looked at (guess: nobody waits for it, and a look reads 3 KiB).
const CERTIFICATES_EVERY: Duration = Duration::from_secs(5);
/// Part of the shutdown deadline that is left for streams and store after the links have been closed.
const CLOSING: Duration = Duration::from_secs(2);

/// Part of that which is left for the store: one commit and its fsync.
const STORE_CLOSING: Duration = Duration::from_millis(500);

/// Why a peer does not run. Nothing was changed but, at most, the state directory's incarnation.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Certificates do not fit.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// Trust domain, network id and name make no SPIFFE URI.
    #[error("trustDomain, networkId and name make no identity: {0}")]
    Identity(String),
    /// The store does not open.
    #[error("state.directory: {0}")]
    Store(#[from] OpenError),
    /// An API does not listen.
    #[error("{key}: {source}")]
    Bind {
        /// Which setting.
        key: &'static str,
        /// Why.
        source: BindError,
    },
    /// The TLS port does not listen.
    #[error("listen.peer: {0}")]
    Transport(#[from] TransportError),
    /// Threads, signals, logs.
    #[error("the process could not be set up: {0}")]
    Setup(String),
}

impl From<RunError> for Failure {
    /// 2 for what the user wrote, 1 for what the machine answered.
    fn from(error: RunError) -> Self {
        let sentence = error.to_string();
        match error {
            RunError::Identity(_) | RunError::Tls(_) => Self::Usage(sentence),
            RunError::Store(_) | RunError::Bind { .. } | RunError::Transport(_) | RunError::Setup(_) => {
                Self::Failed(sentence)
            }
        }
    }
}

/// Runs a peer until it is told to stop.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let (config, config_sha256) = load(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|error| RunError::Setup(error.to_string()))?;
    let deadline = config.shutdown_deadline;
    let (stop_in, stop) = oneshot::channel();
    let ending = Ending { stop, hurry: CancellationToken::new() };
    let hurry = ending.hurry.clone();
    let started = |_: &NodeHandle| {
        tokio::spawn(await_stop(stop_in, hurry).map_err(|error| RunError::Setup(error.to_string()))?);
        Ok(())
    };
    let result = runtime.block_on(serve(config, config_sha256, ending, started));
    // What still runs then is of no use to anybody: everything acknowledged is durable.
    let until = result.as_ref().ok().copied().unwrap_or_else(|| Instant::now() + CLOSING.min(deadline));
    runtime.shutdown_timeout(until.saturating_duration_since(Instant::now()));
    crate::log::flush();
    result?;
    Ok(())
}

fn load(args: &RunArgs) -> Result<(Config, [u8; 32]), Failure> {
    let (loaded, digest) =
        crate::cli::config::load_with_digest(&args.config, args.name.as_deref(), Mode::Run)?;
    let json = loaded.config.log_format == LogFormat::Json;
    crate::log::init(&loaded.config.log_level, json)
        .map_err(|problem| Failure::Usage(format!("{}: {problem}", args.config.display())))?;
    for warning in &loaded.warnings {
        tracing::warn!(file = %args.config.display(), "{warning}");
    }
    Ok((loaded.config, digest))
}

/// How a peer that runs is told to end.
#[derive(Debug)]
pub struct Ending {
    /// In order: goodbyes are said, what is queued is committed.
    pub stop: oneshot::Receiver<Stop>,
    /// At once.
    pub hurry: CancellationToken,
}

/// Runs one peer on the current runtime until it is told to end; says until when what is left may still take. A process
/// may run several. `started` is called once everything listens, and may still refuse.
pub async fn serve(
    config: Config,
    config_sha256: [u8; 32],
    ending: Ending,
    started: impl FnOnce(&NodeHandle) -> Result<(), RunError>,
) -> Result<Instant, RunError> {
    let Ending { stop, hurry } = ending;
    let setup = |error: std::io::Error| RunError::Setup(error.to_string());
    let uri = SpiffeId::new(&config.trust_domain, &config.network_id, &config.name)
        .map_err(|error| RunError::Identity(error.to_string()))?;
    let tls = Arc::new(
        TlsState::load(&config.tls_directory, uri, jiff::Timestamp::now())
            .map_err(|error| RunError::Tls(Box::new(error)))?,
    );
    let api = Listener::bind(&api_address(&config)).await;
    let api = api.map_err(|source| RunError::Bind { key: "listen.api", source })?;
    let admin = Listener::bind(&ApiAddress::Tcp(config.listen_admin.to_string())).await;
    let admin = admin.map_err(|source| RunError::Bind { key: "listen.admin", source })?;
    let api_shown = shown(&api, &api_address(&config)).map_err(setup)?;
    let admin_shown = shown(&admin, &ApiAddress::Tcp(config.listen_admin.to_string())).map_err(setup)?;

    let options =
        StoreOptions { directory: config.state_directory.clone(), cache_bytes_max: config.cache_bytes_max };
    let (store, recovered) = tokio::task::spawn_blocking(move || Store::open(&options))
        .await
        .map_err(|error| RunError::Setup(error.to_string()))??;

    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let readiness = Readiness::new();
    readiness.set_certificate(Certificate::from(&*tls.current()));
    // A directory that is lost with the machine does not know of earlier starts: the clock does, or numbers of this
    // peer would stand for two transactions.
    let by_clock = if config.durable { 0 } else { crate::clock::wall_now().as_unix_ms() / 1000 };
    let incarnation = recovered.incarnation.max(by_clock);
    let identity = identity(&config, incarnation);
    let (me, uri, incarnation) = (identity.id, identity.uri.clone(), identity.incarnation);
    let packing = config.compression == Compression::Lz4;
    let node = NodeHandle::new(commands_in, events.clone(), identity, store.clone(), config.body_bytes_max)
        .taking_in(config.submit_bytes_max)
        .keeping_nothing(!config.durable)
        .packing(packing);
    let operator =
        Operator { node: node.clone(), tls: Arc::clone(&tls), readiness: readiness.clone(), config_sha256 };
    let (inputs, network) = mpsc::channel(INPUTS_MAX);
    let transport_config = TransportConfig {
        listen: config.listen_peer,
        links_max: config.links_max,
        climb_after: config.climb_after,
        rungs: config.rungs.iter().copied().map(rung).collect(),
        proxy: config.proxy.clone(),
    };
    if let Some(proxy) = &config.proxy {
        let by = match &proxy.origin {
            Origin::Environment(variable) => variable,
            _ => "proxy.url",
        };
        tracing::info!(proxy = proxy.address, by, "peers are dialled through a proxy");
    }
    let (transport, bound) =
        Transport::start(transport_config, Arc::clone(&tls), inputs, operator.router()).await?;

    let clock = Clock::start();
    let core = Peer::new(
        core_settings(&config, bound.port()),
        core_config::Identity { uri: config.uri() },
        core_config::Start {
            incarnation,
            seed: entropy()?,
            known: recovered.records.into(),
            held: recovered.transactions,
            floor: recovered.floor,
        },
        clock.now(),
    );

    #[expect(
        clippy::disallowed_methods,
        reason = "as long as the operations under way, which the core bounds"
    )]
    let (completions_in, completions) = mpsc::unbounded_channel::<Input>();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pace = {
        let store = store.clone();
        move || pace_of_commits(Duration::from_micros(store.stats().last_commit_us))
    };
    let signatures = SignaturePool::start(Arc::clone(&tls), threads, Box::new(pace)).map_err(setup)?;
    let metrics = Metrics::new();
    let following = tokio::spawn({
        let (readiness, completions) = (readiness.clone(), completions_in.clone());
        tls::follow(tls, CERTIFICATES_EVERY, move |material| {
            readiness.set_certificate(Certificate::from(material));
            // The driver may have ended.
            drop(completions.send(Input::TrustChanged));
        })
    });
    tracing::info!(
        uri,
        incarnation,
        transactions = recovered.transactions,
        peer = %bound,
        api = %api_shown,
        admin = %admin_shown,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    let effects = Effects {
        me,
        store: store.clone(),
        transport: transport.clone(),
        metrics: metrics.clone(),
        signatures,
        packing,
        completions: completions_in,
        gathered: Gathered::default(),
    };

    let closing = CancellationToken::new();
    let local = crate::api::serve_local(api, node.clone(), readiness.clone(), closing.clone());
    let local = tokio::spawn(local);
    started(&node)?;
    let admin =
        tokio::spawn(crate::api::serve_admin(admin, node, metrics.clone(), readiness, closing.clone()));

    let driver = Driver::new(core, clock, effects, metrics, events);
    let links_deadline = config.shutdown_deadline.saturating_sub(CLOSING).max(config.shutdown_deadline / 2);
    let sources = Sources { network, completions, commands, stop, hurry: hurry.clone() };
    let until = driver.run(sources, links_deadline).await + config.shutdown_deadline;

    closing.cancel();
    following.abort();
    let rest = until.saturating_duration_since(Instant::now());
    let apis = async {
        // What they ended with is logged by themselves.
        let _ended = tokio::join!(local, admin);
    };
    let streams = rest.saturating_sub(STORE_CLOSING.min(rest / 4));
    let orderly = async {
        let ended = async { tokio::join!(apis, transport.shutdown(streams)) };
        let _late = tokio::time::timeout(streams, ended).await;
        // What was queued is committed; everything acknowledged is durable already.
        let _closed = tokio::task::spawn_blocking(move || store.close()).await;
    };
    tokio::select! {
        () = orderly => tracing::info!("stopped"),
        () = tokio::time::sleep_until(until.into()) => {
            tracing::warn!("stopped before the store was closed: the shutdown deadline has passed");
        }
        () = hurry.cancelled() => {
            tracing::warn!("stopped at once, as told");
            return Ok(Instant::now());
        }
    }
    Ok(until)
}

/// A seed for the core's random generator.
fn entropy() -> Result<u64, RunError> {
    let random = ring::rand::generate::<[u8; 8]>(&ring::rand::SystemRandom::new());
    let random = random.map_err(|_| RunError::Setup("the system gives no random numbers".to_owned()))?;
    Ok(u64::from_le_bytes(random.expose()))
}

fn api_address(config: &Config) -> ApiAddress {
    match &config.listen_api {
        sorcha_peer_config::ApiAddress::Tcp(address) => ApiAddress::Tcp(address.to_string()),
        sorcha_peer_config::ApiAddress::Unix(path) => ApiAddress::Unix(path.clone()),
    }
}

/// Where a listener listens; with port 0 asked for, the port that was given.
fn shown(listener: &Listener, asked: &ApiAddress) -> std::io::Result<String> {
    Ok(match listener.bound()? {
        Bound::Tcp(address) => address.to_string(),
        Bound::Unix => asked.to_string(),
    })
}

fn identity(config: &Config, incarnation: u64) -> Identity {
    let uri = config.uri();
    Identity {
        id: sorcha_peer_core::types::PeerId::of_uri(&uri),
        uri,
        name: config.name.clone(),
        network: config.network_id.clone(),
        site: config.site.clone(),
        incarnation,
    }
}

fn rung(rung: sorcha_peer_config::Rung) -> Rung {
    match rung {
        sorcha_peer_config::Rung::Stream => Rung::Stream,
        sorcha_peer_config::Rung::Exchange => Rung::Exchange,
        sorcha_peer_config::Rung::Rest => Rung::Rest,
    }
}

fn core_settings(config: &Config, port: u16) -> core_config::Config {
    let specific = !config.listen_peer.ip().is_unspecified();
    let own = || vec![format!("{}", std::net::SocketAddr::new(config.listen_peer.ip(), port))];
    let advertise = match config.advertise.as_slice() {
        [] if specific => own(),
        given => given.to_vec(),
    };
    core_config::Config {
        network: config.network_id.clone(),
        advertise: advertise.into_iter().map(Address::new).collect(),
        bootstrap: config.bootstrap.iter().map(Address::new).collect(),
        site: config.site.clone(),
        software: concat!("sorcha-peer/", env!("CARGO_PKG_VERSION")).to_owned(),
        refresh_interval: config.refresh_interval,
        heartbeat_interval: config.heartbeat_interval,
        forget_after: config.forget_after,
        body_bytes_max: config.body_bytes_max,
        links_max: config.links_max,
        submissions_max: config.submissions_max,
        retention_age: config.retention_age,
        retention_bytes: config.retention_bytes,
        durable: config.durable,
        codings: match config.compression {
            Compression::Lz4 => Codings::ALL,
            Compression::None => Codings::NONE,
        },
        ..core_config::Config::default()
    }
}

/// Says stop on SIGTERM or SIGINT and, at a second of them, that there is no time to lose; also, where `SORCHA_EXIT_WITH_STDIN=1` is set, at the end of standard input:
/// a supervisor that dies takes its peers with it, however it dies.
fn await_stop(
    stop: oneshot::Sender<Stop>,
    hurry: CancellationToken,
) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let with_stdin = std::env::var_os("SORCHA_EXIT_WITH_STDIN").is_some_and(|value| value == "1");
    let (eof_in, eof) = oneshot::channel::<()>();
    if with_stdin {
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            // Whatever comes is thrown away; an error is an end like any other.
            let _copied = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _gone = eof_in.send(());
        })?;
    }
    Ok(async move {
        let closed = async {
            if !with_stdin || eof.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM"),
            _ = int.recv() => tracing::info!("SIGINT"),
            () = closed => tracing::info!("standard input was closed"),
        }
        // The driver may have ended by itself.
        let _gone = stop.send(Stop { leaving: false });
        tokio::select! {
            _ = term.recv() => tracing::info!("a second SIGTERM: stopping at once"),
            _ = int.recv() => tracing::info!("a second SIGINT: stopping at once"),
        }
        hurry.cancel();
    })
}
