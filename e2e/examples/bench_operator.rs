//! `cargo xtask bench operator`: what the operator needs for many networks at a real API server, as one JSON object.
//!
//! Everything is seen from outside: memory from /proc, writes and times from the API server's log of requests. The
//! same objects are applied by a bare loop, at a server as fresh as the operator's was. Bars are xtask's matter.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sorcha_e2e::apiserver::{self, ApiServer, With};
use sorcha_e2e::audit::{Audit, Request};
use sorcha_e2e::chart::{self, RELEASE, Start};
use sorcha_e2e::operator::{Operator, Setup};
use sorcha_e2e::rest::{Rest, path};
use sorcha_e2e::wait;

/// Namespaces that the networks are spread over.
const NAMESPACES: usize = 10;
/// The operator's own.
const OWN: &str = "sorcha-system";
/// Where the foreign Secrets lie.
const FOREIGN: &str = "foreign";
/// How much each of them holds: just what Kubernetes takes.
const FOREIGN_BYTES: usize = 1_000_000;
/// Requests of the loop under way at once: as many networks as the operator looks at at once.
const AT_ONCE: usize = 16;
/// No write for so long is the end of convergence.
const QUIET: SignedDuration = SignedDuration::from_secs(4);
/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(600);
/// Resources of a network's objects.
const OWNED: [&str; 7] = [
    "serviceaccounts",
    "configmaps",
    "secrets",
    "services",
    "statefulsets",
    "poddisruptionbudgets",
    "networkpolicies",
];

/// How much of everything: `bench_operator [networks] [seconds at rest] [changes] [foreign Secrets]`.
struct Scale {
    networks: usize,
    rest_seconds: u64,
    changes: usize,
    foreign: usize,
}

fn main() -> anyhow::Result<()> {
    let given: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let at = |index: usize, default: usize| given.get(index).copied().unwrap_or(default);
    let scale = Scale {
        networks: at(0, 500),
        rest_seconds: at(1, 60) as u64,
        changes: at(2, 200),
        foreign: at(3, 300),
    };
    let assets = apiserver::assets(With { audit: true, controllers: false }).map_err(anyhow::Error::msg)?;
    let newest = assets.last().context("there are assets")?;
    let report = measure(newest, &scale)?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn tell(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn measure(assets: &Path, scale: &Scale) -> anyhow::Result<Value> {
    let bench = Bench::start(assets, scale)?;
    tell(&format!("{} networks are there; the operator starts", scale.networks));
    let began = Timestamp::now();
    let operator = bench.operator()?;
    let converged = bench.await_quiet(began, scale.networks)?;
    let writes = bench.audit.writes(&bench.user, began);
    let asked = bench.audit.since(&bench.user, began);
    let requests = asked.len();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for request in &asked {
        let trial = if request.uri.contains("dryRun") { " (trial)" } else { "" };
        *kinds.entry(format!("{} {}{trial}", request.verb, request.resource)).or_default() += 1;
    }
    let (rss_converged, _) = operator.resident_bytes().context("it runs")?;
    tell(&format!("converged in {converged:.1} s by {} writes", writes.len()));

    let rest = bench.writes_at_rest(scale.rest_seconds);
    let (rss_rest, rss_peak) = operator.resident_bytes().context("it runs")?;
    tell(&format!("at rest: {rest} writes, {:.1} MiB, at most {:.1} MiB", mib(rss_rest), mib(rss_peak)));

    let changes = bench.changes(scale.changes, "debug")?;
    let (rss_changes, _) = operator.resident_bytes().context("it runs")?;
    tell(&format!("{} changes: p50 {:.0} ms, p99 {:.0} ms", scale.changes, changes.p50, changes.p99));
    operator.stop()?;

    let objects = bench.objects()?;
    let bare = bare_loop(assets, scale, &objects)?;
    tell(&format!(
        "{} objects by a bare loop: {:.1} s, one at a time {:.1} s",
        objects.len(),
        bare.0,
        bare.1
    ));

    bench.add_foreign(scale.foreign)?;
    tell(&format!("{} foreign Secrets are there; the operator starts again", scale.foreign));
    let began = Timestamp::now();
    let operator = bench.operator()?;
    std::thread::sleep(Duration::from_secs(15));
    let foreign_rest = bench.writes_at_rest(scale.rest_seconds / 3);
    let foreign_changes = bench.changes(scale.changes / 4, "warn")?;
    let (rss_foreign, rss_foreign_peak) = operator.resident_bytes().context("it runs")?;
    let restart_writes = bench.audit.writes(&bench.user, began).len();
    tell(&format!("with them: {:.1} MiB, p99 {:.0} ms", mib(rss_foreign), foreign_changes.p99));
    operator.stop()?;

    Ok(json!({
        "conditions": {
            "networks": scale.networks, "restSeconds": scale.rest_seconds, "changes": scale.changes,
            "foreignSecrets": scale.foreign, "foreignSecretBytes": FOREIGN_BYTES,
            "kubernetes": bench.server.version(), "loopAtOnce": AT_ONCE, "objects": objects.len(),
            "processors": std::thread::available_parallelism().map_or(0, usize::from),
        },
        "convergence": {
            "seconds": converged, "writes": writes.len(), "requests": requests, "requestsByKind": kinds,
            "bareLoopSeconds": bare.1, "ratio": converged / bare.1,
            "bareLoopManyAtOnceSeconds": bare.0, "ratioManyAtOnce": converged / bare.0,
        },
        "rssMiB": {
            "converged": mib(rss_converged), "atRest": mib(rss_rest), "afterChanges": mib(rss_changes),
            "peak": mib(rss_peak), "withForeignSecrets": mib(rss_foreign),
            "peakWithForeignSecrets": mib(rss_foreign_peak),
        },
        "writesAtRest": rest,
        "changeMs": { "p50": changes.p50, "p99": changes.p99, "max": changes.max },
        "foreign": {
            "writesAtRest": foreign_rest, "changeMs": { "p50": foreign_changes.p50, "p99": foreign_changes.p99 },
            "writesSinceRestart": restart_writes,
        },
    }))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// A server with networks and the operator's account.
struct Bench {
    server: ApiServer,
    rest: Rest,
    audit: Audit,
    user: String,
    setup: Setup,
    networks: Vec<(String, String)>,
}

/// Times from change to applied, in ms.
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// A server with the definition and namespaces.
fn server(assets: &Path) -> anyhow::Result<(ApiServer, Rest)> {
    let server = ApiServer::start(assets, With { audit: true, controllers: false })?;
    let rest = server.rest()?;
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../crds/generated/sorchapeernetworks.sorcha.org.yaml");
    server.kubectl(&["apply", "--server-side", "--filename", &file.to_string_lossy()])?.ok()?;
    let networks = path("sorchapeernetworks", "", "");
    wait::until("the definition is served", LIMIT, || rest.list(&networks).ok().map(drop))?;
    let mut names: Vec<String> = (0..NAMESPACES).map(|number| format!("team-{number}")).collect();
    names.extend([OWN.to_owned(), FOREIGN.to_owned()]);
    for name in names {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        rest.create(&path("namespaces", "", ""), &namespace)?.ok()?;
    }
    Ok((server, rest))
}

/// Namespace and name of every network, made.
fn networks(rest: &Rest, count: usize) -> anyhow::Result<Vec<(String, String)>> {
    let mut made = Vec::new();
    for number in 0..count {
        let (namespace, name) = (format!("team-{}", number % NAMESPACES), format!("net-{number}"));
        let network = json!({
            "apiVersion": "sorcha.org/v1alpha1", "kind": "SorchaPeerNetwork",
            "metadata": { "name": name, "namespace": namespace }, "spec": { "replicas": 3 },
        });
        rest.create(&path("sorchapeernetworks", &namespace, ""), &network)?.ok()?;
        made.push((namespace, name));
    }
    Ok(made)
}

impl Bench {
    fn start(assets: &Path, scale: &Scale) -> anyhow::Result<Self> {
        let (server, rest) = server(assets)?;
        let objects = chart::render(server.version(), OWN, &[])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for object in &objects {
            let resource = match object["kind"].as_str().unwrap_or_default() {
                "ServiceAccount" => "serviceaccounts",
                "Role" => "roles",
                "RoleBinding" => "rolebindings",
                "ClusterRole" => "clusterroles",
                "ClusterRoleBinding" => "clusterrolebindings",
                _ => continue,
            };
            let metadata = &object["metadata"];
            let at = path(resource, &text(&metadata["namespace"]), &text(&metadata["name"]));
            rest.apply(&at, object)?.ok()?;
        }
        let asked = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 36_000 },
        });
        let given = rest.create(&path("serviceaccounts", OWN, &format!("{RELEASE}/token")), &asked)?.ok()?;
        let setup = Setup {
            url: server.url().to_owned(),
            root: server.root_file(),
            token: text(&given["status"]["token"]),
            namespace: OWN.to_owned(),
            pod: "operator-0".to_owned(),
            start: Start::read(&objects, OWN)?,
            log_level: "info".to_owned(),
            args: Vec::new(),
        };
        let networks = networks(&rest, scale.networks)?;
        let user = format!("system:serviceaccount:{OWN}:{RELEASE}");
        Ok(Self { audit: server.audit(), server, rest, user, setup, networks })
    }

    fn operator(&self) -> anyhow::Result<Operator> {
        let mut operator = Operator::start(&self.setup)?;
        wait::until("an operator that is ready", LIMIT, || {
            if operator.ended().is_some() {
                return Some(Err(anyhow::anyhow!("it ended: {}", operator.last_words())));
            }
            operator.ask("/readyz").filter(|(code, _)| *code == 200).map(|_| Ok(()))
        })??;
        Ok(operator)
    }

    /// Seconds from a time until the last write before a quiet while, once every network has its status.
    fn await_quiet(&self, began: Timestamp, networks: usize) -> anyhow::Result<f64> {
        let last = wait::until("an operator that rests", LIMIT, || {
            std::thread::sleep(Duration::from_millis(500));
            let writes = self.audit.writes(&self.user, began);
            let told = writes.iter().filter(|write| write.resource == "sorchapeernetworks/status").count();
            let last = writes.iter().map(|write| write.answered).max()?;
            (told >= networks && Timestamp::now().duration_since(last) > QUIET).then_some(last)
        })?;
        Ok(last.duration_since(began).as_secs_f64())
    }

    fn writes_at_rest(&self, seconds: u64) -> usize {
        let since = Timestamp::now();
        std::thread::sleep(Duration::from_secs(seconds));
        let writes = self.audit.writes(&self.user, since);
        for write in writes.iter().take(10) {
            tell(&format!("at rest: {}", write.line()));
        }
        writes.len()
    }

    /// Changes one network after another, two a second, and sees when the last of its objects was applied.
    fn changes(&self, count: usize, level: &str) -> anyhow::Result<Latency> {
        let began = Timestamp::now();
        let first = Instant::now();
        for number in 0..count {
            let due = Duration::from_millis(500) * number as u32;
            std::thread::sleep(due.saturating_sub(first.elapsed()));
            let (namespace, name) = &self.networks[number * 7 % self.networks.len()];
            let change = json!({ "spec": { "log": { "level": format!("{level},sorcha_peer={level}") } } });
            self.rest.merge(&path("sorchapeernetworks", namespace, name), &change)?.ok()?;
        }
        std::thread::sleep(Duration::from_secs(10));
        let log = self.audit.select(|request| request.received >= began && request.is_write());
        let mut times: Vec<f64> = Vec::new();
        for change in log.iter().filter(|request| {
            request.user != self.user && request.resource == "sorchapeernetworks" && request.verb == "patch"
        }) {
            times.push(applied(&log, change, &self.user)?);
        }
        anyhow::ensure!(times.len() == count, "{} of {count} changes are in the log", times.len());
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).ceil() as usize];
        Ok(Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) })
    }

    /// Every object that the operator made, with its path, as one would apply it.
    fn objects(&self) -> anyhow::Result<Vec<(String, Value)>> {
        let mut found = Vec::new();
        for resource in OWNED {
            let all = path(resource, "", "");
            for mut object in self.rest.list(&all)? {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (namespace, name) =
                    (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
                if object["metadata"]["labels"]["app.kubernetes.io/managed-by"] != RELEASE || namespace == OWN
                {
                    continue;
                }
                let (version, kind) = kind_of(resource);
                object["apiVersion"] = json!(version);
                object["kind"] = json!(kind);
                let metadata = object["metadata"].as_object_mut().context("objects have metadata")?;
                for server_side in
                    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"]
                {
                    metadata.remove(server_side);
                }
                object.as_object_mut().map(|object| object.remove("status"));
                if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                    // An address is the server's to give; `None` is a wish.
                    spec.retain(|name, value| {
                        !name.starts_with("clusterIP") || *value == "None" || *value == json!(["None"])
                    });
                }
                found.push((path(resource, &namespace, &name), object));
            }
        }
        anyhow::ensure!(found.len() >= self.networks.len() * 8, "{} objects only", found.len());
        Ok(found)
    }

    fn add_foreign(&self, count: usize) -> anyhow::Result<()> {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(vec![7_u8; FOREIGN_BYTES]);
        for number in 0..count {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("large-{number}") },
                "data": { "large": body },
            });
            self.rest.create(&path("secrets", FOREIGN, ""), &secret)?.ok()?;
        }
        Ok(())
    }
}

/// Milliseconds from when a change was received until the last write that it led to was answered.
fn applied(log: &[Request], change: &Request, user: &str) -> anyhow::Result<f64> {
    let pool = format!("{}-peers", change.name);
    let until = change.received + SignedDuration::from_secs(10);
    let last = log
        .iter()
        .filter(|request| {
            request.user == user
                && request.namespace == change.namespace
                && request.name == pool
                && (change.received..until).contains(&request.received)
        })
        .map(|request| request.answered)
        .max();
    let last = last.with_context(|| format!("nothing was applied after {}", change.line()))?;
    Ok(last.duration_since(change.received).as_secs_f64() * 1000.0)
}

fn kind_of(resource: &str) -> (&'static str, &'static str) {
    match resource {
        "serviceaccounts" => ("v1", "ServiceAccount"),
        "configmaps" => ("v1", "ConfigMap"),
        "secrets" => ("v1", "Secret"),
        "services" => ("v1", "Service"),
        "statefulsets" => ("apps/v1", "StatefulSet"),
        "poddisruptionbudgets" => ("policy/v1", "PodDisruptionBudget"),
        _ => ("networking.k8s.io/v1", "NetworkPolicy"),
    }
}

/// Seconds for the same objects by a bare loop, with requests under way at once and one at a time, each at a fresh
/// server with the same networks.
fn bare_loop(assets: &Path, scale: &Scale, objects: &[(String, Value)]) -> anyhow::Result<(f64, f64)> {
    let run = |at_once: usize| -> anyhow::Result<f64> {
        let (_server, rest) = server(assets)?;
        networks(&rest, scale.networks)?;
        Ok(rest.apply_all(objects, at_once)?.as_secs_f64())
    };
    Ok((run(AT_ONCE)?, run(1)?))
}
