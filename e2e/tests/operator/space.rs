//! Servers that the tests share, and namespaces of their own with an operator's account.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use sorcha_e2e::apiserver::{self, ApiServer, With};
use sorcha_e2e::audit::{Audit, Request};
use sorcha_e2e::chart::{self, Start};
use sorcha_e2e::node::Node;
use sorcha_e2e::operator::{Operator, Setup};
use sorcha_e2e::proxy::Proxy;
use sorcha_e2e::rest::{Rest, path};
use sorcha_e2e::wait;

/// How long anything may take that takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Name of the operator's account and of its Lease.
pub(crate) const ACCOUNT: &str = chart::RELEASE;

/// A server with the definition, controllers, a node and a log of requests.
pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) rest: Rest,
    pub(crate) audit: Audit,
    _node: Node,
}

impl World {
    /// A new one, from programs in a directory.
    pub(crate) fn start(assets: &std::path::Path) -> anyhow::Result<Self> {
        let server = ApiServer::start(assets, With { audit: true, controllers: true })?;
        let rest = server.rest()?;
        define(&server)?;
        wait::until("the definition is served", SOON, || {
            rest.list(&path("sorchapeernetworks", "", "")).ok().map(drop)
        })?;
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": "standard", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
            },
            "provisioner": "tests.example/none", "allowVolumeExpansion": true,
        });
        rest.create(&path("storageclasses", "", ""), &class)?.ok()?;
        let (audit, node) = (server.audit(), Node::start(rest.clone(), server.directory().join("node"))?);
        Ok(Self { server, rest, audit, _node: node })
    }
}

/// Applies the definition.
pub(crate) fn define(server: &ApiServer) -> anyhow::Result<()> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../crds/generated/sorchapeernetworks.sorcha.org.yaml");
    let apply = ["apply", "--server-side", "--force-conflicts", "--filename", &file.to_string_lossy()];
    let said = server.kubectl(&apply)?;
    said.ok().context("the definition is not taken").map(drop)
}

/// The programs to test with, or why there are none.
pub(crate) fn assets() -> Result<Vec<PathBuf>, String> {
    chart::helm()?;
    apiserver::assets(With { audit: true, controllers: true })
}

/// All servers, started at the first call and shared by the tests; the inner error says why there are none.
fn worlds() -> anyhow::Result<Result<&'static [World], String>> {
    static WORLDS: OnceLock<Result<Vec<World>, String>> = OnceLock::new();
    let assets = match assets() {
        Ok(assets) => assets,
        Err(reason) => return Ok(Err(reason)),
    };
    let started = WORLDS.get_or_init(|| {
        let started: anyhow::Result<Vec<World>> = assets.iter().map(|at| World::start(at)).collect();
        started.map_err(|error| format!("{error:#}"))
    });
    match started {
        Ok(worlds) => Ok(Ok(worlds)),
        Err(error) => anyhow::bail!("{error}"),
    }
}

/// Checks on every server at once, in a namespace of the test's own; skips the test where there is none.
pub(crate) fn on_every_server(
    test: &str,
    check: impl Fn(&Space<'_>) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let worlds = match worlds()? {
        Ok(worlds) => worlds,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    on(worlds, test, check)
}

/// The same on the newest alone, for what is slow and has nothing to do with the server's age.
pub(crate) fn on_newest_server(
    test: &str,
    check: impl Fn(&Space<'_>) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let worlds = match worlds()? {
        Ok(worlds) => worlds,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    on(&worlds[worlds.len().saturating_sub(1)..], test, check)
}

fn on(
    worlds: &'static [World],
    test: &str,
    check: impl Fn(&Space<'_>) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let check = &check;
    std::thread::scope(|scope| {
        let run = |world: &'static World| {
            let outcome = Space::create(world, &test.replace('_', "-"))
                .and_then(|space| check(&space).and_then(|()| space.was_allowed()));
            outcome.with_context(|| format!("on Kubernetes {}", world.server.version()))
        };
        let threads: Vec<_> = worlds.iter().map(|world| scope.spawn(move || run(world))).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a check panicked; its words are above"))??;
        }
        Ok(())
    })
}

/// A namespace in which an operator has an account with exactly the rights that the chart gives it.
pub(crate) struct Space<'a> {
    pub(crate) world: &'a World,
    pub(crate) name: String,
    token: String,
    start: Start,
    began: Timestamp,
    lacks_rights: AtomicBool,
}

impl<'a> Space<'a> {
    /// A new one, in which only restricted pods are let in and an operator may look after its own networks alone.
    pub(crate) fn create(world: &'a World, name: &str) -> anyhow::Result<Self> {
        let name: String = name.chars().take(40).collect::<String>().trim_end_matches('-').to_owned();
        let watched = format!("watchNamespaces=[{name:?}]");
        Self::create_with(world, &name, &[&watched])
    }

    /// The same with values of the chart.
    pub(crate) fn create_with(world: &'a World, name: &str, values: &[&str]) -> anyhow::Result<Self> {
        create_namespace(world, name)?;
        let objects = chart::render(world.server.version(), name, values)?;
        for object in &objects {
            let resource = match object["kind"].as_str().unwrap_or_default() {
                "ServiceAccount" => "serviceaccounts",
                "Role" => "roles",
                "RoleBinding" => "rolebindings",
                "ClusterRole" => "clusterroles",
                "ClusterRoleBinding" => "clusterrolebindings",
                _ => continue,
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &object["metadata"];
            // The smoke test's account has rights of its own.
            if metadata["annotations"]["helm.sh/hook"].is_string() {
                continue;
            }
            let at = path(resource, &text(&metadata["namespace"]), &text(&metadata["name"]));
            world.rest.apply(&at, object)?.ok().with_context(|| at.clone())?;
        }
        let start = Start::read(&objects, name)?;
        Ok(Self {
            world,
            name: name.to_owned(),
            token: token(world, name)?,
            start,
            began: Timestamp::now(),
            lacks_rights: AtomicBool::new(false),
        })
    }

    /// Says that the operator of this test is meant to lack rights.
    pub(crate) fn expect_denials(&self) {
        self.lacks_rights.store(true, Ordering::Relaxed);
    }

    /// A second operator's way to start, known by another token of the same account: that token's `jti` and the way.
    pub(crate) fn another(&self, pod: &str) -> anyhow::Result<(String, Setup)> {
        let token = token(self.world, &self.name)?;
        let claims = token.split('.').nth(1).context("a token has three parts")?;
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?;
        let claims: Value = serde_json::from_slice(&claims)?;
        let id = claims["jti"].as_str().context("a token has a number")?.to_owned();
        Ok((id, Setup { token, pod: pod.to_owned(), ..self.setup() }))
    }

    /// As whom the operator is known.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{ACCOUNT}", self.name)
    }

    /// A client with the operator's rights.
    pub(crate) fn as_operator(&self, url: &str) -> anyhow::Result<Rest> {
        Rest::new(url, &std::fs::read(self.world.server.root_file())?, &self.token)
    }

    /// A proxy in front of the server.
    pub(crate) fn proxy(&self) -> anyhow::Result<Proxy> {
        Proxy::start(self.world.server.url(), &std::fs::read(self.world.server.root_file())?)
    }

    /// How an operator is started here.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            url: self.world.server.url().to_owned(),
            root: self.world.server.root_file(),
            token: self.token.clone(),
            namespace: self.name.clone(),
            pod: "operator-0".to_owned(),
            start: self.start.clone(),
            log_level: "info,sorcha_operator=debug".to_owned(),
            args: Vec::new(),
        }
    }

    /// An operator that is ready.
    pub(crate) fn operator(&self) -> anyhow::Result<Operator> {
        operator_from(&self.setup())
    }

    /// Path of an object in it, or of a collection.
    pub(crate) fn path(&self, resource: &str, name: &str) -> String {
        path(resource, &self.name, name)
    }

    /// An object, or none.
    pub(crate) fn get(&self, resource: &str, name: &str) -> anyhow::Result<Option<Value>> {
        self.world.rest.get(&self.path(resource, name))
    }

    /// An object that must be there.
    pub(crate) fn held(&self, resource: &str, name: &str) -> anyhow::Result<Value> {
        self.get(resource, name)?.with_context(|| format!("{resource} {name} is not there"))
    }

    /// Waits for an object that a condition holds for.
    pub(crate) fn await_held(
        &self,
        resource: &str,
        name: &str,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = None;
        wait::until(&format!("{resource} {name} as wanted"), SOON, || {
            last = self.get(resource, name).ok()?;
            last.clone().filter(|held| holds(held))
        })
        .with_context(|| format!("it is {}", last.map_or("not there".to_owned(), |held| brief(&held))))
    }

    /// Makes a network.
    pub(crate) fn network(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let network = json!({
            "apiVersion": "sorcha.org/v1alpha1", "kind": "SorchaPeerNetwork",
            "metadata": { "name": name, "namespace": self.name }, "spec": spec,
        });
        self.world.rest.create(&self.path("sorchapeernetworks", ""), &network)?.ok().map(drop)
    }

    /// Changes the spec of a network.
    pub(crate) fn change(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let patch = json!({ "spec": spec });
        self.world.rest.merge(&self.path("sorchapeernetworks", name), &patch)?.ok().map(drop)
    }

    /// Waits until a condition of a network has a status and, where one is given, a reason; returns its message.
    pub(crate) fn await_condition(
        &self,
        network: &str,
        kind: &str,
        status: &str,
        reason: Option<&str>,
    ) -> anyhow::Result<String> {
        let held = self.await_held("sorchapeernetworks", network, |held| {
            held["status"]["observedGeneration"] == held["metadata"]["generation"]
                && condition(held, kind).is_some_and(|found| {
                    found["status"] == status && reason.is_none_or(|reason| found["reason"] == reason)
                })
        })?;
        let found = condition(&held, kind).context("it was there")?;
        Ok(found["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a network is ready.
    pub(crate) fn await_ready(&self, network: &str) -> anyhow::Result<()> {
        self.await_condition(network, "Ready", "True", None).map(drop)
    }

    /// The operator's writes since a time, Leases apart.
    pub(crate) fn writes(&self, since: Timestamp) -> Vec<Request> {
        self.world.audit.writes(&self.user(), since)
    }

    /// Waits until the operator has written nothing for a while.
    pub(crate) fn await_rest(&self) -> anyhow::Result<()> {
        wait::until("an operator that rests", SOON, || {
            let since = Timestamp::now() - jiff::SignedDuration::from_millis(2_500);
            std::thread::sleep(Duration::from_millis(100));
            (self.began < since && self.writes(since).is_empty()).then_some(())
        })
        .with_context(|| lines(&self.writes(Timestamp::now() - jiff::SignedDuration::from_secs(3))))
    }

    /// Fails where the operator writes in the given time.
    pub(crate) fn stays_quiet(&self, time: Duration) -> anyhow::Result<()> {
        let since = Timestamp::now();
        std::thread::sleep(time);
        let writes = self.writes(since);
        anyhow::ensure!(writes.is_empty(), "{} writes in {time:?}:\n{}", writes.len(), lines(&writes));
        Ok(())
    }

    /// Fails where the operator was refused something for want of a right.
    fn was_allowed(&self) -> anyhow::Result<()> {
        let user = self.user();
        let refused = self.world.audit.select(|request| {
            // A test of the log itself asks elsewhere for what it may not have.
            let asked = request.user == user && request.namespace != "default";
            asked && request.received >= self.began && request.is_denied
        });
        if self.lacks_rights.load(Ordering::Relaxed) {
            return Ok(());
        }
        anyhow::ensure!(refused.is_empty(), "rights are missing:\n{}", lines(&refused));
        Ok(())
    }
}

/// An operator that is ready, started in a way of its own.
pub(crate) fn operator_from(setup: &Setup) -> anyhow::Result<Operator> {
    let mut operator = Operator::start(setup)?;
    wait::until("an operator that is ready", SOON, || {
        if let Some(status) = operator.ended() {
            return Some(Err(anyhow::anyhow!("it ended with {status}: {}", operator.last_words())));
        }
        operator.ask("/readyz").filter(|(code, _)| *code == 200).map(|_| Ok(()))
    })
    .with_context(|| operator.last_words())??;
    Ok(operator)
}

/// A token of the operator's account.
fn token(world: &World, namespace: &str) -> anyhow::Result<String> {
    let asked = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 36_000 },
    });
    let at = path("serviceaccounts", namespace, &format!("{ACCOUNT}/token"));
    let given = world.rest.create(&at, &asked)?.ok()?;
    Ok(given["status"]["token"].as_str().context("a token is given")?.to_owned())
}

/// A namespace in which only restricted pods are let in.
pub(crate) fn create_namespace(world: &World, name: &str) -> anyhow::Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    world.rest.create(&path("namespaces", "", ""), &namespace)?.ok().map(drop)
}

/// A condition of an object.
pub(crate) fn condition<'a>(held: &'a Value, kind: &str) -> Option<&'a Value> {
    held["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Requests as a report.
pub(crate) fn lines(requests: &[Request]) -> String {
    requests.iter().map(Request::line).collect::<Vec<_>>().join("\n")
}

/// An object without what servers add for themselves, as one line.
fn brief(held: &Value) -> String {
    let mut held = held.clone();
    held["metadata"]["managedFields"].take();
    held.to_string().chars().take(4000).collect()
}
