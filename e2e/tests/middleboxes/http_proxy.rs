//! Peers that reach others through squid, an HTTP proxy: with a password, and with TLS opened on the way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sorcha_e2e::peer::Solo;
use sorcha_e2e::ports::free_ports;
use sorcha_e2e::{figure, skip, wait};

use crate::proxies::{Proxy, is_missing, proxy};
use crate::{await_rung, each_once, exchange, settle};

/// The name that bob has to the proxy.
const BOB: &str = "bob.company.test";
const SOON: Duration = Duration::from_secs(20);
const PASSWORD: &str = "open: sesame";
/// Where the helper programs of Debian's squid are.
const HELPERS: &str = "/usr/lib/squid";

/// Squid that lets CONNECT pass to those who know the password, and to nobody else; it listens as `listen` says.
fn squid(directory: &Path, port: u16, listen: &str) -> anyhow::Result<Proxy> {
    let path = directory.display();
    // What crypt(3) makes of the password.
    let hash = run(Command::new("openssl").args(["passwd", "-6", PASSWORD]))?;
    std::fs::write(directory.join("passwords"), format!("alice:{}\n", hash.trim()))?;
    std::fs::write(directory.join("hosts"), format!("127.0.0.1 {BOB}\n"))?;
    let config = format!(
        "{listen}
        hosts_file {path}/hosts
        pid_filename {path}/pid
        cache_log {path}/cache.log
        access_log stdio:{path}/access.log
        coredump_dir {path}
        shutdown_lifetime 0 seconds
        auth_param basic program {HELPERS}/basic_ncsa_auth {path}/passwords
        auth_param basic realm company
        auth_param basic credentialsttl 1 second
        acl known proxy_auth REQUIRED
        http_access allow known
        http_access deny all
        cache deny all
        "
    );
    let file = directory.join("squid.conf");
    std::fs::write(&file, config)?;
    let file = file.to_str().context("a UTF-8 path")?;
    if rustix::process::geteuid().is_root() {
        // Squid does not run as root: it becomes this user.
        run(Command::new("chown").args(["-R", "proxy:"]).arg(directory))?;
    }
    // Its shared memory is named after the service.
    proxy("squid", &["-N", "-n", &format!("sorcha{port}"), "-f", file], directory, port)
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let out = command.stdin(Stdio::null()).output()?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}

/// Alice, who knows bob by a name that only the proxy knows.
fn behind(port: u16) -> anyhow::Result<(Solo, Solo)> {
    let bob = Solo::prepare("bob")?;
    let alice = bob.beside("alice")?;
    let address = bob.peer_address();
    let (_, bobs_port) = address.rsplit_once(':').context("an address")?;
    alice.configure(&format!(
        "bootstrap: {{addresses: ['{BOB}:{bobs_port}']}}\nadvertise: ['127.0.0.1:1']\n\
         proxy: {{url: 'http://127.0.0.1:{port}', credentialsDirectory: '{}'}}\n",
        alice.path().display()
    ))?;
    bob.configure(&format!("advertise: ['{BOB}:{bobs_port}']\n"))?;
    Ok((alice, bob))
}

fn credentials(peer: &Solo, user: &str, password: &str) -> anyhow::Result<()> {
    std::fs::write(peer.path().join("username"), user)?;
    std::fs::write(peer.path().join("password"), password)?;
    Ok(())
}

#[test]
fn a_proxy_that_asks_for_a_password_carries_streams() -> anyhow::Result<()> {
    if is_missing("squid") {
        skip!("middleboxes::squid", "squid is not installed (`apt-get install squid-openssl`)");
    }
    let [port, ..] = free_ports()?;
    let directory = tempfile::tempdir()?;
    let _proxy = squid(directory.path(), port, &format!("http_port 127.0.0.1:{port}"))?;
    let (alice, bob) = behind(port)?;
    credentials(&alice, "alice", "wrong")?;
    let (_bob, _alice) = (bob.start()?, alice.start()?);
    let said = "it refuses the name and the password it was given (407)";
    wait::until("the log says what the proxy says", SOON, || alice.log().contains(said).then_some(()))
        .with_context(|| alice.log())?;
    // No restart.
    credentials(&alice, "alice", PASSWORD)?;
    let settled = await_rung(&alice, "stream")?;
    exchange(&alice, &bob, 0, 20)?;
    each_once(&alice, 40)?;
    each_once(&bob, 40)?;
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap_or_default();
    ensure!(log.contains("TCP_DENIED/407"), "the wrong password was refused: {log}");
    figure("squid", &format!("a stream {settled:.1?} after the password was right"))
}

#[test]
fn a_proxy_that_opens_tls_carries_calls_with_the_peers_own_tls_inside() -> anyhow::Result<()> {
    let generator = format!("{HELPERS}/security_file_certgen");
    if is_missing("squid") || !Path::new(&generator).exists() {
        skip!("middleboxes::squid", "squid with TLS is not installed (`apt-get install squid-openssl`)");
    }
    let [port, ..] = free_ports()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().display();
    let mut own = rcgen::CertificateParams::new(Vec::new())?;
    own.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    std::fs::write(directory.path().join("ca.pem"), own.self_signed(&key)?.pem() + &key.serialize_pem())?;
    run(Command::new(&generator).args(["-c", "-s", &format!("{path}/certificates"), "-M", "4MB"]))?;
    let listen = format!(
        "http_port 127.0.0.1:{port} ssl-bump tls-cert={path}/ca.pem generate-host-certificates=on
        sslcrtd_program {generator} -s {path}/certificates -M 4MB
        sslcrtd_children 2
        ssl_bump bump all
        tls_outgoing_options flags=DONT_VERIFY_PEER
        sslproxy_cert_error allow all"
    );
    let _proxy = squid(directory.path(), port, &listen)?;
    let (alice, bob) = behind(port)?;
    credentials(&alice, "alice", PASSWORD)?;
    let (_bob, _alice) = (bob.start()?, alice.start()?);
    let settled = settle(&alice, "rest")?;
    exchange(&alice, &bob, 0, 20)?;
    each_once(&alice, 40)?;
    each_once(&bob, 40)?;
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap_or_default();
    ensure!(log.contains("/v1/exchange"), "the proxy sees the calls: {log}");
    figure("squid that opens TLS", &format!("on HTTP/1.1 after {settled:.1?}"))
}
