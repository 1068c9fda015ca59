//! The role of the chart holds exactly what the operator asks for: nothing is missing, nothing is too much.

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use sorcha_e2e::audit;
use sorcha_e2e::node::WITH_PEERS;
use sorcha_e2e::rest::path;
use sorcha_e2e::wait;

use crate::quiet::say;
use crate::space::{SOON, Space, World, assets, create_namespace};

/// (verb, group, resource).
type Right = (String, String, String);

/// Rights that no call shows, each with its reason.
const UNSEEN: [(&str, &str, &str); 1] = [
    // Asked for by an admission plugin where owners are to be held up, not by the operator.
    ("update", "sorcha.org", "sorchapeernetworks/finalizers"),
];

/// All rights that the chart gives the operator's account.
fn given(space: &Space<'_>) -> anyhow::Result<BTreeSet<Right>> {
    let rest = &space.world.rest;
    let mut roles = rest.list(&path("clusterroles", "", ""))?;
    roles.extend(rest.list(&space.path("roles", ""))?);
    let ours = |role: &&Value| {
        let labels = &role["metadata"]["labels"];
        let for_people = role["metadata"]["labels"].to_string().contains("aggregate-to");
        labels["app.kubernetes.io/name"] == "sorcha-operator" && !for_people
    };
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in roles.iter().filter(ours).flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                rights.extend(
                    list(&rule["verbs"]).into_iter().map(|verb| (verb, group.clone(), resource.clone())),
                );
            }
        }
    }
    Ok(rights)
}

/// A kind of the Prometheus operator, as little of it as networks need.
fn install_pod_monitors(world: &World) -> anyhow::Result<()> {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "podmonitors.monitoring.coreos.com" },
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": { "kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    });
    world.rest.create(&path("customresourcedefinitions", "", ""), &definition)?.ok()?;
    wait::until("PodMonitors are served", SOON, || {
        world.rest.list(&path("podmonitors", "", "")).ok().map(drop)
    })
}

/// A namespace in which networks of the operator live.
struct Team<'a> {
    space: &'a Space<'a>,
    name: String,
}

impl Team<'_> {
    fn at(&self, resource: &str, name: &str) -> String {
        path(resource, &self.name, name)
    }

    fn network(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let network = json!({
            "apiVersion": "sorcha.org/v1alpha1", "kind": "SorchaPeerNetwork",
            "metadata": { "name": name }, "spec": spec,
        });
        self.space.world.rest.create(&self.at("sorchapeernetworks", ""), &network)?.ok().map(drop)
    }

    fn change(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let patch = json!({ "spec": spec });
        self.space.world.rest.merge(&self.at("sorchapeernetworks", name), &patch)?.ok().map(drop)
    }

    fn await_held(
        &self,
        what: &str,
        resource: &str,
        name: &str,
        holds: impl Fn(Option<&Value>) -> bool,
    ) -> anyhow::Result<()> {
        let mut last = None;
        wait::until(what, SOON * 2, || {
            last = self.space.world.rest.get(&self.at(resource, name)).ok()?;
            holds(last.as_ref()).then_some(())
        })
        .with_context(|| last.map_or_else(|| "it is not there".to_owned(), |held| held["status"].to_string()))
    }

    fn await_ready(&self, name: &str) -> anyhow::Result<()> {
        self.await_held(&format!("{name} is ready"), "sorchapeernetworks", name, |held| {
            held.is_some_and(|held| {
                let is = |kind: &str, status: &str| {
                    crate::space::condition(held, kind).is_some_and(|found| found["status"] == status)
                };
                held["status"]["observedGeneration"] == held["metadata"]["generation"]
                    && is("Ready", "True")
                    && is("Progressing", "False")
            })
        })
    }
}

#[test]
fn the_role_holds_exactly_what_is_asked_for() -> anyhow::Result<()> {
    let assets = match assets() {
        Ok(assets) => assets,
        Err(reason) => sorcha_e2e::skip!("the_role_holds_exactly_what_is_asked_for", reason),
    };
    // For all namespaces, so at a server without other operators.
    let world = World::start(assets.last().context("there are servers")?)?;
    install_pod_monitors(&world)?;
    let began = Timestamp::now();
    let space = Space::create_with(&world, "sorcha-system", &[])?;
    let operator = space.operator()?;
    live(&space).with_context(|| operator.last_words())?;
    operator.stop()?;

    let user = space.user();
    let asked = world.audit.since(&user, began);
    let denied: Vec<_> = asked.iter().filter(|request| request.is_denied).cloned().collect();
    anyhow::ensure!(denied.is_empty(), "rights are missing:\n{}", crate::space::lines(&denied));
    let mut used = audit::used(&asked);
    // To apply what is not there yet takes the right to create it.
    let made = asked.iter().filter(|request| request.verb == "patch" && request.code == 201);
    used.extend(made.map(|request| ("create".to_owned(), request.group.clone(), request.resource.clone())));
    let given = given(&space)?;
    let unseen: BTreeSet<Right> =
        UNSEEN.iter().map(|(verb, group, resource)| (verb, group, resource)).map(owned).collect();
    let too_much: Vec<&Right> = given.difference(&used).filter(|right| !unseen.contains(*right)).collect();
    say(&format!("the role gives {} rights, {} were used", given.len(), used.intersection(&given).count()));
    anyhow::ensure!(too_much.is_empty(), "rights that no call needs: {too_much:?}");
    Ok(())
}

fn owned((verb, group, resource): (&&str, &&str, &&str)) -> Right {
    ((*verb).to_owned(), (*group).to_owned(), (*resource).to_owned())
}

/// A network's life with everything in it that makes the operator ask for something.
fn live(space: &Space<'_>) -> anyhow::Result<()> {
    let world = space.world;
    let team = Team { space, name: format!("{WITH_PEERS}team") };
    create_namespace(world, &team.name)?;
    team.network(
        "a",
        &json!({
            "replicas": 2, "image": "sorcha-peer:1",
            "pools": [{ "name": "edge", "replicas": 1 }],
        }),
    )?;
    team.await_ready("a")?;
    // Put back what is deleted, and what is edited.
    for (resource, name) in [
        ("serviceaccounts", "a"),
        ("configmaps", "a-trust"),
        ("services", "a"),
        ("networkpolicies", "a"),
        ("poddisruptionbudgets", "a"),
        ("podmonitors", "a"),
        ("secrets", "a-edge-tls"),
    ] {
        let at = team.at(resource, name);
        let labels = json!({ "metadata": { "labels": { "app.kubernetes.io/part-of": "else" } } });
        world.rest.merge(&at, &labels)?.ok().with_context(|| at.clone())?;
        team.await_held("it is put back", resource, name, |held| {
            held.is_some_and(|held| held["metadata"]["labels"]["app.kubernetes.io/part-of"] == "sorcha")
        })?;
    }
    let at = team.at("podmonitors", "a");
    let uid = world.rest.get(&at)?.context("it is there")?["metadata"]["uid"].clone();
    world.rest.delete(&at, &json!({}))?.ok()?;
    team.await_held("it is made again", "podmonitors", "a", |held| {
        held.is_some_and(|held| held["metadata"]["uid"] != uid)
    })?;
    // What another version has left behind goes.
    for resource in ["serviceaccounts", "poddisruptionbudgets"] {
        let mut left = world.rest.get(&team.at(resource, "a"))?.context("it is there")?;
        let metadata = &left["metadata"];
        left["metadata"] = json!({
            "name": "a-left", "labels": metadata["labels"], "ownerReferences": metadata["ownerReferences"],
        });
        left["status"].take();
        world.rest.create(&team.at(resource, ""), &left)?.ok()?;
        team.await_held(&format!("{resource} a-left goes"), resource, "a-left", |held| held.is_none())?;
    }
    // One pod after another is replaced, and volumes grow.
    team.change("a", &json!({ "image": "sorcha-peer:2", "storage": { "size": "2Gi" } }))?;
    for pod in ["a-peers-0", "a-peers-1", "a-edge-0"] {
        team.await_held(&format!("{pod} is replaced"), "pods", pod, |held| {
            held.is_some_and(|pod| pod.to_string().contains("sorcha-peer:2"))
        })?;
    }
    team.await_held("the volume grows", "persistentvolumeclaims", "state-a-peers-0", |held| {
        held.is_some_and(|held| held["status"]["capacity"]["storage"] == "2Gi")
    })?;
    team.await_ready("a")?;
    // What is not asked for any more goes.
    team.change(
        "a",
        &json!({
            "pools": [], "monitoring": { "podMonitor": false }, "networkPolicy": { "enabled": false },
        }),
    )?;
    for (resource, name) in [
        ("statefulsets", "a-edge"),
        ("services", "a-edge"),
        ("configmaps", "a-edge"),
        ("secrets", "a-edge-tls"),
        ("podmonitors", "a"),
        ("networkpolicies", "a"),
    ] {
        team.await_held(&format!("{resource} {name} goes"), resource, name, |held| held.is_none())?;
    }
    // Why a StatefulSet makes no pods stands in Events.
    let poor = Team { space, name: "poor".to_owned() };
    create_namespace(world, &poor.name)?;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
        "spec": { "hard": { "pods": "0" } },
    });
    world.rest.create(&poor.at("resourcequotas", ""), &quota)?.ok()?;
    poor.await_held("the quota counts", "resourcequotas", "none", |held| {
        held.is_some_and(|held| held["status"]["hard"]["pods"] == "0")
    })?;
    poor.network("b", &json!({ "replicas": 1 }))?;
    poor.await_held("the quota is told of", "sorchapeernetworks", "b", |held| {
        held.is_some_and(|held| held["status"].to_string().contains("quota"))
    })
}
