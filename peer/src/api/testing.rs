//! What the tests of APIs, metrics and command line share.

use sorcha_peer_core::types::{Address, PeerId};
use sorcha_peer_core::view::{State, StatusView};

use crate::node::Identity;

/// A peer named `test-peers-0`.
pub(crate) fn identity() -> Identity {
    let uri = "spiffe://test.local/test/test-peers-0";
    Identity {
        uri: uri.to_owned(),
        id: PeerId::of_uri(uri),
        name: "test-peers-0".to_owned(),
        network: "test".to_owned(),
        site: "desk".to_owned(),
        incarnation: 3,
    }
}

/// Online with one of two peers linked.
pub(crate) fn status_view() -> StatusView {
    StatusView {
        state: State::Online,
        peers_known: 2,
        peers_linked: 1,
        rows: 1,
        row: 0,
        addresses: vec![Address::new("127.0.0.1:7450")],
        submissions_pending: 0,
        fetches_pending: 0,
        store_fault: None,
    }
}
