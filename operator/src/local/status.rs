//! Asking a peer over its local REST API how it is, and telling it that it leaves for good.
//!
//! Knows two routes: `GET /v1/status` and `POST /v1/leave`.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

/// Answers come from this machine; a peer that needs longer is not well. A guess.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest answer that is read. A status is below 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What local mode wants to know of a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PeerStatus {
    /// `STATE_ONLINE` or `online`, and so on.
    pub(super) state: String,
    /// Other peers known to it.
    pub(super) peers_known: u32,
    /// Other peers linked to it.
    pub(super) peers_linked: u32,
}

/// In networks below this size every peer links to every other; above, the grid decides, and a peer says itself
/// whether it has the links that it wants (docs/design.md § 3).
const EVERYBODY_BELOW: usize = 24;

impl PeerStatus {
    /// True when the peer has the links that a network of this many peers asks for.
    pub(super) fn is_linked(&self, peers: usize) -> bool {
        let others = peers.saturating_sub(1);
        let state = self.state.trim_start_matches("STATE_");
        if state.eq_ignore_ascii_case("draining") {
            false
        } else if peers < EVERYBODY_BELOW {
            self.peers_linked as usize >= others
        } else {
            state.eq_ignore_ascii_case("online") && self.peers_known as usize >= others
        }
    }
}

/// An HTTP client for local APIs. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StatusClient {
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl StatusClient {
    /// A client that keeps connections open between requests.
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(DEADLINE));
        Self { http: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// The peer's status; nothing while it does not answer with one.
    pub(super) async fn status(&self, api: u16) -> Option<PeerStatus> {
        let body = self.call(Method::GET, api, "/v1/status").await?;
        serde_json::from_slice(&body).ok()
    }

    /// Tells the peer that it leaves the network for good; it then says so to the others and ends. False when it
    /// did not take the message.
    pub(super) async fn leave(&self, api: u16) -> bool {
        self.call(Method::POST, api, "/v1/leave").await.is_some()
    }

    async fn call(&self, method: Method, api: u16, path: &str) -> Option<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{api}{path}"))
            .body(Empty::new())
            .expect("method and address are well-formed");
        let exchange = async {
            let response = self.http.request(request).await.ok()?;
            let success = response.status().is_success();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
            success.then(|| body.to_bytes())
        };
        tokio::time::timeout(DEADLINE, exchange).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: &str, known: u32, linked: u32, peers: usize, expected: bool) {
        let status = PeerStatus { state: state.to_owned(), peers_known: known, peers_linked: linked };
        assert_eq!(status.is_linked(peers), expected, "{status:?} of {peers}");
    }

    #[test]
    fn a_peer_is_linked_when_it_has_the_links_that_its_network_asks_for() {
        check("STATE_ONLINE", 4, 4, 5, true);
        check("online", 4, 3, 5, false);
        check("online", 0, 0, 1, true);
        check("degraded", 9, 9, 5, true);
        check("draining", 4, 4, 5, false);
        check("STATE_DRAINING", 4, 4, 5, false);
        check("online", 99, 30, 100, true);
        check("online", 98, 98, 100, false);
        check("STATE_DEGRADED", 99, 5, 100, false);
    }

    #[tokio::test]
    async fn a_port_that_nobody_holds_gives_no_status() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let client = StatusClient::new();
        assert_eq!(client.status(port).await, None);
        assert!(!client.leave(port).await);
    }
}
