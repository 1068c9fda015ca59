//! The plan of a network in a cluster: objects, certificates and steps, decided.

use std::borrow::Cow;
use std::time::Duration;

use crate::kubernetes::Objects;
use crate::members::{Member, Members};
use crate::observed::ObservedNetwork;
use crate::step::{AuthorityPlan, CertificatePlan, Step};
use crate::validate::{Invalid, Validated};
use crate::{certificates, prune, refresh, rollout, scale, volumes};

/// Image of the peers where nothing else says: the one that belongs to this version.
pub const IMAGE_DEFAULT: &str = concat!("sorcha-peer:", env!("CARGO_PKG_VERSION"));
/// Namespace where neither manifest nor command line says, as kubectl does it.
pub const NAMESPACE_DEFAULT: &str = "default";

/// Everything that is done in a cluster for a network, until it is observed again.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    /// `metadata.name`.
    pub network: String,
    /// Where the objects go.
    pub namespace: String,
    /// The objects, to be applied as they are.
    pub objects: Objects,
    /// The Secret with the root's key.
    pub authority: AuthorityPlan,
    /// What the pools' Secrets must hold. Empty while nothing can be issued.
    pub certificates: Vec<CertificatePlan>,
    /// What else is done, in this order.
    pub steps: Vec<Step>,
    /// When to observe and plan again though nothing was seen to change.
    pub again_after: Option<Duration>,
    /// What the decisions found worth telling; [`crate::status::status`] makes conditions of it.
    pub findings: Vec<Finding>,
}

/// What a decision found, for a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which condition it belongs to.
    pub concerns: Concern,
    /// In CamelCase.
    pub reason: Cow<'static, str>,
    /// As a sentence; where it is a trouble, it says what to do.
    pub message: String,
}

/// The condition that a finding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// `Progressing`: something is under way.
    Progress,
    /// `Degraded`: something stands still until somebody acts.
    Trouble,
    /// `CertificatesReady` is not true.
    Certificates,
}

impl Finding {
    pub(crate) fn new(
        concerns: Concern,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { concerns, reason: reason.into(), message: message.into() }
    }
}

/// How soon to look again while a network comes up, and later when it does not, and when all is well (guesses).
const COMING_UP: Duration = Duration::from_secs(3);
const TROUBLED: Duration = Duration::from_secs(30);
const AT_REST: Duration = Duration::from_secs(60);
/// A pod younger than this comes up, in milliseconds (a guess).
const COMING_UP_MS: i64 = 2 * 60 * 1000;

/// Decides everything that is done for a network. The same input gives the same plan. A manifest that local mode takes
/// may be refused here, where it asks for more than a cluster can hold.
pub fn plan(network: &Validated, seen: &ObservedNetwork) -> Result<NetworkPlan, Invalid> {
    let problems = certificates::beyond_a_secret(network);
    if !problems.is_empty() {
        return Err(Invalid { problems });
    }
    let members = Members::new(network, seen);
    let certificates = certificates::decide(network, seen);
    let mut plan = NetworkPlan {
        network: network.name.clone(),
        namespace: seen.namespace.clone(),
        objects: Objects::none(),
        authority: certificates.authority,
        certificates: certificates.pools,
        steps: Vec::new(),
        again_after: None,
        findings: certificates.findings,
    };
    let mut again = vec![rest(&members, seen)];
    again.extend(certificates.again);
    let reload = refresh::reload(seen, &members);
    plan.findings.extend(reload.findings);
    again.extend(reload.again);
    if !network.spec.paused {
        again.extend(act(&mut plan, network, seen, &members));
    }
    plan.steps.extend(reload.steps);
    if !network.spec.paused {
        let volumes = volumes::decide(network, seen);
        plan.steps.splice(0..0, volumes.recreate);
        plan.steps.extend(volumes.grow);
        plan.findings.extend(volumes.findings);
    }
    plan.again_after = again.into_iter().min();
    Ok(plan)
}

/// Objects, pods and drains: what a paused network is spared. Returns when to look again.
fn act(
    plan: &mut NetworkPlan,
    network: &Validated,
    seen: &ObservedNetwork,
    members: &Members<'_>,
) -> Vec<Duration> {
    let scale = scale::decide(network, seen, members);
    let rollout = rollout::decide(members, seen.now_unix_ms, network.drain_deadline_ms);
    plan.objects = Objects::build(network, seen, &scale);
    let prune = prune::decide(network, seen, &plan.objects);
    let mut steps = rollout.steps;
    let resume = refresh::resume(members, rollout.draining.as_deref(), &steps);
    steps.extend(resume);
    steps.extend(scale.steps);
    steps.extend(prune);
    plan.steps.extend(steps);
    plan.findings.extend(rollout.findings);
    plan.findings.extend(scale.findings);
    rollout.again.into_iter().chain(scale.again).collect()
}

/// When to look again for the peers' sake alone.
fn rest(members: &Members<'_>, seen: &ObservedNetwork) -> Duration {
    let lacking: Vec<_> = members.staying().filter(|member| members.lack(member).is_some()).collect();
    // pods that something keeps from being made tell of themselves once they are
    let kept = |pool: &str| {
        let in_the_way = !seen.foreign.is_empty() || !seen.refused.is_empty();
        in_the_way || seen.pools.get(pool).is_some_and(|pool| pool.trouble.is_some())
    };
    let comes_up = |member: &&Member<'_>| match member.pod {
        None => !kept(member.pool),
        Some(_) => member.age_ms(seen.now_unix_ms) < COMING_UP_MS,
    };
    if lacking.is_empty() {
        AT_REST
    } else if lacking.iter().any(comes_up) {
        COMING_UP
    } else {
        TROUBLED
    }
}
