//! From a manifest to values that are known to be right. All that is wrong is found at once.
//!
//! Applies what the API server would: the schema's bounds (read from the schema) and the rules that are CEL there,
//! because local mode and `render` have no API server.

use std::fmt;

use sorcha_crds::bounds::violations;
use sorcha_crds::{
    NAME_CHARACTERS_MAX, Problem, Resources, Size, SorchaPeerNetwork, SorchaPeerNetworkSpec, Storage,
};
use sorcha_peer_config::raw::{RawBootstrap, RawConfig};

use crate::duration::milliseconds;
use crate::{names, peer_config};

/// Processor that a peer asks for where the manifest does not say (a guess).
pub const CPU_REQUEST: &str = "50m";
/// Memory that a peer asks for where the manifest does not say: twice the bar of 64 MiB for a peer in a network of
/// 1,000 (a guess).
pub const MEMORY_REQUEST: &str = "128Mi";

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;
const TI: u64 = 1 << 40;

/// A manifest in which every value is right. Only [`validate`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, where the manifest says.
    pub namespace: Option<String>,
    /// `metadata.uid`, where the manifest comes from an API server.
    pub uid: Option<String>,
    /// `metadata.generation`, where the manifest comes from an API server.
    pub generation: Option<i64>,
    /// `spec.networkId`, or the name.
    pub network_id: String,
    /// The default pool, then those of `spec.pools` in their order.
    pub pools: Vec<Pool>,
    /// `spec.shutdown.deadline` in milliseconds.
    pub shutdown_deadline_ms: u64,
    /// Everything else, within its bounds.
    pub spec: SorchaPeerNetworkSpec,
}

/// A group of peers that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name; `peers` for the one that the top of the spec describes.
    pub name: String,
    /// Peers wanted.
    pub replicas: u32,
    /// Processor and memory of each.
    pub resources: Option<Resources>,
    /// The volume of each.
    pub storage: Storage,
}

impl Validated {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// Peers wanted, in all pools.
    pub fn peers(&self) -> u32 {
        self.pools.iter().map(|pool| pool.replicas).sum()
    }
}

/// Everything that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// In the order of fields; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&Problem::list(&self.problems))
    }
}

impl std::error::Error for Invalid {}

/// Checks a manifest.
pub fn validate(manifest: &SorchaPeerNetwork) -> Result<Validated, Invalid> {
    let spec = &manifest.spec;
    let name = manifest.metadata.name.clone().unwrap_or_default();
    let mut problems = Vec::new();
    name_problems(&name, &mut problems);
    if let Some(namespace) = &manifest.metadata.namespace {
        namespace_problems(namespace, &mut problems);
    }
    problems.extend(violations(spec));
    durations(spec, &mut problems);
    sizes(spec, &mut problems);
    resources(spec, &mut problems);
    if !problems.is_empty() {
        return Err(Invalid { problems });
    }
    let network = Validated {
        namespace: manifest.metadata.namespace.clone(),
        uid: manifest.metadata.uid.clone(),
        generation: manifest.metadata.generation,
        network_id: spec.network_id.clone().unwrap_or_else(|| name.clone()),
        pools: pools(spec),
        shutdown_deadline_ms: milliseconds(&spec.shutdown.deadline).expect("checked above"),
        spec: spec.clone(),
        name,
    };
    let problems = peer_problems(&network);
    if problems.is_empty() { Ok(network) } else { Err(Invalid { problems }) }
}

/// The pools of a spec whose values are within their bounds.
fn pools(spec: &SorchaPeerNetworkSpec) -> Vec<Pool> {
    let count = |replicas: i32| u32::try_from(replicas).expect("the schema's range begins at 0");
    vec![Pool {
        name: names::POOL.to_owned(),
        replicas: count(spec.replicas),
        resources: spec.resources.clone(),
        storage: spec.storage.clone(),
    }]
}

/// What the peers themselves would refuse, such as a log filter that cannot be read, in terms of the manifest.
fn peer_problems(network: &Validated) -> Vec<Problem> {
    let config = RawConfig {
        name: Some(names::peer(&network.name, names::POOL, network.peers())),
        bootstrap: RawBootstrap { addresses: Some(peer_config::bootstrap(std::iter::empty(), network)) },
        ..peer_config::shared(network)
    };
    let Err(problems) = sorcha_peer_config::check(&config) else { return Vec::new() };
    let path = |key: &str| match key {
        "name" => "metadata.name".to_owned(),
        "trustDomain" => "spec.tls.trustDomain".to_owned(),
        "state.cacheBytesMax" => "spec.limits.cacheBytesMax".to_owned(),
        key => format!("spec.{key}"),
    };
    problems.iter().map(|problem| Problem::new(path(&problem.key), problem.message.clone())).collect()
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let outer = |byte: Option<&u8>| byte.is_some_and(|byte| inner(*byte) && *byte != b'-');
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| inner(*byte)) && outer(bytes.first()) && outer(bytes.last())
}

fn name_problems(name: &str, problems: &mut Vec<Problem>) {
    let begins = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if name.len() > NAME_CHARACTERS_MAX {
        let message = format!("{name:?} has more than {NAME_CHARACTERS_MAX} characters: shorten it.");
        problems.push(Problem::new("metadata.name", message));
    } else if !is_label(name) || !begins {
        let message = format!(
            "{name:?} cannot name pods and Services: use lower-case letters, digits and hyphens, begin with a letter \
             and do not end with a hyphen."
        );
        problems.push(Problem::new("metadata.name", message));
    }
}

/// A namespace is a DNS label of at most 63 characters.
pub(crate) fn namespace_problems(namespace: &str, problems: &mut Vec<Problem>) {
    if namespace.len() > 63 || !is_label(namespace) {
        let message = format!(
            "{namespace:?} is no namespace: use 1 to 63 lower-case letters, digits and hyphens, and begin and end \
             with a letter or digit."
        );
        problems.push(Problem::new("metadata.namespace", message));
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
    let forget = check("spec.discovery.forgetAfter", &discovery.forget_after, ("1s", SECOND), day);
    check("spec.shutdown.deadline", &spec.shutdown.deadline, ("1s", SECOND), ("10m", 10 * MINUTE));
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

fn sizes(spec: &SorchaPeerNetworkSpec, problems: &mut Vec<Problem>) {
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
    check("spec.storage.size", &spec.storage.size, ("16Mi", 16 * MI), ("64Ti", 64 * TI));
    check("spec.limits.bodyBytesMax", &spec.limits.body_bytes_max, ("1Ki", KI), ("256Mi", 256 * MI));
    check("spec.limits.cacheBytesMax", &spec.limits.cache_bytes_max, ("1Mi", MI), ("64Gi", 64 * GI));
}

/// A request above its limit is refused by Kubernetes only when the pod is made, where nobody looks.
fn resources(spec: &SorchaPeerNetworkSpec, problems: &mut Vec<Problem>) {
    let Some(resources) = &spec.resources else { return };
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
                "{request} is above spec.resources.limits.{field} ({limit}): lower it, or raise the limit."
            );
            problems.push(Problem::new(format!("spec.resources.requests.{field}"), message));
        }
    }
}
