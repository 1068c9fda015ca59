//! What stands in the way of a network, from what was observed: each with a reason and a sentence that says what to do.

use std::collections::BTreeMap;

use crate::members::{Member, Members, peers, sentence};
use crate::observed::{ObservedNetwork, Refused, Root, Trouble};
use crate::plan::{Concern, Finding};
use crate::validate::Validated;

/// A pod may be without a node for so long while its volume is made, in milliseconds (a guess).
const SCHEDULING_MS: i64 = 15 * 1000;
/// A pod that is not ready for so long is told of though nothing says why, in milliseconds (a guess).
const STARTING_MS: i64 = 2 * 60 * 1000;
/// A peer may be silent for so long after its pod was made, in milliseconds (a guess).
const SILENT_MS: i64 = 30 * 1000;
/// From so long before its end on it is told that the root ends, in milliseconds: 90 days (a guess: time to plan).
const ROOT_ENDS_MS: i64 = 90 * 24 * 3600 * 1000;

pub(super) fn find(network: &Validated, seen: &ObservedNetwork, members: &Members<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for foreign in &seen.foreign {
        let object = &foreign.object;
        let message = format!(
            "{} {} is there already and belongs to somebody else ({}); it is left alone. Delete it, or give the network \
             or the pool another name.",
            object.kind, object.name, foreign.owner
        );
        found.push(trouble("NameTaken", message));
    }
    found.extend(seen.refused.iter().map(refused));
    for (pool, there) in &seen.pools {
        let lacks_pods = members.all.iter().any(|it| it.pool == pool && it.in_set && it.pod.is_none());
        if let Some(told) = there.trouble.as_ref().filter(|_| lacks_pods) {
            let (reason, way_out) = of_controller(told);
            let message = format!("Pods of pool {pool} are not made: {}. {way_out}", sentence(&told.message));
            found.push(trouble(reason, message));
        }
    }
    found.extend(of_pods(members, seen.now_unix_ms));
    found.extend(of_peers(members, seen.now_unix_ms));
    if let Root::Usable { not_after_unix_ms, .. } = seen.authority.root
        && not_after_unix_ms.saturating_sub(seen.now_unix_ms) < ROOT_ENDS_MS
    {
        let message = format!(
            "The root of the certificate authority in Secret {} ends in less than 90 days, and with it every \
             certificate. Make a new network and move to it.",
            crate::names::authority_secret(&network.name)
        );
        found.push(trouble("AuthorityEnds", message));
    }
    found
}

fn trouble(reason: &str, message: String) -> Finding {
    Finding::new(Concern::Trouble, reason.to_owned(), message)
}

fn refused(refused: &Refused) -> Finding {
    let Refused { object, reason, message } = refused;
    let quota = message.contains("exceeded quota");
    let (told, way_out) = match (object.kind.as_str(), reason.as_str()) {
        _ if quota => ("QuotaExceeded", "Raise the namespace's quota, or ask for less."),
        ("StatefulSet", "Invalid") => ("InvalidPodTemplate", "Correct podTemplate or placement of the pool."),
        (_, "Invalid") => ("ObjectInvalid", "Correct the manifest where the message names it."),
        (_, "Forbidden") => {
            ("ObjectForbidden", "Give the operator that right, or change the policy that refuses.")
        }
        _ => ("ObjectRefused", "Put right what the message names; it is tried again."),
    };
    let message = format!("{} {} is not taken: {}. {way_out}", object.kind, object.name, sentence(message));
    trouble(told, message)
}

/// Why a StatefulSet's controller makes no pods.
fn of_controller(told: &Trouble) -> (&str, &'static str) {
    let says = |words: &str| told.message.contains(words);
    if says("exceeded quota") {
        ("QuotaExceeded", "Raise the namespace's quota, or ask for fewer or smaller peers.")
    } else if says("PodSecurity") {
        ("PodSecurity", "Correct podTemplate so that it fits the namespace's Pod Security standard.")
    } else {
        (&told.reason, "Put right what the message names; it is tried again.")
    }
}

/// Why pods do not run, one finding for each reason.
fn of_pods(members: &Members<'_>, now_unix_ms: i64) -> Vec<Finding> {
    let mut by_reason: BTreeMap<String, Vec<(&Member<'_>, String, &'static str)>> = BTreeMap::new();
    for member in &members.all {
        let Some(pod) = member.pod.filter(|pod| !pod.is_ready && !pod.is_terminating) else { continue };
        let age = member.age_ms(now_unix_ms);
        let (reason, told, way_out) = match &pod.trouble {
            Some(told) if told.reason == "Unschedulable" && age < SCHEDULING_MS => continue,
            Some(told) => {
                let (reason, way_out) = of_pod(told);
                (reason.to_owned(), sentence(&told.message).to_owned(), way_out)
            }
            None if age > STARTING_MS => (
                "PeerNotReady".to_owned(),
                "it has been starting for minutes".to_owned(),
                "Look at its logs: `kubectl logs POD -c peer`.",
            ),
            None => continue,
        };
        by_reason.entry(reason).or_default().push((member, told, way_out));
    }
    let told = by_reason.into_iter().map(|(reason, pods)| {
        let (first, why, way_out) = &pods[0];
        let who = match pods.len() {
            1 => format!("Peer {} does not run", first.name),
            count => format!("{} do not run, such as {}", peers(count), first.name),
        };
        trouble(&reason, format!("{who}: {why}. {}", way_out.replace("POD", &first.name)))
    });
    told.collect()
}

fn of_pod(told: &Trouble) -> (&str, &'static str) {
    match told.reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName"
        | "ImageInspectError" => (&told.reason, "Correct the image, or make it available to the nodes."),
        "Unschedulable" if told.message.contains("PersistentVolume") || told.message.contains("volume") => {
            ("VolumeNotBound", "Give the cluster volumes that fit storage, or correct storage.className.")
        }
        "Unschedulable" => {
            (&told.reason, "Make room on the nodes, or ask for less in resources and placement.")
        }
        "FailedMount" | "CreateContainerConfigError" => (
            &told.reason,
            "Make the Secret, ConfigMap or volume that the message names, or correct podTemplate.",
        ),
        "CrashLoopBackOff" => (&told.reason, "Look at `kubectl logs POD -c peer --previous`."),
        _ => (&told.reason, "Look at `kubectl describe pod POD`."),
    }
}

/// Peers that run and are silent, or that refuse.
fn of_peers(members: &Members<'_>, now_unix_ms: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    let ready =
        || members.all.iter().filter(|it| it.pod.is_some_and(|pod| pod.is_ready && !pod.is_terminating));
    let old = |it: &&Member<'_>| it.age_ms(now_unix_ms) > SILENT_MS;
    let silent: Vec<(&Member<'_>, &String)> =
        ready().filter(old).filter_map(|it| Some((it, it.pod?.peer.as_ref()?.as_ref().err()?))).collect();
    if let Some((first, why)) = silent.first() {
        let message = format!(
            "No answer to the operator from {}, such as {}: {}. Replacing and scaling down wait. See that the operator \
             reaches port 7450 of the peers' pods.",
            peers(silent.len()),
            first.name,
            sentence(why)
        );
        found.push(trouble("PeersSilent", message));
    }
    for member in &members.all {
        if let Some(fault) = member.report().and_then(|report| report.store_fault.as_ref()) {
            let message = format!(
                "The store of peer {} refuses: {}. The other peers go on.",
                member.name,
                sentence(fault)
            );
            found.push(trouble("StoreRefuses", message));
        }
    }
    found
}
