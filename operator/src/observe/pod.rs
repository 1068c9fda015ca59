//! From pods, claims and StatefulSets as the API server tells them to what decisions need. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use sorcha_operator_plan::names::{ANNOTATION_RENDERED, CONTAINER, LABEL_NETWORK};
use sorcha_operator_plan::observed::{ObservedClaim, ObservedPod, Trouble};

use super::cache::{ClaimSeen, PodSeen, SetSeen, pool_of};
use super::slim::{Claim, Condition, ContainerStatus, Pod, PodSpec, PodStatus, Set};

/// Label by which the StatefulSet controller tells revisions apart.
const LABEL_REVISION: &str = "controller-revision-hash";

/// Longest message that is kept of a trouble, in bytes: some runtimes tell whole stories (a guess).
const MESSAGE_BYTES_MAX: usize = 512;

/// A StatefulSet; none where it has no pool label.
pub(super) fn set(set: &Set) -> Option<SetSeen> {
    let status = set.status.clone().unwrap_or_default();
    let annotations = set.metadata.annotations.as_ref();
    let immutable = json!({
        "selector": set.spec.selector,
        "serviceName": set.spec.service_name,
        "podManagementPolicy": set.spec.pod_management_policy,
        "volumeClaimTemplates": set.spec.volume_claim_templates,
    });
    Some(SetSeen {
        uid: set.metadata.uid.as_deref()?.into(),
        pool: set_pool(&set.metadata)?.into(),
        replicas: set.spec.replicas.unwrap_or(1),
        is_settled: status.observed_generation == set.metadata.generation,
        update_revision: status.update_revision.as_deref().map(Into::into),
        rendered: annotations.and_then(|it| it.get(ANNOTATION_RENDERED)).map(|it| it.as_str().into()),
        immutable: immutable.to_string().into(),
    })
}

/// By label, else by name: `<network>-<pool>`.
fn set_pool(metadata: &ObjectMeta) -> Option<&str> {
    pool_of(metadata).or_else(|| {
        let network = metadata.labels.as_ref()?.get(LABEL_NETWORK)?;
        metadata.name.as_deref()?.strip_prefix(network.as_str())?.strip_prefix('-')
    })
}

/// A pod of a pool; none where label or ordinal is missing.
pub(super) fn pod(pod: &Pod) -> Option<PodSeen> {
    let metadata = &pod.metadata;
    let name = metadata.name.as_deref()?;
    let status = pod.status.clone().unwrap_or_default();
    let labels = metadata.labels.as_ref();
    Some(PodSeen {
        pool: pool_of(metadata)?.into(),
        ordinal: ordinal(name)?,
        pod: ObservedPod {
            name: name.to_owned(),
            uid: metadata.uid.clone().unwrap_or_default(),
            created_unix_ms: unix_ms(metadata.creation_timestamp.as_ref()),
            is_terminating: metadata.deletion_timestamp.is_some(),
            revision: labels.and_then(|it| it.get(LABEL_REVISION)).cloned(),
            is_ready: holds(&status.conditions, "Ready"),
            has_started: statuses(&status).any(|it| it.name == CONTAINER && has_started(it)),
            image: image(&pod.spec),
            address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            trouble: pod_trouble(&status),
            peer: None,
            drain: None,
        },
    })
}

/// The peer is one of the containers, or one that starts before them and stays.
fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().chain(&status.container_statuses)
}

fn has_started(container: &ContainerStatus) -> bool {
    let ContainerStatus { state, last_state, restart_count, started, .. } = container;
    *started == Some(true)
        || *restart_count > 0
        || state.running.is_some()
        || state.terminated.is_some()
        || last_state.terminated.is_some()
}

fn image(spec: &PodSpec) -> Option<String> {
    let mut containers = spec.init_containers.iter().chain(&spec.containers);
    containers.find(|container| container.name == CONTAINER).map(|container| container.image.clone())
}

/// A volume claim; none where its name ends in no ordinal.
pub(super) fn claim(claim: &Claim) -> Option<ClaimSeen> {
    let metadata = &claim.metadata;
    let name = metadata.name.as_deref()?;
    let status = claim.status.clone().unwrap_or_default();
    let requested = claim.spec.resources.requests.get("storage").cloned().unwrap_or_default();
    let lost = (status.phase.as_deref() == Some("Lost")).then(|| Trouble {
        reason: "VolumeLost".to_owned(),
        message: format!("the volume of claim {name} is gone: restore it, or delete the claim and its pod."),
    });
    let resizing = status.conditions.iter().find(|it| it.type_.ends_with("Error") && it.status == "True");
    Some(ClaimSeen {
        class: claim.spec.storage_class_name.as_deref().map(Into::into),
        claim: ObservedClaim {
            name: name.to_owned(),
            pool: pool_of(metadata)?.to_owned(),
            ordinal: ordinal(name)?,
            requested,
            capacity: status.capacity.get("storage").cloned(),
            is_terminating: metadata.deletion_timestamp.is_some(),
            created_unix_ms: unix_ms(metadata.creation_timestamp.as_ref()),
            can_grow: None,
            trouble: lost.or_else(|| resizing.map(|it| trouble(&it.type_, it.message.as_deref()))),
        },
    })
}

/// The number at the end of a name.
fn ordinal(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

fn unix_ms(time: Option<&Time>) -> i64 {
    time.map_or(0, |time| time.0.as_millisecond())
}

fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|it| it.type_ == type_ && it.status == "True")
}

/// Why a pod does not start: what keeps it from a node, else what a container waits for, else how one ended.
fn pod_trouble(status: &PodStatus) -> Option<Trouble> {
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("PodFailed");
        return Some(trouble(reason, status.message.as_deref()));
    }
    let unscheduled = status.conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        return Some(trouble(reason, condition.message.as_deref()));
    }
    statuses(status).find_map(container_trouble)
}

/// Words of the kubelet that mean that all is on its way.
const UNDER_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

fn container_trouble(container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !UNDER_WAY.contains(reason))?;
    let mut message = format!("container {}", container.name);
    if let Some(told) = &waiting.message {
        message = format!("{message}: {told}");
    }
    if let Some(last) = &container.last_state.terminated {
        let how = last.reason.as_deref().unwrap_or("ended");
        let code = last.exit_code.unwrap_or_default();
        let times = container.restart_count;
        message = format!("{message} (last: {how}, exit code {code}, {times} restarts)");
        if let Some(words) = last.message.as_deref().filter(|words| !words.is_empty()) {
            message = format!("{message}: {words}");
        }
    }
    Some(trouble(reason, Some(&message)))
}

/// Bounded, cut at a character.
pub(super) fn trouble(reason: &str, message: Option<&str>) -> Trouble {
    let mut message = message.unwrap_or(reason).trim().to_owned();
    if message.len() > MESSAGE_BYTES_MAX {
        let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(cut);
        message.push('…');
    }
    Trouble { reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(status: &serde_json::Value) -> ObservedPod {
        let object = json!({
            "metadata": {
                "name": "ledger-peers-12",
                "namespace": "a",
                "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:01Z",
                "labels": {"sorcha.org/pool": "peers", "controller-revision-hash": "r1"},
            },
            "spec": {"containers": [{"name": "peer", "image": "x"}]},
            "status": status,
        });
        let seen = pod(&serde_json::from_value(object).expect("a pod")).expect("it has a pool");
        assert_eq!((&*seen.pool, seen.ordinal), ("peers", 12));
        seen.pod
    }

    fn reason(status: &serde_json::Value) -> Option<String> {
        observed(status).trouble.map(|trouble| trouble.reason)
    }

    #[test]
    fn a_ready_pod_is_read() {
        let pod = observed(&json!({
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "peer", "state": {"running": {}}, "restartCount": 1}],
        }));
        assert!(pod.is_ready && !pod.is_terminating && pod.trouble.is_none());
        assert_eq!(pod.created_unix_ms, 1_767_225_601_000);
        assert!(pod.has_started);
        assert_eq!(pod.image.as_deref(), Some("x"));
        assert_eq!(pod.address, Some([10, 0, 0, 7].into()));
        assert_eq!(pod.revision.as_deref(), Some("r1"));
    }

    #[test]
    fn the_cause_of_a_pod_that_does_not_start_is_named() {
        let waiting = |reason| json!({"containerStatuses": [{"name": "peer", "state": {"waiting": {"reason": reason, "message": "m"}}}]});
        assert_eq!(reason(&waiting("ContainerCreating")), None);
        assert_eq!(reason(&waiting("ErrImageNeverPull")).as_deref(), Some("ErrImageNeverPull"));
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
        assert_eq!(reason(&unscheduled).as_deref(), Some("Unschedulable"));
        assert_eq!(reason(&json!({"phase": "Failed", "reason": "Evicted"})).as_deref(), Some("Evicted"));
    }

    #[test]
    fn a_crash_loop_tells_its_last_words() {
        let pod = observed(&json!({"containerStatuses": [{
            "name": "peer",
            "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 2, "message": "error: no certificate"}},
        }]}));
        let trouble = pod.trouble.expect("it crashes");
        assert_eq!(
            trouble.message,
            "container peer: back-off 40s (last: Error, exit code 2, 4 restarts): error: no certificate"
        );
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let trouble = trouble("R", Some(&"ä".repeat(MESSAGE_BYTES_MAX)));
        assert!(trouble.message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(trouble.message.ends_with("ä…"));
    }
}
