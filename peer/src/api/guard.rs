//! Keeps web pages out of the local APIs: a page of another origin, or one whose host name was rebound to
//! this machine (DNS rebinding), may not speak to the peer.
//!
//! Knows the listening address and request headers; nothing of what is asked.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};

use crate::api::listen::Bound;
use crate::api::refusal::{Kind, Refusal};

/// Bytes of a header's value shown in a refusal.
const SHOWN_CHARS_MAX: usize = 80;

/// Which requests are let through.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    bound: Bound,
    /// Listening beyond loopback: names that lead here cannot be known, so any host is let through.
    any_host_beyond_loopback: bool,
}

impl Guard {
    /// For the local API: loopback names, and IP addresses that it listens at.
    pub const fn local(bound: Bound) -> Self {
        Self { bound, any_host_beyond_loopback: false }
    }

    /// For the admin port, which probes and scrapers of a cluster reach by names of their own.
    pub const fn admin(bound: Bound) -> Self {
        Self { bound, any_host_beyond_loopback: true }
    }

    /// Whether a request with these headers is let through.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let Bound::Tcp(listen) = self.bound else { return Ok(()) };
        let host = match (uri.authority(), headers.get(header::HOST)) {
            (Some(authority), _) => authority.as_str().to_owned(),
            (None, Some(value)) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            (None, None) => {
                return Err(forbidden("Host", "the request names no host: send a Host header".to_owned()));
            }
        };
        let any = self.any_host_beyond_loopback && !listen.ip().is_loopback();
        if !any && !is_this_machine(host_only(&host), listen.ip()) {
            let shown = shown(&host);
            return Err(forbidden(
                "Host",
                format!(
                    "host '{shown}' is not this machine: ask for 127.0.0.1, localhost or the listening address"
                ),
            ));
        }
        for value in headers.get_all(header::ORIGIN) {
            let origin = String::from_utf8_lossy(value.as_bytes());
            let own = origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(&host));
            if !own {
                let shown = shown(&origin);
                return Err(forbidden(
                    "Origin",
                    format!(
                        "pages of origin '{shown}' may not use this API: call it from a program, or through a server of yours"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn forbidden(field: &'static str, sentence: String) -> Refusal {
    Refusal { field: Some(field), ..Refusal::new(Kind::Forbidden, sentence) }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_default).collect()
}

/// Without port and brackets.
fn host_only(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_this_machine(host: &str, listen: IpAddr) -> bool {
    // A literal address cannot be rebound; 0.0.0.0 listens at all of the machine's.
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.is_loopback() || ip == listen || listen.is_unspecified();
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// The middleware: refuses in the language of the request.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) if is_grpc(request.headers()) => refusal.status().into_http(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Whether the request is gRPC's.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(guard: Guard, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().expect("a header value"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header value"));
        }
        guard.check(&Uri::from_static("/v1/status"), &headers).is_ok()
    }

    fn tcp(address: &str) -> Bound {
        Bound::Tcp(address.parse().expect("an address"))
    }

    #[test]
    fn only_this_machines_names_and_own_pages_are_let_through() {
        let check = |listen: &str, host: Option<&str>, origin: Option<&str>, expected: bool| {
            let got = passes(Guard::local(tcp(listen)), host, origin);
            assert_eq!(got, expected, "listen {listen}, host {host:?}, origin {origin:?}");
        };
        let listen = "127.0.0.1:7451";
        check(listen, Some("127.0.0.1:7451"), None, true);
        check(listen, Some("localhost:7451"), None, true);
        check(listen, Some("LOCALHOST"), None, true);
        check(listen, Some("[::1]:7451"), None, true);
        check(listen, Some("127.0.0.1:7451"), Some("http://127.0.0.1:7451"), true);
        check(listen, Some("127.0.0.1:7451"), Some("http://127.0.0.1:8080"), false);
        check(listen, Some("127.0.0.1:7451"), Some("https://evil.example"), false);
        check(listen, Some("127.0.0.1:7451"), Some("null"), false);
        check(listen, Some("evil.example:7451"), Some("http://evil.example:7451"), false);
        check(listen, Some("localhost.evil.example"), None, false);
        check(listen, Some("10.0.0.1:7451"), None, false);
        check(listen, None, None, false);
        check("10.0.0.1:7451", Some("10.0.0.1:7451"), None, true);
        check("0.0.0.0:7451", Some("10.0.0.1:7451"), None, true);
        check("0.0.0.0:7451", Some("evil.example:7451"), None, false);
    }

    #[test]
    fn the_admin_port_of_a_pod_takes_any_host_but_no_foreign_page() {
        let beyond = Guard::admin(tcp("0.0.0.0:7452"));
        assert!(passes(beyond, Some("peer-0.peers.default.svc:7452"), None));
        assert!(!passes(beyond, Some("peer-0.peers.default.svc:7452"), Some("https://evil.example")));
        assert!(!passes(Guard::admin(tcp("127.0.0.1:7452")), Some("evil.example:7452"), None));
    }

    #[test]
    fn a_unix_socket_is_out_of_a_browsers_reach() {
        assert!(passes(Guard::local(Bound::Unix), None, None));
    }
}
