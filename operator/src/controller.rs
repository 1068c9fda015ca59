//! The wiring of `sorcha-operator run`: watches fill the cache and the queue, workers look at what is due.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::Objects;
use crate::ca::Authorities;
use crate::health::{Health, Source, Sources};
use crate::kind::Kind;
use crate::metrics::Metrics;
use crate::observe::{self, Cache, Demand, NetworkKey, Watches};
use crate::pass::{Desk, Look, Tools};
use crate::peers::Peers;
use crate::queue::Queue;
use crate::report::Reporter;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespaces to look after; all where none is named.
    pub namespaces: Vec<String>,
    /// Image of networks that are new and name none.
    pub image_default: String,
    /// Networks that are looked at at the same time.
    pub concurrency: usize,
    /// How often a network is looked at though nothing happens.
    pub resync: Duration,
    /// Who this process is among the replicas.
    pub identity: String,
}

/// Everything that one term as the leader holds. Dropped as a whole when the term ends.
pub struct Term {
    options: Options,
    client: Client,
    /// Which watches work.
    pub sources: Arc<Sources>,
    /// What they have told.
    pub cache: Arc<Cache>,
    /// What is due.
    pub queue: Arc<Queue<NetworkKey>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Term {
    /// Nothing is known yet.
    pub fn new(options: Options, client: Client, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        let scopes: Vec<Option<String>> = match &*options.namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let kinds = Kind::WATCHED_BY_METADATA.into_iter().chain([
            Kind::StatefulSet,
            Kind::Pod,
            Kind::PersistentVolumeClaim,
            Kind::SorchaPeerNetwork,
        ]);
        let sources = kinds.flat_map(|kind| scopes.iter().cloned().map(move |scope| Source { kind, scope }));
        Self {
            sources: Arc::new(Sources::new(sources)),
            cache: Arc::default(),
            queue: Arc::default(),
            options,
            client,
            health,
            metrics,
        }
    }

    /// Looks after networks until `stop`; then what is under way is ended. Dropping it stops every write at once.
    pub async fn run(&self, stop: &CancellationToken) {
        let watches = Watches {
            client: self.client.clone(),
            cache: Arc::clone(&self.cache),
            queue: Arc::clone(&self.queue),
            sources: Arc::clone(&self.sources),
        };
        tokio::select! {
            () = observe::run(watches, self.options.namespaces.clone()) => {}
            () = self.work(stop) => {}
        }
    }

    async fn work(&self, stop: &CancellationToken) {
        let beat = async {
            loop {
                self.health.pulse.beat();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        tokio::select! {
            () = self.sources.ready() => {}
            () = beat => {}
            () = stop.cancelled() => return,
        }
        info!(networks = self.cache.keys().len(), "all lists are read");
        let desk = Arc::new(self.desk());
        let mut looks = JoinSet::new();
        loop {
            self.health.pulse.beat();
            let has_room = looks.len() < self.options.concurrency;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = looks.join_next(), if !looks.is_empty() => {}
                key = self.queue.next(), if has_room => {
                    let (desk, queue) = (Arc::clone(&desk), Arc::clone(&self.queue));
                    let metrics = Arc::clone(&self.metrics);
                    looks.spawn(async move {
                        let begin = Instant::now();
                        // Manifests are large, and what is held across awaits lies in the future.
                        let look = Box::pin(desk.look(&key)).await;
                        metrics.look(&key, &look, begin.elapsed());
                        tell(&key, &look);
                        queue.done(&key, look.next);
                    });
                }
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
        while looks.join_next().await.is_some() {}
    }

    fn desk(&self) -> Desk {
        let objects = Objects::new(self.client.clone());
        let authorities = Arc::new(Authorities::new(self.client.clone()));
        Desk::new(Tools {
            objects,
            cache: Arc::clone(&self.cache),
            sources: Arc::clone(&self.sources),
            demand: Demand::new(self.client.clone()),
            peers: Arc::new(Peers::new(Arc::clone(&authorities))),
            authorities,
            reporter: Reporter::new(self.client.clone(), &self.options.identity),
            image_default: self.options.image_default.clone(),
            resync: self.options.resync,
        })
    }
}

fn tell(key: &NetworkKey, look: &Look) {
    if let Some(error) = &look.error {
        let (stage, class) = (error.stage(), error.class().word());
        warn!(network = %key, stage, class, "{}", crate::cli::chain(error));
    }
}
