//! What only the operator can see becomes a condition with a reason and a sentence; it neither ends nor runs hot.

use anyhow::Context as _;
use serde_json::json;

use crate::quiet::is_bounded;
use crate::space::{Space, World, assets, condition, define, on_every_server, on_newest_server};

/// Waits until a network tells of trouble in words, and stays patient.
fn tells(space: &Space<'_>, network: &str, kind: &str, status: &str, words: &[&str]) -> anyhow::Result<()> {
    let held = space.await_held("sorchapeernetworks", network, |held| {
        condition(held, kind).is_some_and(|found| {
            let message = found["message"].as_str().unwrap_or_default();
            found["status"] == status && words.iter().all(|word| message.contains(word))
        })
    })?;
    let found = condition(&held, kind).context("it was there")?;
    let reason = found["reason"].as_str().unwrap_or_default();
    let camel = reason.chars().next().is_some_and(char::is_uppercase) && !reason.contains([' ', '_', '-']);
    anyhow::ensure!(camel, "'{reason}' is no reason in CamelCase");
    let message = found["message"].as_str().unwrap_or_default();
    anyhow::ensure!(message.ends_with('.') || message.ends_with(')'), "no sentence: {message}");
    crate::quiet::say(&format!("{network}: {kind}={status} {reason}: {message}"));
    Ok(())
}

#[test]
fn an_authority_that_cannot_be_used_is_reported_and_kept() -> anyhow::Result<()> {
    on_every_server("an_authority_that_cannot_be_used_is_reported_and_kept", |space| {
        let broken = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": "a-ca" },
            "stringData": { "tls.crt": "no certificate", "tls.key": "no key" },
        });
        space.world.rest.create(&space.path("secrets", ""), &broken)?.ok()?;
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        tells(space, "a", "CertificatesReady", "False", &["a-ca"])?;
        is_bounded(space, "with a broken authority")?;
        let held = space.held("secrets", "a-ca")?;
        anyhow::ensure!(held["data"]["tls.crt"] == "bm8gY2VydGlmaWNhdGU=", "it was written over: {held}");
        // Out of the way, a new one is made.
        space.world.rest.delete(&space.path("secrets", "a-ca"), &json!({}))?.ok()?;
        space.await_ready("a")?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_lost_authority_is_reported_and_not_made_anew() -> anyhow::Result<()> {
    on_newest_server("a_lost_authority_is_reported_and_not_made_anew", |space| {
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        let mut kept = space.held("secrets", "a-ca")?;
        space.world.rest.delete(&space.path("secrets", "a-ca"), &json!({}))?.ok()?;
        // Another root would cut every peer off from the others.
        tells(space, "a", "CertificatesReady", "False", &["a-ca"])?;
        space.await_condition("a", "Degraded", "True", Some("AuthorityMissing"))?;
        is_bounded(space, "without its authority")?;
        anyhow::ensure!(space.get("secrets", "a-ca")?.is_none(), "it was made anew");
        for name in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            kept["metadata"].as_object_mut().map(|metadata| metadata.remove(name));
        }
        space.world.rest.create(&space.path("secrets", ""), &kept)?.ok()?;
        space.await_condition("a", "CertificatesReady", "True", None)?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn an_exceeded_quota_is_reported() -> anyhow::Result<()> {
    on_every_server("an_exceeded_quota_is_reported", |space| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few" },
            "spec": { "hard": { "pods": "1" } },
        });
        space.world.rest.create(&space.path("resourcequotas", ""), &quota)?.ok()?;
        space.await_held("resourcequotas", "few", |held| held["status"]["hard"]["pods"] == "1")?;
        space.network("a", &json!({ "replicas": 3 }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["quota"])?;
        is_bounded(space, "with an exceeded quota")?;
        space.world.rest.delete(&space.path("resourcequotas", "few"), &json!({}))?.ok()?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn objects_over_quota_are_reported() -> anyhow::Result<()> {
    on_newest_server("objects_over_quota_are_reported", |space| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few" },
            "spec": { "hard": { "services": "0" } },
        });
        space.world.rest.create(&space.path("resourcequotas", ""), &quota)?.ok()?;
        space.await_held("resourcequotas", "few", |held| held["status"]["hard"]["services"] == "0")?;
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["quota"])?;
        is_bounded(space, "with a quota that refuses objects")?;
        space.world.rest.delete(&space.path("resourcequotas", "few"), &json!({}))?.ok()?;
        space.await_ready("a")?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn missing_rights_are_reported() -> anyhow::Result<()> {
    on_newest_server("missing_rights_are_reported", |space| {
        space.expect_denials();
        let roles = space.world.rest.list(&space.path("roles", ""))?;
        let role = roles.iter().find(|role| role["rules"].to_string().contains("networkpolicies"));
        let mut role = role.context("a role for the network's objects")?.clone();
        for rule in role["rules"].as_array_mut().into_iter().flatten() {
            if rule["resources"] == json!(["networkpolicies"]) {
                rule["verbs"] = json!(["get", "list", "watch"]);
            }
        }
        let name = role["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let rules = json!({ "rules": role["rules"] });
        space.world.rest.merge(&space.path("roles", &name), &rules)?.ok()?;
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["networkpolicies"])?;
        is_bounded(space, "without a right")?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn an_image_that_cannot_be_had_is_reported() -> anyhow::Result<()> {
    on_newest_server("an_image_that_cannot_be_had_is_reported", |space| {
        space.network("a", &json!({ "replicas": 2, "image": "example.org/missing:1" }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["image"])?;
        is_bounded(space, "with an image that cannot be had")?;
        // The way out is taken by itself.
        space.change("a", &json!({ "image": "example.org/there:1" }))?;
        space.await_ready("a")?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_volume_that_never_binds_is_reported() -> anyhow::Result<()> {
    on_newest_server("a_volume_that_never_binds_is_reported", |space| {
        space.network("a", &json!({ "replicas": 1, "storage": { "className": "never" } }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["PersistentVolumeClaims", "storage.className"])?;
        is_bounded(space, "with a volume that never binds")?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_contradiction_that_only_the_operator_sees_is_reported() -> anyhow::Result<()> {
    on_newest_server("a_contradiction_that_only_the_operator_sees_is_reported", |space| {
        // A word that could be a filter passes the API server.
        space.network("a", &json!({ "replicas": 1, "log": { "level": "loud" } }))?;
        let operator = space.operator()?;
        for kind in ["Ready", "Progressing"] {
            space.await_condition("a", kind, "False", Some("InvalidManifest"))?;
        }
        tells(space, "a", "Degraded", "True", &["spec.log.level", "'loud'"])?;
        is_bounded(space, "with a manifest that contradicts itself")?;
        anyhow::ensure!(space.get("statefulsets", "a-peers")?.is_none(), "nothing is made of it");
        space.change("a", &json!({ "log": { "level": "debug" } }))?;
        space.await_ready("a")?;
        // Later on it leaves everything as it is.
        let before = space.held("statefulsets", "a-peers")?;
        space.change("a", &json!({ "log": { "level": "quiet" } }))?;
        tells(space, "a", "Degraded", "True", &["spec.log.level", "'quiet'"])?;
        space.await_rest()?;
        let after = space.held("statefulsets", "a-peers")?;
        anyhow::ensure!(after["metadata"]["generation"] == before["metadata"]["generation"], "{after}");
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_pod_template_that_no_server_takes_is_reported() -> anyhow::Result<()> {
    on_every_server("a_pod_template_that_no_server_takes_is_reported", |space| {
        let beside = |ports: serde_json::Value| json!({ "spec": { "containers": [{ "name": "app", "image": "app:1", "ports": ports }] } });
        let wrong = beside(json!([{ "containerPort": 70_000 }]));
        space.network("a", &json!({ "replicas": 1, "podTemplate": wrong }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["StatefulSet a-peers", "containerPort", "70000"])?;
        is_bounded(space, "with an invalid podTemplate")?;
        let left: Vec<_> = ["services", "configmaps"]
            .iter()
            .filter(|resource| matches!(space.get(resource, "a-peers"), Ok(Some(_))))
            .collect();
        // Servers of some versions look at a template's ports only when its pods are made, and take the StatefulSet.
        let is_taken = space.get("statefulsets", "a-peers")?.is_some();
        anyhow::ensure!(left.is_empty() || is_taken, "nothing of it is put in place: {left:?}");
        space.change("a", &json!({ "podTemplate": beside(json!([{ "containerPort": 7000 }])) }))?;
        space.await_held("statefulsets", "a-peers", |set| set["spec"].to_string().contains(":7000"))?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_secret_that_is_missing_is_reported() -> anyhow::Result<()> {
    on_newest_server("a_secret_that_is_missing_is_reported", |space| {
        let template = json!({ "spec": {
            "containers": [{
                "name": "app", "image": "app:1", "volumeMounts": [{ "name": "password", "mountPath": "/password" }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
            "volumes": [{ "name": "password", "secret": { "secretName": "app-password" } }],
        }});
        space.network("a", &json!({ "replicas": 1, "podTemplate": template }))?;
        let operator = space.operator()?;
        tells(space, "a", "Degraded", "True", &["app-password", "not found", "podTemplate"])?;
        is_bounded(space, "with a missing Secret")?;
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "app-password" } });
        space.world.rest.create(&space.path("secrets", ""), &secret)?.ok()?;
        space.await_ready("a")?;
        space.await_held("sorchapeernetworks", "a", |held| {
            !held["status"].to_string().contains("app-password")
        })?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn an_earlier_definition_is_told_and_what_it_knows_is_written() -> anyhow::Result<()> {
    let test = "an_earlier_definition_is_told_and_what_it_knows_is_written";
    // A server of its own: the definition is everybody's.
    let assets = match assets() {
        Ok(assets) => assets,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    let world = World::start(assets.last().context("there are assets")?)?;
    let of_status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let earlier = json!([
        { "op": "remove", "path": format!("{of_status}/peers") },
        { "op": "remove", "path": format!("{of_status}/peersReady") },
    ]);
    let name = "sorchapeernetworks.sorcha.org";
    world.server.kubectl(&["patch", "crd", name, "--type", "json", "-p", &earlier.to_string()])?.ok()?;
    let space = Space::create(&world, "earlier-definition")?;
    space.network("a", &json!({ "replicas": 1 }))?;
    let operator = space.operator()?;
    space.await_ready("a")?;
    let held = space.held("sorchapeernetworks", "a")?;
    let status = &held["status"];
    anyhow::ensure!(status["peers"].is_null() && status["readyReplicas"] == 1, "{status}");
    let told = sorcha_e2e::wait::until("an Event tells it", crate::space::SOON, || {
        let events = world.rest.list(&space.path("events", "")).ok()?;
        events.into_iter().find(|event| event["reason"] == "DefinitionIsOlder")
    })?;
    let note = told["message"].as_str().or_else(|| told["note"].as_str()).unwrap_or_default();
    anyhow::ensure!(note.contains(".status.peers") && note.contains("sorcha-operator crd"), "{told}");
    crate::quiet::say(note);
    space.await_rest()?;
    space.stays_quiet(std::time::Duration::from_secs(5))?;

    // Brought up to date, everything is told again.
    define(&world.server)?;
    space.change("a", &json!({ "replicas": 2 }))?;
    space.await_held("sorchapeernetworks", "a", |held| held["status"]["peers"] == 2)?;
    drop(operator);
    Ok(())
}
