//! A small client of API servers for tests: JSON in, JSON out, and the status code as it came.
//!
//! Cheaper than `kubectl` where a test asks often. Knows paths of the kinds that tests touch; decides nothing.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::core::WatchEvent;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Who the tests are when they apply.
const MANAGER: &str = "tests";

/// The runtime that everything asynchronous in the tests shares.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Fails only where a provider is there already.
        drop(rustls::crypto::ring::default_provider().install_default());
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started")
    })
}

/// A client with the rights of one user.
#[derive(Clone)]
pub struct Rest {
    client: kube::Client,
}

/// What a server said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The object, or a `Status`.
    pub body: Value,
}

impl Answer {
    /// The object, or an error with the server's words.
    pub fn ok(self) -> anyhow::Result<Value> {
        anyhow::ensure!(self.code < 300, "{}: {}", self.code, self.body["message"]);
        Ok(self.body)
    }
}

/// Path of a collection, or of one object of it where `name` is not empty. `resource` is the plural, with the
/// subresource behind a name: `("pods", "a", "b/status")`.
///
/// # Panics
/// For a resource that no test has used before: add it here.
pub fn path(resource: &str, namespace: &str, name: &str) -> String {
    let group = match resource {
        "pods"
        | "configmaps"
        | "secrets"
        | "services"
        | "serviceaccounts"
        | "persistentvolumeclaims"
        | "namespaces"
        | "events"
        | "resourcequotas" => "api/v1",
        "statefulsets" | "controllerrevisions" => "apis/apps/v1",
        "poddisruptionbudgets" => "apis/policy/v1",
        "networkpolicies" => "apis/networking.k8s.io/v1",
        "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings" => {
            "apis/rbac.authorization.k8s.io/v1"
        }
        "leases" => "apis/coordination.k8s.io/v1",
        "storageclasses" => "apis/storage.k8s.io/v1",
        "customresourcedefinitions" => "apis/apiextensions.k8s.io/v1",
        "podmonitors" => "apis/monitoring.coreos.com/v1",
        "sorchapeernetworks" => "apis/sorcha.org/v1alpha1",
        other => panic!("no test knows the path of {other}"),
    };
    let space = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("/{group}{space}/{resource}{name}")
}

impl Rest {
    /// With a token, for a server whose root certificate is given as PEM.
    pub fn new(url: &str, root: &[u8], token: &str) -> anyhow::Result<Self> {
        let mut config = upstream(url, root)?;
        config.auth_info.token = Some(token.to_owned().into());
        let _guard = runtime().enter();
        Ok(Self { client: kube::Client::try_from(config)? })
    }

    /// Any request; an error where the server could not be asked.
    pub fn send(
        &self,
        method: &Method,
        path: &str,
        form: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", form)
            .header("accept", "application/json")
            .body(Body::from(bytes))?;
        runtime()
            .block_on(async {
                let response = self.client.send(request).await?;
                let code = response.status().as_u16();
                let body = response.into_body().collect().await?.to_bytes();
                let body = serde_json::from_slice(&body)
                    .unwrap_or_else(|_| json!({ "message": String::from_utf8_lossy(&body) }));
                anyhow::Ok(Answer { code, body })
            })
            .with_context(|| format!("{method} {path}"))
    }

    /// An object, or none.
    pub fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let answer = self.send(&Method::GET, path, "application/json", None)?;
        if answer.code == 404 {
            return Ok(None);
        }
        answer.ok().map(Some)
    }

    /// All objects of a collection.
    pub fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut body = self.send(&Method::GET, path, "application/json", None)?.ok()?;
        match body["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("{path} is no collection"),
        }
    }

    /// Makes an object; `path` is that of its collection.
    pub fn create(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send(&Method::POST, path, "application/json", Some(object))
    }

    /// Changes an object by a merge patch.
    pub fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Answer> {
        self.send(&Method::PATCH, path, "application/merge-patch+json", Some(patch))
    }

    /// Changes an object by a JSON patch.
    pub fn json_patch(&self, path: &str, patch: &Value) -> anyhow::Result<Answer> {
        self.send(&Method::PATCH, path, "application/json-patch+json", Some(patch))
    }

    /// Server-side apply by force.
    pub fn apply(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        let path = format!("{path}?fieldManager={MANAGER}&force=true");
        self.send(&Method::PATCH, &path, "application/apply-patch+yaml", Some(object))
    }

    /// Server-side apply of many objects by their paths, so many under way at a time; returns how long it took.
    pub fn apply_all(&self, objects: &[(String, Value)], at_once: usize) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let apply = |(path, object): &(String, Value)| {
            let request = Request::patch(format!("{path}?fieldManager={MANAGER}&force=true"))
                .header("content-type", "application/apply-patch+yaml")
                .body(object.to_string().into_bytes());
            let client = self.client.clone();
            async move { anyhow::Ok(client.request::<Value>(request?).await.map(drop)?) }
        };
        let all = futures::stream::iter(objects.iter().map(apply)).buffer_unordered(at_once);
        runtime().block_on(all.try_collect::<()>())?;
        Ok(begin.elapsed())
    }

    /// Deletes an object, with options.
    pub fn delete(&self, path: &str, options: &Value) -> anyhow::Result<Answer> {
        self.send(&Method::DELETE, path, "application/json", Some(options))
    }

    /// What happens to a collection from a state on, until the server ends the watch.
    pub(crate) async fn watch(
        &self,
        path: &str,
        from: &str,
        mut each: impl FnMut(WatchEvent<Value>) -> bool,
    ) -> anyhow::Result<()> {
        let request = Request::get(format!("{path}?watch=1&resourceVersion={from}")).body(Vec::new())?;
        let mut events = std::pin::pin!(self.client.request_events::<Value>(request).await?);
        while let Some(event) = events.try_next().await? {
            if !each(event) {
                break;
            }
        }
        Ok(())
    }
}

/// How a server is reached without being anybody: no retries, no deadlines of its own.
pub(crate) fn upstream(url: &str, root: &[u8]) -> anyhow::Result<kube::Config> {
    let mut config = kube::Config::new(url.parse()?);
    let root = pem(root).context("a root certificate is PEM")?;
    config.root_cert = Some(vec![root]);
    config.default_retry = false;
    Ok(config)
}

/// The DER of the first block.
fn pem(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = std::str::from_utf8(text).ok()?;
    let body: String = text.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}
