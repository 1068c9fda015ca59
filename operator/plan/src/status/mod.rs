//! What is reported about a network: figures and conditions from what was observed and planned. Reads no clock: the
//! time is that of the observation.
//!
//! Written on transitions only: no sentence here carries a figure that changes by itself.

mod conditions;
mod events;
mod troubles;

use sorcha_crds::{PoolStatus, SorchaPeerNetworkStatus};

use self::conditions::{Conditions, Holds};
use crate::members::{Members, peers, sentence};
use crate::names;
use crate::observed::{ObservedNetwork, Root};
use crate::plan::{Concern, Finding, NetworkPlan};
use crate::validate::{Invalid, Validated};

pub use self::events::{Note, events};

/// The status of a network that was planned. `before` keeps the times of conditions that have not changed.
pub fn status(
    network: &Validated,
    plan: &NetworkPlan,
    seen: &ObservedNetwork,
    before: Option<&SorchaPeerNetworkStatus>,
) -> SorchaPeerNetworkStatus {
    let members = Members::new(network, seen);
    let mut findings = plan.findings.clone();
    findings.extend(troubles::find(network, seen, &members));
    let report = Report { network, seen, members: &members, findings: &findings };
    let mut conditions = Conditions::new(before, network.generation, seen.now_unix_ms);
    report.ready(&mut conditions);
    report.progressing(&mut conditions);
    report.degraded(&mut conditions);
    report.certificates(&mut conditions);
    report.linked(&mut conditions);
    let pools = report.pools(plan);
    let default = pools.iter().find(|pool| pool.name == names::POOL).cloned().unwrap_or_default();
    SorchaPeerNetworkStatus {
        observed_generation: network.generation,
        replicas: default.replicas,
        ready_replicas: default.ready_replicas,
        peers: pools.iter().map(|pool| pool.replicas).sum(),
        peers_ready: pools.iter().map(|pool| pool.ready_replicas).sum(),
        selector: Some(names::selector_text(&network.name)),
        pools,
        conditions: conditions.made(),
    }
}

/// The status of a manifest that cannot be planned: figures and what is known of the peers stay, and the conditions say
/// why nothing is done.
pub fn status_invalid(
    invalid: &Invalid,
    generation: Option<i64>,
    now_unix_ms: i64,
    before: Option<&SorchaPeerNetworkStatus>,
) -> SorchaPeerNetworkStatus {
    let mut conditions = Conditions::new(before, generation, now_unix_ms);
    let invalid = invalid.to_string();
    let told =
        format!("The manifest is not right, and the network is left as it is. {}.", sentence(&invalid));
    conditions.add("Ready", Holds::No, "InvalidManifest", &told);
    conditions.add("Progressing", Holds::No, "InvalidManifest", "Correct the manifest first.");
    conditions.add("Degraded", Holds::Yes, "InvalidManifest", &told);
    conditions.keep("CertificatesReady");
    conditions.keep("Linked");
    SorchaPeerNetworkStatus {
        observed_generation: generation,
        conditions: conditions.made(),
        ..before.cloned().unwrap_or_default()
    }
}

struct Report<'a> {
    network: &'a Validated,
    seen: &'a ObservedNetwork,
    members: &'a Members<'a>,
    findings: &'a [Finding],
}

impl Report<'_> {
    fn of(&self, concerns: &[Concern]) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| concerns.contains(&finding.concerns)).collect()
    }

    /// Wanted peers whose pods are ready and not on their way out.
    fn running(&self) -> usize {
        let runs =
            |it: &&crate::members::Member<'_>| it.pod.is_some_and(|pod| pod.is_ready && !pod.is_terminating);
        self.members.staying().filter(runs).count()
    }

    fn ready(&self, conditions: &mut Conditions<'_>) {
        let (wanted, running) = (self.members.staying().count(), self.running());
        let outdated = self.members.staying().filter(|member| member.outdated).count();
        let leaving = self.members.leaving().filter(|member| member.pod.is_some()).count();
        if running < wanted {
            let told = format!("{running} of {} are ready.", peers(wanted));
            conditions.add("Ready", Holds::No, "PeersNotReady", &told);
        } else if !(self.seen.refused.is_empty() && self.seen.foreign.is_empty()) {
            let told = "Not everything that the manifest asks for could be put in place; see Degraded.";
            conditions.add("Ready", Holds::No, "ObjectsMissing", told);
        } else if outdated > 0 {
            let told = format!(
                "All {wanted} peers are ready; {outdated} of them do not run the newest template yet."
            );
            conditions.add("Ready", Holds::No, "PeersOutdated", &told);
        } else if leaving > 0 {
            let told = format!("All wanted peers are ready; {} to leave.", peers(leaving));
            conditions.add("Ready", Holds::No, "PeersLeaving", &told);
        } else {
            conditions.add("Ready", Holds::Yes, "AllPeersReady", "All peers are ready.");
        }
    }

    fn progressing(&self, conditions: &mut Conditions<'_>) {
        if self.network.spec.paused {
            let told =
                "The network is paused: nothing is applied, replaced or drained until spec.paused is false.";
            return conditions.add("Progressing", Holds::No, "Paused", told);
        }
        let stopped = self.of(&[Concern::Trouble]);
        let progress = self.of(&[Concern::Progress]);
        let (wanted, running) = (self.members.staying().count(), self.running());
        if let Some(first) = progress.first() {
            conditions.add("Progressing", Holds::Yes, &first.reason, &joined(&progress));
        } else if running < wanted && stopped.is_empty() {
            let told = format!("{} to start.", peers(wanted - running));
            conditions.add("Progressing", Holds::Yes, "PeersStarting", &told);
        } else if running < wanted {
            conditions.add("Progressing", Holds::No, "Stopped", "Nothing goes on by itself; see Degraded.");
        } else {
            conditions.add("Progressing", Holds::No, "Settled", "Nothing is under way.");
        }
    }

    fn degraded(&self, conditions: &mut Conditions<'_>) {
        let troubles = self.of(&[Concern::Trouble, Concern::Certificates]);
        match troubles.first() {
            Some(first) => conditions.add("Degraded", Holds::Yes, &first.reason, &joined(&troubles)),
            None => conditions.add("Degraded", Holds::No, "AsWanted", "Nothing stands in the way."),
        }
    }

    fn certificates(&self, conditions: &mut Conditions<'_>) {
        let findings = self.of(&[Concern::Certificates]);
        if let Some(first) = findings.first() {
            return conditions.add("CertificatesReady", Holds::No, &first.reason, &joined(&findings));
        }
        let known = &self.seen.authority.certificates;
        let valid = |it: &&crate::members::Member<'_>| {
            known.get(&it.name).is_some_and(|it| it.fits && it.not_after_unix_ms > self.seen.now_unix_ms)
        };
        let (wanted, valid) = (self.members.staying().count(), self.members.staying().filter(valid).count());
        if !matches!(self.seen.authority.root, Root::Usable { .. }) {
            conditions.add(
                "CertificatesReady",
                Holds::No,
                "Issuing",
                "The certificate authority is being made.",
            );
        } else if valid < wanted {
            conditions.add("CertificatesReady", Holds::No, "Issuing", "Certificates are being issued.");
        } else {
            let told = "Every peer has a valid certificate.";
            conditions.add("CertificatesReady", Holds::Yes, "AllValid", told);
        }
    }

    fn linked(&self, conditions: &mut Conditions<'_>) {
        let answers: Vec<_> =
            self.members.staying().filter_map(|member| Some((member, member.report()?))).collect();
        let wanted = self.members.staying().count();
        let apart = answers
            .iter()
            .find_map(|(member, report)| self.members.missing_links(report).map(|_| &member.name));
        if let Some(name) = apart {
            let told = format!("Not every peer has its links to the others, such as {name}.");
            conditions.add("Linked", Holds::No, "PeersApart", &told);
        } else if answers.len() < wanted {
            conditions.add(
                "Linked",
                Holds::Unknown,
                "PeersSilent",
                "Not every peer says yet how it is linked.",
            );
        } else {
            conditions.add("Linked", Holds::Yes, "AllLinked", "Every peer has its links to the others.");
        }
    }

    fn pools(&self, plan: &NetworkPlan) -> Vec<PoolStatus> {
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let known = self.network.pools.iter().map(|pool| (pool.name.as_str(), pool.replicas));
        let gone = self.seen.pools.keys().filter(|name| self.network.pool(name).is_none());
        let each = known.chain(gone.map(|name| (name.as_str(), 0))).map(|(name, wanted)| {
            let members: Vec<_> =
                self.members.all.iter().filter(|it| it.pool == name && it.pod.is_some()).collect();
            let pods = || members.iter().filter_map(|member| member.pod);
            let set = plan.objects.pools.iter().find(|pool| pool.pool == name).map(|pool| &pool.stateful_set);
            let image = set.and_then(image_of).or_else(|| pods().find_map(|pod| pod.image.clone()));
            PoolStatus {
                name: name.to_owned(),
                wanted: i32::try_from(wanted).unwrap_or(i32::MAX),
                replicas: count(members.len()),
                ready_replicas: count(pods().filter(|pod| pod.is_ready).count()),
                updated_replicas: count(members.iter().filter(|member| !member.outdated).count()),
                image,
            }
        });
        each.collect()
    }
}

/// Image of the peer in a planned StatefulSet.
fn image_of(set: &serde_json::Value) -> Option<String> {
    let pod = &set["spec"]["template"]["spec"];
    let lists = ["containers", "initContainers"].map(|kind| pod[kind].as_array());
    let mut containers = lists.into_iter().flatten().flatten();
    let peer = containers.find(|container| container["name"] == names::CONTAINER)?;
    peer["image"].as_str().map(str::to_owned)
}

fn joined(findings: &[&Finding]) -> String {
    let told: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    told.join(" ")
}
