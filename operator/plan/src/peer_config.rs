//! A peer's configuration file: what the manifest says, the same for a pod and for a process.

use sorcha_crds::{Compression, LogFormat, Proxy, Rung, Size};
use sorcha_peer_config::raw::{
    RawConfig, RawDiscovery, RawLimits, RawLinks, RawLog, RawProxy, RawRetention, RawShutdown, RawState,
};

use crate::names;
use crate::validate::Validated;

/// The first peers of a pool, which others begin with. Three, so that one may be missing and one may be slow (a guess);
/// independent of `spec.replicas`, so that scaling changes nobody's file.
pub(crate) const SEEDS: u32 = 3;

/// Pool and ordinal of the peers that those of a pool begin with: the first of the default pool, then the pool's own.
/// The pool's own are listed though the default pool has as many, so that a network without a default pool works too.
pub(crate) fn seeds(pool: &str) -> Vec<(&str, u32)> {
    let mut seeds: Vec<(&str, u32)> = (0..SEEDS).map(|ordinal| (names::POOL, ordinal)).collect();
    if pool != names::POOL {
        seeds.extend((0..SEEDS).map(|ordinal| (pool, ordinal)));
    }
    seeds
}

/// What all peers of a network share: everything but name, addresses and directories.
pub(crate) fn shared(network: &Validated) -> RawConfig {
    let spec = &network.spec;
    RawConfig {
        config_version: Some(sorcha_peer_config::CONFIG_VERSION),
        network_id: Some(network.network_id.clone()),
        trust_domain: Some(spec.tls.trust_domain.clone()),
        site: spec.site.clone(),
        discovery: RawDiscovery {
            refresh_interval: Some(spec.discovery.refresh_interval.clone()),
            heartbeat_interval: Some(spec.discovery.heartbeat_interval.clone()),
            forget_after: Some(spec.discovery.forget_after.clone()),
        },
        state: RawState {
            directory: None,
            durable: None,
            cache_bytes_max: Some(plain(&spec.limits.cache_bytes_max)),
        },
        retention: RawRetention {
            age: spec.retention.age.clone(),
            bytes: spec.retention.bytes.as_ref().map(plain),
        },
        links: RawLinks {
            compression: Some(
                match spec.links.compression {
                    Compression::Lz4 => "lz4",
                    Compression::None => "none",
                }
                .to_owned(),
            ),
            climb_after: Some(spec.links.climb_after.clone()),
            rungs: (!spec.links.rungs.is_empty())
                .then(|| spec.links.rungs.iter().copied().map(rung).collect()),
        },
        proxy: proxy(&spec.proxy),
        limits: RawLimits {
            body_bytes_max: Some(plain(&spec.limits.body_bytes_max)),
            submit_bytes_max: Some(plain(&spec.limits.submit_bytes_max)),
            links_max: Some(spec.limits.links_max.into()),
            submissions_max: Some(spec.limits.submissions_max.into()),
        },
        log: RawLog {
            level: Some(spec.log.level.clone()),
            format: Some(
                match spec.log.format {
                    LogFormat::Text => "text",
                    LogFormat::Json => "json",
                }
                .to_owned(),
            ),
        },
        shutdown: RawShutdown { deadline: Some(spec.shutdown.deadline.clone()) },
        ..RawConfig::default()
    }
}

fn rung(rung: Rung) -> String {
    match rung {
        Rung::Stream => "stream",
        Rung::Exchange => "exchange",
        Rung::Rest => "rest",
    }
    .to_owned()
}

/// Nothing where the manifest says nothing. Where its credentials are is said by who mounts them.
fn proxy(proxy: &Proxy) -> RawProxy {
    if *proxy == Proxy::default() {
        return RawProxy::default();
    }
    let except = (proxy.url != "none").then(|| {
        let of_cluster = [".svc", ".cluster.local"].map(str::to_owned).into_iter();
        of_cluster.chain(proxy.except.iter().cloned()).collect()
    });
    RawProxy { url: Some(proxy.url.clone()), except, credentials_directory: None }
}

/// A size without decimals: as it was written, or else in bytes.
fn plain(size: &Size) -> String {
    let text = &size.0;
    let whole = ["Ki", "Mi", "Gi"].iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or(text);
    match size.bytes() {
        Some(bytes) if !whole.bytes().all(|byte| byte.is_ascii_digit()) => bytes.to_string(),
        _ => text.clone(),
    }
}

/// Seeds, then the manifest's addresses, each once.
pub(crate) fn bootstrap(seeds: impl Iterator<Item = String>, network: &Validated) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for address in seeds.chain(network.spec.bootstrap.addresses.iter().cloned()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
