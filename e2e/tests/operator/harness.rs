//! What the other tests stand on: the log of requests, the node, the proxy.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use sorcha_e2e::proxy::{Fault, Meets, Outage, Rule};
use sorcha_e2e::rest::{Rest, path};
use sorcha_e2e::wait;

use crate::space::{SOON, on_every_server, on_newest_server};

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

#[test]
fn every_request_of_an_account_is_known() -> anyhow::Result<()> {
    on_every_server("every_request_of_an_account_is_known", |space| {
        let began = Timestamp::now();
        let client = space.as_operator(space.world.server.url())?;
        let refused = client.create(&path("configmaps", "default", ""), &config_map("a"))?;
        anyhow::ensure!(refused.code == 403, "it has no rights elsewhere: {refused:?}");
        client.create(&space.path("configmaps", ""), &config_map("a"))?.ok()?;
        client.get(&space.path("configmaps", "a"))?.context("it is there")?;
        // What others do is not its doing.
        space.world.rest.create(&space.path("configmaps", ""), &config_map("b"))?.ok()?;
        let asked = wait::until("the log is written", SOON, || {
            let asked = space.world.audit.since(&space.user(), began);
            (asked.len() >= 3).then_some(asked)
        })?;
        let told: Vec<_> = asked
            .iter()
            .map(|request| (request.verb.as_str(), request.resource.as_str(), request.code))
            .collect();
        let wanted =
            [("create", "configmaps", 403), ("create", "configmaps", 201), ("get", "configmaps", 200)];
        anyhow::ensure!(told == wanted, "{told:?}");
        anyhow::ensure!(space.world.audit.writes(&space.user(), began).len() == 2, "{told:?}");
        anyhow::ensure!(asked[1..].iter().all(|request| request.namespace == space.name), "{asked:?}");
        Ok(())
    })
}

#[test]
fn pods_of_a_stateful_set_become_ready_and_end() -> anyhow::Result<()> {
    on_every_server("pods_of_a_stateful_set_become_ready_and_end", |space| {
        let rest = &space.world.rest;
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "a" },
            "spec": {
                "replicas": 2, "serviceName": "a", "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": { "app": "a" } },
                "template": {
                    "metadata": { "labels": { "app": "a" } },
                    "spec": {
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 1, "seccompProfile": { "type": "RuntimeDefault" },
                        },
                        "containers": [{
                            "name": "a", "image": "a",
                            "securityContext": {
                                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                            },
                        }],
                    },
                },
                "volumeClaimTemplates": [{
                    "metadata": { "name": "state" },
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": { "requests": { "storage": "1Gi" } },
                    },
                }],
            },
        });
        rest.create(&space.path("statefulsets", ""), &set)?.ok()?;
        let ready = |wanted: i64| {
            wait::until("pods that are ready", SOON, || {
                let held = space.get("statefulsets", "a").ok()??;
                (held["status"]["readyReplicas"].as_i64().unwrap_or_default() == wanted).then_some(())
            })
        };
        ready(2)?;
        let claim = space.get("persistentvolumeclaims", "state-a-0")?.context("it is made")?;
        anyhow::ensure!(claim["status"]["capacity"]["storage"] == "1Gi", "{claim}");
        let uid = |pod: &str| anyhow::Ok(space.get("pods", pod)?.map(|pod| pod["metadata"]["uid"].clone()));
        let before = uid("a-0")?;
        rest.delete(&space.path("pods", "a-0"), &json!({}))?.ok()?;
        wait::until("the pod is made again", SOON, || {
            uid("a-0").ok().filter(|now| now.is_some() && *now != before)
        })?;
        ready(2)?;
        rest.merge(&space.path("statefulsets", "a"), &json!({ "spec": { "replicas": 0 } }))?.ok()?;
        wait::until("no pods", SOON, || rest.list(&space.path("pods", "")).ok()?.is_empty().then_some(()))
    })
}

#[test]
fn a_proxy_does_what_networks_do() -> anyhow::Result<()> {
    on_newest_server("a_proxy_does_what_networks_do", |space| {
        let proxy = space.proxy()?;
        let client = space.as_operator(&proxy.url())?;
        let (all, one) = (space.path("configmaps", ""), space.path("configmaps", "a"));
        let make = |client: &Rest| client.create(&all, &config_map("a"));
        anyhow::ensure!(make(&client)?.code == 201, "without faults it passes everything on");

        let rule = |meets, fault| [Rule { meets, percent: 100, fault }];
        proxy.faults(&rule(Meets::Writes, Fault::Refuse { code: 409, retry_after: None }));
        anyhow::ensure!(make(&client)?.body["reason"] == "Conflict");
        anyhow::ensure!(client.get(&one)?.is_some(), "reads are not met");

        proxy.faults(&rule(Meets::All, Fault::Refuse { code: 429, retry_after: Some(1) }));
        anyhow::ensure!(client.send(&Method::GET, &one, "", None)?.code == 429);

        proxy.faults(&rule(Meets::Writes, Fault::LoseAnswer));
        anyhow::ensure!(client.delete(&one, &json!({})).is_err(), "the answer is lost");
        proxy.faults(&[]);
        anyhow::ensure!(client.get(&one)?.is_none(), "and it was done");

        proxy.faults(&rule(Meets::All, Fault::Close));
        anyhow::ensure!(client.get(&one).is_err());
        proxy.faults(&rule(Meets::All, Fault::Delay(Duration::from_millis(300))));
        let begin = Instant::now();
        client.get(&one)?;
        anyhow::ensure!(begin.elapsed() >= Duration::from_millis(300));

        proxy.faults(&[]);
        proxy.outage(Some(Outage::Closed));
        anyhow::ensure!(client.get(&one).is_err());
        proxy.outage(None);
        anyhow::ensure!(client.get(&one)?.is_none());

        let watch = format!("{all}?watch=1");
        let ends = |cut: &dyn Fn()| -> anyhow::Result<()> {
            let client = &client;
            let watch = &watch;
            std::thread::scope(|scope| {
                let waits = scope.spawn(move || client.send(&Method::GET, watch, "", None));
                std::thread::sleep(Duration::from_millis(500));
                cut();
                anyhow::ensure!(waits.join().is_ok_and(|ended| ended.is_err()), "a watch that is cut fails");
                Ok(())
            })
        };
        ends(&|| proxy.cut())?;
        proxy.faults(&rule(Meets::Watches, Fault::Cut(Duration::from_millis(200))));
        ends(&|| ())?;

        let counts = proxy.counts();
        let (total, peak) = counts.since(0);
        // The one during the outage may not even be taken.
        anyhow::ensure!(total >= 11 && peak <= total && counts.faulty >= 6, "{counts:?}");
        anyhow::ensure!(path("pods", "a", "b") == "/api/v1/namespaces/a/pods/b");
        Ok(())
    })
}
