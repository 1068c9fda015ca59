//! The template of a pool's pods. Fits the `restricted` Pod Security standard.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sorcha_crds::{Quantities, Size};

use crate::names::{self, ANNOTATION_CONFIG, CONTAINER, PORT_ADMIN, PORT_PEER};
use crate::observed::ObservedNetwork;
use crate::validate::{CPU_REQUEST, MEMORY_REQUEST, Pool, Validated};

/// Where the pod sees its configuration file.
pub const CONFIG_DIRECTORY: &str = "/etc/sorcha";
/// Where the pod sees its volume.
pub const STATE_DIRECTORY: &str = "/var/lib/sorcha";
/// Where the pod sees the Secret with certificates.
pub const TLS_DIRECTORY: &str = "/run/sorcha/tls";

/// User and group of the peer: "nobody" of distroless images.
const USER: i64 = 65_532;
/// The kubelet kills a pod this long after the peer's own deadline, in seconds (a guess: time to report the end).
const GRACE_SECONDS: u64 = 5;
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
            termination_grace_period_seconds: Some(
                (network.shutdown_deadline_ms.div_ceil(1000) + GRACE_SECONDS) as i64,
            ),
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
        volume_mounts: Some(vec![
            mount("config", CONFIG_DIRECTORY, true),
            mount("tls", TLS_DIRECTORY, true),
            mount("state", STATE_DIRECTORY, false),
        ]),
        ..Container::default()
    }
}

/// What differs from pod to pod: the name, and the address made of it.
fn environment(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> Vec<EnvVar> {
    let name = EnvVarSource {
        field_ref: Some(ObjectFieldSelector { field_path: "metadata.name".to_owned(), api_version: None }),
        ..EnvVarSource::default()
    };
    let host = format!("$(SORCHA_NAME).{}.{}.svc", names::pool(&network.name, &pool.name), seen.namespace);
    vec![
        EnvVar { name: "SORCHA_NAME".to_owned(), value_from: Some(name), value: None },
        EnvVar {
            name: "SORCHA_ADVERTISE".to_owned(),
            value: Some(format!("{host}:{PORT_PEER}")),
            value_from: None,
        },
    ]
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
    let tls = SecretVolumeSource {
        secret_name: Some(names::tls_secret(&network.name, &pool.name)),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    vec![
        Volume { name: "config".to_owned(), config_map: Some(config), ..Volume::default() },
        Volume { name: "tls".to_owned(), secret: Some(tls), ..Volume::default() },
    ]
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
