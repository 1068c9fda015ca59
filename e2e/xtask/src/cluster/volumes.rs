//! Gives every claim of the test cluster a volume: a directory of the node, as a `local` volume, so that it gets the
//! owner that the pod asks for. Grows it when the claim grows, and removes it with the claim.
//!
//! Follows claims by `kubectl`; ends when the API server does, and is started again like the node's other programs.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::layout::{Layout, NODE, STORAGE_CLASS};
use crate::shell::say;

/// Marks volumes that are made here.
const LABEL: &str = "sorcha.org/test-volume";

/// Follows claims until the API server closes the watch.
pub(super) fn run(layout: &Layout) -> Result<()> {
    let kubectl = Kubectl::of_node(layout);
    remove_orphans(layout, &kubectl)?;
    let mut watch = kubectl
        .command(&["get", "persistentvolumeclaims", "-A", "-o", "json", "--watch", "--output-watch-events"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("kubectl does not start")?;
    let events = watch.stdout.take().context("its output is piped")?;
    for event in serde_json::Deserializer::from_reader(events).into_iter::<Value>() {
        let event = event.context("kubectl writes no JSON")?;
        let (kind, claim) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
        if claim["spec"]["storageClassName"] != STORAGE_CLASS {
            continue;
        }
        let outcome = match kind {
            "ADDED" | "MODIFIED" => serve(layout, &kubectl, claim),
            "DELETED" => remove(layout, &kubectl, &name(claim)),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            say(&format!("volume of {}: {error:#}", claim["metadata"]["name"]));
        }
    }
    watch.wait()?;
    bail!("the watch of claims has ended")
}

/// Of the volume of a claim.
fn name(claim: &Value) -> String {
    format!("pv-{}", claim["metadata"]["uid"].as_str().unwrap_or_default())
}

fn serve(layout: &Layout, kubectl: &Kubectl, claim: &Value) -> Result<()> {
    let name = name(claim);
    let asked = &claim["spec"]["resources"]["requests"]["storage"];
    match claim["status"]["phase"].as_str() {
        Some("Bound") if claim["status"]["capacity"]["storage"] != *asked => {
            kubectl.patch(
                "persistentvolume",
                &name,
                None,
                &json!({"spec": {"capacity": {"storage": asked}}}),
            )?;
            let metadata = &claim["metadata"];
            let (claim, namespace) = (metadata["name"].as_str(), metadata["namespace"].as_str());
            let status = json!({"status": {"capacity": {"storage": asked}}});
            kubectl.patch_status("persistentvolumeclaim", claim.unwrap_or_default(), namespace, &status)
        }
        Some("Bound") => Ok(()),
        _ if claim["metadata"]["deletionTimestamp"].is_null() => {
            let directory = layout.path("volumes").join(&name);
            std::fs::create_dir_all(&directory)?;
            kubectl.apply(&volume(&name, &directory.to_string_lossy(), claim))
        }
        _ => Ok(()),
    }
}

fn volume(name: &str, directory: &str, claim: &Value) -> Value {
    let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {LABEL: "true"}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": directory},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]},
            ]}]}},
        },
    })
}

fn remove(layout: &Layout, kubectl: &Kubectl, name: &str) -> Result<()> {
    kubectl.run(&["delete", "persistentvolume", name, "--ignore-not-found", "--wait=false"])?;
    let directory = layout.path("volumes").join(name);
    if directory.is_dir() {
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

/// Volumes whose claims went while nobody watched.
fn remove_orphans(layout: &Layout, kubectl: &Kubectl) -> Result<()> {
    let items = |list: Value| list["items"].as_array().cloned().unwrap_or_default();
    let claims = items(kubectl.json(&["get", "persistentvolumeclaims", "-A"])?);
    let wanted: Vec<String> = claims.iter().map(name).collect();
    for volume in items(kubectl.json(&["get", "persistentvolumes", "-l", LABEL])?) {
        let name = volume["metadata"]["name"].as_str().unwrap_or_default();
        if !wanted.iter().any(|wanted| wanted == name) {
            remove(layout, kubectl, name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_bound_to_the_claim_that_it_was_made_for() {
        let claim = json!({
            "metadata": {"name": "state-a-0", "namespace": "n", "uid": "u"},
            "spec": {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]},
        });
        let made = volume(&name(&claim), "volumes/pv-u", &claim);
        assert_eq!(made["spec"]["claimRef"]["uid"], "u");
        assert_eq!(made["spec"]["capacity"]["storage"], "1Gi");
        assert_eq!(made["metadata"]["name"], "pv-u");
    }
}
