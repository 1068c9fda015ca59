//! The definition of `SorchaPeerNetwork` and the objects made for it, judged by real API servers of the oldest and
//! the newest supported Kubernetes. `cargo xtask assets` builds them; without them each test is skipped.

mod definition;
mod fields;
mod objects;
mod refusals;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use sorcha_e2e::apiserver::{self, ApiServer};
use sorcha_e2e::programs::Said;
use sorcha_e2e::wait;

/// Checks on every server that there is, with the definition installed and a namespace of the test's own; skips the
/// test where there is none.
fn on_every_server(test: &str, check: impl Fn(&Space) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let servers = match servers_with_definition()? {
        Ok(servers) => servers,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    for server in servers {
        Space::create(server, &test.replace('_', "-"))
            .and_then(|space| check(&space))
            .with_context(|| format!("on Kubernetes {}", server.version()))?;
    }
    Ok(())
}

/// A file of the `crds` directory.
fn crds(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds").join(path)
}

/// The committed definition, as text.
fn definition() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(crds("generated/sorchapeernetworks.sorcha.org.yaml"))?)
}

/// An example, as text.
fn example(name: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(crds(&format!("examples/{name}.yaml")))?)
}

/// The names of all examples, in order.
fn examples() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(crds("examples"))? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        names.extend(name.strip_suffix(".yaml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The servers, the definition served by each.
fn servers_with_definition() -> anyhow::Result<Result<&'static [ApiServer], &'static str>> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let servers = match apiserver::servers()? {
        Ok(servers) => servers,
        Err(reason) => return Ok(Err(reason)),
    };
    let installed = INSTALLED.get_or_init(|| install(servers).map_err(|error| format!("{error:#}")));
    match installed {
        Ok(()) => Ok(Ok(servers)),
        Err(error) => anyhow::bail!("the definition is not served: {error}"),
    }
}

fn install(servers: &[ApiServer]) -> anyhow::Result<()> {
    let definition = definition()?;
    for server in servers {
        server.kubectl_with(&["apply", "--server-side", "--validate=strict"], &definition)?.ok()?;
        let name = "crd/sorchapeernetworks.sorcha.org";
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", name])?.ok()?;
        // Established, found by clients and explained to them are three things.
        wait::until("a server that lists and explains the kind", Duration::from_secs(30), || {
            let said = server.kubectl(&["api-resources", "--api-group=sorcha.org", "-o=name"]).ok()?;
            let listed = said.text().contains("sorchapeernetworks");
            (listed && server.kubectl(&["explain", "spn.spec.replicas"]).ok()?.code == Some(0)).then_some(())
        })?;
    }
    Ok(())
}

/// A namespace on a server.
pub(crate) struct Space<'a> {
    server: &'a ApiServer,
    name: String,
}

impl<'a> Space<'a> {
    /// A new one, in which a pod that is not restricted leads to a warning.
    fn create(server: &'a ApiServer, name: &str) -> anyhow::Result<Self> {
        let name: String = name.chars().take(63).collect::<String>().trim_end_matches('-').to_owned();
        server.kubectl(&["create", "namespace", &name])?.ok()?;
        let label = "pod-security.kubernetes.io/warn=restricted";
        server.kubectl(&["label", "namespace", &name, label])?.ok()?;
        Ok(Self { server, name })
    }

    /// `kubectl` in this namespace.
    fn kubectl(&self, args: &[&str]) -> anyhow::Result<Said> {
        self.server.kubectl(&[args, &["--namespace", &self.name]].concat())
    }

    /// Applies a manifest as a person would who wants to be told of mistakes.
    fn apply(&self, manifest: &str) -> anyhow::Result<Said> {
        self.apply_with(&[], manifest)
    }

    /// The same with more options.
    fn apply_with(&self, more: &[&str], manifest: &str) -> anyhow::Result<Said> {
        let args: &[&str] = &["apply", "--server-side", "--validate=strict", "--namespace", &self.name];
        self.server.kubectl_with(&[args, more].concat(), manifest)
    }

    /// An object as the server holds it.
    fn get(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        self.kubectl(&["get", name, "-o", "json"])?.ok()?.json()
    }
}

/// A manifest with these lines below `spec:`; their first may stand on its own line or in braces.
fn manifest(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().flat_map(|line| ["  ", line, "\n"]).collect();
    let spec = if spec.is_empty() { " {}\n".to_owned() } else { format!("\n{spec}") };
    format!(
        "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata:\n  name: {name}\nspec:{spec}"
    )
}
