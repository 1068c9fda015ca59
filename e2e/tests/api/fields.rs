//! What a server makes of the fields of a manifest: examples, defaults, what can change later and what cannot.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{Space, manifest, on_every_server};

/// The spec of a manifest that says nothing.
fn defaults() -> Value {
    json!({
        "replicas": 3,
        "storage": {"size": "1Gi", "retain": {"onDelete": true, "onScaleDown": true}},
        "placement": {"spread": {"nodes": "preferred", "zones": "preferred"}},
        "bootstrap": {},
        "discovery": {"refreshInterval": "15m", "heartbeatInterval": "5s", "forgetAfter": "60s"},
        "retention": {},
        "links": {"compression": "lz4", "climbAfter": "45s"},
        "proxy": {"url": "environment"},
        "limits": {"bodyBytesMax": "64Mi", "cacheBytesMax": "32Mi", "linksMax": 1024, "submissionsMax": 4096,
            "submitBytesMax": "256Mi"},
        "tls": {"trustDomain": "sorcha.local", "delivery": "secret", "retainAuthority": true},
        "log": {"level": "info", "format": "text"},
        "shutdown": {"deadline": "10s", "drainDeadline": "10m"},
        "monitoring": {"podMonitor": true, "interval": "30s"},
        "networkPolicy": {"enabled": true},
        "paused": false,
    })
}

/// The defaults with some fields of the top put in their place.
fn defaults_but(changes: Value) -> Value {
    let mut spec = defaults();
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    spec
}

/// The manifest is taken, and its spec read back is this one.
fn check_taken(space: &Space, name: &str, text: &str, spec: &Value) -> anyhow::Result<()> {
    let said = space.apply(text)?.ok()?;
    anyhow::ensure!(said.err.is_empty(), "the server warns: {}", said.err);
    let held = without_nulls(&space.get(&format!("spn/{name}"))?["spec"]);
    anyhow::ensure!(held == *spec, "{name}\nheld:   {held}\nwanted: {spec}");
    Ok(())
}

/// A server may keep a null where there is no default; to those who read it, it is left out.
fn without_nulls(value: &Value) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let kept = fields.iter().filter(|(_, value)| !value.is_null());
    kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
}

/// The spec of an example with the defaults of what it leaves out.
fn with_defaults(space: &Space, text: &str) -> anyhow::Result<Value> {
    let args = ["create", "--dry-run=client", "-o", "json"];
    let written = space.server.kubectl_with(&args, text)?.ok()?.json()?;
    let mut spec = defaults();
    overlay(&mut spec, &written["spec"]);
    let pool = json!({
        "replicas": 3,
        "storage": defaults()["storage"],
        "placement": defaults()["placement"],
    });
    for given in spec.get_mut("pools").and_then(Value::as_array_mut).into_iter().flatten() {
        let mut whole = pool.clone();
        overlay(&mut whole, given);
        *given = whole;
    }
    Ok(spec)
}

/// Groups field by field, anything else whole.
fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                overlay(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[test]
fn every_example_is_taken_and_reads_back_with_its_defaults() -> anyhow::Result<()> {
    on_every_server("every_example_is_taken_and_reads_back_with_its_defaults", |space: &Space| {
        for name in crate::examples()? {
            let text = crate::example(&name)?;
            let document = text.split("---\n").find(|it| it.contains("kind: SorchaPeerNetwork"));
            let document = document.context("it holds a network")?;
            // an example may name a namespace of its own; here all go into that of the test
            let lines = document.lines().filter(|line| !line.starts_with("  namespace: "));
            let document: String = lines.flat_map(|line| [line, "\n"]).collect();
            check_taken(space, &name, &document, &with_defaults(space, &document)?)?;
        }
        Ok(())
    })
}

#[test]
fn what_is_left_out_or_null_takes_its_default() -> anyhow::Result<()> {
    on_every_server("what_is_left_out_or_null_takes_its_default", |space: &Space| {
        check_taken(space, "bare", &manifest("bare", ""), &defaults())?;
        let nulls = "replicas:\nnetworkId:\nsite: ~\nimage:\nresources:\nstorage: {size: , className: }\nbootstrap:\n\
                     discovery: {forgetAfter: }\nlinks:\nlimits:\ntls:\nlog: {level: }\nshutdown:";
        check_taken(space, "nulls", &manifest("nulls", nulls), &defaults())?;
        let spec = defaults_but(json!({"resources": {"limits": {"memory": "1Gi"}}}));
        let partly = "resources: {requests: , limits: {cpu: , memory: 1Gi}}";
        check_taken(space, "partly", &manifest("partly", partly), &spec)?;
        let spec = defaults_but(json!({"resources": {"requests": {}, "limits": {"cpu": 1}}}));
        let partly = "resources: {requests: {cpu: , memory: }, limits: {cpu: 1, memory: }}";
        check_taken(space, "partly-2", &manifest("partly-2", partly), &spec)?;
        // a null that goes or comes is no change
        for spec in ["", "networkId:\nstorage: {className: }", ""] {
            check_taken(space, "coming", &manifest("coming", spec), &defaults())?;
        }
        let number = "limits: {bodyBytesMax: 1048576}";
        let mut spec = defaults();
        spec["limits"]["bodyBytesMax"] = json!(1_048_576);
        check_taken(space, "number", &manifest("number", number), &spec)
    })
}

/// A change that is refused, or is taken where nothing is said.
fn check_change(space: &Space, from: &str, to: &str, says: &[&str]) -> anyhow::Result<()> {
    space.kubectl(&["delete", "spn", "changed", "--ignore-not-found"])?.ok()?;
    space.apply(&manifest("changed", from))?.ok().with_context(|| format!("from {from}"))?;
    let said = space.apply(&manifest("changed", to))?;
    anyhow::ensure!((said.code == Some(0)) == says.is_empty(), "{from} -> {to}: {}", said.err);
    for words in says {
        anyhow::ensure!(said.err.contains(words), "{from} -> {to}: no '{words}' in: {}", said.err);
    }
    Ok(())
}

#[test]
fn what_cannot_change_is_refused_and_the_rest_is_taken() -> anyhow::Result<()> {
    on_every_server("what_cannot_change_is_refused_and_the_rest_is_taken", |space: &Space| {
        let identity = ["spec.networkId cannot be changed", "Make a new network instead"];
        check_change(space, "networkId: a", "networkId: b", &identity)?;
        check_change(space, "networkId: a", "replicas: 3", &identity)?;
        check_change(space, "replicas: 3", "networkId: a", &identity)?;
        check_change(
            space,
            "tls: {trustDomain: a.example}",
            "tls: {trustDomain: b.example}",
            &["spec.tls.trustDomain cannot be changed", "Make a new network instead"],
        )?;
        let class = ["storage.className cannot be changed"];
        check_change(space, "storage: {className: a}", "storage: {className: b}", &class)?;
        check_change(space, "storage: {className: a}", "replicas: 3", &class)?;
        check_change(space, "replicas: 3", "storage: {className: a}", &class)?;
        let shrink = ["storage.size can grow but not shrink"];
        check_change(space, "storage: {size: 2Gi}", "storage: {size: 1Gi}", &shrink)?;
        check_change(space, "storage: {size: 2Gi}", "storage: {size: 2147483647}", &shrink)?;
        check_change(space, "storage: {size: 2Gi}", "replicas: 3", &shrink)?;

        check_change(space, "storage: {size: 1Gi}", "storage: {size: 2Gi}", &[])?;
        check_change(space, "storage: {size: 1Gi}", "storage: {size: 1073741824}", &[])?;
        check_change(space, "networkId: a\nreplicas: 3", "networkId: a\nreplicas: 9\nsite: b", &[])
    })
}
