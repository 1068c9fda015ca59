//! Which pod is replaced next, so that every peer comes to run the newest template: one at a time across all pools, and
//! only while all others do their work. The peers' own answers decide, not the cluster's view alone.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::members::{Member, Members, peers, sentence};
use crate::names;
use crate::plan::{Concern, Finding};
use crate::step::Step;

/// A peer that is not whole for so long after its pod was made stops the rollout, in milliseconds (a guess: a store is
/// opened and a network caught up with in far less).
const BACK_MS: i64 = 5 * 60 * 1000;
/// A pod that is not ready for so long is broken, though nothing tells why, in milliseconds (a guess).
const STARTING_MS: i64 = 2 * 60 * 1000;
/// How soon to look again while peers are replaced: what is waited for takes seconds.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Rollout {
    pub(crate) steps: Vec<Step>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) again: Option<Duration>,
    /// The peer that is drained before it is replaced.
    pub(crate) draining: Option<String>,
}

pub(crate) fn decide(members: &Members<'_>, now_unix_ms: i64, drain_deadline_ms: u64) -> Rollout {
    let outdated: Vec<&Member<'_>> = members.all.iter().filter(|it| it.outdated && !is_going(it)).collect();
    let of_all = members.staying().count();
    let left = members.staying().filter(|it| it.outdated).count();
    if outdated.is_empty() && left == 0 {
        return Rollout::default();
    }
    let mut rollout = Rollout { again: Some(AGAIN), ..Rollout::default() };
    let done = of_all.saturating_sub(left);
    rollout.tell(
        Concern::Progress,
        "ReplacingPeers",
        format!(
            "{done} of {} run the newest template; the others are replaced one at a time.",
            peers(of_all)
        ),
    );

    let broken: Vec<&Member<'_>> = outdated.iter().copied().filter(|it| is_broken(it, now_unix_ms)).collect();
    if !broken.is_empty() {
        // they serve nobody, so nothing is lost and nobody has to wait
        rollout.steps.extend(broken.into_iter().filter_map(|it| replace(it, "it does not run")));
        return rollout;
    }

    let lacking: Vec<(&Member<'_>, _)> =
        members.staying().filter_map(|it| Some((it, members.lack(it)?))).collect();
    let named: BTreeSet<&str> = lacking.iter().map(|(it, _)| it.name.as_str()).collect();
    let candidate = outdated.iter().filter(|it| it.stays).copied().min_by_key(|it| turn(it, &named));
    let Some(candidate) = candidate else { return rollout };
    let in_the_way = lacking.iter().find(|(it, _)| it.name != candidate.name);
    if let Some((member, lack)) = in_the_way {
        rollout.wait_for(member, &lack.what, lack.is_trouble || overdue(member, now_unix_ms), done, of_all);
        return rollout;
    }
    rollout.go(candidate, now_unix_ms, drain_deadline_ms, of_all);
    rollout
}

fn is_going(member: &Member<'_>) -> bool {
    member.pod.is_none_or(|pod| pod.is_terminating)
}

/// It serves nobody, and will not by itself.
fn is_broken(member: &Member<'_>, now_unix_ms: i64) -> bool {
    member.pod.is_some_and(|pod| {
        let silent = !matches!(pod.peer, Some(Ok(_)));
        !pod.is_ready && silent && (pod.trouble.is_some() || member.age_ms(now_unix_ms) > STARTING_MS)
    })
}

fn overdue(member: &Member<'_>, now_unix_ms: i64) -> bool {
    member.pod.is_some() && member.age_ms(now_unix_ms) > BACK_MS
}

/// Who comes first: one that lacks something anyway, then the one that is drained already, then pools apart from the
/// default one, then the highest ordinals: the first peers, with which all others begin, come last.
fn turn(member: &Member<'_>, lacking: &BTreeSet<&str>) -> (bool, bool, bool, u32) {
    let lacks = lacking.contains(member.name.as_str());
    let drained = member.pod.is_some_and(|pod| pod.drain.is_some());
    let first = lacks && (drained || member.report().is_some());
    (!first, !drained, member.pool == names::POOL, u32::MAX - member.ordinal)
}

fn replace(member: &Member<'_>, because: &str) -> Option<Step> {
    let pod = member.pod?;
    Some(Step::ReplacePod {
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        why: format!("Peer {} is started with the newest template: {because}.", member.name),
    })
}

impl Rollout {
    fn tell(&mut self, concerns: Concern, reason: &'static str, message: String) {
        self.findings.push(Finding::new(concerns, reason, message));
    }

    fn wait_for(&mut self, member: &Member<'_>, what: &str, stopped: bool, done: usize, of_all: usize) {
        if stopped {
            self.findings.retain(|finding| finding.concerns != Concern::Progress);
        } else {
            self.tell(
                Concern::Progress,
                "ReplacingPeers",
                format!("Peer {} {what}; it is waited for.", member.name),
            );
            return;
        }
        let way_out = if member.outdated {
            "Put that right, or delete the pod by hand, and it goes on."
        } else {
            "Correct the manifest or what the message names, and it goes on."
        };
        let message = format!(
            "Replacing peers has stopped after {done} of {of_all}: peer {} {what}. The other peers are left as they \
             are. {way_out}",
            member.name
        );
        self.tell(Concern::Trouble, "RolloutStopped", message);
    }

    /// All others are whole: the candidate goes once nobody else depends on what only it holds.
    fn go(&mut self, candidate: &Member<'_>, now_unix_ms: i64, drain_deadline_ms: u64, of_all: usize) {
        let Some(report) = candidate.report() else {
            self.wait_for(
                candidate,
                "does not answer, so that nobody knows what only it holds",
                true,
                0,
                of_all,
            );
            return;
        };
        // a single peer has nobody to hand over to; its volume keeps what it holds
        if report.outbox == 0 || of_all == 1 {
            let because = "the others do their work, and everything that it holds is held elsewhere too";
            self.steps.extend(replace(candidate, because));
            return;
        }
        let drain = candidate.pod.and_then(|pod| pod.drain.as_ref());
        if candidate.is_drained() {
            self.steps.extend(replace(candidate, "it has handed over what only it held"));
            return;
        }
        self.draining = Some(candidate.name.clone());
        self.steps.extend(candidate.address().map(|peer| Step::Drain {
            peer,
            leaving: Vec::new(),
            leave: false,
        }));
        let Some(drain) = drain else { return };
        let name = &candidate.name;
        let ms = now_unix_ms.saturating_sub(drain.since_unix_ms);
        if u64::try_from(ms).is_ok_and(|ms| ms > drain_deadline_ms) {
            let message = format!(
                "Replacing peers has stopped: peer {name} still holds transactions that no other peer holds{}. It goes \
                 on trying; look at the links between the peers.",
                reason(&drain.reason)
            );
            self.tell(Concern::Trouble, "RolloutStopped", message);
        } else {
            let message = format!("Peer {name} hands over what only it holds before it is replaced.");
            self.tell(Concern::Progress, "ReplacingPeers", message);
        }
    }
}

/// As an insertion; nothing where there is none.
pub(crate) fn reason(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({})", sentence(reason)) }
}
