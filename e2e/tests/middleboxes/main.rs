//! Peers behind what companies put between them: real proxies, configured as people configure them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sorcha_e2e::peer::Solo;
use sorcha_e2e::ports::free_ports;
use sorcha_e2e::{skip, wait};

/// A link settles on a rung that holds within this.
const SETTLES: Duration = Duration::from_secs(20);

/// A proxy; dropping it kills it.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts a proxy and waits until it listens.
fn proxy(program: &str, args: &[&str], directory: &Path, port: u16) -> anyhow::Result<Proxy> {
    let log = std::fs::File::create(directory.join("proxy.log"))?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{program} does not start"))?;
    let mut proxy = Proxy(child);
    wait::until("the proxy listens", Duration::from_secs(10), || {
        if let Ok(Some(status)) = proxy.0.try_wait() {
            let said = std::fs::read_to_string(directory.join("proxy.log")).unwrap_or_default();
            return Some(Err(anyhow::anyhow!("{program} ended with {status}: {said}")));
        }
        std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| Ok(()))
    })??;
    Ok(proxy)
}

fn is_missing(program: &str) -> bool {
    Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
}

/// The only link of a peer, where it has one.
fn link(peer: &Solo) -> Option<Value> {
    let peers = peer.cli(&["peers", "-o", "json"]).ok()?.json().ok()?;
    let linked = |peer: &&Value| peer["transport"].as_str().is_some_and(|rung| !rung.is_empty());
    peers["peers"].as_array()?.iter().find(linked).cloned()
}

/// Alice and bob, who know no way to each other but through this port, and bob none to alice.
fn apart() -> anyhow::Result<(Solo, Solo, u16)> {
    let bob = Solo::prepare("bob")?;
    let alice = bob.beside("alice")?;
    let [port, ..] = free_ports()?;
    alice.configure(&format!(
        "bootstrap: {{addresses: ['127.0.0.1:{port}']}}\nadvertise: ['127.0.0.1:1']\n"
    ))?;
    bob.configure(&format!("advertise: ['127.0.0.1:{port}']\n"))?;
    Ok((alice, bob, port))
}

fn await_rung(peer: &Solo, rung: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    wait::until(&format!("a link on the rung '{rung}'"), SETTLES, || {
        link(peer).filter(|link| link["transport"] == rung)
    })
    .with_context(|| peer.log())?;
    Ok(began.elapsed())
}

/// Each submits some, and both hold all of them.
fn exchange(alice: &Solo, bob: &Solo, before: u64, count: u64) -> anyhow::Result<()> {
    for number in 0..count {
        for peer in [alice, bob] {
            peer.submit(&format!("{number}"))?.ok()?;
        }
    }
    for peer in [alice, bob] {
        wait::until("all transactions are there", SETTLES, || {
            let status = peer.cli(&["status", "-o", "json"]).ok()?.json().ok()?;
            (status["transactions"] == before + 2 * count).then_some(())
        })
        .with_context(|| peer.log())?;
    }
    Ok(())
}

#[test]
fn a_proxy_that_ends_tls_and_speaks_http1_carries_a_link() -> anyhow::Result<()> {
    if is_missing("nginx") {
        skip!("middleboxes::nginx", "nginx is not installed (`apt-get install nginx-light`)");
    }
    let (alice, bob, port) = apart()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().display();
    let own = rcgen::generate_simple_self_signed(["proxy.example".to_owned()])?;
    std::fs::write(directory.path().join("tls.crt"), own.cert.pem())?;
    std::fs::write(directory.path().join("tls.key"), own.signing_key.serialize_pem())?;
    let config = format!(
        "daemon off; pid {path}/pid; error_log stderr; events {{}}
        http {{
            access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
            fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
            upstream peer {{ server {to}; keepalive 8; }}
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {path}/tls.crt; ssl_certificate_key {path}/tls.key;
                location /v1/exchange {{
                    proxy_pass https://peer; proxy_ssl_protocols TLSv1.3;
                    proxy_http_version 1.1; proxy_set_header Connection '';
                }}
            }}
        }}",
        to = bob.peer_address()
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, config)?;
    let file = file.to_str().context("a UTF-8 path")?;
    let _proxy = proxy("nginx", &["-e", "stderr", "-c", file], directory.path(), port)?;

    let _bob = bob.start()?;
    let _alice = alice.start()?;
    let settled = await_rung(&alice, "rest")?;
    ensure!(settled < Duration::from_secs(10), "it took {settled:?}");
    await_rung(&bob, "rest")?;
    exchange(&alice, &bob, 0, 20)
}

#[test]
fn a_balancer_that_cuts_silent_connections_costs_no_link() -> anyhow::Result<()> {
    if is_missing("haproxy") {
        skip!("middleboxes::haproxy", "haproxy is not installed (`apt-get install haproxy`)");
    }
    let (alice, bob, port) = apart()?;
    let directory = tempfile::tempdir()?;
    let config = format!(
        "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 3s\n  timeout server 3s\n\
         listen peer\n  bind 127.0.0.1:{port}\n  server bob {}\n",
        bob.peer_address()
    );
    let file = directory.path().join("haproxy.cfg");
    std::fs::write(&file, config)?;
    let file = file.to_str().context("a UTF-8 path")?;
    let _proxy = proxy("haproxy", &["-db", "-f", file], directory.path(), port)?;

    let _bob = bob.start()?;
    let _alice = alice.start()?;
    // The stream is cut once it has been silent for 3 s; calls are not, or are made anew.
    await_rung(&alice, "exchange")?;
    let first = link(&alice).context("a link")?;
    exchange(&alice, &bob, 0, 5)?;
    std::thread::sleep(Duration::from_secs(12));
    exchange(&alice, &bob, 10, 5)?;
    let later = link(&alice).context("a link")?;
    ensure!(
        later["linkedSinceUnixMs"] == first["linkedSinceUnixMs"],
        "the link stood all the time: {first} {later}"
    );
    Ok(())
}
