//! One peer process on its own, with certificates made by `sorcha-peer cert` as a person would make them.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::ports::free_ports;
use crate::programs::{self, Said};
use crate::wait;

/// A directory with a CA, a certificate and a configuration file for one peer.
pub struct Solo {
    directory: tempfile::TempDir,
    name: String,
    ports: [u16; 3],
}

impl Solo {
    /// Everything that the peer `name` of the network `solo` needs.
    pub fn prepare(name: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sorcha-solo-").tempdir()?;
        let solo = Self { directory, name: name.to_owned(), ports: free_ports()? };
        solo.create_ca("ca")?;
        solo.issue("ca", &["--days", "30"])?;
        solo.configure("")?;
        Ok(solo)
    }

    /// Another peer of the same network, in a directory of its own, with a certificate of the same CA.
    pub fn beside(&self, name: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sorcha-solo-").tempdir()?;
        let other = Self { directory, name: name.to_owned(), ports: free_ports()? };
        // An absolute path stays what it is.
        other.issue(self.path().join("ca").to_str().context("a UTF-8 path")?, &["--days", "30"])?;
        other.configure("")?;
        Ok(other)
    }

    /// The test's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `listen.peer`.
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// `listen.api`.
    pub fn api(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// `listen.admin`.
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.path().join("peer.yaml")
    }

    /// Makes a CA in a folder below the test's directory.
    pub fn create_ca(&self, folder: &str) -> anyhow::Result<()> {
        programs::run(
            programs::command("sorcha-peer")
                .args(["cert", "create-ca", "--trust-domain", "solo.test", "--out"])
                .arg(self.path().join(folder)),
        )?
        .ok()?;
        Ok(())
    }

    /// Issues the peer's certificate from a CA folder, with more arguments.
    pub fn issue(&self, ca: &str, more: &[&str]) -> anyhow::Result<()> {
        let uri = format!("spiffe://solo.test/solo/{}", self.name);
        programs::run(
            programs::command("sorcha-peer")
                .args(["cert", "issue", "--uri", &uri, "--ca"])
                .arg(self.path().join(ca))
                .arg("--out")
                .arg(self.path().join("tls"))
                .args(more),
        )?
        .ok()?;
        Ok(())
    }

    /// Writes the configuration file; `more` is appended as it is.
    pub fn configure(&self, more: &str) -> anyhow::Result<()> {
        let (path, name) = (self.path().display(), &self.name);
        let [peer, api, admin] = [self.peer_address(), self.api(), self.admin()];
        let text = format!(
            "configVersion: 1\nnetworkId: solo\ntrustDomain: solo.test\nname: {name}\n\
             listen: {{peer: '{peer}', api: '{api}', admin: '{admin}'}}\n\
             tls: {{directory: {path}/tls}}\nstate: {{directory: {path}/state}}\n{more}"
        );
        std::fs::write(self.config_file(), text).context("the configuration file cannot be written")
    }

    /// Starts the peer; its log goes to `peer.log`.
    pub fn spawn(&self) -> anyhow::Result<Running<'_>> {
        let log = std::fs::File::options().create(true).append(true).open(self.path().join("peer.log"))?;
        let child = programs::command("sorcha-peer")
            .arg("run")
            .arg("--config")
            .arg(self.config_file())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Running { solo: self, child })
    }

    /// Starts the peer and waits until it answers.
    pub fn start(&self) -> anyhow::Result<Running<'_>> {
        let mut running = self.spawn()?;
        wait::until("the peer answers", Duration::from_secs(20), || {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Some(Err(anyhow::anyhow!("it ended with {status}: {}", self.log())));
            }
            self.cli(&["status", "-o", "json"]).ok().filter(|said| said.code == Some(0)).map(|_| Ok(()))
        })??;
        Ok(running)
    }

    /// Starts a peer that is expected to refuse, and returns its exit code and all it said.
    pub fn refused(&self) -> anyhow::Result<(Option<i32>, String)> {
        let mut running = self.spawn()?;
        let status = running.await_end()?;
        Ok((status.code(), self.log()))
    }

    /// All that the peer wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("peer.log")).unwrap_or_default()
    }

    /// Runs `sorcha-peer --api ... ARGS`.
    pub fn cli(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(programs::command("sorcha-peer").args(["--api", &self.api()]).args(args))
    }

    /// Submits a text.
    pub fn submit(&self, text: &str) -> anyhow::Result<Said> {
        self.cli(&["submit", "--text", text, "-o", "json"])
    }
}

/// A peer process; dropping it kills it.
pub struct Running<'a> {
    solo: &'a Solo,
    child: Child,
}

impl Running<'_> {
    /// Process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits for its end.
    pub fn await_end(&mut self) -> anyhow::Result<ExitStatus> {
        wait::until("the peer ends", Duration::from_secs(20), || self.child.try_wait().ok().flatten())
            .with_context(|| self.solo.log())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
