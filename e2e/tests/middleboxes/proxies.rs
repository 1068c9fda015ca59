//! What stands before a peer: nginx that ends TLS, haproxy that passes TCP through.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use sorcha_e2e::{skip, wait};

use crate::{apart, await_rung, exchange, link, settle, still_stands};

/// A proxy; dropping it ends it.
pub(crate) struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // Squid leaves shared memory behind where it is killed.
        sorcha_e2e::network::kill(self.0.id() as i32, rustix::process::Signal::TERM);
        let ended = || self.0.try_wait().is_ok_and(|status| status.is_some()).then_some(());
        let _in_time = wait::until("the proxy ends", Duration::from_secs(3), ended);
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts a proxy and waits until it listens.
pub(crate) fn proxy(program: &str, args: &[&str], directory: &Path, port: u16) -> anyhow::Result<Proxy> {
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
            let log = |name| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
            let said = log("proxy.log") + &log("cache.log");
            return Some(Err(anyhow::anyhow!("{program} ended with {status}: {said}")));
        }
        std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| Ok(()))
    })??;
    Ok(proxy)
}

pub(crate) fn is_missing(program: &str) -> bool {
    Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
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
    settle(&alice, "rest")?;
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
    still_stands(&alice, &first)?;
    Ok(())
}
