//! A stand-in for scheduler, volume binder and kubelet: pods become ready, and end when they are deleted.
//!
//! In namespaces whose name begins with [`WITH_PEERS`] a real `sorcha-peer` runs behind every pod: on an address of
//! 127.0.0.0/8 of its own, with the files of the pod's ConfigMap and Secret, which are brought up to date as a kubelet
//! does. One that ends by itself is started again, later and later. What decides about a pod is in the pod: an image
//! that contains `missing` cannot be had, one that contains `broken` does not start, a volume of class `never` is never
//! bound, and a pod annotated with [`ALWAYS_READY`] is ready whatever its peer says.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use kube::core::WatchEvent;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::programs;
use crate::rest::{Rest, path, runtime};

/// How the namespaces begin in which real peers run.
pub const WITH_PEERS: &str = "peers-";
/// Annotation of a pod that is ready in the cluster's eyes as soon as its peer runs: only the peer's own answers tell
/// then how it is.
pub const ALWAYS_READY: &str = "tests.example/always-ready";
/// First and longest wait before a peer that ended is started again; a kubelet's are 10 s and 5 min.
const RESTART: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// How often it is told that a Secret is missing.
const COMPLAIN: Duration = Duration::from_secs(2);
/// How often processes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often a peer is asked whether it is ready, and whether its files and volumes have changed. A kubelet asks
/// every 5 s and takes a minute for files; tests need not wait that long.
const LOOK: Duration = Duration::from_millis(500);
/// Events read ahead.
const EVENTS_MAX: usize = 4096;

/// The node; dropping it ends its peers and leaves the pods as they are.
pub struct Node {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The address of a pod: always the same for the same name, so that no DNS is needed.
pub fn address_of(namespace: &str, pod: &str) -> Ipv4Addr {
    let hash = Sha256::digest(format!("{namespace}/{pod}"));
    // 127.0.0.x and 127.255.x.x are left to others.
    Ipv4Addr::new(127, 1 + hash[0] % 250, hash[1], 1 + hash[2] % 250)
}

impl Node {
    /// Begins to play for all namespaces of a server, with the peers' files below a directory.
    pub fn start(rest: Rest, directory: PathBuf) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = sync_channel(EVENTS_MAX);
        runtime().spawn(follow(rest.clone(), sender, stop.clone()));
        let mut work = Work { rest, directory, pods: BTreeMap::new() };
        let ended = stop.clone();
        let thread = std::thread::spawn(move || work.run(&receiver, &ended));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Namespace and name.
type Key = (String, String);

/// A pod as it is now, or that it is gone.
type Change = (Key, Option<Value>);

/// Tells of every pod, and again after every end of a watch.
async fn follow(rest: Rest, sender: SyncSender<Change>, stop: Arc<AtomicBool>) {
    let pods = path("pods", "", "");
    while !stop.load(Ordering::Relaxed) {
        // From 0: whatever the server has at hand, then what happens.
        let _ended = rest
            .watch(&pods, "0", |event| {
                let change = match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (key(&pod), Some(pod)),
                    WatchEvent::Deleted(pod) => (key(&pod), None),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => return true,
                };
                !stop.load(Ordering::Relaxed) && sender.try_send(change).is_ok()
            })
            .await;
        tokio::time::sleep(TICK).await;
    }
}

fn key(pod: &Value) -> Key {
    (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

struct Work {
    rest: Rest,
    directory: PathBuf,
    pods: BTreeMap<Key, Pod>,
}

/// A pod with what runs for it.
struct Pod {
    object: Value,
    process: Option<Child>,
    /// When its process gets no more time.
    deadline: Option<Instant>,
    /// When it is looked at next.
    look: Instant,
    /// What was told of it last.
    told: Option<Told>,
    restarts: u32,
    /// How its process ended last, and when it is started again.
    ended: Option<(Ended, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Unschedulable,
    NoImage,
    Running { ready: bool, restarts: u32 },
    Waiting { restarts: u32 },
}

/// Exit code and last words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    code: i32,
    words: String,
}

/// How the process behind a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    Ready,
    NotReady,
    /// It ended, and waits to be started again.
    Not,
}

impl Work {
    fn run(&mut self, changes: &Receiver<Change>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match changes.recv_timeout(TICK) {
                Ok(change) => {
                    self.take(change);
                    while let Ok(change) = changes.try_recv() {
                        self.take(change);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let keys: Vec<Key> = self.pods.keys().cloned().collect();
            for key in keys {
                // What fails is tried at the next tick: pods vanish while they are worked on.
                drop(self.step(&key));
            }
        }
    }

    fn take(&mut self, (key, object): Change) {
        let Some(object) = object else {
            self.pods.remove(&key);
            return;
        };
        match self.pods.get_mut(&key) {
            Some(pod) if pod.object["metadata"]["uid"] == object["metadata"]["uid"] => pod.object = object,
            _ => {
                let pod = Pod {
                    object,
                    process: None,
                    deadline: None,
                    look: Instant::now(),
                    told: None,
                    restarts: 0,
                    ended: None,
                };
                self.pods.insert(key, pod);
            }
        }
    }

    /// The next thing to do for a pod.
    fn step(&mut self, key: &Key) -> anyhow::Result<()> {
        let Some(mut pod) = self.pods.remove(key) else { return Ok(()) };
        let outcome = if pod.object["metadata"]["deletionTimestamp"].is_string() {
            self.end(key, &mut pod)
        } else if pod.object["spec"]["nodeName"].is_string() {
            self.keep(key, &mut pod)
        } else {
            self.schedule(key, &mut pod)
        };
        self.pods.insert(key.clone(), pod);
        outcome
    }

    /// Binds its volumes, then the pod.
    fn schedule(&self, (namespace, name): &Key, pod: &mut Pod) -> anyhow::Result<()> {
        if pod.look > Instant::now() {
            return Ok(());
        }
        pod.look = Instant::now() + LOOK;
        for claim in claims(&pod.object) {
            if !self.bind_volume(namespace, &claim)? {
                if pod.told != Some(Told::Unschedulable) {
                    let condition = json!({
                        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
                    });
                    self.tell(namespace, name, &json!({ "conditions": [condition] }))?;
                    pod.told = Some(Told::Unschedulable);
                }
                return Ok(());
            }
        }
        let target = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "node" },
        });
        self.rest.create(&path("pods", namespace, &format!("{name}/binding")), &target)?.ok()?;
        pod.look = Instant::now();
        Ok(())
    }

    /// Whether it is bound; it is made so where its class lets it.
    fn bind_volume(&self, namespace: &str, claim: &str) -> anyhow::Result<bool> {
        let at = path("persistentvolumeclaims", namespace, claim);
        let Some(held) = self.rest.get(&at)? else { return Ok(false) };
        let wanted = &held["spec"]["resources"]["requests"]["storage"];
        if held["spec"]["storageClassName"] == "never" {
            return Ok(false);
        }
        if held["status"]["phase"] != "Bound" {
            let volume =
                json!({ "spec": { "volumeName": format!("volume-{}", text(&held["metadata"]["uid"])) } });
            self.rest.merge(&at, &volume)?.ok()?;
        }
        if held["status"]["phase"] != "Bound" || held["status"]["capacity"]["storage"] != *wanted {
            let status = json!({ "status": {
                "phase": "Bound", "accessModes": held["spec"]["accessModes"], "capacity": { "storage": wanted },
            }});
            self.rest.merge(&format!("{at}/status"), &status)?.ok()?;
        }
        Ok(true)
    }

    /// Starts what is to run, and tells how it is.
    fn keep(&mut self, key: &Key, pod: &mut Pod) -> anyhow::Result<()> {
        let (namespace, name) = key;
        if pod.look > Instant::now() {
            return Ok(());
        }
        pod.look = Instant::now() + LOOK;
        for claim in claims(&pod.object) {
            self.bind_volume(namespace, &claim)?;
        }
        let containers = pod.object["spec"]["containers"].as_array().cloned().unwrap_or_default();
        if containers.iter().any(|container| text(&container["image"]).contains("missing")) {
            if pod.told != Some(Told::NoImage) {
                let waiting = json!({ "waiting": {
                    "reason": "ErrImageNeverPull",
                    "message": "Container image is not present with pull policy of Never",
                }});
                self.tell(namespace, name, &status(&pod.object, false, 0, &waiting, &Value::Null))?;
                pod.told = Some(Told::NoImage);
            }
            return Ok(());
        }
        if pod.told.is_none()
            && let Some(secret) = self.missing_secret(namespace, &pod.object)?
        {
            return self.complain(key, pod, &secret);
        }
        let runs = if namespace.starts_with(WITH_PEERS) { self.keep_peer(key, pod)? } else { Runs::Ready };
        let always = pod.object["metadata"]["annotations"][ALWAYS_READY].is_string();
        let ready = runs == Runs::Ready || always && runs == Runs::NotReady;
        let restarts = pod.restarts;
        let told =
            if runs == Runs::Not { Told::Waiting { restarts } } else { Told::Running { ready, restarts } };
        if pod.told.as_ref() != Some(&told) {
            let state = match runs {
                Runs::Not => json!({ "waiting": {
                    "reason": "CrashLoopBackOff", "message": "back-off restarting failed container",
                }}),
                _ => json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }),
            };
            let last = pod.ended.as_ref().map_or(Value::Null, |(ended, _)| {
                json!({ "terminated": { "reason": "Error", "exitCode": ended.code, "message": ended.words } })
            });
            self.tell(namespace, name, &status(&pod.object, ready, restarts, &state, &last))?;
            pod.told = Some(told);
        }
        Ok(())
    }

    /// Of the Secrets that a pod mounts the first that is not there.
    fn missing_secret(&self, namespace: &str, pod: &Value) -> anyhow::Result<Option<String>> {
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if let Some(secret) = volume["secret"]["secretName"].as_str()
                && self.rest.get(&path("secrets", namespace, secret))?.is_none()
            {
                return Ok(Some(secret.to_owned()));
            }
        }
        Ok(None)
    }

    /// Nothing in the pod's status tells of it, only an Event, as with a kubelet.
    fn complain(&self, (namespace, name): &Key, pod: &mut Pod, secret: &str) -> anyhow::Result<()> {
        pod.look = Instant::now() + COMPLAIN;
        let now = jiff::Timestamp::now();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": format!("{name}.{}", now.as_millisecond()), "namespace": namespace },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name,
                "uid": pod.object["metadata"]["uid"],
            },
            "reason": "FailedMount", "type": "Warning", "source": { "component": "kubelet" },
            "message": format!("MountVolume.SetUp failed for volume \"{secret}\" : secret \"{secret}\" not found"),
            "firstTimestamp": format!("{now:.0}"), "lastTimestamp": format!("{now:.0}"), "count": 1,
        });
        self.rest.create(&path("events", namespace, ""), &event)?.ok().map(drop)
    }

    fn tell(&self, namespace: &str, name: &str, status: &Value) -> anyhow::Result<()> {
        let at = path("pods", namespace, &format!("{name}/status"));
        self.rest.merge(&at, &json!({ "status": status }))?.ok().map(drop)
    }

    /// How the peer behind the pod is; it is started where it does not run.
    fn keep_peer(&self, key: &Key, pod: &mut Pod) -> anyhow::Result<Runs> {
        let (namespace, name) = key;
        let address = address_of(namespace, name);
        if let Some(process) = &mut pod.process {
            let Some(status) = process.try_wait()? else {
                self.write_files(key, &pod.object)?;
                return Ok(if is_ready(address) { Runs::Ready } else { Runs::NotReady });
            };
            pod.process = None;
            let [first, longest] = RESTART;
            let wait = first.saturating_mul(1 << pod.restarts.min(10)).min(longest);
            pod.restarts += 1;
            let log = self.directory.join(namespace).join(name).join("peer.log");
            let words = std::fs::read_to_string(log).unwrap_or_default();
            let words = words.lines().next_back().unwrap_or_default().to_owned();
            let ended = Ended { code: status.code().unwrap_or(137), words };
            pod.ended = Some((ended, Instant::now() + wait));
        }
        if pod.ended.as_ref().is_some_and(|(_, again)| *again > Instant::now()) {
            return Ok(Runs::Not);
        }
        let at = self.write_files(key, &pod.object)?;
        let config = std::fs::read_to_string(at.join("config/peer.yaml"))?;
        let log = std::fs::File::options().create(true).append(true).open(at.join("peer.log"))?;
        let mut command = programs::command("sorcha-peer");
        let containers = pod.object["spec"]["containers"].as_array().into_iter().flatten();
        if containers.into_iter().any(|container| text(&container["image"]).contains("broken")) {
            command.env("SORCHA_LOG_LEVEL", "broken");
        }
        let process = command
            .args(["run", "--config"])
            .arg(at.join("config/peer.yaml"))
            .env("SORCHA_NAME", name)
            .env("SORCHA_LISTEN_PEER", format!("{address}:7450"))
            .env("SORCHA_LISTEN_API", format!("{address}:7451"))
            .env("SORCHA_LISTEN_ADMIN", format!("{address}:7452"))
            .env("SORCHA_ADVERTISE", format!("{address}:7450"))
            .env("SORCHA_BOOTSTRAP_ADDRESSES", seeds(namespace, &config))
            .env("SORCHA_TLS_DIRECTORY", at.join("tls"))
            .env("SORCHA_STATE_DIRECTORY", at.join("state"))
            .env("SORCHA_EXIT_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        pod.process = Some(process);
        Ok(Runs::NotReady)
    }

    /// The files of its ConfigMap and Secret, as they are now.
    fn write_files(&self, (namespace, name): &Key, pod: &Value) -> anyhow::Result<PathBuf> {
        let at = self.directory.join(namespace).join(name);
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let (resource, object) = match (&volume["configMap"]["name"], &volume["secret"]["secretName"]) {
                (Value::String(name), _) => ("configmaps", name),
                (_, Value::String(name)) => ("secrets", name),
                _ => continue,
            };
            let held = self.rest.get(&path(resource, namespace, object))?;
            let held = held.with_context(|| format!("{resource} {object} is not there yet"))?;
            let folder = at.join(text(&volume["name"]));
            std::fs::create_dir_all(&folder)?;
            for (file, content) in held["data"].as_object().into_iter().flatten() {
                let content = match resource {
                    "secrets" => base64::engine::general_purpose::STANDARD.decode(text(content))?,
                    _ => text(content).into_bytes(),
                };
                let file = folder.join(file);
                if std::fs::read(&file).ok().as_ref() != Some(&content) {
                    let aside = file.with_extension("new");
                    std::fs::write(&aside, content)?;
                    std::fs::rename(aside, file)?;
                }
            }
        }
        Ok(at)
    }

    /// Ends its process, then the pod.
    fn end(&self, (namespace, name): &Key, pod: &mut Pod) -> anyhow::Result<()> {
        if let Some(process) = &mut pod.process
            && process.try_wait()?.is_none()
        {
            let grace = pod.object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30);
            match pod.deadline {
                None => {
                    if let Some(pid) = Pid::from_raw(process.id().cast_signed()) {
                        let _gone = rustix::process::kill_process(pid, Signal::TERM);
                    }
                    pod.deadline = Some(Instant::now() + Duration::from_secs(grace));
                }
                Some(deadline) if deadline < Instant::now() => process.kill()?,
                Some(_) => {}
            }
            return Ok(());
        }
        let options = json!({
            "gracePeriodSeconds": 0, "preconditions": { "uid": pod.object["metadata"]["uid"] },
        });
        self.rest.delete(&path("pods", namespace, name), &options)?.ok().map(drop)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// Names of the claims that a pod mounts.
fn claims(pod: &Value) -> Vec<String> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned))
        .collect()
}

/// The status of a pod all of whose containers are in one state, and were in another before.
fn status(pod: &Value, ready: bool, restarts: u32, state: &Value, last: &Value) -> Value {
    let address =
        address_of(&text(&pod["metadata"]["namespace"]), &text(&pod["metadata"]["name"])).to_string();
    let containers = |of: &str| -> Vec<Value> {
        let all = pod["spec"][of].as_array().into_iter().flatten();
        all.map(|container| {
            json!({
                "name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
                "started": ready, "restartCount": restarts, "state": state, "lastState": last,
            })
        })
        .collect()
    };
    let runs = state["running"].is_object();
    let holds = |holds: bool| if holds { "True" } else { "False" };
    let now = "2026-01-01T00:00:00Z";
    json!({
        "phase": if runs { "Running" } else { "Pending" },
        "podIP": address, "podIPs": [{ "ip": address }], "hostIP": "127.0.0.1",
        "startTime": now,
        "containerStatuses": containers("containers"),
        "initContainerStatuses": containers("initContainers"),
        "conditions": [
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": now },
            { "type": "Initialized", "status": holds(runs), "lastTransitionTime": now },
            { "type": "ContainersReady", "status": holds(ready), "lastTransitionTime": now },
            { "type": "Ready", "status": holds(ready), "lastTransitionTime": now },
        ],
    })
}

/// The seeds of a configuration file by address instead of name: `<peer>.<pool>.<namespace>.svc:7450`.
fn seeds(namespace: &str, config: &str) -> String {
    let hosts = config.split(|c: char| !(c.is_ascii_alphanumeric() || ".-:".contains(c)));
    let peers = hosts.filter_map(|host| host.strip_suffix(".svc:7450")?.split('.').next());
    let mut addresses: Vec<String> =
        peers.map(|peer| format!("{}:7450", address_of(namespace, peer))).collect();
    addresses.sort();
    addresses.dedup();
    addresses.join(",")
}

fn is_ready(address: Ipv4Addr) -> bool {
    use std::io::{Read as _, Write as _};
    let asked = || -> std::io::Result<String> {
        let target = (address, 7452).into();
        let mut stream = std::net::TcpStream::connect_timeout(&target, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: {address}:7452\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_found_by_address() {
        let config = "bootstrap:\n  addresses:\n  - a-peers-0.a-peers.b.svc:7450\n  - other.example:7450\n";
        assert_eq!(seeds("b", config), format!("{}:7450", address_of("b", "a-peers-0")));
    }
}
