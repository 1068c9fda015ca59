//! The file as it stands: serde types, nothing checked yet. Durations are strings (`15m`), sizes Kubernetes
//! quantities (`64Mi`); all keys are camelCase. What is left out takes its default when the file is validated.

use serde::{Deserialize, Serialize};

/// `/etc/sorcha/peer.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawConfig {
    /// Version of this file's format; now 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_version: Option<i64>,
    /// Network id: 1-63 characters, a DNS label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_id: Option<String>,
    /// Trust domain of the peer's own CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// The peer's name, last part of its SPIFFE URI; the environment's `SORCHA_NAME`, else the host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A word for where the peer is, shown to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Where the peer listens.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listen: RawListen,
    /// `host:port` addresses told to others; none: the listening address where that is a specific one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Vec<String>>,
    /// Peers to begin with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bootstrap: RawBootstrap,
    /// Finding and keeping peers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub discovery: RawDiscovery,
    /// Certificates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: RawTls,
    /// The store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: RawState,
    /// How long transactions are kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retention: RawRetention,
    /// What travels on links.
    #[serde(default, skip_serializing_if = "is_default")]
    pub links: RawLinks,
    /// The proxy through which other peers are dialled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy: RawProxy,
    /// Bounds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: RawLimits,
    /// Logs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: RawLog,
    /// Stopping.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shutdown: RawShutdown,
}

/// Listening sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawListen {
    /// TLS port for peers; default `0.0.0.0:7450`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Local API: `127.0.0.1:7451` by default, or `unix:/path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Metrics and health; default `127.0.0.1:7452`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// Peers to begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawBootstrap {
    /// `host:port`, resolved again at every attempt. The own address among them is recognised and skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
}

/// Finding and keeping peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawDiscovery {
    /// How often records are exchanged with a random peer; default `15m`, 1s to 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
    /// A linked peer that says nothing for this long is pinged; default `5s`, 100ms to 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval: Option<String>,
    /// A member that nobody could reach for this long is forgotten; default `60s`, 1s to 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_after: Option<String>,
}

/// Certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawTls {
    /// Holds `tls.crt`, `tls.key` and `ca.crt`; default `/run/sorcha/tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// The store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawState {
    /// Default `/var/lib/sorcha`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Whether the directory outlives the machine; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// Memory for the store's page cache; default `32Mi`, 1Mi to 64Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes_max: Option<String>,
}

/// How long transactions are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawRetention {
    /// Those published longer ago are removed; default `none`, 1m to 3650d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// The oldest is removed while they take more; default `none`, 1Mi to 1Pi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// What travels on links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawLinks {
    /// `lz4` (default) or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// When a link on calls looks for a better rung; default `45s`, 1s to 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub climb_after: Option<String>,
    /// What links may stand on: `stream`, `exchange`, `rest`; default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rungs: Option<Vec<String>>,
}

/// The proxy through which other peers are dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawProxy {
    /// `http://host:port`, `environment` (default) or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Hosts that are dialled without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<String>>,
    /// Holds `username` and `password`; default `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_directory: Option<String>,
}

/// Bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawLimits {
    /// Longest body that is accepted; default `64Mi`, 1Ki to 256Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<String>,
    /// Links at most; default 1024, 1 to 65536.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links_max: Option<i64>,
    /// Bytes of bodies being submitted at a time; default `256Mi`, 1Mi to 4Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit_bytes_max: Option<String>,
    /// Submissions under way at most; default 4096, 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submissions_max: Option<i64>,
}

/// Logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawLog {
    /// `error`, `warn`, `info` (default), `debug`, `trace`, or a filter such as `info,sorcha_peer::store=debug`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `text` (default) or `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Stopping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawShutdown {
    /// From the signal to the end at most; default `10s`, 1s to 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

fn is_default<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}
