//! What only the operator can see becomes a condition with a reason and a sentence; it neither ends nor runs hot.

use anyhow::Context as _;
use serde_json::json;

use crate::quiet::is_bounded;
use crate::space::{Space, condition, on_every_server, on_newest_server};

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
