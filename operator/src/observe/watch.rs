//! The watches: one per kind and namespace, labelled, metadata only where nothing else is read. They fill the cache
//! and say which networks to look at.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use kube::api::PartialObjectMeta;
use kube::core::{DynamicObject, DynamicResourceScope, Resource};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use sorcha_crds::SorchaPeerNetwork;
use tokio::task::JoinSet;

use super::cache::{Cache, Fact, NetworkKey, Seen};
use super::pod;
use super::slim::{Claim, Pod, Set};
use crate::api::Class;
use crate::backoff::Backoff;
use crate::health::{Source, Sources};
use crate::kind::Kind;
use crate::queue::Queue;

/// Objects that the operator applies carry this.
const LABELS_OWNED: &str = "app.kubernetes.io/managed-by=sorcha-operator";
/// Pods and claims carry this; claims are labelled once, by the StatefulSet controller.
const LABELS_PEERS: &str = "app.kubernetes.io/name=sorcha-peer,sorcha.org/pool";

/// Objects per page of a first list: a page is in memory as a whole, and 100 StatefulSets are about 1 MB (estimate).
const PAGE_OBJECTS: u32 = 100;
/// A watch is renewed this often, in seconds; a connection that died silently is noticed 5 s later. kube's default is
/// 290 s: five minutes blind are too long for drift, and a renewal every two minutes costs nothing (a guess).
const WATCH_SECONDS: u32 = 120;
/// How often a kind that the cluster does not know is looked for again (a guess: whoever installs a monitoring stack
/// has this much patience).
pub(super) const DISCOVERY: Duration = Duration::from_secs(60);

/// Objects whose place in the API is known when the program runs.
trait Dynamic: Resource<DynamicType = kube::core::ApiResource, Scope = DynamicResourceScope> {}

impl<K: Resource<DynamicType = kube::core::ApiResource, Scope = DynamicResourceScope>> Dynamic for K {}

/// What all watches share.
#[derive(Clone)]
pub struct Watches {
    /// Through which they go.
    pub client: Client,
    /// What they fill.
    pub cache: Arc<Cache>,
    /// Whom they tell.
    pub queue: Arc<Queue<NetworkKey>>,
    /// Who tells whether they work.
    pub sources: Arc<Sources>,
}

/// Runs all watches of the namespaces; of the whole cluster where none is named. Never ends.
pub async fn run(watches: Watches, namespaces: Vec<String>) {
    let scopes: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let mut tasks = JoinSet::new();
    for scope in scopes {
        for kind in Kind::WATCHED_BY_METADATA.into_iter().filter(|kind| *kind != Kind::PodMonitor) {
            tasks.spawn(watches.clone().metadata(kind, scope.clone()));
        }
        tasks.spawn(watches.clone().pod_monitors(scope.clone()));
        tasks.spawn(watches.clone().manifests(scope.clone()));
        tasks.spawn(watches.clone().whole::<Set>(Kind::StatefulSet, LABELS_OWNED, scope.clone(), |set| {
            Some(Fact::Set(Seen::new(&set.metadata), pod::set(set)?.into()))
        }));
        tasks.spawn(watches.clone().whole::<Pod>(Kind::Pod, LABELS_PEERS, scope.clone(), |object| {
            Some(Fact::Pod(pod::pod(object)?.into()))
        }));
        tasks.spawn(watches.clone().whole::<Claim>(
            Kind::PersistentVolumeClaim,
            LABELS_PEERS,
            scope,
            |claim| Some(Fact::Claim(pod::claim(claim)?.into())),
        ));
    }
    while tasks.join_next().await.is_some() {}
}

impl Watches {
    fn api<K: Dynamic>(&self, kind: Kind, scope: Option<&str>) -> Api<K> {
        let resource = kind.resource();
        match scope {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    async fn metadata(self, kind: Kind, scope: Option<String>) {
        let stream = watcher(
            self.api::<PartialObjectMeta<DynamicObject>>(kind, scope.as_deref()),
            config(LABELS_OWNED),
        );
        let fact =
            |object: &PartialObjectMeta<DynamicObject>| Some(Fact::Object(kind, Seen::new(&object.metadata)));
        self.follow(kind, scope, stream, NetworkKey::of, fact).await;
    }

    async fn whole<K>(
        self,
        kind: Kind,
        labels: &'static str,
        scope: Option<String>,
        fact: impl Fn(&K) -> Option<Fact>,
    ) where
        K: Dynamic + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let stream = watcher(self.api::<K>(kind, scope.as_deref()), config(labels));
        self.follow(kind, scope, stream, NetworkKey::of, fact).await;
    }

    /// Manifests are watched without labels: they are their users'.
    async fn manifests(self, scope: Option<String>) {
        let api: Api<SorchaPeerNetwork> = match &scope {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let stream = watcher(api, Config { label_selector: None, ..config("") });
        let key = |metadata: &_| own_key(metadata);
        self.follow(Kind::SorchaPeerNetwork, scope, stream, key, |manifest: &SorchaPeerNetwork| {
            let mut manifest = manifest.clone();
            manifest.metadata.managed_fields = None;
            if let Some(annotations) = &mut manifest.metadata.annotations {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            Some(Fact::Manifest(Box::new(manifest)))
        })
        .await;
    }

    /// Watches the kind while the cluster knows it, and looks for it from time to time while it does not.
    async fn pod_monitors(self, scope: Option<String>) {
        let source = Source { kind: Kind::PodMonitor, scope: scope.clone() };
        loop {
            if crate::observe::discovery::knows(&self.client, Kind::PodMonitor).await == Some(true) {
                if self.sources.set_pod_monitors(true) {
                    self.queue.add_all(self.cache.keys());
                }
                let gone = crate::observe::discovery::gone(&self.client, Kind::PodMonitor);
                let watch = self.clone().metadata(Kind::PodMonitor, scope.clone());
                tokio::select! {
                    () = gone => {}
                    () = watch => {}
                }
                if self.sources.set_pod_monitors(false) {
                    self.queue.add_all(self.cache.keys());
                }
            }
            // a kind that does not exist is no reason to wait for it
            self.sources.works(&source);
            tokio::time::sleep(crate::backoff::jittered(DISCOVERY)).await;
        }
    }

    async fn follow<K>(
        &self,
        kind: Kind,
        scope: Option<String>,
        stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
        key: impl Fn(&kube::core::ObjectMeta) -> Option<NetworkKey>,
        fact: impl Fn(&K) -> Option<Fact>,
    ) where
        K: Resource + Clone,
    {
        let source = Source { kind, scope: scope.clone() };
        let mut stream = pin!(stream);
        // kube's own backoff begins anew with every list that is tried
        let mut backoff = Backoff::default();
        // while a list is under way: what it has shown
        let mut listed: Option<BTreeSet<(NetworkKey, Box<str>)>> = None;
        loop {
            let event = match stream.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    self.sources.fails(&source, &error);
                    let wait = backoff.after(class(&error), &mut rand::rng());
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            match event {
                Event::Init => listed = Some(BTreeSet::new()),
                Event::Apply(object) | Event::InitApply(object) => {
                    backoff.reset();
                    let metadata = object.meta();
                    let (Some(key), Some(name)) = (key(metadata), metadata.name.as_deref()) else { continue };
                    let Some(fact) = fact(&object) else { continue };
                    if let Some(listed) = &mut listed {
                        listed.insert((key.clone(), name.into()));
                    }
                    if self.cache.learn(&key, name, fact) {
                        self.queue.add(key);
                    }
                }
                Event::Delete(object) => {
                    let metadata = object.meta();
                    let (Some(key), Some(name)) = (key(metadata), metadata.name.as_deref()) else { continue };
                    if self.cache.forget(&key, kind, name, metadata.uid.as_deref()) {
                        self.queue.add(key);
                    }
                }
                Event::InitDone => {
                    let listed = listed.take().unwrap_or_default();
                    for (key, name) in self.cache.known(kind, scope.as_deref()) {
                        let at = (key, name);
                        if !listed.contains(&at) && self.cache.forget(&at.0, kind, &at.1, None) {
                            self.queue.add(at.0);
                        }
                    }
                    backoff.reset();
                    self.sources.works(&source);
                }
            }
        }
    }
}

/// A refusal may end in seconds, when somebody grants what is missing: it is tried again as an outage is.
fn class(error: &watcher::Error) -> Class {
    let class = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Class::of(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => Class::Unavailable,
    };
    if class == Class::Refused { Class::Unavailable } else { class }
}

fn config(labels: &str) -> Config {
    Config::default().labels(labels).page_size(PAGE_OBJECTS).timeout(WATCH_SECONDS)
}

fn own_key(metadata: &kube::core::ObjectMeta) -> Option<NetworkKey> {
    Some(NetworkKey {
        namespace: metadata.namespace.as_deref()?.into(),
        name: metadata.name.as_deref()?.into(),
    })
}
