//! Names, identities and labels of everything a network is made of. Nothing else invents one.

use std::collections::BTreeMap;

/// The pool that `spec.replicas` counts.
pub const POOL: &str = "peers";
/// Who writes the objects: `app.kubernetes.io/managed-by` and the field manager.
pub const MANAGER: &str = "sorcha-operator";
/// Label that carries the network's name.
pub const LABEL_NETWORK: &str = "app.kubernetes.io/instance";
/// Label that carries the pool's name: on a pool's objects, its pods and their volume claims.
pub const LABEL_POOL: &str = "sorcha.org/pool";
/// Annotation of pods: hash of the configuration that they were started with.
pub const ANNOTATION_CONFIG: &str = "sorcha.org/config-hash";
/// Annotation of StatefulSets: [`crate::observed::Rendered`] as JSON.
pub const ANNOTATION_RENDERED: &str = "sorcha.org/rendered";
/// The peer's container in its pod.
pub const CONTAINER: &str = "peer";

/// TLS for peers, over TCP.
pub const PORT_PEER: u16 = 7450;
/// Local API, on loopback only.
pub const PORT_API: u16 = 7451;
/// Metrics, health and dashboard.
pub const PORT_ADMIN: u16 = 7452;

/// Name of a pool's StatefulSet, headless Service and ConfigMap: `<network>-<pool>`.
pub fn pool(network: &str, pool: &str) -> String {
    format!("{network}-{pool}")
}

/// Name of a peer, its pod, its own Service and its folder in local mode: `<network>-<pool>-<ordinal>`.
pub fn peer(network: &str, pool: &str, ordinal: u32) -> String {
    format!("{network}-{pool}-{ordinal}")
}

/// Name of the ServiceAccount, of the Service on the TLS port, of the PodDisruptionBudget, of the NetworkPolicy and of
/// the PodMonitor: the network's own.
pub fn network(network: &str) -> String {
    network.to_owned()
}

/// Name of the Secret with every certificate of a pool's peers: `<network>-<pool>-tls`. Keys: `ca.crt`, and for each
/// peer `<peer>.crt` and `<peer>.key`.
pub fn tls_secret(network: &str, pool: &str) -> String {
    format!("{network}-{pool}-tls")
}

/// Name of the Secret with the root's certificate and key: `<network>-ca`. Keys: `tls.crt`, `tls.key`.
pub fn authority_secret(network: &str) -> String {
    format!("{network}-ca")
}

/// Name of the ConfigMap with the roots that peers trust: `<network>-trust`. Key: `ca.crt`.
pub fn trust_bundle(network: &str) -> String {
    format!("{network}-trust")
}

/// Name of a peer's volume claim: `state-<peer>`.
pub fn claim(network: &str, pool: &str, ordinal: u32) -> String {
    format!("state-{}", peer(network, pool, ordinal))
}

/// A peer's name in a cluster's DNS: `<peer>.<network>-<pool>.<namespace>.svc`, which every pod's search list
/// completes.
pub fn peer_host(network: &str, pool_name: &str, ordinal: u32, namespace: &str) -> String {
    format!("{}.{}.{namespace}.svc", peer(network, pool_name, ordinal), pool(network, pool_name))
}

/// A peer's identity: `spiffe://<trust domain>/<network id>/<peer>`.
pub fn peer_uri(trust_domain: &str, network_id: &str, peer: &str) -> String {
    format!("spiffe://{trust_domain}/{network_id}/{peer}")
}

/// The operator's identity towards the peers: `spiffe://<trust domain>/<network id>/operator`.
pub fn operator_uri(trust_domain: &str, network_id: &str) -> String {
    format!("spiffe://{trust_domain}/{network_id}/operator")
}

/// Labels by which all peers' pods of a network are found.
pub fn selector(network: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "sorcha-peer".to_owned()),
        (LABEL_NETWORK.to_owned(), network.to_owned()),
    ])
}

/// Labels by which the pods of one pool are found; never changed, since selectors of StatefulSets cannot be.
pub fn pool_selector(network: &str, pool: &str) -> BTreeMap<String, String> {
    let mut labels = selector(network);
    labels.insert(LABEL_POOL.to_owned(), pool.to_owned());
    labels
}

/// The selector of the default pool as text, `key=value` joined by commas: what `status.selector` holds, since
/// `spec.replicas` counts that pool.
pub fn selector_text(network: &str) -> String {
    let selector = pool_selector(network, POOL);
    let pairs: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Labels of every object of a network.
pub fn labels(network: &str) -> BTreeMap<String, String> {
    let mut labels = selector(network);
    labels.extend([
        ("app.kubernetes.io/part-of".to_owned(), "sorcha".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "peer".to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
    ]);
    labels
}

/// Labels of every object of a pool.
pub fn pool_labels(network: &str, pool: &str) -> BTreeMap<String, String> {
    let mut labels = labels(network);
    labels.insert(LABEL_POOL.to_owned(), pool.to_owned());
    labels
}
