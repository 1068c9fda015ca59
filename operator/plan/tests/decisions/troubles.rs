//! What stands in the way is told with a reason and a way out, once.

use sorcha_operator_plan::observed::{Foreign, ObjectName, Refused, Root, Trouble};
use sorcha_operator_plan::status::{events, status, status_invalid};
use sorcha_operator_plan::{plan, validate};

use super::cluster::Cluster;
use super::manifest;

fn object(kind: &str, name: &str) -> ObjectName {
    ObjectName { kind: kind.to_owned(), name: name.to_owned() }
}

fn told(reason: &str, message: &str) -> Trouble {
    Trouble { reason: reason.to_owned(), message: message.to_owned() }
}

/// What Degraded says after this happened to a network at rest.
fn degraded(spoil: impl FnOnce(&mut Cluster)) -> String {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    spoil(&mut cluster);
    let network = validate(&cluster.manifest).expect("the manifest is right");
    let status = status(&network, &cluster.plan(), &cluster.seen, None);
    let it = status.conditions.iter().find(|it| it.type_ == "Degraded").expect("it is always told");
    format!("{} {}: {}", it.status, it.reason, it.message)
}

fn stop_pod(cluster: &mut Cluster, trouble: Trouble) {
    let pod = cluster.pod("net-peers-1").expect("it is there");
    (pod.is_ready, pod.peer, pod.trouble) = (false, None, Some(trouble));
}

#[test]
fn each_trouble_says_what_to_do() {
    let mut lines = vec![
        degraded(|_| {}),
        degraded(|it| {
            let owner = "Deployment web".to_owned();
            it.seen.foreign.push(Foreign { object: object("Service", "net-peers"), owner });
        }),
        degraded(|it| {
            let message = "spec.template.spec.containers[1].image: Required value".to_owned();
            let object = object("StatefulSet", "net-peers");
            it.seen.refused.push(Refused { object, reason: "Invalid".to_owned(), message });
        }),
        degraded(|it| stop_pod(it, told("ErrImageNeverPull", "container peer: image is not present"))),
        degraded(|it| {
            stop_pod(it, told("Unschedulable", "0/3 nodes are available: unbound PersistentVolumeClaims"));
        }),
        degraded(|it| stop_pod(it, told("Unschedulable", "0/3 nodes are available: Insufficient cpu"))),
        degraded(|it| {
            stop_pod(it, told("FailedMount", "MountVolume.SetUp failed : secret \"password\" not found"));
        }),
        degraded(|it| stop_pod(it, told("CrashLoopBackOff", "container peer: back-off restarting"))),
        degraded(|it| {
            it.delete_pod("net-peers-2");
            let pool = it.seen.pools.get_mut("peers").expect("it is there");
            pool.trouble =
                Some(told("FailedCreate", "pods \"net-peers-2\" is forbidden: exceeded quota: small"));
        }),
        degraded(|it| {
            it.delete_pod("net-peers-2");
            let pool = it.seen.pools.get_mut("peers").expect("it is there");
            pool.trouble =
                Some(told("FailedCreate", "pods \"net-peers-2\" is forbidden: violates PodSecurity"));
        }),
        degraded(|it| it.seen.authority.root = Root::Broken("the key is of another certificate.".to_owned())),
        degraded(|it| it.seen.authority.root = Root::Absent),
        degraded(|it| {
            let pod = it.pod("net-peers-0").expect("it is there");
            pod.peer = Some(Err("no answer within 5 s.".to_owned()));
        }),
        degraded(|it| {
            let pod = it.pod("net-peers-0").expect("it is there");
            if let Some(Ok(report)) = &mut pod.peer {
                report.store_fault = Some("the disk is full.".to_owned());
            }
        }),
    ];
    lines.push(String::new());
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_foreign_object_is_left_alone_and_the_rest_is_applied() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    let all = cluster.plan().objects.to_json().len();
    let owner = "Deployment web".to_owned();
    cluster.seen.foreign.push(Foreign { object: object("Service", "net"), owner });
    let plan = cluster.plan();
    assert_eq!(plan.objects.to_json().len(), all - 1);
    assert!(plan.steps.is_empty(), "nor is it pruned");
}

#[test]
fn a_lost_authority_is_not_made_anew_while_its_certificates_are_in_use() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    cluster.seen.authority.root = Root::Absent;
    let plan = cluster.plan();
    assert!(!plan.authority.make && plan.certificates.is_empty());
    cluster.seen.authority.certificates.clear();
    assert!(cluster.plan().authority.make);
}

#[test]
fn certificates_are_renewed_with_a_third_of_their_life_left_and_told_to_the_peer() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    let day = 24 * 3600 * 1000;
    cluster.seen.now_unix_ms += 19 * day;
    assert!(cluster.plan().certificates[0].issue.is_empty());
    assert!(cluster.plan().again_after.is_some_and(|after| after.as_secs() <= 60));
    cluster.seen.now_unix_ms += day;
    assert_eq!(cluster.plan().certificates[0].issue.len(), 3);
    for it in cluster.seen.authority.certificates.values_mut() {
        it.not_before_unix_ms += 20 * day;
        it.not_after_unix_ms += 20 * day;
    }
    let plan = cluster.plan();
    assert!(plan.certificates[0].issue.is_empty());
    assert_eq!(plan.steps.len(), 3, "each peer takes its new one: {:?}", plan.steps);
}

#[test]
fn a_wrong_manifest_keeps_what_is_known_and_is_told_once() {
    let cluster = Cluster::at_rest(manifest("replicas: 3"));
    let network = validate(&cluster.manifest).expect("the manifest is right");
    let before = status(&network, &cluster.plan(), &cluster.seen, None);
    let mut wrong = cluster.manifest.clone();
    wrong.spec.replicas = 5000;
    let too_many = validate(&wrong).expect("local mode would take it");
    let invalid = plan(&too_many, &cluster.seen).expect_err("a Secret is too small");
    assert!(
        invalid.to_string().contains("spec.replicas: 5000 is more than the Secret of one pool"),
        "{invalid}"
    );
    let now = cluster.seen.now_unix_ms + 5000;
    let after = status_invalid(&invalid, Some(2), now, Some(&before));
    assert_eq!((after.peers, after.observed_generation), (3, Some(2)));
    let types: Vec<&str> = after.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Ready", "Progressing", "Degraded", "CertificatesReady", "Linked"]);
    let notes = events(Some(&before), &after);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].is_warning && notes[0].reason == "InvalidManifest");
    let again = status_invalid(&invalid, Some(2), now + 60_000, Some(&after));
    assert_eq!(again, after, "the same is no change, whatever the time");
    assert_eq!(events(Some(&after), &again), []);
}
