//! Networks on a real Kubernetes with real pods: what people see who install the chart and apply a manifest.
//!
//! `cargo xtask cluster test` runs these, one after the other, on its own node or on the cluster of KUBECONFIG; without
//! a cluster each is skipped. What the operator asks of API servers is judged in `tests/operator/`.

mod disturbances;
mod lifecycle;
mod smoke;
mod volumes;

/// The cluster, or the test is skipped.
macro_rules! cluster_or_skip {
    ($test:expr) => {
        match sorcha_e2e::cluster::cluster() {
            Ok(cluster) => cluster,
            Err(reason) => sorcha_e2e::skip!($test, reason),
        }
    };
}

/// The test node, or the test is skipped: it does what nobody does to another's cluster.
macro_rules! node_or_skip {
    ($test:expr) => {{
        let cluster = cluster_or_skip!($test);
        if !cluster.is_own() {
            sorcha_e2e::skip!($test, "only the node of `cargo xtask cluster up` is treated like this");
        }
        cluster
    }};
}

pub(crate) use {cluster_or_skip, node_or_skip};
