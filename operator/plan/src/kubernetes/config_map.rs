//! The ConfigMap with `peer.yaml`. One file for all peers: name and advertised address come from each pod's
//! environment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use sha2::{Digest, Sha256};
use sorcha_peer_config::raw::{RawBootstrap, RawConfig, RawListen, RawProxy, RawState, RawTls};

use super::{STATE_DIRECTORY, TLS_DIRECTORY, pod_template, pool_metadata};
use crate::names::{self, PORT_ADMIN, PORT_API, PORT_PEER};
use crate::observed::{ObservedNetwork, Rendered};
use crate::peer_config;
use crate::validate::{Pool, Validated};

/// Key of the ConfigMap and name of the file.
pub(super) const FILE: &str = "peer.yaml";

/// Characters of the hash of the file in a pod's annotation: 64 bits, enough to tell two files apart.
const HASH_CHARACTERS: usize = 16;

pub(super) fn build(
    network: &Validated,
    seen: &ObservedNetwork,
    pool: &Pool,
    rendered: &Rendered,
) -> ConfigMap {
    ConfigMap {
        metadata: pool_metadata(names::pool(&network.name, &pool.name), network, seen, pool),
        data: Some(BTreeMap::from([(FILE.to_owned(), rendered.config.clone())])),
        ..ConfigMap::default()
    }
}

/// The file of a pool's peers. The seeds are listed whether they run or not, so that neither scaling nor another pool
/// changes anybody's file.
pub(crate) fn config(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> RawConfig {
    let seed = |(pool, ordinal): (&str, u32)| {
        format!("{}:{PORT_PEER}", names::peer_host(&network.name, pool, ordinal, &seen.namespace))
    };
    let seeds = peer_config::seeds(&pool.name).into_iter().map(seed);
    let shared = peer_config::shared(network);
    let credentials_directory =
        pod_template::proxy_credentials(network).map(|_| pod_template::PROXY_DIRECTORY.to_owned());
    RawConfig {
        listen: RawListen {
            peer: Some(format!("0.0.0.0:{PORT_PEER}")),
            api: Some(format!("127.0.0.1:{PORT_API}")),
            // probes and scrapes come from outside the pod; the NetworkPolicy keeps them inside the cluster
            admin: Some(format!("0.0.0.0:{PORT_ADMIN}")),
        },
        bootstrap: RawBootstrap { addresses: Some(peer_config::bootstrap(seeds, network)) },
        tls: RawTls { directory: Some(TLS_DIRECTORY.to_owned()) },
        proxy: RawProxy { credentials_directory, ..shared.proxy.clone() },
        state: RawState { directory: Some(STATE_DIRECTORY.to_owned()), ..shared.state.clone() },
        ..shared
    }
}

/// Short hash of the file, so that a changed file is a changed pod template.
pub(crate) fn hash(file: &str) -> String {
    let mut hash = hex::encode(Sha256::digest(file.as_bytes()));
    hash.truncate(HASH_CHARACTERS);
    hash
}
