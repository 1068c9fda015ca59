//! Manifests that are wrong: each answer names field, value and way out. The same as a cluster's API server refuses.

use sorcha_crds::{API_VERSION, KIND, load};
use sorcha_operator_plan::validate;

fn refusal(name: &str, spec: &str) -> String {
    let text =
        format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n");
    match load(&text) {
        Err(error) => error.to_string(),
        Ok(manifest) => match validate(&manifest) {
            Err(invalid) => invalid.to_string(),
            Ok(_) => panic!("taken, but wrong:\n{text}"),
        },
    }
}

#[track_caller]
fn check(spec: &str, wanted: &str) {
    assert_eq!(refusal("test", spec), wanted, "{spec}");
}

#[track_caller]
fn check_name(name: &str, wanted: &str) {
    assert_eq!(refusal(name, ""), wanted, "{name}");
}

#[test]
fn names_that_cannot_name_pods_are_refused() {
    let rule = "cannot name pods and Services: use lower-case letters, digits and hyphens, begin with a letter and do \
                not end with a hyphen.";
    check_name("Test", &format!("metadata.name: \"Test\" {rule}"));
    check_name("1test", &format!("metadata.name: \"1test\" {rule}"));
    check_name("test-", &format!("metadata.name: \"test-\" {rule}"));
    check_name("a.b", &format!("metadata.name: \"a.b\" {rule}"));
    check_name("''", &format!("metadata.name: \"\" {rule}"));
    let long = "a".repeat(41);
    check_name(&long, &format!("metadata.name: {long:?} has more than 40 characters: shorten it."));
    check_name(
        "test, namespace: My_Space",
        "metadata.namespace: \"My_Space\" is no namespace: use 1 to 63 lower-case letters, digits and hyphens, and \
         begin and end with a letter or digit.",
    );
}

#[test]
fn numbers_outside_their_range_are_refused() {
    check("replicas: -1", "spec.replicas: -1 is below 0: give a whole number from 0 to 10000.");
    check("replicas: 10001", "spec.replicas: 10001 is above 10000: give a whole number from 0 to 10000.");
    check(
        "limits: {linksMax: 0}",
        "spec.limits.linksMax: 0 is below 1: give a whole number from 1 to 65536.",
    );
    check(
        "limits: {submissionsMax: 1000001}",
        "spec.limits.submissionsMax: 1000001 is above 1000000: give a whole number from 1 to 1000000.",
    );
    check(
        "links: {climbAfter: 2h}",
        "spec.links.climbAfter: 2h is longer than 1h: give a duration from 1s to 1h.",
    );
    check(
        "links: {rungs: [udp]}",
        "line 4: spec.links.rungs[0]: \"udp\" is not one of stream, exchange, rest.",
    );
    check(
        "proxy: {url: 'http://al:secret@p:1'}",
        "spec.proxy.url: \"http://al:secret@p:1\" is not a proxy: write http://host:port, environment or none; names and \
         passwords belong in spec.proxy.credentialsSecret.",
    );
    check(
        "proxy: {url: 'http://p:99999'}",
        "spec.proxy.url: 'p:99999' is no proxy: the port must be 1-65535",
    );
    check(
        "proxy: {url: 'http://p', except: [10.0.0.0/99]}",
        "spec.proxy.except: '10.0.0.0/99' is no block of addresses: its length is 0 to 32",
    );
    check("links: {compression: zstd}", "line 4: spec.links.compression: \"zstd\" is not one of lz4, none.");
    check(
        "replicas: 2.5",
        "line 4: spec.replicas: 2.5 is a number with decimals, but this must be a whole number.",
    );
}

#[test]
fn sizes_that_are_none_or_outside_their_range_are_refused() {
    let rule = "is not a size: write a number and a unit, such as 64Mi, 20Gi, 500m or 2.";
    check("limits: {bodyBytesMax: 64MB}", &format!("spec.limits.bodyBytesMax: \"64MB\" {rule}"));
    check("limits: {bodyBytesMax: big}", &format!("spec.limits.bodyBytesMax: \"big\" {rule}"));
    check("storage: {size: -1}", &format!("spec.storage.size: \"-1\" {rule}"));
    check(
        "limits: {bodyBytesMax: 512}",
        "spec.limits.bodyBytesMax: 512 is below 1Ki: give a size from 1Ki to 256Mi.",
    );
    check(
        "limits: {bodyBytesMax: 1Gi}",
        "spec.limits.bodyBytesMax: 1Gi is above 256Mi: give a size from 1Ki to 256Mi.",
    );
    check(
        "retention: {age: 30s}",
        "spec.retention.age: 30s is shorter than 1m: give a duration from 1m to 87600h.",
    );
    check(
        "retention: {bytes: 1000}",
        "spec.retention.bytes: 1000 is below 1Mi: give a size from 1Mi to 64Ti.",
    );
    check(
        "limits: {submitBytesMax: 5Gi}",
        "spec.limits.submitBytesMax: 5Gi is above 4Gi: give a size from 1Mi to 4Gi.",
    );
    check(
        "limits: {cacheBytesMax: 65Gi}",
        "spec.limits.cacheBytesMax: 65Gi is above 64Gi: give a size from 1Mi to 64Gi.",
    );
    check("storage: {size: 1Mi}", "spec.storage.size: 1Mi is below 16Mi: give a size from 16Mi to 64Ti.");
}

#[test]
fn requests_above_their_limits_are_refused() {
    check(
        "resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 500m, memory: 512Mi}}",
        "spec.resources.requests.cpu: 2 is above spec.resources.limits.cpu (500m): lower it, or raise the limit.\n\
         spec.resources.requests.memory: 1Gi is above spec.resources.limits.memory (512Mi): lower it, or raise the \
         limit.",
    );
}

#[test]
fn durations_that_are_none_or_outside_their_range_are_refused() {
    let rule = "is not a duration: write a number and a unit, such as 500ms, 15s, 10m or 2h.";
    check(
        "discovery: {refreshInterval: 15 minutes}",
        &format!("spec.discovery.refreshInterval: \"15 minutes\" {rule}"),
    );
    check("discovery: {refreshInterval: 1d}", &format!("spec.discovery.refreshInterval: \"1d\" {rule}"));
    check(
        "discovery: {refreshInterval: 15}",
        "line 4: spec.discovery.refreshInterval: 15 is a whole number, but this must be text; write \"15\" in quotes.",
    );
    check(
        "discovery: {refreshInterval: 999ms}",
        "spec.discovery.refreshInterval: 999ms is shorter than 1s: give a duration from 1s to 24h.",
    );
    check(
        "discovery: {refreshInterval: 25h}",
        "spec.discovery.refreshInterval: 25h is longer than 24h: give a duration from 1s to 24h.",
    );
    check(
        "discovery: {heartbeatInterval: 99ms}",
        "spec.discovery.heartbeatInterval: 99ms is shorter than 100ms: give a duration from 100ms to 10m.",
    );
    check(
        "shutdown: {deadline: 11m}",
        "spec.shutdown.deadline: 11m is longer than 10m: give a duration from 1s to 10m.",
    );
    check(
        "discovery: {heartbeatInterval: 1m, forgetAfter: 119s}",
        "spec.discovery.forgetAfter: 119s is shorter than twice spec.discovery.heartbeatInterval (1m), so peers would \
         be forgotten before anybody has asked whether they live: lengthen it.",
    );
}

#[test]
fn addresses_that_nobody_can_dial_are_refused() {
    let rule = "is not an address: write host:port with a port from 1 to 65535, such as peers.example.org:7450, \
                192.0.2.1:7450 or [2001:db8::1]:7450.";
    for address in
        ["peers.example", "peers.example:0", "peers.example:65536", "https://a:1", "2001:db8::1:7450"]
    {
        check(
            &format!("bootstrap: {{addresses: ['{address}']}}"),
            &format!("spec.bootstrap.addresses[0]: {address:?} {rule}"),
        );
    }
    check(
        "bootstrap: {addresses: ['a:1', 'b:1', 'a:1']}",
        "spec.bootstrap.addresses[2]: \"a:1\" is given twice: take one away.",
    );
    let many: Vec<String> = (1..=65).map(|port| format!("'a:{port}'")).collect();
    check(
        &format!("bootstrap: {{addresses: [{}]}}", many.join(", ")),
        "spec.bootstrap.addresses: has 65 entries; at most 64 are taken.",
    );
}

#[test]
fn words_that_are_not_what_they_name_are_refused() {
    check(
        "networkId: Main_Ledger",
        "spec.networkId: \"Main_Ledger\" is not a DNS label: use lower-case letters, digits and hyphens, and begin and \
         end with a letter or digit.",
    );
    check("networkId: ''", "spec.networkId: \"\" is empty: give a value, or leave the field out.");
    check(
        "site: 'New York'",
        "spec.site: \"New York\" is not one word: use letters, digits, hyphens, underscores and dots, and begin and \
         end with a letter or digit.",
    );
    check(
        "tls: {trustDomain: 'spiffe://a'}",
        "spec.tls.trustDomain: \"spiffe://a\" is not a DNS name: use lower-case letters, digits, hyphens and dots, \
         such as ledger.example.",
    );
    check(
        "image: 'my image'",
        "spec.image: \"my image\" is not a container image: write it as example.org/sorcha-peer:1.0.",
    );
    check(
        "log: {level: 'LOUD!'}",
        "spec.log.level: \"LOUD!\" is not a log level: write error, warn, info, debug, trace or a filter such as \
         info,sorcha_peer=debug.",
    );
    check(
        "log: {level: 'loud'}",
        "spec.log.level: 'loud' is not a log level: use error, warn, info, debug or trace, or a filter such as \
         info,sorcha_peer::store=debug",
    );
    check(
        "storage: {className: Fast Disks}",
        "spec.storage.className: \"Fast Disks\" is not an object's name: use lower-case letters, digits, hyphens and \
         dots, and begin and end with a letter or digit.",
    );
    let long = "a".repeat(64);
    let shown = "a".repeat(60);
    check(
        &format!("networkId: {long}"),
        &format!("spec.networkId: \"{shown}\"... (64 characters) has more than 63 characters: shorten it."),
    );
}

#[test]
fn pools_that_do_not_fit_together_are_refused() {
    check(
        "pools: [{name: peers}]",
        "spec.pools[0].name: \"peers\" is taken: the default pool and the trust bundle are called so.",
    );
    check("pools: [{name: a}, {name: a}]", "spec.pools[1].name: \"a\" is given twice: take one away.");
    check(
        "pools: [{name: zone-1}]",
        "spec.pools[0].name: \"zone-1\" is not a pool's name: use lower-case letters, digits and hyphens, and begin and \
         end with a letter.",
    );
    check(
        "replicas: 6000, pools: [{name: a, replicas: 4001}]",
        "spec.replicas: with those of spec.pools makes 10001 peers; a network has 10000 at most.",
    );
    check(
        "pools: [{name: a, storage: {size: 1Mi}, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]",
        "spec.pools[0].storage.size: 1Mi is below 16Mi: give a size from 16Mi to 64Ti.\n\
         spec.pools[0].resources.requests.cpu: 2 is above spec.pools[0].resources.limits.cpu (1): lower it, or raise the \
         limit.",
    );
    check(
        "pools: [{name: a, expose: {type: LoadBalancer}}]",
        "spec.pools[0].expose: needs an address: the network's own Service is exposed by spec.expose.",
    );
}

#[test]
fn what_has_no_effect_or_cannot_work_is_refused() {
    check(
        "expose: {type: NodePort, address: 'peer-{ordinal}.example:7450'}",
        "spec.expose.address: \"peer-{ordinal}.example:7450\" becomes peer-0.example:7450 for peer 0, whose port is not \
         from 30000 to 32767: choose another port, such as 3045{ordinal}.",
    );
    check(
        "replicas: 11, expose: {type: NodePort, address: 'a.example:3045{ordinal}'}",
        "spec.expose.address: gives each of 11 peers a Service of its own; 10 is the most. Divide them into pools.",
    );
    check(
        "replicas: 12, expose: {address: 'a.example:6553{ordinal}'}",
        "spec.expose.address: \"a.example:6553{ordinal}\" becomes a.example:65536 for peer 6, whose port is not from 1 to \
         65535: choose another port.",
    );
    check(
        "expose: {address: 'a.example:7450'}",
        "spec.expose.address: \"a.example:7450\" is not an address of peers: write host:port with {ordinal} once in the \
         host or at the end of the port, such as peer-{ordinal}.ledger.example:7450 or node.example:3045{ordinal}.",
    );
    check(
        "expose: {annotations: {a: b}}",
        "spec.expose.annotations: have no effect for type ClusterIP without an address.",
    );
    check(
        "placement: {tolerations: [{key: a, operator: Exists, value: b}]}",
        "spec.placement.tolerations[0]: has a value, which has no effect with operator Exists: take it away, or write \
         operator Equal.",
    );
    check(
        "networkPolicy: {enabled: false, metricsFrom: [{podLabels: {a: b}}]}",
        "spec.networkPolicy.metricsFrom: has no effect without spec.networkPolicy.enabled: take one of them away.",
    );
    check(
        "networkPolicy: {metricsFrom: [{}]}",
        "spec.networkPolicy.metricsFrom[0]: chooses nobody: give namespaceLabels or podLabels.",
    );
    check(
        "shutdown: {drainDeadline: 9s}, monitoring: {interval: 2h}",
        "spec.shutdown.drainDeadline: 9s is shorter than 10s: give a duration from 10s to 24h.\n\
         spec.monitoring.interval: 2h is longer than 1h: give a duration from 5s to 1h.",
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let told = refusal("Test", "replicas: -1, site: a b, shutdown: {deadline: 1ms}");
    let fields: Vec<&str> = told.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(fields, ["metadata.name", "spec.replicas", "spec.site", "spec.shutdown.deadline"]);
}
