//! Servers that the tests share, and namespaces of their own with an operator's account.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use sorcha_e2e::apiserver::{self, ApiServer, With};
use sorcha_e2e::audit::Audit;
use sorcha_e2e::node::Node;
use sorcha_e2e::proxy::Proxy;
use sorcha_e2e::rest::{Rest, path};
use sorcha_e2e::wait;

/// How long anything may take that takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Name of the operator's account and of its Lease.
pub(crate) const ACCOUNT: &str = "sorcha-operator";

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
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../crds/generated/sorchapeernetworks.sorcha.org.yaml");
        server
            .kubectl(&["apply", "--server-side", "--filename", &file.to_string_lossy()])?
            .ok()
            .context("the definition is not taken")?;
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
        let (audit, node) = (server.audit(), Node::start(rest.clone())?);
        Ok(Self { server, rest, audit, _node: node })
    }
}

/// The programs to test with, or why there are none.
pub(crate) fn assets() -> Result<Vec<PathBuf>, String> {
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
            let outcome = Space::create(world, &test.replace('_', "-")).and_then(|space| check(&space));
            outcome.with_context(|| format!("on Kubernetes {}", world.server.version()))
        };
        let threads: Vec<_> = worlds.iter().map(|world| scope.spawn(move || run(world))).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a check panicked; its words are above"))??;
        }
        Ok(())
    })
}

/// A namespace in which an operator has an account with the rights that the chart gives for one namespace.
pub(crate) struct Space<'a> {
    pub(crate) world: &'a World,
    pub(crate) name: String,
    token: String,
}

impl<'a> Space<'a> {
    /// A new one, in which only restricted pods are let in.
    pub(crate) fn create(world: &'a World, name: &str) -> anyhow::Result<Self> {
        let name: String = name.chars().take(40).collect::<String>().trim_end_matches('-').to_owned();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        });
        world.rest.create(&path("namespaces", "", ""), &namespace)?.ok()?;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": ACCOUNT, "namespace": name },
        });
        world.rest.create(&path("serviceaccounts", &name, ""), &account)?.ok()?;
        let asked = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 36_000 },
        });
        let at = path("serviceaccounts", &name, &format!("{ACCOUNT}/token"));
        let given = world.rest.create(&at, &asked)?.ok()?;
        let token = given["status"]["token"].as_str().context("a token is given")?.to_owned();
        Ok(Self { world, name, token })
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

    /// Path of an object in it, or of a collection.
    pub(crate) fn path(&self, resource: &str, name: &str) -> String {
        path(resource, &self.name, name)
    }

    /// An object, or none.
    pub(crate) fn get(&self, resource: &str, name: &str) -> anyhow::Result<Option<Value>> {
        self.world.rest.get(&self.path(resource, name))
    }
}
