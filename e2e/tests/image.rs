//! The images as they are written: nothing in them but a program, CA roots and the directory that it writes to, and the
//! program runs there as nobody, with no other file of any system.
//!
//! Needs root for the empty root; without it, or without images (`cargo xtask image`), the tests are skipped.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::Value;
use sorcha_e2e::figure;
use sorcha_e2e::network::kill;
use sorcha_e2e::programs::{self, Said};
use sorcha_e2e::{image, ports, skip, wait};

/// User and group that the images name.
const NOBODY: u32 = 65_532;

/// A peer that is not ready by then never is.
const READY: Duration = Duration::from_secs(30);

/// An image's files below a directory, and nothing else.
struct Root {
    directory: tempfile::TempDir,
    config: Value,
}

impl Root {
    fn unpack(program: &str) -> anyhow::Result<Result<Self, &'static str>> {
        let Some(oci) = image::archive(program, "oci") else {
            return Ok(Err(image::MISSING));
        };
        if !rustix::process::geteuid().is_root() {
            return Ok(Err("an empty root needs root: run as root"));
        }
        let directory = tempfile::Builder::new().prefix("sorcha-image-").tempdir()?;
        for below in ["archive", "root"] {
            std::fs::create_dir(directory.path().join(below))?;
        }
        let config = image::unpack(&oci, &directory.path().join("archive"), &directory.path().join("root"))?;
        // The temporary directory is its owner's alone, and another user walks through it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open)?;
        Ok(Ok(Self { directory, config }))
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A program in this root, as the user of the image and with no other group; its environment is the image's.
    fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let config = &self.config["config"];
        let words = |name: &str| config[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        let user = config["User"].as_str().context("the image names a user")?;
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={user}")).arg("--groups=").arg(self.path()).args(words("Entrypoint"));
        command.args(args).env_clear().stdin(Stdio::null());
        // `chroot` itself is found by the test's own path: the image's is told by `env` only where a program asks.
        command
            .envs(words("Env").filter_map(|entry| entry.split_once('=')).filter(|(name, _)| *name != "PATH"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Ok(command)
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(&mut self.command(args)?)
    }

    /// Everything below it: path, owner, mode; directories end with `/`.
    fn listing(&self) -> anyhow::Result<Vec<(String, u32, u32)>> {
        fn walk(top: &Path, at: &Path, found: &mut Vec<(String, u32, u32)>) -> anyhow::Result<()> {
            for entry in std::fs::read_dir(at)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let name = entry.path().strip_prefix(top)?.to_string_lossy().into_owned();
                ensure!(metadata.is_dir() || metadata.is_file(), "{name} is neither file nor directory");
                let end = if metadata.is_dir() { "/" } else { "" };
                found.push((name + end, metadata.uid(), metadata.mode() & 0o7777));
                if metadata.is_dir() {
                    walk(top, &entry.path(), found)?;
                }
            }
            Ok(())
        }
        let mut found = Vec::new();
        walk(&self.path(), &self.path(), &mut found)?;
        found.sort();
        Ok(found)
    }
}

/// The root of a program's image, or the test is skipped.
macro_rules! root_or_skip {
    ($test:expr, $program:expr) => {
        match Root::unpack($program)? {
            Ok(root) => root,
            Err(reason) => skip!($test, reason),
        }
    };
}

fn check_content(root: &Root, program: &str, own: &[(&str, u32, u32)]) -> anyhow::Result<()> {
    let mut wanted = vec![
        ("etc/", 0, 0o755),
        ("etc/ssl/", 0, 0o755),
        ("etc/ssl/certs/", 0, 0o755),
        ("etc/ssl/certs/ca-certificates.crt", 0, 0o644),
        (program, 0, 0o755),
    ];
    wanted.extend(own);
    wanted.sort_unstable();
    let found = root.listing()?;
    let found: Vec<(&str, u32, u32)> =
        found.iter().map(|(name, owner, mode)| (name.as_str(), *owner, *mode)).collect();
    ensure!(found == wanted, "the image holds {found:?}");
    ensure!(root.config["config"]["User"] == format!("{NOBODY}:{NOBODY}"), "it runs as another user");
    let roots = std::fs::read_to_string(root.path().join("etc/ssl/certs/ca-certificates.crt"))?;
    ensure!(roots.matches("-----BEGIN CERTIFICATE-----").count() > 50, "roots are missing");
    let version = root.run(&["--version"])?.ok()?.text();
    let wanted = format!("{program} {}", env!("CARGO_PKG_VERSION"));
    ensure!(version.starts_with(&wanted), "--version says {version:?}");
    Ok(())
}

#[test]
fn the_image_of_the_operator_holds_nothing_else_and_runs_as_nobody() -> anyhow::Result<()> {
    let test = "the_image_of_the_operator_holds_nothing_else_and_runs_as_nobody";
    let root = root_or_skip!(test, "sorcha-operator");
    check_content(&root, "sorcha-operator", &[])?;
    let definition = root.run(&["crd"])?.ok()?.text();
    ensure!(definition.contains("kind: CustomResourceDefinition"), "it prints no definition");
    // Without any cluster it says so: no panic over a machine that has nothing.
    let said = root.run(&["run"])?;
    ensure!(said.code == Some(2) && said.err.contains("cluster"), "{said:?}");
    Ok(())
}

/// A peer that runs in a root; dropping it kills it.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_image_of_the_peer_holds_nothing_else_and_a_peer_runs_in_it_as_nobody() -> anyhow::Result<()> {
    let test = "the_image_of_the_peer_holds_nothing_else_and_a_peer_runs_in_it_as_nobody";
    let root = root_or_skip!(test, "sorcha-peer");
    let own = [("var/", 0, 0o755), ("var/lib/", 0, 0o755), ("var/lib/sorcha/", NOBODY, 0o750)];
    check_content(&root, "sorcha-peer", &own)?;

    // Certificates and configuration as an engine would mount them, made by the image itself.
    let network = ["cert", "network", "--trust-domain", "image.example", "--network-id", "image"];
    root.run(&[&network[..], &["--out", "/var/lib/sorcha/tls", "peer-0"]].concat())?.ok()?;
    let [peer, api, admin] = ports::free_ports()?.map(|port| format!("127.0.0.1:{port}"));
    let text = format!(
        "configVersion: 1\nnetworkId: image\ntrustDomain: image.example\nname: peer-0\n\
         listen: {{peer: '{peer}', api: '{api}', admin: '{admin}'}}\n\
         tls: {{directory: /var/lib/sorcha/tls/peer-0}}\nstate: {{directory: /var/lib/sorcha/state}}\n"
    );
    std::fs::write(root.path().join("var/lib/sorcha/peer.yaml"), text)?;
    let began = Instant::now();
    let log = std::fs::File::create(root.directory.path().join("log"))?;
    let mut command = root.command(&["run", "--config", "/var/lib/sorcha/peer.yaml"])?;
    let mut running = Peer(command.stdout(log.try_clone()?).stderr(log).spawn()?);
    let story = || std::fs::read_to_string(root.directory.path().join("log")).unwrap_or_default();
    let status = wait::until("the peer answers", READY, || {
        let said = root.run(&["--api", &api, "status", "-o", "json"]).ok()?;
        said.ok().ok()?.json().ok()
    });
    status.with_context(story)?;
    figure(test, &format!("answers {:.2} s after its start", began.elapsed().as_secs_f64()))?;
    let owner = std::fs::metadata(format!("/proc/{}", running.0.id()))?.uid();
    ensure!(owner == NOBODY, "the peer runs as user {owner}");
    let kept = std::fs::metadata(root.path().join("var/lib/sorcha/state"))?.uid();
    ensure!(kept == NOBODY, "its state is user {kept}'s");

    let said =
        root.run(&["--api", &api, "submit", "--text", "in an empty root", "-o", "json"])?.ok()?.json()?;
    let read = root.run(&["--api", &api, "tail", "--from", "earliest", "--count", "1", "-o", "json"])?;
    ensure!(read.ok()?.json()?["id"] == said["id"], "another transaction is read");

    kill(running.0.id().cast_signed(), Signal::TERM);
    let ended = wait::until("the peer ends", READY, || running.0.try_wait().ok().flatten());
    let ended = ended.with_context(story)?;
    ensure!(ended.code() == Some(0), "it ends with {ended}: {}", story());
    Ok(())
}
