//! From a manifest to values that are known to be right. All that is wrong is found at once.
//!
//! Applies what the API server would: the schema's bounds (read from the schema) and the rules that are CEL there,
//! because local mode and `render` have no API server.

mod rules;

use std::fmt;

use sorcha_crds::bounds::violations;
use sorcha_crds::{
    Expose, NAME_CHARACTERS_MAX, Placement, PodTemplate, Problem, Resources, SorchaPeerNetwork,
    SorchaPeerNetworkSpec, Storage,
};
use sorcha_peer_config::raw::{RawBootstrap, RawConfig};

use crate::duration::milliseconds;
use crate::{names, peer_config};

/// Processor that a peer asks for where the manifest does not say (a guess).
pub const CPU_REQUEST: &str = "50m";
/// Memory that a peer asks for where the manifest does not say: twice the bar of 64 MiB for a peer in a network of
/// 1,000 (a guess).
pub const MEMORY_REQUEST: &str = "128Mi";

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
    /// `spec.shutdown.drainDeadline` in milliseconds.
    pub drain_deadline_ms: u64,
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
    /// On which nodes they run.
    pub placement: Placement,
    /// What their pods have beside them.
    pub pod_template: Option<PodTemplate>,
    /// How they are reached from outside.
    pub expose: Option<Expose>,
}

impl Validated {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// How long the kubelet waits for a pod to end, in seconds.
    pub(crate) fn grace_seconds(&self) -> u64 {
        rules::grace_seconds(self.shutdown_deadline_ms)
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
    problems.extend(rules::problems(spec));
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
        drain_deadline_ms: milliseconds(&spec.shutdown.drain_deadline).expect("checked above"),
        spec: spec.clone(),
        name,
    };
    let problems = peer_problems(&network);
    if problems.is_empty() { Ok(network) } else { Err(Invalid { problems }) }
}

/// The pools of a spec whose values are within their bounds.
fn pools(spec: &SorchaPeerNetworkSpec) -> Vec<Pool> {
    let pools = rules::pools(spec).into_iter();
    pools
        .map(|(_, pool)| Pool {
            name: pool.name,
            replicas: u32::try_from(pool.replicas).expect("the schema's range begins at 0"),
            resources: pool.resources,
            storage: pool.storage,
            placement: pool.placement,
            pod_template: pool.pod_template,
            expose: pool.expose,
        })
        .collect()
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
