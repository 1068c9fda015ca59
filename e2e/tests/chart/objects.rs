//! What the chart renders, as far as its objects depend on one another.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sorcha_e2e::{helm, programs};

use crate::{KUBERNETES, matrix, of_kind, rendered, with_every_helm};

/// `--values` of a file in the chart's `ci`.
fn values(name: &str) -> Vec<String> {
    let file = helm::chart().join(format!("ci/{name}-values.yaml"));
    vec!["--values".to_owned(), file.to_string_lossy().into_owned()]
}

/// The only object of a kind.
fn one<'a>(objects: &'a [Value], kind: &str) -> anyhow::Result<&'a Value> {
    let found = of_kind(objects, kind);
    ensure!(found.len() == 1, "{} objects of kind {kind}", found.len());
    Ok(found[0])
}

#[test]
fn the_default_is_what_it_was() -> anyhow::Result<()> {
    with_every_helm("the_default_is_what_it_was", |helm| {
        let mut objects = rendered(helm, KUBERNETES[0], &[])?;
        // The definition is locked by a test of its own crate.
        objects.retain(|object| object["kind"] != "CustomResourceDefinition");
        let key = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
        objects.sort_by_key(key);
        let mut text = String::new();
        for object in &objects {
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string(object)?);
        }
        insta::assert_snapshot!("default", text);
        Ok(())
    })
}

#[test]
fn both_majors_of_helm_render_the_same() -> anyhow::Result<()> {
    let test = "both_majors_of_helm_render_the_same";
    let helms = match helm::helms()? {
        Ok(helms) if helms.len() > 1 => helms,
        _ => sorcha_e2e::skip!(test, "there is only one Helm: run `cargo xtask chart --prepare`"),
    };
    for (name, more) in matrix()? {
        let first = rendered(&helms[0], KUBERNETES[1], &more)?;
        for helm in &helms[1..] {
            ensure!(rendered(helm, KUBERNETES[1], &more)? == first, "{name}: {} differs", helm.version());
        }
    }
    Ok(())
}

#[test]
fn what_selects_the_pods_finds_them() -> anyhow::Result<()> {
    with_every_helm("what_selects_the_pods_finds_them", |helm| {
        for (name, more) in matrix()? {
            let objects = rendered(helm, KUBERNETES[0], &more)?;
            let deployment = one(&objects, "Deployment")?;
            let template = &deployment["spec"]["template"];
            let labels = template["metadata"]["labels"].as_object().context("pods have labels")?;
            let mut selectors = vec![&deployment["spec"]["selector"]["matchLabels"]];
            for kind in ["PodDisruptionBudget", "PodMonitor"] {
                selectors
                    .extend(of_kind(&objects, kind).iter().map(|o| &o["spec"]["selector"]["matchLabels"]));
            }
            selectors.extend(of_kind(&objects, "Service").iter().map(|o| &o["spec"]["selector"]));
            let policies = of_kind(&objects, "NetworkPolicy");
            selectors.extend(policies.iter().map(|o| &o["spec"]["podSelector"]["matchLabels"]));
            for selector in selectors {
                let wanted = selector.as_object().context("a selector has labels")?;
                let finds =
                    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
                ensure!(finds, "{name}: {selector} does not find {labels:?}");
                let smoke = of_kind(&objects, "Pod");
                let found = smoke.iter().any(|pod| {
                    wanted.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
                });
                ensure!(!found, "{name}: {selector} finds the pod of `helm test`");
            }
            for monitor in of_kind(&objects, "ServiceMonitor") {
                let (wanted, service) =
                    (&monitor["spec"]["selector"]["matchLabels"], one(&objects, "Service")?);
                let has = |(key, value)| service["metadata"]["labels"].get(key) == Some(value);
                ensure!(wanted.as_object().is_some_and(|wanted| wanted.iter().all(has)), "{name}: {wanted}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_namespaced_installation_has_no_rights_elsewhere() -> anyhow::Result<()> {
    with_every_helm("a_namespaced_installation_has_no_rights_elsewhere", |helm| {
        let everywhere = rendered(helm, KUBERNETES[0], &[])?;
        let namespaced = rendered(helm, KUBERNETES[0], &values("namespaced"))?;
        let role = one(&namespaced, "ClusterRole")?;
        ensure!(role["rules"].as_array().map(Vec::len) == Some(1), "{}", role["rules"]);
        ensure!(role["rules"][0]["resources"][0] == "storageclasses", "{}", role["rules"]);

        let rules = |objects: &[Value], kind: &str, namespace: Option<&str>| -> Option<Value> {
            let fits = |object: &&&Value| {
                let metadata = &object["metadata"];
                metadata["namespace"].as_str() == namespace
                    && metadata["name"] == "sorcha-system-sorcha-operator"
            };
            of_kind(objects, kind).iter().find(fits).map(|object| object["rules"].clone())
        };
        let mut wanted = rules(&everywhere, "ClusterRole", None).context("a ClusterRole has the rights")?;
        let wanted = wanted.as_array_mut().context("rules are a list")?;
        wanted.retain(|rule| rule["resources"][0] != "storageclasses");
        ensure!(wanted.len() > 5, "{wanted:?}");
        for namespace in ["ledger", "trade"] {
            let has = rules(&namespaced, "Role", Some(namespace)).context("a Role per namespace")?;
            ensure!(has.as_array() == Some(wanted), "{namespace}: {has}");
        }
        let watched = environment(one(&namespaced, "Deployment")?, "SORCHA_WATCH_NAMESPACES");
        ensure!(watched.as_deref() == Some("ledger,trade"), "{watched:?}");
        ensure!(environment(one(&everywhere, "Deployment")?, "SORCHA_WATCH_NAMESPACES").is_none());
        Ok(())
    })
}

/// The value of a variable of the operator's container.
fn environment(deployment: &Value, name: &str) -> Option<String> {
    let all = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    let found = all.iter().find(|variable| variable["name"] == name)?;
    found["value"].as_str().map(str::to_owned)
}

#[test]
fn nothing_is_allowed_by_a_star() -> anyhow::Result<()> {
    with_every_helm("nothing_is_allowed_by_a_star", |helm| {
        for (name, more) in matrix()? {
            let objects = rendered(helm, KUBERNETES[0], &more)?;
            for kind in ["ClusterRole", "Role"] {
                for role in of_kind(&objects, kind) {
                    ensure!(!role["rules"].to_string().contains('*'), "{name}: {}", role["rules"]);
                }
            }
        }
        Ok(())
    })
}

#[test]
fn every_variable_is_one_that_the_operator_reads() -> anyhow::Result<()> {
    let help = programs::operator(&["run", "--help"])?.ok()?.text();
    with_every_helm("every_variable_is_one_that_the_operator_reads", |helm| {
        for (name, more) in matrix()? {
            let objects = rendered(helm, KUBERNETES[0], &more)?;
            let variables = &one(&objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0]["env"];
            let names = variables.as_array().context("it has variables")?.iter();
            for variable in names.filter_map(|variable| variable["name"].as_str()) {
                let read = help.contains(&format!("[env: {variable}="));
                ensure!(read || !variable.starts_with("SORCHA_"), "{name}: nobody reads {variable}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_test_of_helm_is_one_that_the_program_knows() -> anyhow::Result<()> {
    let help = programs::operator(&["smoke", "--help"])?.ok()?.text();
    with_every_helm("the_test_of_helm_is_one_that_the_program_knows", |helm| {
        for (name, more) in matrix()? {
            let objects = rendered(helm, KUBERNETES[0], &more)?;
            let args = &one(&objects, "Pod")?["spec"]["containers"][0]["args"];
            let args: Vec<&str> = args.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            ensure!(args.first() == Some(&"smoke"), "{name}: {args:?}");
            for arg in &args[1..] {
                let flag = arg.split('=').next().unwrap_or_default();
                ensure!(help.contains(&format!("{flag} <")), "{name}: smoke knows no {flag}");
            }
        }
        Ok(())
    })
}
