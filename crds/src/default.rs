//! Defaults of a manifest, one function each because serde names them by path. The same values as
//! `sorcha-peer-config` takes for what is left out, written down here so that a later version's default moves no
//! running network.

use std::collections::BTreeMap;

use crate::pool::{Placement, Pool, Retain, Storage};
use crate::quantity::Size;
use crate::spec::{
    Bootstrap, Compression, Delivery, Discovery, Limits, Links, Log, LogFormat, Monitoring,
    NetworkPolicyRules, Proxy, Retention, Shutdown, SorchaPeerNetworkSpec, Tls,
};

pub(crate) fn replicas() -> i32 {
    3
}
pub(crate) fn storage_size() -> Size {
    Size::new("1Gi")
}
pub(crate) fn refresh_interval() -> String {
    "15m".to_owned()
}
pub(crate) fn heartbeat_interval() -> String {
    "5s".to_owned()
}
pub(crate) fn forget_after() -> String {
    "60s".to_owned()
}
pub(crate) fn proxy_url() -> String {
    "environment".to_owned()
}

pub(crate) fn climb_after() -> String {
    "45s".to_owned()
}
pub(crate) fn body_bytes_max() -> Size {
    Size::new("64Mi")
}
pub(crate) fn cache_bytes_max() -> Size {
    Size::new("32Mi")
}

pub(crate) fn submit_bytes_max() -> Size {
    Size::new("256Mi")
}
pub(crate) fn links_max() -> i32 {
    1024
}
pub(crate) fn submissions_max() -> i32 {
    4096
}
pub(crate) fn trust_domain() -> String {
    "sorcha.local".to_owned()
}
pub(crate) fn log_level() -> String {
    "info".to_owned()
}
pub(crate) fn shutdown_deadline() -> String {
    "10s".to_owned()
}

pub(crate) fn yes() -> bool {
    true
}
pub(crate) fn drain_deadline() -> String {
    "10m".to_owned()
}
pub(crate) fn scrape_interval() -> String {
    "30s".to_owned()
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            name: String::new(),
            replicas: replicas(),
            resources: None,
            storage: Storage::default(),
            placement: Placement::default(),
            pod_template: None,
            expose: None,
        }
    }
}

impl Default for Retain {
    fn default() -> Self {
        Self { on_delete: yes(), on_scale_down: yes() }
    }
}

impl Default for Monitoring {
    fn default() -> Self {
        Self { pod_monitor: yes(), interval: scrape_interval(), labels: BTreeMap::new() }
    }
}

impl Default for NetworkPolicyRules {
    fn default() -> Self {
        Self { enabled: yes(), metrics_from: Vec::new() }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: storage_size(), class_name: None, retain: Retain::default() }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            refresh_interval: refresh_interval(),
            heartbeat_interval: heartbeat_interval(),
            forget_after: forget_after(),
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self { compression: Compression::default(), climb_after: climb_after(), rungs: Vec::new() }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self { url: proxy_url(), except: Vec::new(), credentials_secret: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: body_bytes_max(),
            cache_bytes_max: cache_bytes_max(),
            submit_bytes_max: submit_bytes_max(),
            links_max: links_max(),
            submissions_max: submissions_max(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { trust_domain: trust_domain(), delivery: Delivery::default(), retain_authority: yes() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: log_level(), format: LogFormat::default() }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { deadline: shutdown_deadline(), drain_deadline: drain_deadline() }
    }
}

impl Default for SorchaPeerNetworkSpec {
    fn default() -> Self {
        Self {
            network_id: None,
            site: None,
            replicas: replicas(),
            image: None,
            resources: None,
            storage: Storage::default(),
            placement: Placement::default(),
            pod_template: None,
            expose: None,
            pools: Vec::new(),
            bootstrap: Bootstrap::default(),
            discovery: Discovery::default(),
            retention: Retention::default(),
            links: Links::default(),
            proxy: Proxy::default(),
            limits: Limits::default(),
            tls: Tls::default(),
            log: Log::default(),
            shutdown: Shutdown::default(),
            monitoring: Monitoring::default(),
            network_policy: NetworkPolicyRules::default(),
            paused: false,
        }
    }
}
