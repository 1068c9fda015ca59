//! A network made, used and removed, as a person would do it who has just installed the operator.
//!
//! Knows the manifest, the `Ready` condition and the peers' REST API; how the operator brings them about is not its
//! matter. What it makes carries a label, and only what carries it is ever removed.

mod peer;

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use rand::Rng as _;
use serde_json::json;
use sorcha_crds::SorchaPeerNetwork;
use sorcha_operator_plan::names;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Exit, chain};

/// Marks networks that are made here.
const LABEL: &str = "sorcha.org/smoke-test";
/// How often the cluster is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long removal may take after a failure; the deadline may have passed already.
const REMOVAL: Duration = Duration::from_secs(30);
/// Bytes of the transaction: more than a frame of 16 KiB holds, so that it goes in parts.
const BODY_BYTES: usize = 20_000;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Namespace of the network.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its peers.
    pub peers: u32,
    /// Image of the peers; none leaves it to the operator.
    pub image: Option<String>,
    /// Volume of each peer, as a Quantity.
    pub storage_size: String,
    /// StorageClass of the volumes; none takes the cluster's default.
    pub storage_class: Option<String>,
    /// How long all of it may take.
    pub deadline: Duration,
    /// Whether a network that failed is left to be looked at.
    pub keep_failed: bool,
}

/// Why it does not work.
#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    /// The API server refuses.
    #[error("{what} in the namespace {namespace} fails: {why}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// Where.
        namespace: String,
        /// The answer.
        why: String,
    },
    /// A network of that name is somebody's.
    #[error("{namespace} has a network {name} that no smoke test made: choose another name with --name")]
    Taken {
        /// Where.
        namespace: String,
        /// Which.
        name: String,
    },
    /// Time is up.
    #[error("not within {} s: {what}{seen}", .deadline.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// What was seen last, as sentences.
        seen: String,
        /// The whole deadline.
        deadline: Duration,
    },
    /// A peer answers otherwise than it should.
    #[error("the peer {peer} {says}")]
    Peer {
        /// Which.
        peer: String,
        /// What it does, as the rest of a sentence.
        says: String,
    },
    /// No answer of a peer came; it is tried again.
    #[error("the peer {peer} {says}")]
    Unreached {
        /// Which.
        peer: String,
        /// What it does, as the rest of a sentence.
        says: String,
    },
    /// It was told to stop.
    #[error("stopped by a signal")]
    Stopped,
}

impl SmokeError {
    /// The kind of failure.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Api { .. } | Self::Peer { .. } => Exit::Failed,
            Self::Taken { .. } => Exit::Refused,
            Self::Unreached { .. } => Exit::Unreachable,
            Self::Late { .. } => Exit::TimedOut,
            Self::Stopped => Exit::Interrupted,
        }
    }
}

/// Makes, uses and removes the network; says what it does.
pub async fn run(client: Client, wanted: &Wanted, say: &dyn Fn(&str)) -> Result<(), SmokeError> {
    let smoke = Smoke {
        networks: Api::namespaced(client.clone(), &wanted.namespace),
        pods: Api::namespaced(client, &wanted.namespace),
        wanted,
        say,
        seen: std::cell::RefCell::new(String::new()),
    };
    let outcome = tokio::select! {
        biased;
        () = told_to_stop() => Err(SmokeError::Stopped),
        outcome = tokio::time::timeout(wanted.deadline, smoke.steps()) => {
            outcome.unwrap_or_else(|_| Err(smoke.late()))
        }
    };
    match &outcome {
        Ok(()) => say(&format!("ok: {} peers, a transaction at all of them, nothing left", wanted.peers)),
        Err(SmokeError::Taken { .. }) => {}
        Err(_) if wanted.keep_failed => say("the network is left as it is (--keep-failed)"),
        Err(_) => {
            say("removing what was made");
            let removed = tokio::time::timeout(REMOVAL, smoke.remove()).await;
            if !matches!(removed, Ok(Ok(()))) {
                say(&format!("not removed: kubectl delete -n {} spn/{}", wanted.namespace, wanted.name));
            }
        }
    }
    outcome
}

/// Ends when the process is told to end; never where signals cannot be heard.
async fn told_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

struct Smoke<'a> {
    networks: Api<SorchaPeerNetwork>,
    pods: Api<Pod>,
    wanted: &'a Wanted,
    say: &'a dyn Fn(&str),
    /// What is waited for, and what was seen last: for the sentence when time is up.
    seen: std::cell::RefCell<String>,
}

impl Smoke<'_> {
    async fn steps(&self) -> Result<(), SmokeError> {
        let name = &self.wanted.name;
        let found =
            self.networks.get_opt(name).await.map_err(|error| self.api("getting a network", &error))?;
        if let Some(found) = found {
            if !found.labels().contains_key(LABEL) {
                let namespace = self.wanted.namespace.clone();
                return Err(SmokeError::Taken { namespace, name: name.clone() });
            }
            (self.say)("removing the network of an earlier try");
        }
        // Its pods can outlive it for a moment.
        self.remove().await?;
        let made = self.networks.create(&PostParams::default(), &self.manifest()).await;
        made.map_err(|error| self.api("creating a network", &error))?;
        (self.say)(&format!("{}/{name} is made, {} peers", self.wanted.namespace, self.wanted.peers));
        self.wait_ready().await?;
        (self.say)("Ready");
        self.pass_a_transaction().await?;
        self.remove().await?;
        (self.say)("removed");
        Ok(())
    }

    /// Small, and gone with everything that it had.
    fn manifest(&self) -> SorchaPeerNetwork {
        let wanted = self.wanted;
        let mut manifest = json!({
            "apiVersion": sorcha_crds::API_VERSION,
            "kind": sorcha_crds::KIND,
            "metadata": {"name": wanted.name, "namespace": wanted.namespace, "labels": {LABEL: "true"}},
            "spec": {
                "replicas": wanted.peers,
                "storage": {"size": wanted.storage_size, "retain": {"onDelete": false, "onScaleDown": false}},
                "tls": {"retainAuthority": false},
            },
        });
        if let Some(class) = &wanted.storage_class {
            manifest["spec"]["storage"]["className"] = json!(class);
        }
        if let Some(image) = &wanted.image {
            manifest["spec"]["image"] = json!(image);
        }
        serde_json::from_value(manifest).expect("our own manifest has the form of its kind")
    }

    fn waits_for(&self, what: &str, seen: &str) {
        let mut told = self.seen.borrow_mut();
        told.clear();
        // Writing to a String cannot fail.
        let _ = write!(told, "{what}\n{seen}");
    }

    fn late(&self) -> SmokeError {
        let told = self.seen.borrow();
        let (what, seen) = told.split_once('\n').unwrap_or(("an answer of the API server", ""));
        let seen = if seen.is_empty() { String::new() } else { format!(". {seen}") };
        SmokeError::Late { what: what.to_owned(), seen, deadline: self.wanted.deadline }
    }

    fn api(&self, what: &'static str, error: &kube::Error) -> SmokeError {
        SmokeError::Api { what, namespace: self.wanted.namespace.clone(), why: chain(error) }
    }

    async fn wait_ready(&self) -> Result<(), SmokeError> {
        let mut told = String::new();
        loop {
            let network = match self.networks.get(&self.wanted.name).await {
                Ok(network) => network,
                Err(error @ kube::Error::Api(_)) => return Err(self.api("getting the network", &error)),
                Err(error) => {
                    self.waits_for("an answer of the API server", &chain(&error));
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let conditions = network.status.as_ref().map(|status| status.conditions.as_slice());
            let conditions = conditions.unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            let seen = ready.map_or_else(
                || "It has no condition Ready: no operator looks after this namespace.".to_owned(),
                |ready| format!("{}: {}", ready.reason, ready.message),
            );
            if ready.is_some_and(|ready| {
                ready.status == "True" && ready.observed_generation >= network.metadata.generation
            }) {
                return Ok(());
            }
            if ready.is_some() && told != seen {
                (self.say)(&seen);
                told.clone_from(&seen);
            }
            self.waits_for("a network that is ready", &seen);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Submitted at the first peer, read at all others.
    async fn pass_a_transaction(&self) -> Result<(), SmokeError> {
        let mut body = vec![0; BODY_BYTES];
        rand::rng().fill(body.as_mut_slice());
        let key = hex::encode(&body[..16]);
        let peer = |ordinal| names::peer(&self.wanted.name, names::POOL, ordinal);
        let first = peer(0);
        let began = tokio::time::Instant::now();
        let id = self.until_reached(&first, || peer::submit(&self.pods, &first, &key, &body)).await?;
        (self.say)(&format!("a transaction of {BODY_BYTES} bytes is durable at {first}: {id}"));
        for ordinal in 1..self.wanted.peers {
            let other = peer(ordinal);
            let found = loop {
                let asked = || peer::body(&self.pods, &other, &id);
                if let Some(found) = self.until_reached(&other, asked).await? {
                    break found;
                }
                self.waits_for(&format!("the transaction {id} at the peer {other}"), "");
                tokio::time::sleep(PAUSE).await;
            };
            if found != body {
                let says = format!("holds {} other bytes as the transaction {id}", found.len());
                return Err(SmokeError::Peer { peer: other, says });
            }
        }
        (self.say)(&format!("read at all of them after {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Asks a peer until an answer comes.
    async fn until_reached<T, F: Future<Output = Result<T, SmokeError>>>(
        &self,
        peer: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, SmokeError> {
        self.waits_for(&format!("an answer of the peer {peer}"), "");
        loop {
            match ask().await {
                Err(error @ SmokeError::Unreached { .. }) => {
                    self.waits_for(&format!("an answer of the peer {peer}"), &error.to_string());
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Deletes the network, where there is one, and waits until its pods have gone too.
    async fn remove(&self) -> Result<(), SmokeError> {
        let name = &self.wanted.name;
        match self.networks.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(self.api("deleting the network", &error)),
        }
        let pods = format!("app.kubernetes.io/name=sorcha-peer,{}={name}", names::LABEL_NETWORK);
        loop {
            let left =
                self.networks.get_opt(name).await.map_err(|error| self.api("getting a network", &error))?;
            let pods = self.pods.list(&ListParams::default().labels(&pods)).await;
            let pods = pods.map_err(|error| self.api("listing pods", &error))?.items.len();
            if left.is_none() && pods == 0 {
                return Ok(());
            }
            self.waits_for("the end of the network that was deleted", &format!("{pods} pods are left"));
            tokio::time::sleep(PAUSE).await;
        }
    }
}
