//! What was rendered for a pool once stays until the manifest changes it: a new version of the operator replaces no pod.

use serde_json::{Value, json};
use sorcha_crds::{EVERYTHING, QUICKSTART, SorchaPeerNetwork, load};
use sorcha_operator_plan::coverage::FIELDS;
use sorcha_operator_plan::observed::{ObservedNetwork, ObservedPool, Rendered};
use sorcha_operator_plan::{plan, validate};

fn quickstart() -> SorchaPeerNetwork {
    load(QUICKSTART).expect("the example is right")
}

/// What the network is given when it was last rendered as `before`, by an operator with this default image.
fn rendered(
    manifest: &SorchaPeerNetwork,
    before: Option<Rendered>,
    image_default: &str,
) -> (Rendered, Value, Value) {
    let network = validate(manifest).expect("the manifest is right");
    let mut seen = ObservedNetwork::empty(&network);
    image_default.clone_into(&mut seen.image_default);
    let rendered = before;
    let pool = ObservedPool { replicas: 5, rendered, ..ObservedPool::default() };
    seen.pools.insert("peers".to_owned(), pool);
    let objects = plan(&network, &seen).expect("a cluster can hold it").objects.to_json();
    let of_kind = |kind: &str| {
        let it = objects.iter().find(|object| object["kind"] == kind);
        it.expect("it is planned").clone()
    };
    let (set, file) = (of_kind("StatefulSet"), of_kind("ConfigMap"));
    let text = set["metadata"]["annotations"]["sorcha.org/rendered"].as_str().expect("it is kept");
    let kept: Rendered = serde_json::from_str(text).expect("it can be read back");
    assert_eq!(kept.template, set["spec"]["template"]);
    assert_eq!(file["data"]["peer.yaml"], kept.config.as_str());
    (kept, set, file)
}

fn image(set: &Value) -> &str {
    set.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default()
}

/// As another version of the operator would have made it.
fn of_another_version(manifest: &SorchaPeerNetwork) -> Rendered {
    let (mut rendered, ..) = rendered(manifest, None, "sorcha-peer:1");
    rendered.template["metadata"]["annotations"]["made-by"] = json!("another version");
    rendered.config.push_str("# another version\n");
    rendered
}

#[test]
fn a_changed_builder_changes_no_pinned_template() {
    let manifest = quickstart();
    let pinned = of_another_version(&manifest);
    let (again, set, file) = rendered(&manifest, Some(pinned.clone()), "sorcha-peer:2");
    assert_eq!(again, pinned);
    assert_eq!(set["spec"]["template"], pinned.template, "also what was edited by hand is put back to this");
    assert_eq!(file["data"]["peer.yaml"], pinned.config.as_str());
}

#[test]
fn a_change_of_the_manifest_renders_anew_and_keeps_the_image() {
    let mut manifest = quickstart();
    let pinned = of_another_version(&manifest);
    manifest.spec.limits.links_max = 7;
    let (changed, set, _) = rendered(&manifest, Some(pinned.clone()), "sorcha-peer:2");
    assert_ne!(changed.inputs, pinned.inputs);
    assert!(changed.config.contains("linksMax: 7") && !changed.config.contains("another version"));
    assert_ne!(changed.template, pinned.template, "a changed file is a changed pod template");
    assert_eq!(image(&set), "sorcha-peer:1");
}

#[test]
fn what_feeds_neither_template_nor_file_renders_nothing_anew() {
    let mut manifest = quickstart();
    let pinned = of_another_version(&manifest);
    manifest.spec.replicas = 9;
    manifest.spec.storage.size = sorcha_crds::Size::new("2Gi");
    manifest.spec.log.level = "info".to_owned();
    assert_eq!(rendered(&manifest, Some(pinned.clone()), "sorcha-peer:2").0, pinned);
}

#[test]
fn the_image_moves_when_the_manifest_says_so() {
    let mut manifest = quickstart();
    let (first, set, _) = rendered(&manifest, None, "sorcha-peer:1");
    assert_eq!(image(&set), "sorcha-peer:1");
    manifest.spec.image = Some("sorcha-peer:3".to_owned());
    let (named, set, _) = rendered(&manifest, Some(first), "sorcha-peer:2");
    assert_eq!(image(&set), "sorcha-peer:3");
    manifest.spec.image = None;
    let (_, set, _) = rendered(&manifest, Some(named), "sorcha-peer:2");
    assert_eq!(image(&set), "sorcha-peer:2", "a name that is taken away gives way to today's default");
}

/// Every field that changes template or file changes the digest of their inputs, and no other does.
#[test]
fn the_digest_tells_of_exactly_what_reaches_template_and_file() {
    let base = quickstart();
    let whole = serde_json::to_value(&load(EVERYTHING).expect("the example is right").spec).expect("JSON");
    let (before, ..) = rendered(&base, None, "sorcha-peer:1");
    for (path, _) in FIELDS.iter().filter(|(path, _)| !path.contains("[]")) {
        let pointer = format!("/{}", path.replace('.', "/"));
        let value = whole.pointer(&pointer).expect("the example sets every field").clone();
        let mut spec = serde_json::to_value(&base.spec).expect("JSON");
        let mut place = &mut spec;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value;
        let mut changed = base.clone();
        changed.spec = serde_json::from_value(spec).expect("one field of it is another");
        // alone some fields break a rule across fields
        if validate(&changed).is_err() || *path == "networkId" {
            continue;
        }
        let (after, ..) = rendered(&changed, None, "sorcha-peer:1");
        let differs = (&after.template, &after.config) != (&before.template, &before.config);
        assert_eq!(after.inputs != before.inputs, differs, "{path}");
    }
}
