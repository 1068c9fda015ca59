//! The chart on real API servers: installed, upgraded, removed. No pod runs there; that is the cluster tier's matter.

use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sorcha_e2e::apiserver::{self, ApiServer};
use sorcha_e2e::helm::{self, Helm};

use crate::{repository, with_every_helm};

/// The definition is one for all releases of a server: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const DEFINITION: &str = "crd/sorchapeernetworks.sorcha.org";

/// Runs a check with each Helm on each server, and removes what it left.
fn on_every_server(
    test: &str,
    check: impl Fn(&Helm, &ApiServer, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let servers = match apiserver::servers()? {
        Ok(servers) => servers,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    with_every_helm(test, |helm| {
        for server in servers {
            let namespace =
                format!("{}-{}", &test[..test.len().min(40)].replace('_', "-"), &helm.version()[..2]);
            let outcome = check(helm, server, &namespace);
            let rest =
                helm.run_with(&server.kubeconfig(), &["uninstall", "sorcha-operator", "-n", &namespace]);
            drop(rest);
            server.kubectl(&["delete", DEFINITION, "--ignore-not-found"])?.ok()?;
            outcome.with_context(|| format!("on Kubernetes {}", server.version()))?;
        }
        Ok(())
    })
}

/// Runs a check on each server with the definition installed and a namespace of its own.
pub(crate) fn on_every_server_with_definition(
    test: &str,
    check: impl Fn(&ApiServer, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let servers = match apiserver::servers()? {
        Ok(servers) => servers,
        Err(reason) => sorcha_e2e::skip!(test, reason),
    };
    let definition = crate::read("crds/generated/sorchapeernetworks.sorcha.org.yaml")?;
    for server in servers {
        let namespace = test.replace('_', "-");
        restricted(server, &namespace)?;
        server.kubectl_with(&["apply", "--server-side"], &definition)?.ok()?;
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", DEFINITION])?.ok()?;
        let outcome = check(server, &namespace);
        server.kubectl(&["delete", DEFINITION, "--ignore-not-found"])?.ok()?;
        outcome.with_context(|| format!("on Kubernetes {}", server.version()))?;
    }
    Ok(())
}

/// `helm VERB sorcha-operator CHART`, with the caller's arguments behind.
fn helm_to(
    helm: &Helm,
    server: &ApiServer,
    verb: &[&str],
    chart: &str,
    namespace: &str,
    more: &[&str],
) -> anyhow::Result<()> {
    let args = [verb, &["sorcha-operator", chart, "--namespace", namespace], more].concat();
    let said = helm.run_with(&server.kubeconfig(), &args)?.ok()?;
    ensure!(!said.err.to_lowercase().contains("warning"), "the server warns: {}", said.err);
    Ok(())
}

/// A namespace in which a pod that is not restricted leads to a warning.
fn restricted(server: &ApiServer, namespace: &str) -> anyhow::Result<()> {
    server.kubectl(&["create", "namespace", namespace])?.ok()?;
    for mode in ["warn", "enforce"] {
        let label = format!("pod-security.kubernetes.io/{mode}=restricted");
        server.kubectl(&["label", "namespace", namespace, &label])?.ok()?;
    }
    Ok(())
}

fn chart() -> String {
    helm::chart().to_string_lossy().into_owned()
}

const NETWORK: &str =
    "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata: {name: kept}\nspec: {replicas: 3}\n";

#[test]
fn it_is_installed_upgraded_and_removed_and_networks_stay() -> anyhow::Result<()> {
    on_every_server("it_is_installed_upgraded_and_removed", |helm, server, namespace| {
        restricted(server, namespace)?;
        helm_to(helm, server, &["install"], &chart(), namespace, &[])?;
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", DEFINITION])?.ok()?;
        server.kubectl_with(&["apply", "--server-side", "-n", namespace], NETWORK)?.ok()?;

        helm_to(helm, server, &["upgrade"], &chart(), namespace, &["--set", "replicas=2,log.level=debug"])?;
        let deployment = ["get", "deployment", "sorcha-operator", "-n", namespace, "-o", "json"];
        let held = server.kubectl(&deployment)?.ok()?.json()?;
        ensure!(held["spec"]["replicas"] == 2, "{held}");

        helm.run_with(&server.kubeconfig(), &["uninstall", "sorcha-operator", "-n", namespace])?.ok()?;
        ensure!(server.kubectl(&deployment)?.code != Some(0), "the operator is still there");
        let kept = server.kubectl(&["get", "spn", "kept", "-n", namespace, "-o", "name"])?.ok()?;
        ensure!(kept.text().contains("kept"), "the network went with the operator");

        // A second installation finds the definition that the first has left.
        helm_to(helm, server, &["install"], &chart(), namespace, &[])
    })
}

#[test]
fn the_definition_is_upgraded_with_the_chart() -> anyhow::Result<()> {
    on_every_server("the_definition_is_upgraded", |helm, server, namespace| {
        restricted(server, namespace)?;
        let before = repository("e2e/fixtures/chart/sorcha-operator-0.1.0-before.tgz");
        helm_to(helm, server, &["install"], &before.to_string_lossy(), namespace, &[])?;
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", DEFINITION])?.ok()?;
        server.kubectl_with(&["apply", "--server-side", "-n", namespace], NETWORK)?.ok()?;
        let uid = ["get", "spn", "kept", "-n", namespace, "-o", "jsonpath={.metadata.uid}"];
        let before = server.kubectl(&uid)?.ok()?.text();

        helm_to(helm, server, &["upgrade"], &chart(), namespace, &[])?;
        let held = server.kubectl(&["get", DEFINITION, "-o", "json"])?.ok()?.json()?;
        let wanted = crate::read("crds/generated/sorchapeernetworks.sorcha.org.yaml")?;
        let wanted = helm::documents(&wanted)?.remove(0);
        let spec = |definition: &Value| {
            whole(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
        };
        ensure!(spec(&held) == spec(&wanted), "the definition is not the new one");
        ensure!(server.kubectl(&uid)?.ok()?.text() == before, "the network was made anew");
        Ok(())
    })
}

/// The value with 1 for every 1.0, as servers write numbers.
fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            number.as_f64().filter(|n| n.fract() == 0.0).map_or_else(|| value.clone(), |n| json!(n as i64))
        }
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), whole(value))).collect(),
        _ => value.clone(),
    }
}

/// What the operator's account may do (`yes`) and may not.
fn check_rights(
    server: &ApiServer,
    namespace: &str,
    table: &[(&str, &str, &str, bool)],
) -> anyhow::Result<()> {
    let account = format!("system:serviceaccount:{namespace}:sorcha-operator");
    for (verb, resource, place, may) in table {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let part = format!("--subresource={part}");
        let said =
            server.kubectl(&["auth", "can-i", verb, resource, &part, "-n", place, "--as", &account])?;
        let answer = said.text().trim() == "yes";
        ensure!(answer == *may, "{verb} {resource} in {place}: {}{}", said.text(), said.err);
    }
    Ok(())
}

#[test]
fn the_operator_may_do_what_it_needs_and_no_more() -> anyhow::Result<()> {
    on_every_server("the_operator_may_do_what_it_needs", |helm, server, namespace| {
        restricted(server, namespace)?;
        helm_to(helm, server, &["install"], &chart(), namespace, &[])?;
        check_rights(
            server,
            namespace,
            &[
                ("watch", "sorchapeernetworks.sorcha.org", "default", true),
                ("patch", "sorchapeernetworks.sorcha.org/status", "default", true),
                ("patch", "sorchapeernetworks.sorcha.org", "default", false),
                ("patch", "statefulsets.apps", "default", true),
                ("delete", "pods", "default", true),
                ("create", "pods", "default", false),
                ("create", "pods/exec", "default", false),
                ("delete", "persistentvolumeclaims", "default", false),
                ("get", "storageclasses.storage.k8s.io", "default", true),
                ("create", "leases.coordination.k8s.io", namespace, true),
                ("create", "leases.coordination.k8s.io", "default", false),
                ("create", "clusterroles.rbac.authorization.k8s.io", "default", false),
                ("get", "namespaces", "default", false),
            ],
        )?;

        let watched = format!("{namespace}-watched");
        server.kubectl(&["create", "namespace", &watched])?.ok()?;
        let only = format!("watchNamespaces={{{watched}}}");
        helm_to(helm, server, &["upgrade"], &chart(), namespace, &["--set", &only])?;
        check_rights(
            server,
            namespace,
            &[
                ("watch", "sorchapeernetworks.sorcha.org", &watched, true),
                ("patch", "statefulsets.apps", &watched, true),
                ("get", "secrets", &watched, true),
                ("watch", "sorchapeernetworks.sorcha.org", "default", false),
                ("get", "secrets", "default", false),
                ("get", "secrets", namespace, false),
                ("create", "leases.coordination.k8s.io", namespace, true),
            ],
        )
    })
}

#[test]
fn the_notes_name_commands_that_fit() -> anyhow::Result<()> {
    on_every_server("the_notes_name_commands_that_fit", |helm, server, namespace| {
        restricted(server, namespace)?;
        helm_to(helm, server, &["install"], &chart(), namespace, &[])?;
        let get = ["get", "notes", "sorcha-operator", "--namespace", namespace];
        let notes = helm.run_with(&server.kubeconfig(), &get)?.ok()?.text();
        let wait = format!("kubectl wait -n {namespace} --for=condition=Ready --timeout=120s spn/hello");
        for part in ["  1. ", "  2. ", "  3. ", &wait] {
            ensure!(notes.contains(part), "no '{part}' in:\n{notes}");
        }
        let manifest = notes.split("<<'EOF'\n").nth(1).and_then(|rest| rest.split("EOF").next());
        let manifest: String = manifest
            .context("the notes hold a manifest")?
            .lines()
            .flat_map(|line| [line.strip_prefix("     ").unwrap_or(line), "\n"])
            .collect();
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", DEFINITION])?.ok()?;
        server
            .kubectl_with(&["apply", "--server-side", "--validate=strict", "-n", namespace], &manifest)?
            .ok()?;
        server.kubectl(&["get", "spn/hello", "-n", namespace])?.ok()?;
        Ok(())
    })
}
