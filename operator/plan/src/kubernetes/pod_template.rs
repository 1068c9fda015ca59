//! The template of a pool's pods. Fits the `restricted` Pod Security standard.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use sorcha_crds::{Placement, Quantities, Size, Spread, SpreadRule, TaintEffect, TolerationOperator};

use crate::names::{self, ANNOTATION_CONFIG, CONTAINER, PORT_ADMIN, PORT_PEER};
use crate::observed::ObservedNetwork;
use crate::pod_template::{self, ORDINAL_VARIABLE};
use crate::validate::{CPU_REQUEST, MEMORY_REQUEST, Pool, Validated};

/// Where the pod sees its configuration file.
pub const CONFIG_DIRECTORY: &str = "/etc/sorcha";
/// Where the pod sees its volume.
pub const STATE_DIRECTORY: &str = "/var/lib/sorcha";
/// Where the pod sees the Secret with certificates.
pub const TLS_DIRECTORY: &str = "/run/sorcha/tls";
/// Where peers find what their proxy asks for.
pub(super) const PROXY_DIRECTORY: &str = "/run/sorcha/proxy";

/// User and group of the peer: "nobody" of distroless images.
const USER: i64 = 65_532;
/// A peer may take this many starts of two seconds to open its store, which is repaired after a crash: measured 2 s
/// for 600 MB, so ten minutes serve 180 GB.
const STARTUP_FAILURES_MAX: i32 = 300;

/// The template for peers of this image with the configuration file of this hash.
pub(crate) fn build(
    network: &Validated,
    seen: &ObservedNetwork,
    pool: &Pool,
    image: &str,
    config_hash: &str,
) -> Value {
    let template = super::json(&of_peer(network, seen, pool, image, config_hash));
    match &pool.pod_template {
        Some(beside) => pod_template::merge(template, &beside.0),
        None => template,
    }
}

fn of_peer(
    network: &Validated,
    seen: &ObservedNetwork,
    pool: &Pool,
    image: &str,
    config_hash: &str,
) -> PodTemplateSpec {
    let labels = names::pool_labels(&network.name, &pool.name);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(ANNOTATION_CONFIG.to_owned(), config_hash.to_owned())])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::network(&network.name)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(network.grace_seconds() as i64),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![container(network, seen, pool, image)],
            volumes: Some(volumes(network, pool)),
            node_selector: some_map(&pool.placement.node_selector),
            tolerations: tolerations(&pool.placement),
            priority_class_name: pool.placement.priority_class_name.clone(),
            topology_spread_constraints: spread(network, pool),
            ..PodSpec::default()
        }),
    }
}

fn container(network: &Validated, seen: &ObservedNetwork, pool: &Pool, image: &str) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        args: Some(vec!["run".to_owned()]),
        env: Some(environment(network, seen, pool)),
        ports: Some(vec![container_port("peer", PORT_PEER), container_port("admin", PORT_ADMIN)]),
        startup_probe: Some(probe("/healthz", 2, STARTUP_FAILURES_MAX)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        resources: Some(resources(pool)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(network)),
        ..Container::default()
    }
}

fn mounts(network: &Validated) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount("config", CONFIG_DIRECTORY, true),
        mount("tls", TLS_DIRECTORY, true),
        mount("state", STATE_DIRECTORY, false),
    ];
    if proxy_credentials(network).is_some() {
        mounts.push(mount("proxy", PROXY_DIRECTORY, true));
    }
    mounts
}

/// The Secret with what the proxy asks for.
pub(super) fn proxy_credentials(network: &Validated) -> Option<&str> {
    network.spec.proxy.credentials_secret.as_deref()
}

/// What differs from pod to pod: the name, and the addresses made of it.
fn environment(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> Vec<EnvVar> {
    let host = format!("$(SORCHA_NAME).{}.{}.svc", names::pool(&network.name, &pool.name), seen.namespace);
    let mut advertise = format!("{host}:{PORT_PEER}");
    let mut variables = vec![of_pod("SORCHA_NAME", "metadata.name")];
    if let Some(address) = pool.expose.as_ref().and_then(|expose| expose.address.as_ref()) {
        variables.push(of_pod(ORDINAL_VARIABLE, "metadata.labels['apps.kubernetes.io/pod-index']"));
        let outside = address.replace("{ordinal}", &format!("$({ORDINAL_VARIABLE})"));
        advertise = format!("{advertise},{outside}");
    }
    variables.push(EnvVar { name: "SORCHA_ADVERTISE".to_owned(), value: Some(advertise), value_from: None });
    variables
}

fn of_pod(name: &str, field_path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: field_path.to_owned(), api_version: None };
    let value_from = Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() });
    EnvVar { name: name.to_owned(), value_from, value: None }
}

fn some_map(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

fn tolerations(placement: &Placement) -> Option<Vec<Toleration>> {
    let each = placement.tolerations.iter().map(|it| Toleration {
        key: it.key.clone(),
        operator: Some(
            match it.operator {
                TolerationOperator::Equal => "Equal",
                TolerationOperator::Exists => "Exists",
            }
            .to_owned(),
        ),
        value: it.value.clone(),
        effect: it.effect.map(|effect| {
            match effect {
                TaintEffect::NoSchedule => "NoSchedule",
                TaintEffect::PreferNoSchedule => "PreferNoSchedule",
                TaintEffect::NoExecute => "NoExecute",
            }
            .to_owned()
        }),
        toleration_seconds: it.toleration_seconds,
    });
    let tolerations: Vec<Toleration> = each.collect();
    (!tolerations.is_empty()).then_some(tolerations)
}

/// Over nodes and zones, counted within the pool.
fn spread(network: &Validated, pool: &Pool) -> Option<Vec<TopologySpreadConstraint>> {
    let Spread { nodes, zones } = &pool.placement.spread;
    let selector = LabelSelector {
        match_labels: Some(names::pool_selector(&network.name, &pool.name)),
        ..LabelSelector::default()
    };
    let rules = [("kubernetes.io/hostname", nodes), ("topology.kubernetes.io/zone", zones)];
    let each = rules.into_iter().filter_map(|(key, rule)| {
        let when_unsatisfiable = match rule {
            SpreadRule::Preferred => "ScheduleAnyway",
            SpreadRule::Required => "DoNotSchedule",
            SpreadRule::None => return None,
        };
        Some(TopologySpreadConstraint {
            topology_key: key.to_owned(),
            max_skew: 1,
            when_unsatisfiable: when_unsatisfiable.to_owned(),
            label_selector: Some(selector.clone()),
            ..TopologySpreadConstraint::default()
        })
    });
    let constraints: Vec<TopologySpreadConstraint> = each.collect();
    (!constraints.is_empty()).then_some(constraints)
}

fn container_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures_max: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures_max),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn volumes(network: &Validated, pool: &Pool) -> Vec<Volume> {
    let config = ConfigMapVolumeSource {
        name: names::pool(&network.name, &pool.name),
        ..ConfigMapVolumeSource::default()
    };
    let mut volumes = vec![
        Volume { name: "config".to_owned(), config_map: Some(config), ..Volume::default() },
        secret_volume("tls", &names::tls_secret(&network.name, &pool.name)),
    ];
    volumes.extend(proxy_credentials(network).map(|secret| secret_volume("proxy", secret)));
    volumes
}

fn secret_volume(name: &str, secret: &str) -> Volume {
    let secret = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    Volume { name: name.to_owned(), secret: Some(secret), ..Volume::default() }
}

/// Requests default to the limit where that is lower, else to what a small network needs.
fn resources(pool: &Pool) -> ResourceRequirements {
    let given = pool.resources.clone().unwrap_or_default();
    let limits = given.limits.unwrap_or_default();
    let mut requests = given.requests.unwrap_or_default();
    requests.cpu = requests.cpu.or_else(|| Some(least(CPU_REQUEST, limits.cpu.as_ref())));
    requests.memory = requests.memory.or_else(|| Some(least(MEMORY_REQUEST, limits.memory.as_ref())));
    let limits = amounts(&limits);
    ResourceRequirements {
        requests: Some(amounts(&requests)),
        limits: (!limits.is_empty()).then_some(limits),
        claims: None,
    }
}

fn least(default: &str, limit: Option<&Size>) -> Size {
    let default = Size::new(default);
    match limit {
        Some(limit) if limit.thousandths() < default.thousandths() => limit.clone(),
        _ => default,
    }
}

fn amounts(quantities: &Quantities) -> BTreeMap<String, Quantity> {
    let Quantities { cpu, memory, ephemeral_storage } = quantities;
    [("cpu", cpu), ("memory", memory), ("ephemeral-storage", ephemeral_storage)]
        .into_iter()
        .filter_map(|(name, size)| Some((name.to_owned(), Quantity(size.as_ref()?.0.clone()))))
        .collect()
}
