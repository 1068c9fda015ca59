//! A network in a namespace of its own on a cluster, which goes with it.
//!
//! Knows the names that the operator gives to its objects; decides nothing about them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Cluster;
use crate::wait;

/// How long a network may take to become ready on a busy machine; the bar of 60 s is checked where it is measured.
const READY: Duration = Duration::from_secs(240);

/// How long transactions may take to be everywhere once all peers are back.
const HEALED: Duration = Duration::from_secs(120);

/// A namespace in which only pods of the restricted Pod Security standard may run.
pub(super) fn namespace(name: &str) -> Value {
    let level = "restricted";
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/warn": level,
    }}})
}

/// What tests look at in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Also the peer's name.
    pub name: String,
    /// Another one for a pod that was made again.
    pub uid: String,
    /// Condition Ready.
    pub is_ready: bool,
    /// Its deletion has begun.
    pub is_terminating: bool,
    /// Label `controller-revision-hash`.
    pub revision: String,
    /// Of all containers, by name.
    pub images: BTreeMap<String, String>,
    /// Starts after the first one, of all containers.
    pub restarts: u64,
}

/// A network, and the namespace that it lies in. Dropping it deletes both, without waiting.
pub struct ClusterNetwork {
    /// Where.
    pub cluster: &'static Cluster,
    /// Of the namespace.
    pub namespace: String,
    /// Of the network.
    pub name: String,
}

impl ClusterNetwork {
    /// A namespace for a network, once an earlier one of that name has gone.
    pub fn new(cluster: &'static Cluster, name: &str) -> anyhow::Result<Self> {
        let namespace = format!("sorcha-{name}");
        cluster
            .kubectl(&["delete", "namespace", &namespace, "--ignore-not-found", "--timeout=120s"])?
            .ok()?;
        cluster.kubectl_with(&["create"], &self::namespace(&namespace))?.ok()?;
        Ok(Self { cluster, namespace, name: name.to_owned() })
    }

    /// With peers, ready.
    pub fn start(cluster: &'static Cluster, name: &str, replicas: u32) -> anyhow::Result<Self> {
        let network = Self::new(cluster, name)?;
        network.apply(&json!({"replicas": replicas}))?;
        network.await_ready()?;
        Ok(network)
    }

    /// Applies the manifest with this spec.
    pub fn apply(&self, spec: &Value) -> anyhow::Result<()> {
        let manifest = json!({
            "apiVersion": "sorcha.org/v1alpha1",
            "kind": "SorchaPeerNetwork",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        });
        self.cluster.kubectl_with(&["apply"], &manifest)?.ok()?;
        Ok(())
    }

    /// Changes the manifest by a merge patch of its spec.
    pub fn change(&self, spec: &Value) -> anyhow::Result<()> {
        let patch = json!({"spec": spec}).to_string();
        self.kubectl(&["patch", "spn", &self.name, "--type", "merge", "-p", &patch])?;
        Ok(())
    }

    /// Runs `kubectl` in its namespace; what it wrote.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        Ok(self.cluster.kubectl(&[&["-n", &self.namespace], args].concat())?.ok()?.text())
    }

    /// The manifest with its status.
    pub fn object(&self) -> anyhow::Result<Value> {
        self.cluster.json(&["-n", &self.namespace, "get", "spn", &self.name])
    }

    /// Waits until the operator says that it is ready as it was asked for last; how long that took.
    pub fn await_ready(&self) -> anyhow::Result<()> {
        let ready = wait::until(&format!("{} is ready", self.name), READY, || {
            let object = self.object().ok()?;
            let generation = &object["metadata"]["generation"];
            let conditions = object["status"]["conditions"].as_array()?;
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
            let is_current = object["status"]["observedGeneration"] == *generation;
            (is_current && ready["status"] == "True").then_some(())
        });
        ready.with_context(|| self.story())
    }

    /// What went on, for whoever reads a failure.
    pub fn story(&self) -> String {
        let mut text = String::new();
        let asked: [&[&str]; 3] = [
            &["get", "spn,sts,pods,pvc", "-o", "wide"],
            &["get", "spn", &self.name, "-o", "jsonpath={.status}"],
            &["get", "events", "--sort-by=.lastTimestamp"],
        ];
        for args in asked {
            text += &self.kubectl(args).unwrap_or_else(|error| format!("{error:#}"));
            text += "\n";
        }
        text + &self.cluster.operator_log().unwrap_or_else(|error| format!("{error:#}"))
    }

    /// The peers' pods, by name.
    pub fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let select = format!("app.kubernetes.io/instance={},app.kubernetes.io/name=sorcha-peer", self.name);
        let list = self.cluster.json(&["-n", &self.namespace, "get", "pods", "-l", &select])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pod = |item: &Value| {
            let conditions = item["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let containers = item["spec"]["containers"].as_array().cloned().unwrap_or_default();
            let early = item["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
            let statuses = ["containerStatuses", "initContainerStatuses"]
                .iter()
                .flat_map(|kind| item["status"][*kind].as_array().cloned().unwrap_or_default());
            Pod {
                name: text(&item["metadata"]["name"]),
                uid: text(&item["metadata"]["uid"]),
                is_ready: conditions
                    .iter()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
                is_terminating: !item["metadata"]["deletionTimestamp"].is_null(),
                revision: text(&item["metadata"]["labels"]["controller-revision-hash"]),
                images: containers
                    .iter()
                    .chain(&early)
                    .map(|container| (text(&container["name"]), text(&container["image"])))
                    .collect(),
                restarts: statuses.filter_map(|status| status["restartCount"].as_u64()).sum(),
            }
        };
        let mut pods: Vec<Pod> = list["items"].as_array().into_iter().flatten().map(pod).collect();
        pods.sort_by(|one, other| (one.name.len(), &one.name).cmp(&(other.name.len(), &other.name)));
        Ok(pods)
    }

    /// Waits until so many pods run and are ready, and of `before` none is left.
    pub fn await_pods(&self, count: usize, without: &[Pod]) -> anyhow::Result<Vec<Pod>> {
        let what = format!("{count} pods of {} are ready, {} of them new", self.name, without.len());
        let pods = wait::until(&what, READY, || {
            let pods = self.pods().ok()?;
            let is_whole = pods.len() == count && pods.iter().all(|pod| pod.is_ready && !pod.is_terminating);
            let is_new = !pods.iter().any(|pod| without.iter().any(|old| old.uid == pod.uid));
            (is_whole && is_new).then_some(pods)
        });
        pods.with_context(|| self.story())
    }

    /// Names of the pods of the default pool.
    pub fn peers(&self, count: u32) -> Vec<String> {
        (0..count).map(|ordinal| format!("{}-peers-{ordinal}", self.name)).collect()
    }

    /// Submits a text at a peer; the id.
    pub fn submit(&self, pod: &str, text: &str) -> anyhow::Result<String> {
        let args = ["submit", "--text", text, "-o", "json", "--timeout", "3s"];
        let said = self.cluster.beside_peer(&self.namespace, pod, &args)?.ok()?;
        Ok(said.json()?["id"].as_str().context("submit prints an id")?.to_owned())
    }

    /// Ids that a peer holds.
    pub fn held(&self, pod: &str) -> anyhow::Result<Vec<String>> {
        let status = ["status", "-o", "json", "--timeout", "5s"];
        let status = self.cluster.beside_peer(&self.namespace, pod, &status)?.ok()?.json()?;
        let count = status["transactions"].as_u64().context("status counts transactions")?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let count = count.to_string();
        let tail = ["tail", "--from", "earliest", "--count", &count, "-o", "json", "--timeout", "60s"];
        let said = self.cluster.beside_peer(&self.namespace, pod, &tail)?.ok()?;
        said.text()
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line)?;
                Ok(line["id"].as_str().context("tail prints ids")?.to_owned())
            })
            .collect()
    }

    /// Waits until each of these peers holds all of these transactions.
    pub fn await_held(&self, pods: &[String], ids: &[String]) -> anyhow::Result<()> {
        for pod in pods {
            let mut missing = ids.len();
            let held = wait::until(&format!("{pod} holds {} transactions", ids.len()), HEALED, || {
                let held: std::collections::BTreeSet<String> = self.held(pod).ok()?.into_iter().collect();
                missing = ids.iter().filter(|id| !held.contains(*id)).count();
                (missing == 0).then_some(())
            });
            held.with_context(|| format!("{missing} of {} are missing at {pod}", ids.len()))?;
        }
        Ok(())
    }
}

impl Drop for ClusterNetwork {
    fn drop(&mut self) {
        // A failed test's network is looked at by its story; the namespace goes either way.
        drop(self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
    }
}
