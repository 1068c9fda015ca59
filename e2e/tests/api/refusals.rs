//! Manifests that are wrong: an API server refuses each by itself, with words that name the field and the rule.

use crate::{Space, manifest, on_every_server};

/// Lines below `spec:`, and what the server must say.
const WRONG: &[(&str, &[&str])] = &[
    // numbers
    ("replicas: -1", &["spec.replicas", "greater than or equal to 0"]),
    ("replicas: 10001", &["spec.replicas", "less than or equal to 10000"]),
    ("replicas: 2.5", &["spec.replicas", "integer"]),
    ("replicas: five", &["spec.replicas", "integer"]),
    ("limits: {linksMax: 0}", &["spec.limits.linksMax", "greater than or equal to 1"]),
    ("links: {compression: zstd}", &["spec.links.compression", "zstd", "lz4", "none"]),
    ("links: {rungs: [udp]}", &["spec.links.rungs", "udp", "stream", "exchange", "rest"]),
    ("links: {rungs: [rest, rest]}", &["spec.links.rungs", "Duplicate"]),
    ("proxy: {url: 'socks5://p:1'}", &["spec.proxy.url"]),
    ("proxy: {except: ['a b']}", &["spec.proxy.except[0]"]),
    ("proxy: {url: 'http://al:secret@p:1'}", &["spec.proxy.url"]),
    ("links: {climbAfter: 2h}", &["spec.links.climbAfter must be between 1s and 1h."]),
    ("limits: {submissionsMax: 1000001}", &["spec.limits.submissionsMax", "less than or equal to 1000000"]),
    // sizes
    ("limits: {bodyBytesMax: 64MB}", &["spec.limits.bodyBytesMax", "64MB"]),
    ("limits: {bodyBytesMax: 1Gi}", &["spec.limits.bodyBytesMax must be between 1Ki and 256Mi."]),
    ("limits: {bodyBytesMax: 512}", &["spec.limits.bodyBytesMax must be between 1Ki and 256Mi."]),
    ("limits: {bodyBytesMax: -1}", &["spec.limits.bodyBytesMax", "greater than or equal to 0"]),
    ("limits: {submitBytesMax: 5Gi}", &["spec.limits.submitBytesMax must be between 1Mi and 4Gi."]),
    ("limits: {cacheBytesMax: 65Gi}", &["spec.limits.cacheBytesMax must be between 1Mi and 64Gi."]),
    ("retention: {bytes: 1Ki}", &["spec.retention.bytes must be between 1Mi and 64Ti."]),
    ("retention: {age: 30s}", &["spec.retention.age must be between 1m and 87600h."]),
    ("storage: {size: 1Mi}", &["storage.size must be between 16Mi and 64Ti."]),
    ("storage: {size: 65Ti}", &["storage.size must be between 16Mi and 64Ti."]),
    ("storage: {size: big}", &["spec.storage.size", "big"]),
    ("storage: {size: true}", &["spec.storage.size", "boolean"]),
    (
        "resources: {requests: {cpu: 2}, limits: {cpu: 500m}}",
        &["resources.requests.cpu must not be above resources.limits.cpu."],
    ),
    (
        "resources: {requests: {memory: 1Gi}, limits: {memory: 512Mi}}",
        &["resources.requests.memory must not be above resources.limits.memory."],
    ),
    (
        "resources: {requests: {ephemeral-storage: 2Gi}, limits: {ephemeral-storage: 1Gi}}",
        &["resources.requests.ephemeral-storage must not be above resources.limits.ephemeral-storage."],
    ),
    ("resources: {limits: {cpu: a lot}}", &["spec.resources.limits.cpu", "a lot"]),
    ("resources: {limits: {cpu: -1}}", &["spec.resources.limits.cpu", "greater than or equal to 0"]),
    ("resources: {limits: {gpu: 1}}", &["unknown field", "spec.resources.limits.gpu"]),
    // durations
    ("discovery: {refreshInterval: 15 minutes}", &["spec.discovery.refreshInterval", "15 minutes"]),
    ("discovery: {refreshInterval: 15}", &["spec.discovery.refreshInterval", "string"]),
    ("discovery: {refreshInterval: 999ms}", &["spec.discovery.refreshInterval must be between 1s and 24h."]),
    ("discovery: {refreshInterval: 25h}", &["spec.discovery.refreshInterval must be between 1s and 24h."]),
    (
        "discovery: {heartbeatInterval: 99ms}",
        &["spec.discovery.heartbeatInterval must be between 100ms and 10m."],
    ),
    ("discovery: {forgetAfter: 999999999h}", &["spec.discovery.forgetAfter must be between 1s and 24h."]),
    (
        "discovery: {heartbeatInterval: 1m, forgetAfter: 119s}",
        &["spec.discovery.forgetAfter must be at least twice spec.discovery.heartbeatInterval"],
    ),
    ("shutdown: {deadline: 11m}", &["spec.shutdown.deadline must be between 1s and 10m."]),
    // addresses
    ("bootstrap: {addresses: [peers.example]}", &["spec.bootstrap.addresses[0]", "peers.example"]),
    ("bootstrap: {addresses: ['peers.example:0']}", &["spec.bootstrap.addresses[0]"]),
    ("bootstrap: {addresses: ['peers.example:65536']}", &["spec.bootstrap.addresses[0]"]),
    ("bootstrap: {addresses: ['https://a:1']}", &["spec.bootstrap.addresses[0]"]),
    ("bootstrap: {addresses: ['a:1', 'b:1', 'a:1']}", &["spec.bootstrap.addresses[2]", "Duplicate"]),
    ("bootstrap: {addresses: a}", &["spec.bootstrap.addresses", "array"]),
    // words
    ("networkId: Main_Ledger", &["spec.networkId", "Main_Ledger"]),
    ("networkId: ''", &["spec.networkId", "at least 1"]),
    ("site: New York", &["spec.site", "New York"]),
    ("image: 'my image'", &["spec.image", "my image"]),
    ("tls: {trustDomain: 'spiffe://a'}", &["spec.tls.trustDomain", "spiffe://a"]),
    ("log: {level: 'LOUD!'}", &["spec.log.level", "LOUD!"]),
    ("log: {format: xml}", &["spec.log.format", "xml", "text", "json"]),
    ("storage: {className: Fast Disks}", &["spec.storage.className", "Fast Disks"]),
    // pools
    ("pools: [{name: peers}]", &["spec.pools[0]", "name must not be peers or trust"]),
    ("pools: [{name: trust}]", &["spec.pools[0]", "name must not be peers or trust"]),
    ("pools: [{name: large}, {name: large}]", &["spec.pools[1]", "Duplicate"]),
    ("pools: [{name: zone-1}]", &["spec.pools[0].name", "zone-1"]),
    ("pools: [{name: much-too-long}]", &["spec.pools[0].name", "11"]),
    ("pools: [{replicas: 3}]", &["spec.pools[0].name", "Required"]),
    ("pools: [{name: a, replicas: -1}]", &["spec.pools[0].replicas", "greater than or equal to 0"]),
    (
        "pools: [{name: a, storage: {size: 1Mi}}]",
        &["spec.pools[0].storage.size", "storage.size must be between"],
    ),
    (
        "replicas: 6000\npools: [{name: a, replicas: 4001}]",
        &["spec.replicas and the replicas of spec.pools must not be above 10000 together."],
    ),
    (
        "pools: [{name: a, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]",
        &["spec.pools[0].resources", "resources.requests.cpu must not be above resources.limits.cpu."],
    ),
    ("pools: [{name: a, expose: {type: LoadBalancer}}]", &["spec.pools[0]", "expose needs an address here"]),
    // placement
    (
        "placement: {spread: {nodes: always}}",
        &["spec.placement.spread.nodes", "preferred", "required", "none"],
    ),
    ("placement: {tolerations: [{value: a}]}", &["spec.placement.tolerations[0]", "key is missing"]),
    (
        "placement: {tolerations: [{key: a, operator: Exists, value: b}]}",
        &["spec.placement.tolerations[0]", "value has no effect with operator Exists"],
    ),
    (
        "placement: {tolerations: [{key: a, tolerationSeconds: 5, effect: NoSchedule}]}",
        &["spec.placement.tolerations[0]", "tolerationSeconds needs effect NoExecute"],
    ),
    (
        "placement: {tolerations: [{key: a, effect: Never}]}",
        &["spec.placement.tolerations[0].effect", "NoExecute"],
    ),
    ("placement: {nodeSelector: {disk: true}}", &["spec.placement.nodeSelector.disk", "string"]),
    // reaching peers from outside
    ("expose: {type: Public}", &["spec.expose.type", "LoadBalancer"]),
    ("expose: {address: 'peers.example:7450'}", &["spec.expose.address", "peers.example:7450"]),
    ("expose: {address: 'peer-{ordinal}.example'}", &["spec.expose.address", "peer-{ordinal}.example"]),
    ("expose: {address: 'peer-{number}.example:7450'}", &["spec.expose.address", "{number}"]),
    (
        "expose: {type: NodePort, address: 'peer-{ordinal}.example:7450'}",
        &["spec.expose", "address must end in a port such as 3045{ordinal}"],
    ),
    (
        "replicas: 11\nexpose: {type: NodePort, address: 'node.example:3045{ordinal}'}",
        &["spec.replicas is too high for spec.expose.address"],
    ),
    (
        "replicas: 257\nexpose: {type: LoadBalancer, address: 'peer-{ordinal}.example:7450'}",
        &["spec.replicas is too high for spec.expose.address"],
    ),
    ("expose: {annotations: {a: b}}", &["spec.expose", "annotations have no effect for type ClusterIP"]),
    // what else the cluster has for a network
    ("monitoring: {interval: 2h}", &["spec.monitoring.interval must be between 5s and 1h."]),
    ("monitoring: {podMonitor: sometimes}", &["spec.monitoring.podMonitor", "boolean"]),
    (
        "networkPolicy: {enabled: false, metricsFrom: [{podLabels: {a: b}}]}",
        &["spec.networkPolicy", "metricsFrom has no effect without spec.networkPolicy.enabled"],
    ),
    ("networkPolicy: {metricsFrom: [{}]}", &["spec.networkPolicy.metricsFrom[0]", "nobody is chosen"]),
    ("shutdown: {drainDeadline: 9s}", &["spec.shutdown.drainDeadline must be between 10s and 24h."]),
    ("tls: {delivery: post}", &["spec.tls.delivery", "secret"]),
    ("podTemplate: [a]", &["spec.podTemplate", "object"]),
    ("paused: later", &["spec.paused", "boolean"]),
    // fields that are none
    ("replica: 5", &["unknown field", "spec.replica"]),
    ("discovery: {refresh: 5m}", &["unknown field", "spec.discovery.refresh"]),
    ("limits: 3", &["spec.limits", "object"]),
];

fn check(space: &Space, text: &str, says: &[&str]) -> anyhow::Result<()> {
    // `create` leaves all judgement to the server; nothing is kept, whatever it says.
    let args = ["create", "--validate=strict", "--dry-run=server", "--namespace", &space.name];
    let said = space.server.kubectl_with(&args, text)?;
    anyhow::ensure!(said.code != Some(0), "taken, but wrong:\n{text}");
    for words in says {
        anyhow::ensure!(said.err.contains(words), "no '{words}' in: {}\nfor\n{text}", said.err);
    }
    let unfit = ["no such key", "no such overload", "evaluation error", "cost budget"];
    let failed = unfit.iter().find(|words| said.err.contains(*words));
    anyhow::ensure!(failed.is_none(), "a rule failed instead of judging: {}\nfor\n{text}", said.err);
    Ok(())
}

#[test]
fn wrong_manifests_are_refused_with_field_and_rule() -> anyhow::Result<()> {
    on_every_server("wrong_manifests_are_refused_with_field_and_rule", |space: &Space| {
        let mut failures = Vec::new();
        for (spec, says) in WRONG {
            failures
                .extend(check(space, &manifest("wrong", spec), says).err().map(|error| error.to_string()));
        }
        let many: Vec<String> = (1..=65).map(|port| format!("'a:{port}'")).collect();
        let many = format!("bootstrap: {{addresses: [{}]}}", many.join(", "));
        let says = ["spec.bootstrap.addresses", "64 items"];
        failures.extend(check(space, &manifest("wrong", &many), &says).err().map(|error| error.to_string()));
        let long = format!("networkId: {}", "a".repeat(64));
        let says = ["spec.networkId", "63"];
        failures.extend(check(space, &manifest("wrong", &long), &says).err().map(|error| error.to_string()));
        anyhow::ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        Ok(())
    })
}

#[test]
fn names_that_cannot_name_pods_are_refused() -> anyhow::Result<()> {
    on_every_server("names_that_cannot_name_pods_are_refused", |space: &Space| {
        let rule = "metadata.name must be 1 to 40 lower-case letters, digits and hyphens";
        for name in ["1test", "a.b", &"a".repeat(41)] {
            check(space, &manifest(name, "replicas: 3"), &[rule])?;
        }
        check(space, &manifest("Test", "replicas: 3"), &["metadata.name", "RFC 1123"])?;
        check(
            space,
            &manifest("a", "replicas: 3").replace("spec:\n  replicas: 3\n", ""),
            &["spec", "Required"],
        )
    })
}
