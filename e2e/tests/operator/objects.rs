//! The objects of a network: made, put back when they are touched, removed when they are not asked for any more, and
//! nobody else's ever changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use sorcha_e2e::{helm, programs, rest, wait};

use crate::quiet::say;
use crate::space::{SOON, Space, condition, create_namespace, lines, on_every_server};

/// Every object of the network `a` of one pool that is put back when it is touched, with an edit that spoils it.
/// The CA Secret is not among them: it is made once and never written over.
fn owned() -> Vec<(&'static str, &'static str, Value)> {
    let replace = |at: &str, value: Value| json!([{ "op": "replace", "path": at, "value": value }]);
    vec![
        ("serviceaccounts", "a", replace("/automountServiceAccountToken", json!(true))),
        ("configmaps", "a-peers", replace("/data/peer.yaml", json!("configVersion: 99\n"))),
        ("configmaps", "a-trust", replace("/data/ca.crt", json!("nobody's root"))),
        ("services", "a-peers", replace("/spec/publishNotReadyAddresses", json!(false))),
        ("services", "a", replace("/spec/ports/0/targetPort", json!(1))),
        ("networkpolicies", "a", replace("/spec/ingress", json!([]))),
        ("poddisruptionbudgets", "a", replace("/spec/maxUnavailable", json!(7))),
        ("statefulsets", "a-peers", replace("/spec/template/spec/containers/0/image", json!("elsewhere:1"))),
        ("secrets", "a-peers-tls", replace("/data/ca.crt", json!("bm9ib2R5J3M="))),
    ]
}

/// What an object is meant to be: without what the server or a controller keeps in it.
fn meant(held: &Value) -> Value {
    let mut held = held.clone();
    for name in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
        held["metadata"][name].take();
    }
    held["status"].take();
    for name in ["clusterIP", "clusterIPs"] {
        // A Service that is made again gets another address.
        if held["spec"][name].as_str() != Some("None") && held["kind"] == "Service" {
            held["spec"][name].take();
        }
    }
    held
}

fn await_meant(
    space: &Space<'_>,
    resource: &str,
    name: &str,
    wanted: &Value,
    after: &str,
) -> anyhow::Result<()> {
    let mut last = Value::Null;
    wait::until(&format!("{resource} {name} put back after {after}"), SOON, || {
        last = meant(&space.get(resource, name).ok()??);
        (last == *wanted).then_some(())
    })
    .with_context(|| difference("", wanted, &last))
}

/// Where two values differ, a line each.
fn difference(at: &str, wanted: &Value, found: &Value) -> String {
    let (Value::Object(left), Value::Object(right)) = (wanted, found) else {
        let brief = |value: &Value| value.to_string().chars().take(300).collect::<String>();
        return format!("{at}: wanted {}, found {}\n", brief(wanted), brief(found));
    };
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let differ = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    differ.map(|name| difference(&format!("{at}/{name}"), &wanted[name], &found[name])).collect()
}

/// Plural of a kind that `render` prints.
fn resource(kind: &str) -> anyhow::Result<&'static str> {
    Ok(match kind {
        "ServiceAccount" => "serviceaccounts",
        "ConfigMap" => "configmaps",
        "Service" => "services",
        "StatefulSet" => "statefulsets",
        "PodDisruptionBudget" => "poddisruptionbudgets",
        "NetworkPolicy" => "networkpolicies",
        other => anyhow::bail!("{other} is no kind that a network is known to have"),
    })
}

#[test]
fn every_example_yields_its_objects() -> anyhow::Result<()> {
    on_every_server("every_example_yields_its_objects", |space| {
        let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
        let operator = space.operator()?;
        let mut networks = Vec::new();
        for file in std::fs::read_dir(examples)? {
            let file = file?.path();
            for mut network in helm::documents(&std::fs::read_to_string(&file)?)? {
                if network["kind"] != "SorchaPeerNetwork" {
                    continue;
                }
                network["metadata"]["namespace"] = json!(space.name);
                let name = network["metadata"]["name"].as_str().context("an example has a name")?.to_owned();
                space.world.rest.create(&space.path("sorchapeernetworks", ""), &network)?.ok()?;
                let said = programs::operator(&["render", "-f", &file.to_string_lossy()])?.ok()?;
                networks.push((name, network, helm::documents(&said.text())?));
            }
        }
        anyhow::ensure!(networks.len() >= 6, "{} examples", networks.len());
        for (name, network, rendered) in networks {
            let mut objects = Vec::new();
            for object in &rendered {
                let kind = object["kind"].as_str().unwrap_or_default();
                // This server does not know the kind.
                if kind != "PodMonitor" {
                    objects.push((resource(kind)?, object["metadata"]["name"].clone()));
                }
            }
            let pools = network["spec"]["pools"].as_array().into_iter().flatten();
            let pools: Vec<(String, i64)> = pools
                .map(|pool| {
                    (
                        pool["name"].as_str().unwrap_or_default().to_owned(),
                        pool["replicas"].as_i64().unwrap_or(3),
                    )
                })
                .chain([("peers".to_owned(), network["spec"]["replicas"].as_i64().unwrap_or(3))])
                .collect();
            anyhow::ensure!(
                objects.iter().filter(|(resource, _)| *resource == "statefulsets").count() == pools.len(),
                "{name}: {objects:?}"
            );
            for (resource, object) in &objects {
                let object = object.as_str().context("an object has a name")?;
                let held = space.await_held(resource, object, |_| true)?;
                let owner = &held["metadata"]["ownerReferences"][0];
                anyhow::ensure!(
                    owner["name"] == json!(name) && owner["kind"] == "SorchaPeerNetwork",
                    "{held}"
                );
            }
            space.await_held("secrets", &format!("{name}-ca"), |_| true)?;
            space.await_held("configmaps", &format!("{name}-trust"), |_| true)?;
            for (pool, replicas) in &pools {
                space.await_held("statefulsets", &format!("{name}-{pool}"), |set| {
                    set["spec"]["replicas"] == json!(replicas)
                })?;
                // Every peer finds its certificate.
                space.await_held("secrets", &format!("{name}-{pool}-tls"), |held| {
                    (0..*replicas)
                        .all(|ordinal| held["data"][format!("{name}-{pool}-{ordinal}.crt")].is_string())
                })?;
            }
            say(&format!(
                "{name}: {} objects, as render prints them, and {} Secrets",
                objects.len(),
                pools.len() + 1
            ));
        }
        drop(operator);
        Ok(())
    })
}

#[test]
fn what_is_deleted_or_edited_by_hand_is_put_back() -> anyhow::Result<()> {
    on_every_server("what_is_deleted_or_edited_by_hand_is_put_back", |space| {
        let rest = &space.world.rest;
        space.network("a", &json!({ "replicas": 2 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        space.await_rest()?;
        let begin = Instant::now();
        for (resource, name, edit) in owned() {
            let at = space.path(resource, name);
            let wanted = meant(&space.held(resource, name)?);

            rest.json_patch(&at, &edit)?.ok().with_context(|| format!("{resource} {name}: {edit}"))?;
            await_meant(space, resource, name, &wanted, "an edit")?;

            // Without its labels it is out of every watch that selects by them.
            let none = json!({ "metadata": { "labels": null } });
            rest.merge(&at, &none)?.ok()?;
            await_meant(space, resource, name, &wanted, "the loss of its labels")?;

            rest.merge(&at, &json!({ "metadata": { "ownerReferences": null } }))?.ok()?;
            await_meant(space, resource, name, &wanted, "the loss of its owner")?;

            rest.delete(&at, &json!({ "propagationPolicy": "Background" }))?.ok()?;
            if resource == "secrets" {
                // New certificates are other certificates.
                space.await_held(resource, name, |held| {
                    let keys = |object: &Value| -> BTreeSet<String> {
                        object["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
                    };
                    keys(held) == keys(&wanted) && held["metadata"]["labels"] == wanted["metadata"]["labels"]
                })?;
            } else {
                await_meant(space, resource, name, &wanted, "its deletion")?;
            }
        }
        say(&format!(
            "{} objects of {} kinds put back after an edit, loss of labels, loss of owner, deletion: {:.1} s in all",
            owned().len(),
            owned().iter().map(|(resource, ..)| resource).collect::<BTreeSet<_>>().len(),
            begin.elapsed().as_secs_f32()
        ));
        space.await_ready("a")?;
        space.await_rest()?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn fields_of_others_are_left_alone() -> anyhow::Result<()> {
    on_every_server("fields_of_others_are_left_alone", |space| {
        let rest = &space.world.rest;
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        space.await_rest()?;
        let since = Timestamp::now();
        let mine = json!({ "metadata": {
            "labels": { "example.org/team": "ledger" }, "annotations": { "example.org/note": "mine" },
        }});
        for (resource, name, _) in owned() {
            rest.merge(&space.path(resource, name), &mine)?.ok()?;
        }
        // A field of the same object that the operator has no opinion on.
        let affinity = json!({ "spec": { "sessionAffinity": "ClientIP" } });
        rest.merge(&space.path("services", "a"), &affinity)?.ok()?;
        space.await_rest()?;
        let writes = space.writes(since);
        anyhow::ensure!(writes.is_empty(), "writes because of others' fields:\n{}", lines(&writes));

        // Nor are they lost when the operator has to write.
        space.change("a", &json!({ "log": { "level": "debug" } }))?;
        space.await_held("configmaps", "a-peers", |held| {
            held["data"]["peer.yaml"].as_str().is_some_and(|text| text.contains("debug"))
        })?;
        space.await_rest()?;
        for (resource, name, _) in owned() {
            let held = space.held(resource, name)?;
            anyhow::ensure!(held["metadata"]["labels"]["example.org/team"] == "ledger", "{held}");
            anyhow::ensure!(held["metadata"]["annotations"]["example.org/note"] == "mine", "{held}");
        }
        anyhow::ensure!(space.held("services", "a")?["spec"]["sessionAffinity"] == "ClientIP");
        drop(operator);
        Ok(())
    })
}

#[test]
fn foreign_objects_in_the_way_are_reported_and_left_alone() -> anyhow::Result<()> {
    on_every_server("foreign_objects_in_the_way_are_reported_and_left_alone", |space| {
        let rest = &space.world.rest;
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a-peers" },
            "data": { "peer.yaml": "somebody else's" },
        });
        rest.create(&space.path("configmaps", ""), &foreign)?.ok()?;
        let other = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "b", "labels": { "app.kubernetes.io/managed-by": "Helm" } },
            "spec": { "ports": [{ "port": 80 }] },
        });
        rest.create(&space.path("services", ""), &other)?.ok()?;
        let operator = space.operator()?;
        for (network, object) in [("a", "a-peers"), ("b", "b")] {
            space.network(network, &json!({ "replicas": 1 }))?;
            let told = space.await_condition(network, "Degraded", "True", None)?;
            anyhow::ensure!(told.contains(object), "{network}: {told}");
        }
        anyhow::ensure!(space.held("configmaps", "a-peers")?["data"]["peer.yaml"] == "somebody else's");
        anyhow::ensure!(space.held("services", "b")?["spec"]["ports"][0]["port"] == 80);
        crate::quiet::is_bounded(space, "with foreign objects in the way")?;
        // Once it is gone, the network goes on by itself.
        rest.delete(&space.path("configmaps", "a-peers"), &json!({}))?.ok()?;
        space.await_ready("a")?;
        let held = space.held("sorchapeernetworks", "a")?;
        anyhow::ensure!(
            condition(&held, "Degraded").is_none_or(|found| found["status"] == "False"),
            "{held}"
        );
        drop(operator);
        Ok(())
    })
}

#[test]
fn two_networks_in_one_namespace_do_not_touch() -> anyhow::Result<()> {
    on_every_server("two_networks_in_one_namespace_do_not_touch", |space| {
        space.network("a", &json!({ "replicas": 1 }))?;
        space.network("b", &json!({ "replicas": 2 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        space.await_ready("b")?;
        space.await_rest()?;
        let before: Vec<Value> = owned()
            .iter()
            .map(|(resource, name, _)| space.held(resource, name))
            .collect::<anyhow::Result<_>>()?;
        space.change("b", &json!({ "replicas": 1, "log": { "level": "debug" } }))?;
        space.await_held("configmaps", "b-peers", |held| {
            held["data"]["peer.yaml"].as_str().is_some_and(|text| text.contains("debug"))
        })?;
        space.await_rest()?;
        space.world.rest.delete(&space.path("sorchapeernetworks", "b"), &json!({}))?.ok()?;
        wait::until("the objects of b go with it", SOON, || {
            space.get("statefulsets", "b-peers").ok()?.is_none().then_some(())
        })?;
        space.await_rest()?;
        for (before, (resource, name, _)) in before.iter().zip(owned()) {
            let after = space.held(resource, name)?;
            anyhow::ensure!(
                before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
                    || resource == "poddisruptionbudgets",
                "{resource} {name} was touched"
            );
        }
        drop(operator);
        Ok(())
    })
}

#[test]
fn equal_names_in_two_namespaces_do_not_touch() -> anyhow::Result<()> {
    on_every_server("equal_names_in_two_namespaces_do_not_touch", |space| {
        let [here, there] = ["equal-names-here", "equal-names-there"];
        create_namespace(space.world, there)?;
        // One operator for both.
        let space =
            &Space::create_with(space.world, here, &[&format!("watchNamespaces=[{here:?},{there:?}]")])?;
        let rest = &space.world.rest;
        let beyond = |resource: &str, name: &str| rest::path(resource, there, name);
        let operator = space.operator()?;
        space.network("a", &json!({ "replicas": 1 }))?;
        let other = json!({
            "apiVersion": "sorcha.org/v1alpha1", "kind": "SorchaPeerNetwork",
            "metadata": { "name": "a", "namespace": there }, "spec": { "replicas": 2 },
        });
        rest.create(&beyond("sorchapeernetworks", ""), &other)?.ok()?;
        space.await_ready("a")?;
        wait::until("the other one is ready", SOON, || {
            let held = rest.get(&beyond("sorchapeernetworks", "a")).ok()??;
            (condition(&held, "Ready")?["status"] == "True").then_some(())
        })?;
        space.await_rest()?;
        let authority = |held: Option<Value>| held.map(|held| held["data"]["tls.crt"].clone());
        let theirs = authority(rest.get(&beyond("secrets", "a-ca"))?);
        anyhow::ensure!(
            authority(space.get("secrets", "a-ca")?) != theirs,
            "each has an authority of its own"
        );
        let kept: Vec<(&str, &str, Value)> = owned()
            .into_iter()
            .map(|(resource, name, _)| Ok((resource, name, space.held(resource, name)?)))
            .collect::<anyhow::Result<_>>()?;
        let since = Timestamp::now();
        let change = json!({ "spec": { "replicas": 1, "log": { "level": "debug" } } });
        rest.merge(&beyond("sorchapeernetworks", "a"), &change)?.ok()?;
        wait::until("the other one's file is written", SOON, || {
            let held = rest.get(&beyond("configmaps", "a-peers")).ok()??;
            held["data"]["peer.yaml"].as_str()?.contains("debug").then_some(())
        })?;
        rest.delete(&beyond("sorchapeernetworks", "a"), &json!({}))?.ok()?;
        wait::until("its objects go with it", SOON, || {
            matches!(rest.get(&beyond("statefulsets", "a-peers")), Ok(None)).then_some(())
        })?;
        space.await_rest()?;
        let strays: Vec<_> = space.writes(since).into_iter().filter(|it| it.namespace == here).collect();
        anyhow::ensure!(strays.is_empty(), "written here meanwhile:\n{}", lines(&strays));
        for (resource, name, before) in kept {
            let after = space.held(resource, name)?;
            anyhow::ensure!(
                before["metadata"]["uid"] == after["metadata"]["uid"],
                "{resource} {name} was touched"
            );
        }
        space.await_ready("a")?;
        say("two networks of one name: 0 writes to the one while the other was changed and deleted");
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_deleted_network_leaves_its_authority_and_its_volumes() -> anyhow::Result<()> {
    on_every_server("a_deleted_network_leaves_its_authority_and_its_volumes", |space| {
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        let authority = space.held("secrets", "a-ca")?["data"].clone();
        // The operator is not needed for the end.
        operator.stop()?;
        space.world.rest.delete(&space.path("sorchapeernetworks", "a"), &json!({}))?.ok()?;
        wait::until("its objects go with it", SOON, || {
            owned()
                .iter()
                .all(|(resource, name, _)| matches!(space.get(resource, name), Ok(None)))
                .then_some(())
        })?;
        anyhow::ensure!(space.held("secrets", "a-ca")?["data"] == authority);
        space.held("persistentvolumeclaims", "state-a-peers-0")?;
        // A network of the same name takes both again: its peers keep their identities and data.
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        anyhow::ensure!(space.held("secrets", "a-ca")?["data"] == authority);
        drop(operator);
        Ok(())
    })
}
