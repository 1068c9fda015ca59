//! Rules that need more than one field, or a unit: what the API server applies as CEL, and what it cannot know.

use sorcha_crds::{Pool, Problem, ServiceType, Size, SorchaPeerNetworkSpec, Toleration, TolerationOperator};

use crate::duration::milliseconds;
use crate::{names, pod_template};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;
const TI: u64 = 1 << 40;

/// Peers of a network at most, in all pools.
const PEERS_MAX: i64 = 10_000;
/// Services of their own at most, per pool: one for each peer (a guess: what an API server and a cloud's load balancers
/// bear).
const SERVICES_MAX: i32 = 256;
/// By NodePort only the last digit of the port is the peer's number.
const NODE_PORTS_MAX: i32 = 10;
/// The kubelet kills a pod this long after the peer's own deadline, in seconds (a guess: time to report the end).
const GRACE_SECONDS: u64 = 5;

/// How long the kubelet waits for a pod whose peer has this deadline, in seconds.
pub(super) fn grace_seconds(deadline_ms: u64) -> u64 {
    deadline_ms.div_ceil(1000) + GRACE_SECONDS
}

/// The default pool and those of `spec.pools`, each with its path.
pub(super) fn pools(spec: &SorchaPeerNetworkSpec) -> Vec<(String, Pool)> {
    let default = Pool {
        name: names::POOL.to_owned(),
        replicas: spec.replicas,
        resources: spec.resources.clone(),
        storage: spec.storage.clone(),
        placement: spec.placement.clone(),
        pod_template: spec.pod_template.clone(),
        expose: spec.expose.clone(),
    };
    let more = spec.pools.iter().enumerate();
    let more = more.map(|(index, pool)| (format!("spec.pools[{index}]"), pool.clone()));
    std::iter::once(("spec".to_owned(), default)).chain(more).collect()
}

/// Everything that breaks a rule.
pub(super) fn problems(spec: &SorchaPeerNetworkSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let pools = pools(spec);
    durations(spec, &mut problems);
    sizes(spec, &pools, &mut problems);
    let wanted: i64 = pools.iter().map(|(_, pool)| i64::from(pool.replicas)).sum();
    if wanted > PEERS_MAX && pools.len() > 1 {
        let message =
            format!("with those of spec.pools makes {wanted} peers; a network has {PEERS_MAX} at most.");
        problems.push(Problem::new("spec.replicas", message));
    }
    let grace_seconds = grace_seconds(milliseconds(&spec.shutdown.deadline).unwrap_or_default());
    for (path, pool) in &pools {
        if path != "spec" && [names::POOL, "trust"].contains(&pool.name.as_str()) {
            let message =
                format!("{:?} is taken: the default pool and the trust bundle are called so.", pool.name);
            problems.push(Problem::new(format!("{path}.name"), message));
        }
        resources(path, pool, &mut problems);
        for (index, toleration) in pool.placement.tolerations.iter().enumerate() {
            let path = format!("{path}.placement.tolerations[{index}]");
            problems.extend(toleration_problem(toleration).map(|message| Problem::new(path, message)));
        }
        if let Some(template) = &pool.pod_template {
            let path = format!("{path}.podTemplate");
            problems.extend(pod_template::problems(&path, &template.0, grace_seconds));
        }
        exposure(path, pool, &mut problems);
    }
    let policy = &spec.network_policy;
    if !policy.enabled && !policy.metrics_from.is_empty() {
        let message = "has no effect without spec.networkPolicy.enabled: take one of them away.";
        problems.push(Problem::new("spec.networkPolicy.metricsFrom", message));
    }
    for (index, choice) in policy.metrics_from.iter().enumerate() {
        if choice.namespace_labels.is_empty() && choice.pod_labels.is_empty() {
            let message = "chooses nobody: give namespaceLabels or podLabels.";
            problems.push(Problem::new(format!("spec.networkPolicy.metricsFrom[{index}]"), message));
        }
    }
    problems
}

fn toleration_problem(toleration: &Toleration) -> Option<&'static str> {
    let exists = toleration.operator == TolerationOperator::Exists;
    if exists && toleration.value.is_some() {
        Some("has a value, which has no effect with operator Exists: take it away, or write operator Equal.")
    } else if !exists && toleration.key.is_none() {
        Some("has no key: give one, or write operator Exists, which tolerates every taint.")
    } else if toleration.toleration_seconds.is_some()
        && toleration.effect != Some(sorcha_crds::TaintEffect::NoExecute)
    {
        Some("has tolerationSeconds, which need effect NoExecute.")
    } else {
        None
    }
}

fn exposure(path: &str, pool: &Pool, problems: &mut Vec<Problem>) {
    let Some(expose) = &pool.expose else { return };
    let mut wrong = |field: &str, message: String| {
        problems.push(Problem::new(format!("{path}.expose{field}"), message));
    };
    let Some(address) = &expose.address else {
        if path != "spec" {
            wrong("", "needs an address: the network's own Service is exposed by spec.expose.".to_owned());
        } else if expose.service_type == ServiceType::ClusterIP && !expose.annotations.is_empty() {
            wrong(".annotations", "have no effect for type ClusterIP without an address.".to_owned());
        }
        return;
    };
    let by_node = expose.service_type == ServiceType::NodePort;
    let most = if by_node { NODE_PORTS_MAX } else { SERVICES_MAX };
    if pool.replicas > most {
        let message = format!(
            "gives each of {} peers a Service of its own; {most} is the most. Divide them into pools.",
            pool.replicas
        );
        wrong(".address", message);
        return;
    }
    for ordinal in 0..pool.replicas.max(1) {
        let host = address.replace("{ordinal}", &ordinal.to_string());
        let port = host.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or_default();
        let (least, most) = if by_node { (30_000, 32_767) } else { (1, u16::MAX) };
        if port < least || port > most {
            let message = format!(
                "{address:?} becomes {host} for peer {ordinal}, whose port is not from {least} to {most}: choose \
                 another port{}.",
                if by_node { ", such as 3045{ordinal}" } else { "" }
            );
            wrong(".address", message);
            return;
        }
        if by_node && !address.ends_with("{ordinal}") {
            wrong(
                ".address",
                "must end in a port such as 3045{ordinal}: each peer needs its own.".to_owned(),
            );
            return;
        }
    }
}

fn durations(spec: &SorchaPeerNetworkSpec, problems: &mut Vec<Problem>) {
    let mut check = |path: &str, text: &str, (least, least_ms): (&str, u64), (most, most_ms): (&str, u64)| {
        let value = milliseconds(text)?;
        let wrong = match value {
            value if value < least_ms => "shorter than",
            value if value > most_ms => "longer than",
            _ => return Some(value),
        };
        let bound = if value < least_ms { least } else { most };
        let message = format!("{text} is {wrong} {bound}: give a duration from {least} to {most}.");
        problems.push(Problem::new(path, message));
        None
    };
    let day = ("24h", 24 * HOUR);
    let discovery = &spec.discovery;
    check("spec.discovery.refreshInterval", &discovery.refresh_interval, ("1s", SECOND), day);
    let heartbeat = check(
        "spec.discovery.heartbeatInterval",
        &discovery.heartbeat_interval,
        ("100ms", 100),
        ("10m", 10 * MINUTE),
    );
    check("spec.links.climbAfter", &spec.links.climb_after, ("1s", SECOND), ("1h", HOUR));
    let forget = check("spec.discovery.forgetAfter", &discovery.forget_after, ("1s", SECOND), day);
    if let Some(age) = &spec.retention.age {
        check("spec.retention.age", age, ("1m", MINUTE), ("87600h", 87_600 * HOUR));
    }
    let shutdown = &spec.shutdown;
    check("spec.shutdown.deadline", &shutdown.deadline, ("1s", SECOND), ("10m", 10 * MINUTE));
    check("spec.shutdown.drainDeadline", &shutdown.drain_deadline, ("10s", 10 * SECOND), day);
    check("spec.monitoring.interval", &spec.monitoring.interval, ("5s", 5 * SECOND), ("1h", HOUR));
    if let (Some(heartbeat), Some(forget)) = (heartbeat, forget)
        && forget < 2 * heartbeat
    {
        let message = format!(
            "{} is shorter than twice spec.discovery.heartbeatInterval ({}), so peers would be forgotten before \
             anybody has asked whether they live: lengthen it.",
            discovery.forget_after, discovery.heartbeat_interval
        );
        problems.push(Problem::new("spec.discovery.forgetAfter", message));
    }
}

fn sizes(spec: &SorchaPeerNetworkSpec, pools: &[(String, Pool)], problems: &mut Vec<Problem>) {
    let mut check =
        |path: &str, size: &Size, (least, least_bytes): (&str, u64), (most, most_bytes): (&str, u64)| {
            let Some(thousandths) = size.thousandths() else { return };
            let (wrong, bound) = if thousandths < u128::from(least_bytes) * 1000 {
                ("below", least)
            } else if thousandths > u128::from(most_bytes) * 1000 {
                ("above", most)
            } else {
                return;
            };
            let message = format!("{size} is {wrong} {bound}: give a size from {least} to {most}.");
            problems.push(Problem::new(path, message));
        };
    for (path, pool) in pools {
        let path = format!("{path}.storage.size");
        check(&path, &pool.storage.size, ("16Mi", 16 * MI), ("64Ti", 64 * TI));
    }
    check("spec.limits.bodyBytesMax", &spec.limits.body_bytes_max, ("1Ki", KI), ("256Mi", 256 * MI));
    check("spec.limits.submitBytesMax", &spec.limits.submit_bytes_max, ("1Mi", MI), ("4Gi", 4 * GI));
    check("spec.limits.cacheBytesMax", &spec.limits.cache_bytes_max, ("1Mi", MI), ("64Gi", 64 * GI));
    if let Some(bytes) = &spec.retention.bytes {
        check("spec.retention.bytes", bytes, ("1Mi", MI), ("64Ti", 64 * TI));
    }
}

/// A request above its limit is refused by Kubernetes only when the pod is made, where nobody looks.
fn resources(path: &str, pool: &Pool, problems: &mut Vec<Problem>) {
    let Some(resources) = &pool.resources else { return };
    let (Some(requests), Some(limits)) = (&resources.requests, &resources.limits) else { return };
    for (field, request, limit) in [
        ("cpu", &requests.cpu, &limits.cpu),
        ("memory", &requests.memory, &limits.memory),
        ("ephemeral-storage", &requests.ephemeral_storage, &limits.ephemeral_storage),
    ] {
        let (Some(request), Some(limit)) = (request, limit) else { continue };
        let (Some(wanted), Some(most)) = (request.thousandths(), limit.thousandths()) else { continue };
        if wanted > most {
            let message = format!(
                "{request} is above {path}.resources.limits.{field} ({limit}): lower it, or raise the limit."
            );
            problems.push(Problem::new(format!("{path}.resources.requests.{field}"), message));
        }
    }
}
