//! Real API servers: etcd and kube-apiserver as processes of a test's own, on free ports of 127.0.0.1, and with them,
//! where a test wants it, the real controllers of Kubernetes and a log of every request.
//!
//! Knows how they are found, started and ended; what they are asked is the tests' matter. They run no pods: there is
//! no scheduler and no node (`node.rs` stands in for both).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sha2::{Digest as _, Sha256};

use crate::audit::{self, Audit};
use crate::ports::free_ports;
use crate::programs::{self, Said};
use crate::rest::Rest;
use crate::wait;

/// How long a server may take to answer on a busy machine; 4 s were measured on an idle one.
const READY: Duration = Duration::from_secs(120);

/// A port found free can be taken before the server has it: so often everything is tried again.
const STARTS_MAX: usize = 3;

/// The programs that make an API server.
const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];

/// The controllers of Kubernetes. Not part of what KUBEBUILDER_ASSETS promises.
const CONTROLLERS: &str = "kube-controller-manager";

/// Those that matter to a network's objects: pods of StatefulSets, what goes with its owner or namespace, quotas.
const CONTROLLERS_RUN: &str = "statefulset-controller,garbage-collector-controller,namespace-controller,\
     resourcequota-controller,disruption-controller";

/// Ends the processes that a file names and removes their directory, once the test program has ended in whatever
/// way: then its standard input closes. Nothing runs at the end of a Rust test program that could do this.
const GUARD: &str = r#"trap '' HUP INT TERM; read -r _; for pid in $(cat "$1/pids"); do kill -9 "$pid"; done; sleep 0.2; rm -rf "$1""#;

/// What runs beside a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct With {
    /// A log of the requests that [`Audit`] reads.
    pub audit: bool,
    /// The controllers.
    pub controllers: bool,
}

/// Directories that each hold etcd, kube-apiserver and kubectl: the one that `KUBEBUILDER_ASSETS` names, else what
/// `cargo xtask assets` has built, oldest release first. An error says why there are none.
pub fn assets(with: With) -> Result<Vec<PathBuf>, String> {
    let found = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => current().ok_or("no API server here: run `cargo xtask assets`, or set KUBEBUILDER_ASSETS")?,
    };
    for directory in &found {
        for program in PROGRAMS.into_iter().chain(with.controllers.then_some(CONTROLLERS)) {
            if !directory.join(program).is_file() {
                return Err(format!("{} holds no {program}: run `cargo xtask assets`", directory.display()));
            }
        }
    }
    Ok(found)
}

/// The releases that `cargo xtask assets` lists in its directory.
fn current() -> Option<Vec<PathBuf>> {
    let list = std::fs::read_to_string(built("current")?).ok()?;
    list.lines().map(built).collect()
}

/// What `cargo xtask assets` keeps under a name, whether it is there or not.
pub fn built(name: &str) -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("sorcha/assets").join(name))
}

/// All servers to test with, started at the first call and shared by the tests of a program; they end with it. The
/// inner error is the reason why there are none, for [`crate::skip!`].
pub fn servers() -> anyhow::Result<Result<&'static [ApiServer], &'static str>> {
    static SERVERS: OnceLock<Result<Vec<ApiServer>, String>> = OnceLock::new();
    static ASSETS: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    let assets = match ASSETS.get_or_init(|| assets(With::default())) {
        Ok(assets) => assets,
        Err(reason) => return Ok(Err(reason)),
    };
    let started = SERVERS.get_or_init(|| {
        let started: anyhow::Result<Vec<ApiServer>> =
            assets.iter().map(|at| ApiServer::start(at, With::default())).collect();
        started.map_err(|error| format!("{error:#}"))
    });
    match started {
        Ok(servers) => Ok(Ok(servers)),
        Err(error) => bail!("{error}"),
    }
}

/// A running etcd with a kube-apiserver. Ends with the test program.
pub struct ApiServer {
    assets: PathBuf,
    directory: PathBuf,
    version: String,
    url: String,
    /// Holds the open end of the guard's standard input.
    _guard: Child,
}

impl ApiServer {
    /// Starts one from the programs of a directory and waits until it is ready.
    pub fn start(assets: &Path, with: With) -> anyhow::Result<Self> {
        for _ in 1..STARTS_MAX {
            match Self::try_start(assets, with) {
                Err(error) if format!("{error:#}").contains("address already in use") => {}
                outcome => return outcome,
            }
        }
        Self::try_start(assets, with)
    }

    fn try_start(assets: &Path, with: With) -> anyhow::Result<Self> {
        // The guard removes it: at the end of a program nothing else does.
        let directory = tempfile::Builder::new().prefix("sorcha-api-").tempdir()?.keep();
        std::fs::write(directory.join("pids"), "")?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("sh could not be started")?;
        let [client, peer, secure] = free_ports()?;
        let mut server = Self {
            assets: assets.to_owned(),
            directory,
            version: String::new(),
            url: format!("https://127.0.0.1:{secure}"),
            _guard: guard,
        };

        let store = format!("http://127.0.0.1:{client}");
        let mut etcd = server.spawn(
            "etcd",
            &[
                format!("--data-dir={}", server.path("etcd")),
                format!("--listen-client-urls={store}"),
                format!("--advertise-client-urls={store}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                // Nothing here is to survive the machine.
                "--unsafe-no-fsync".to_owned(),
            ],
        )?;
        server.write_credentials()?;
        let mut args = if with.audit { server.write_policy()? } else { Vec::new() };
        args.extend([
            format!("--etcd-servers={store}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={secure}"),
            format!("--tls-cert-file={}", server.path("server.crt")),
            format!("--tls-private-key-file={}", server.path("server.key")),
            format!("--token-auth-file={}", server.path("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", server.path("server.crt")),
            format!("--service-account-signing-key-file={}", server.path("server.key")),
            // Nobody makes the accounts that it would wait for.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ]);
        let mut api = server.spawn("kube-apiserver", &args)?;
        let ready = wait::until("an API server that is ready", READY, || {
            if let Some(name) = ended(&mut etcd, "etcd").or_else(|| ended(&mut api, "kube-apiserver")) {
                return Some(Err(name));
            }
            let said = server.kubectl(&["get", "--raw", "/readyz"]).ok()?;
            (said.code == Some(0)).then_some(Ok(()))
        });
        match ready {
            Ok(Ok(())) => {}
            Ok(Err(name)) => bail!("{name} ended at once: {}", server.log_of(name)),
            Err(error) => return Err(error.context(server.log_of("kube-apiserver"))),
        }
        let version = server.kubectl(&["get", "--raw", "/version"])?.ok()?.json()?;
        let version = version["gitVersion"].as_str().context("a server has a version")?;
        version.clone_into(&mut server.version);
        if with.controllers {
            server.spawn(
                CONTROLLERS,
                &[
                    format!("--kubeconfig={}", server.path("kubeconfig")),
                    format!("--controllers={CONTROLLERS_RUN}"),
                    "--leader-elect=false".to_owned(),
                    "--secure-port=0".to_owned(),
                ],
            )?;
        }
        Ok(server)
    }

    /// Such as `v1.33.13`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Such as `https://127.0.0.1:20000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its files lie; it goes with the server.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file that holds its root certificate.
    pub fn root_file(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// A client that may do everything.
    pub fn rest(&self) -> anyhow::Result<Rest> {
        let token = std::fs::read_to_string(self.path("tokens.csv"))?;
        let token = token.split(',').next().context("the first column is the token")?;
        Rest::new(&self.url, &std::fs::read(self.root_file())?, token)
    }

    /// Its log of requests; empty for ever where it was started without one.
    pub fn audit(&self) -> Audit {
        Audit::new(self.directory.join("audit.log"))
    }

    /// A file by which `kubectl` and Helm reach it as a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    fn spawn(&self, name: &str, args: &[String]) -> anyhow::Result<Child> {
        let log = std::fs::File::create(self.path(&format!("{name}.log")))?;
        let child = Command::new(self.assets.join(name))
            .args(args)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let mut pids = std::fs::File::options().append(true).open(self.path("pids"))?;
        writeln!(pids, "{}", child.id())?;
        Ok(child)
    }

    /// Last words of a server.
    fn log_of(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// A certificate for the server, a token for the tests, and a kubeconfig with both.
    fn write_credentials(&self) -> anyhow::Result<()> {
        let (root_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key)?;
        let issuer = Issuer::new(params, root_key);
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        let token = hex::encode(Sha256::digest(key.serialize_der()));
        std::fs::write(self.path("ca.crt"), root.pem())?;
        std::fs::write(self.path("server.crt"), certificate.pem())?;
        std::fs::write(self.path("server.key"), key.serialize_pem())?;
        std::fs::write(self.path("tokens.csv"), format!("{token},tests,tests,system:masters\n"))?;
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "clusters": [{"name": "tests", "cluster": {
                "server": self.url,
                "certificate-authority": self.path("ca.crt"),
            }}],
            "users": [{"name": "tests", "user": {"token": token}}],
        });
        std::fs::write(self.path("kubeconfig"), kubeconfig.to_string())?;
        Ok(())
    }

    /// Says what goes into the log of requests, and returns the arguments that want it.
    fn write_policy(&self) -> anyhow::Result<Vec<String>> {
        std::fs::write(self.path("audit.yaml"), audit::POLICY)?;
        Ok(vec![
            format!("--audit-policy-file={}", self.path("audit.yaml")),
            format!("--audit-log-path={}", self.path("audit.log")),
            // In one file: it goes with its server.
            "--audit-log-maxsize=100000".to_owned(),
        ])
    }

    /// Runs `kubectl` against it, as a user who may do everything.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(&mut self.command(args))
    }

    /// Runs `kubectl ARGS -f -` with a manifest.
    pub fn kubectl_with(&self, args: &[&str], manifest: &str) -> anyhow::Result<Said> {
        let mut kubectl = self
            .command(args)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl could not be started")?;
        let mut input = kubectl.stdin.take().context("its input is piped")?;
        input.write_all(manifest.as_bytes())?;
        drop(input);
        Ok(kubectl.wait_with_output()?.into())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.assets.join("kubectl"));
        command
            .args(args)
            .args(["--request-timeout", "30s", "--cache-dir", &self.path("kubectl")])
            .env("KUBECONFIG", self.path("kubeconfig"))
            // The preferences of whoever runs the tests are none of theirs.
            .env("KUBERC", "off")
            .stdin(Stdio::null());
        command
    }
}

/// The name, where the process is no more.
fn ended(child: &mut Child, name: &'static str) -> Option<&'static str> {
    matches!(child.try_wait(), Ok(Some(_))).then_some(name)
}
