//! Directories, certificates and processes of peers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sorcha_peer_pki::{Authority, IssueRequest, SpiffeId, files};

use crate::client::{self, Client};

/// Trust domain of all measurements.
const DOMAIN: &str = "bench.example";
/// Peers that everybody begins with, where nothing else is said: the first ones.
const BOOTSTRAP: std::ops::Range<usize> = 0..3;
/// Where ports are looked for.
const PORTS_FROM: u16 = 20_000;
const PORTS_TO: u16 = 32_000;
/// A peer serves within this, also one of a thousand on a busy machine.
const SERVES_WITHIN: Duration = Duration::from_secs(180);

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Place {
    /// The shipping program.
    pub(crate) program: PathBuf,
    /// Scratch.
    pub(crate) directory: PathBuf,
}

/// A network's peers on disk; none runs yet.
#[derive(Debug)]
pub(crate) struct Crowd {
    program: PathBuf,
    directories: Vec<PathBuf>,
    ports: Vec<u16>,
}

impl Crowd {
    /// Certificates and configurations for so many peers.
    pub(crate) fn prepare(place: &Place, peers: usize) -> Result<Self> {
        Self::prepare_with(place, peers, |_| BOOTSTRAP.collect(), &json!({}))
    }

    /// The same with these to begin with for each, and these sections of the configuration.
    pub(crate) fn prepare_with(
        place: &Place,
        peers: usize,
        bootstrap: impl Fn(usize) -> Vec<usize>,
        sections: &Value,
    ) -> Result<Self> {
        let now = Timestamp::now();
        let authority = Authority::generate(DOMAIN, now, SignedDuration::from_hours(24))?;
        let ports = free_ports(peers)?;
        let address = |peer: usize| format!("127.0.0.1:{}", ports[peer]);
        let mut directories = Vec::new();
        for peer in 0..peers {
            let name = format!("peer-{peer}");
            let directory = place.directory.join(&name);
            let uri = SpiffeId::new(DOMAIN, "bench", &name)?;
            let issued = authority.issue(&IssueRequest::new(uri, now))?;
            files::write_identity(&directory.join("tls"), &issued, authority.certificate_pem())?;
            let bootstrap: Vec<String> =
                bootstrap(peer).into_iter().filter(|peer| *peer < peers).map(address).collect();
            let mut config = json!({
                "configVersion": 1, "networkId": "bench", "trustDomain": DOMAIN, "name": name,
                "listen": {
                    "peer": address(peer), "api": format!("unix:{}", socket(&directory).display()),
                    "admin": "127.0.0.1:0",
                },
                "tls": { "directory": directory.join("tls") },
                "state": { "directory": directory.join("state") },
                "log": { "level": "warn" },
                "bootstrap": { "addresses": bootstrap },
            });
            for (name, section) in sections.as_object().into_iter().flatten() {
                config[name] = section.clone();
            }
            std::fs::write(config_of(&directory), config.to_string())?;
            directories.push(directory);
        }
        Ok(Self { program: place.program.clone(), directories, ports })
    }

    /// Takes a peer's place: whoever connects is never answered.
    pub(crate) fn mute(&self, peer: usize) -> Result<std::net::TcpListener> {
        Ok(std::net::TcpListener::bind(("127.0.0.1", self.ports[peer]))?)
    }

    /// Runs one peer as the shipping program.
    pub(crate) fn start(&self, peer: usize) -> Result<Running> {
        ensure!(
            self.program.exists(),
            "{} is not there: build it with `cargo build --release`, or name it with --program",
            self.program.display()
        );
        let directory = &self.directories[peer];
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(config_of(directory)).env("SORCHA_EXIT_WITH_STDIN", "1");
        Ok(Running { child: spawn(command)?, socket: socket(directory) })
    }

    /// Runs some peers in one process.
    pub(crate) fn host(&self, peers: std::ops::Range<usize>) -> Result<Host> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("host").args(&self.directories[peers]);
        let mut child = spawn(command)?;
        let (stdin, stdout) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        Ok(Host { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// A client of a peer, once it serves.
    pub(crate) async fn client(&self, peer: usize) -> Result<Client> {
        client::connect(&socket(&self.directories[peer]), SERVES_WITHIN).await
    }
}

/// A peer of the shipping program; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    socket: PathBuf,
}

impl Running {
    /// A client of it, once it serves.
    pub(crate) async fn client(&self) -> Result<Client> {
        client::connect(&self.socket, SERVES_WITHIN).await
    }

    /// Of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the peer does not end well");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A process with many peers; killed when dropped.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Host {
    /// Asks `status` or `log`; see `host.rs`.
    pub(crate) fn ask(&mut self, what: &str) -> Result<Value> {
        writeln!(self.stdin, "{what}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("a host has ended: it answers '{}'", line.trim()))
    }

    /// Of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn spawn(mut command: Command) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} does not start"))
}

/// The configuration in a peer's directory.
pub(crate) fn config_of(directory: &Path) -> PathBuf {
    directory.join("peer.yaml")
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("api")
}

/// Ports below those that the system gives to connections (`ip_local_port_range`, from 32,768 on), so that none is taken
/// as another's source while thousands of links are made.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let ports: Vec<u16> = (PORTS_FROM..PORTS_TO)
        .filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .take(count)
        .collect();
    ensure!(
        ports.len() == count,
        "{} of {count} ports from {PORTS_FROM} to {PORTS_TO} are free",
        ports.len()
    );
    Ok(ports)
}
