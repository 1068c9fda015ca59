//! How many pods each StatefulSet has, and which peers hand over what they hold before they go. More is given at once;
//! fewer only when the peers that leave are drained. Nothing here gives up a transaction: where a drain does not end, a
//! person decides.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::members::{Member, Members, peers, sentence};
use crate::names;
use crate::observed::{ObjectName, ObservedNetwork};
use crate::plan::{Concern, Finding};
use crate::rollout::reason;
use crate::step::Step;
use crate::validate::Validated;

/// How soon to look again while peers are drained.
const AGAIN: Duration = Duration::from_secs(2);
/// Peers told to drain in one pass at most; the others follow as these end (a guess).
const DRAINS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Scale {
    /// By pool of the manifest: pods of its StatefulSet now.
    pub(crate) replicas: BTreeMap<String, u32>,
    /// No peer stays: then no volume goes with its peer, whatever the manifest says of scaling down.
    pub(crate) nobody_stays: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) again: Option<Duration>,
}

pub(crate) fn decide(network: &Validated, seen: &ObservedNetwork, members: &Members<'_>) -> Scale {
    let mut scale = Scale { nobody_stays: network.peers() == 0, ..Scale::default() };
    for pool in &network.pools {
        let there = seen.pools.get(&pool.name).map_or(0, |there| there.replicas);
        let replicas = if there <= pool.replicas || scale.nobody_stays {
            pool.replicas
        } else {
            let still = members.leaving().filter(|it| it.pool == pool.name && !is_free(it));
            still.map(|it| it.ordinal + 1).max().unwrap_or(0).clamp(pool.replicas, there)
        };
        scale.replicas.insert(pool.name.clone(), replicas);
    }
    scale.remove_pools(network, seen, members);
    if !scale.nobody_stays {
        scale.drain(members, seen.now_unix_ms, network.drain_deadline_ms);
    }
    scale
}

/// Whether nothing is lost when the peer goes: it has handed over, or never held anything, or somebody has given its
/// volume up.
fn is_free(member: &Member<'_>) -> bool {
    let never_bound = member.claim.is_none_or(|claim| claim.capacity.is_none() || claim.is_terminating);
    match member.pod {
        None => never_bound,
        Some(pod) if pod.drain.as_ref().is_some_and(|drain| drain.is_leaving) && member.is_drained() => true,
        Some(pod) => {
            let given_up = member.claim.is_some_and(|claim| claim.is_terminating);
            given_up || !pod.has_started && never_bound
        }
    }
}

impl Scale {
    /// A StatefulSet whose pool the manifest has no more goes when all its peers are free to go.
    fn remove_pools(&mut self, network: &Validated, seen: &ObservedNetwork, members: &Members<'_>) {
        for (pool, there) in seen.pools.iter().filter(|(name, _)| network.pool(name).is_none()) {
            let peers = || members.leaving().filter(|it| it.pool == pool && it.in_set);
            if there.uid.is_none() {
                continue;
            }
            if peers().all(is_free) {
                let name = names::pool(&network.name, pool);
                self.steps.push(Step::Prune(ObjectName { kind: "StatefulSet".to_owned(), name }));
            } else if self.nobody_stays {
                let message = format!(
                    "Pool {pool} is taken away, but nobody stays to take over what its peers hold: raise spec.replicas \
                     or keep the pool; to give the data up, delete the volume claims state-{}-{pool}-*.",
                    network.name
                );
                self.findings.push(Finding::new(Concern::Trouble, "NobodyStays", message));
            }
        }
    }

    fn drain(&mut self, members: &Members<'_>, now_unix_ms: i64, deadline_ms: u64) {
        let busy: Vec<&Member<'_>> = members.leaving().filter(|it| it.in_set && !is_free(it)).collect();
        if busy.is_empty() {
            return;
        }
        self.again = Some(AGAIN);
        let leaving: Vec<String> = members.leaving().map(|it| it.uri.clone()).collect();
        let mut stuck = Vec::new();
        for member in busy.iter().take(DRAINS_MAX) {
            if let Some(peer) = member.address().filter(|_| member.report().is_some()) {
                self.steps.push(Step::Drain { peer, leaving: leaving.clone(), leave: true });
            }
            stuck.extend(why_stuck(member, now_unix_ms, deadline_ms));
        }
        let count = busy.len();
        let message = format!("{} to hand over what only they hold before they go.", peers(count));
        self.findings.push(Finding::new(Concern::Progress, "Draining", message));
        if let Some(first) = stuck.first() {
            let name = &busy[0].name;
            let message = format!(
                "{} of those that leave cannot hand over what only they hold, and {} kept: {first}. Put that right, or \
                 raise replicas again; to give up what only one of them holds, delete its volume claim, such as \
                 state-{name}.",
                peers(stuck.len()),
                if stuck.len() == 1 { "is" } else { "are" }
            );
            self.findings.push(Finding::new(Concern::Trouble, "DrainStuck", message));
        }
    }
}

/// Goes on after "cannot hand over: "; none within the deadline.
fn why_stuck(member: &Member<'_>, now_unix_ms: i64, deadline_ms: u64) -> Option<String> {
    let is_late =
        |since: i64| u64::try_from(now_unix_ms.saturating_sub(since)).is_ok_and(|ms| ms > deadline_ms);
    let name = &member.name;
    let Some(pod) = member.pod else { return Some(format!("peer {name} has a volume and no pod")) };
    match (&pod.drain, &pod.peer) {
        (Some(drain), Some(Ok(_))) => is_late(drain.since_unix_ms).then(|| {
            format!(
                "peer {name} still holds transactions that no staying peer holds{}",
                reason(&drain.reason)
            )
        }),
        (_, Some(Ok(_))) => None,
        (_, answer) => is_late(pod.created_unix_ms).then(|| {
            let trouble = pod.trouble.as_ref().map(|trouble| trouble.message.as_str());
            let told = answer.as_ref().and_then(|answer| answer.as_ref().err()).map(String::as_str);
            let why = trouble.or(told).unwrap_or("its pod is not ready");
            format!("peer {name} does not answer: {}", sentence(why))
        }),
    }
}
