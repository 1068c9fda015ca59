//! A peer's configuration file: what the manifest says, the same for a pod and for a process.

use sorcha_crds::LogFormat;
use sorcha_peer_config::raw::{RawConfig, RawDiscovery, RawLimits, RawLog, RawShutdown, RawState};

use crate::validate::Validated;

/// Version of the file's format that is written.
pub const CONFIG_VERSION: i64 = 1;

/// The first peers, which all others begin with. Three, so that one may be missing and one may be slow (a guess);
/// independent of `spec.replicas`, so that scaling changes nobody's file.
pub const SEEDS: u32 = 3;

/// What all peers of a network share: everything but name, addresses and directories.
pub(crate) fn shared(network: &Validated) -> RawConfig {
    let spec = &network.spec;
    RawConfig {
        config_version: Some(CONFIG_VERSION),
        network_id: Some(network.network_id.clone()),
        trust_domain: Some(spec.tls.trust_domain.clone()),
        site: spec.site.clone(),
        discovery: RawDiscovery {
            refresh_interval: Some(spec.discovery.refresh_interval.clone()),
            heartbeat_interval: Some(spec.discovery.heartbeat_interval.clone()),
            forget_after: Some(spec.discovery.forget_after.clone()),
        },
        state: RawState { directory: None, cache_bytes_max: Some(spec.limits.cache_bytes_max.to_string()) },
        limits: RawLimits {
            body_bytes_max: Some(spec.limits.body_bytes_max.to_string()),
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

/// The file as YAML.
pub fn to_yaml(config: &RawConfig) -> String {
    serde_saphyr::to_string(&without_null(config))
        .expect("a configuration is made of maps, lists and scalars")
}

/// What is not set is left out, so that the peer's default applies and a reader sees what was decided.
fn without_null(config: &RawConfig) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        if let Some(fields) = value.as_object_mut() {
            fields.values_mut().for_each(strip);
            fields.retain(|_, field| {
                !field.is_null() && field.as_object().is_none_or(|inner| !inner.is_empty())
            });
        }
    }
    let mut value = serde_json::to_value(config).expect("a configuration is made of maps, lists and scalars");
    strip(&mut value);
    value
}
