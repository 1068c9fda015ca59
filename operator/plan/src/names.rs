//! Names, identities and labels of everything a network is made of. Nothing else invents one.

use std::collections::BTreeMap;

/// The pool that `spec.replicas` counts.
pub const POOL: &str = "peers";
/// Who writes the objects: `app.kubernetes.io/managed-by` and the field manager.
pub const MANAGER: &str = "sorcha-operator";
/// Label that carries the network's name.
pub const LABEL_NETWORK: &str = "app.kubernetes.io/instance";
/// Label that carries the pool's name.
pub const LABEL_POOL: &str = "sorcha.org/pool";
/// Annotation of pods: hash of the configuration that they were started with.
pub const ANNOTATION_CONFIG: &str = "sorcha.org/config-hash";

/// TLS for peers, over TCP.
pub const PORT_PEER: u16 = 7450;
/// Local API, on loopback only.
pub const PORT_API: u16 = 7451;
/// Metrics, health and dashboard.
pub const PORT_ADMIN: u16 = 7452;

/// Name of a pool's StatefulSet, headless Service and ConfigMap: `<network>-<pool>`.
pub fn pool(network: &str) -> String {
    format!("{network}-{POOL}")
}

/// Name of a peer, its pod and its folder in local mode: `<network>-<pool>-<ordinal>`.
pub fn peer(network: &str, ordinal: u32) -> String {
    format!("{network}-{POOL}-{ordinal}")
}

/// Name of the ServiceAccount, of the Service on the TLS port, of the PodDisruptionBudget and of the NetworkPolicy:
/// the network's own.
pub fn network(network: &str) -> String {
    network.to_owned()
}

/// Name of the Secret with every peer's certificate: `<network>-<pool>-tls`. Keys: `ca.crt`, and for each peer
/// `<peer>.crt` and `<peer>.key`.
pub fn tls_secret(network: &str) -> String {
    format!("{network}-{POOL}-tls")
}

/// A peer's name in a cluster's DNS: `<peer>.<network>-<pool>.<namespace>.svc`, which every pod's search list
/// completes.
pub fn peer_host(network: &str, ordinal: u32, namespace: &str) -> String {
    format!("{}.{}.{namespace}.svc", peer(network, ordinal), pool(network))
}

/// A peer's identity: `spiffe://<trust domain>/<network id>/<peer>`.
pub fn peer_uri(trust_domain: &str, network_id: &str, peer: &str) -> String {
    format!("spiffe://{trust_domain}/{network_id}/{peer}")
}

/// Labels by which the peers' pods are found; never changed, since selectors of StatefulSets cannot be.
pub fn selector(network: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "sorcha-peer".to_owned()),
        (LABEL_NETWORK.to_owned(), network.to_owned()),
        (LABEL_POOL.to_owned(), POOL.to_owned()),
    ])
}

/// The selector as text, `key=value` joined by commas: what `status.selector` holds.
pub fn selector_text(network: &str) -> String {
    let pairs: Vec<String> = selector(network).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Labels of every object of a network.
pub fn labels(network: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "sorcha-peer".to_owned()),
        (LABEL_NETWORK.to_owned(), network.to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), "sorcha".to_owned()),
        ("app.kubernetes.io/component".to_owned(), POOL.to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
    ])
}
