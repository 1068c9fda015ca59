//! Reading manifests: what a person sees when the text is not what was meant.

use sorcha_crds::{API_VERSION, EVERYTHING, KIND, QUICKSTART, Size, SorchaPeerNetworkSpec, load};

/// A manifest with these lines below `spec:`, which stands on line 4.
fn manifest(spec: &str) -> String {
    let spec: String = spec.lines().flat_map(|line| ["  ", line, "\n"]).collect();
    format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: test}}\nspec:\n{spec}")
}

fn check(text: &str, wanted: &str) {
    match load(text) {
        Ok(_) => panic!("taken, but wrong:\n{text}"),
        Err(error) => assert_eq!(error.to_string(), wanted, "{text}"),
    }
}

#[test]
fn the_quickstart_is_five_peers_with_every_default() {
    let network = load(QUICKSTART).expect("the example is right");
    assert_eq!(network.metadata.name.as_deref(), Some("quickstart"));
    assert_eq!(network.spec, SorchaPeerNetworkSpec { replicas: 5, ..SorchaPeerNetworkSpec::default() });
}

#[test]
fn the_full_example_sets_every_field_to_something_else_than_its_default() {
    /// Their other value would leave other fields without effect.
    const SWITCHES: [&str; 3] = ["spec.monitoring.podMonitor", "spec.networkPolicy.enabled", "spec.paused"];
    fn walk(path: &str, schema: &serde_json::Value, value: &serde_json::Value, default: &serde_json::Value) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let item = &property["items"];
            if property["properties"].is_object() {
                walk(&path, property, &value[name], &default[name]);
            } else if item["properties"].is_object() {
                walk(&path, item, &value[name][0], &serde_json::Value::Null);
            } else if SWITCHES.contains(&path.as_str()) {
                assert!(value[name].is_boolean(), "{path} is not set");
            } else if property["enum"].as_array().is_none_or(|choices| choices.len() > 1) {
                assert!(value.get(name).is_some() && value[name] != default[name], "{path} is not set");
            }
        }
    }
    let network = load(EVERYTHING).expect("the example is right");
    let json = |spec: &SorchaPeerNetworkSpec| serde_json::to_value(spec).expect("a spec is JSON");
    let default = json(&SorchaPeerNetworkSpec::default());
    walk("spec", &sorcha_crds::spec_schema(), &json(&network.spec), &default);
}

#[test]
fn what_is_null_takes_its_default() {
    let network = load(&manifest("replicas:\nstorage:\n  size:\nsite: ~")).expect("null is left out");
    assert_eq!(network.spec, SorchaPeerNetworkSpec::default());
}

#[test]
fn sizes_may_be_whole_numbers() {
    let network = load(&manifest("limits: {bodyBytesMax: 1048576}")).expect("a number is a size");
    assert_eq!(network.spec.limits.body_bytes_max, Size::new("1048576"));
}

#[test]
fn a_manifest_read_back_from_a_cluster_is_taken() {
    let text = format!(
        "{}status: {{replicas: 3, conditions: []}}\n",
        manifest("replicas: 3").replace(
            "{name: test}",
            "{name: test, uid: abc, generation: 2, creationTimestamp: '2026-01-01T00:00:00Z', \
             labels: {a: b}, managedFields: [{manager: kubectl}]}"
        )
    );
    let network = load(&text).expect("what the API server adds is known");
    assert_eq!(network.metadata.uid.as_deref(), Some("abc"));
}

#[test]
fn a_text_that_is_no_manifest_is_refused_with_a_sentence() {
    check("", "the manifest is empty; crds/examples/quickstart.yaml shows one.");
    check("# nothing\n", "the manifest is empty; crds/examples/quickstart.yaml shows one.");
    check("5", "line 1: manifest: 5 is no manifest; it begins with `apiVersion:`.");
    check("a: [", "the manifest is not YAML: unclosed bracket '[' at line 1, column 4.");
    check(
        &format!("{QUICKSTART}---\n{QUICKSTART}"),
        "the manifest holds 2 documents divided by `---`; this command reads one network at a time: put each into a \
         file of its own.",
    );
    check(
        "kind: Deployment\n",
        "apiVersion: is missing; write `apiVersion: sorcha.org/v1alpha1`.\n\
         line 1: kind: \"Deployment\" is not read here; write `kind: SorchaPeerNetwork`.",
    );
    check(
        "apiVersion: sorcha.org/v1\nkind: SorchaPeerNetwork\n",
        "line 1: apiVersion: \"sorcha.org/v1\" is not read here; write `apiVersion: sorcha.org/v1alpha1`.",
    );
}

#[test]
fn a_namespace_beside_the_manifest_is_passed_over() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: ledger}\n";
    let network = load(&format!("{namespace}---\n{QUICKSTART}")).expect("one network");
    assert_eq!(network.metadata.name.as_deref(), Some("quickstart"));
    check(namespace, "the manifest is empty; crds/examples/quickstart.yaml shows one.");
}

#[test]
fn every_example_is_read() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for entry in std::fs::read_dir(examples).expect("the folder is there") {
        let path = entry.expect("its entries can be read").path();
        let text = std::fs::read_to_string(&path).expect("an example is text");
        let network = load(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.file_stem().and_then(|name| name.to_str());
        assert_eq!(network.metadata.name.as_deref(), file, "an example is called by its file");
    }
}

#[test]
fn a_manifest_without_its_main_parts_is_refused() {
    check(
        "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\n",
        "metadata.name: is missing; the network and its peers are named after it.\n\
         spec: is missing; write `spec: {}` for a network with every default.",
    );
}

#[test]
fn a_text_beyond_the_bound_is_refused_unread() {
    check(&" ".repeat(2_000_000), "the manifest has 2000000 bytes; at most 1572864 are read.");
}

#[test]
fn unknown_fields_are_refused_with_what_was_probably_meant() {
    check(&manifest("replica: 5"), "line 5: spec.replica: there is no such field; did you mean `replicas`?");
    check(
        &manifest("network_id: a"),
        "line 5: spec.network_id: there is no such field; did you mean `networkId`?",
    );
    check(
        &manifest("discovery:\n  refresh: 5m"),
        "line 6: spec.discovery.refresh: there is no such field. spec.discovery has: forgetAfter, \
         heartbeatInterval, refreshInterval.",
    );
    check(
        &manifest("trustDomain: a.example"),
        "line 5: spec.trustDomain: there is no such field here; it belongs to `spec.tls`.",
    );
    check(
        &manifest("").replace("name: test", "nmae: test"),
        "line 3: metadata.nmae: there is no such field; did you mean `name`?\n\
         metadata.name: is missing; the network and its peers are named after it.\n\
         spec: is missing; write `spec: {}` for a network with every default.",
    );
}

#[test]
fn a_field_given_twice_is_refused() {
    let twice = "this field is given twice: take one of them away.";
    check(&manifest("replicas: 3\nreplicas: 4"), &format!("line 6: replicas: {twice}"));
    check(&manifest("limits:\n  linksMax: 3\n  linksMax: 4"), &format!("line 7: linksMax: {twice}"));
}

#[test]
fn wrong_types_are_refused_all_at_once_with_lines() {
    check(
        &manifest("replicas: five\nsite: 5\nlimits: 3\nbootstrap: {addresses: a}\nlog: {format: xml}"),
        "line 5: spec.replicas: \"five\" is text, but this must be a whole number.\n\
         line 6: spec.site: 5 is a whole number, but this must be text; write \"5\" in quotes.\n\
         line 7: spec.limits: 3 is a whole number, but this must be a group of fields, each on a line of its own and \
         indented.\n\
         line 8: spec.bootstrap.addresses: \"a\" is text, but this must be a list: one `- entry` on each line.\n\
         line 9: spec.log.format: \"xml\" is not one of text, json.",
    );
    check(
        &manifest("resources: {limits: {cpu: 0.5}}"),
        "line 5: spec.resources.limits.cpu: 0.5 is a number with decimals, but this must be a size such as 64Mi, \
         500m or 2.",
    );
    check(
        &manifest("replicas: 99999999999"),
        "line 5: spec.replicas: 99999999999 is out of range: give a whole number from 0 to 10000.",
    );
}
