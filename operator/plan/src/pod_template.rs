//! What a manifest's `podTemplate` may say, and how it is joined with the pod that a peer needs.
//!
//! Knows the names that the peer's own pod takes. Fields that it does not know are passed on: the API server judges them.
//! The rules are written down for users in docs/manifest.md.

use serde_json::{Value, json};
use sorcha_crds::Problem;

use crate::names::{CONTAINER, PORT_ADMIN, PORT_API, PORT_PEER};

/// Longest `podTemplate` as JSON, in bytes: it is kept in an annotation beside what was made of it, and all annotations
/// of an object have 256 KiB.
pub(crate) const BYTES_MAX: usize = 64 * 1024;

/// Volumes of the peer's own.
pub(crate) const VOLUMES: [&str; 4] = ["config", "tls", "state", "proxy"];

/// Folders of the peer's own.
const FOLDERS: [&str; 3] = ["/etc/sorcha", "/run/sorcha", "/var/lib/sorcha"];

/// Variable that holds a peer's ordinal, for its address outside.
pub(crate) const ORDINAL_VARIABLE: &str = "PEER_ORDINAL";

/// What may be said of the peer's own container.
const OF_THE_PEER: [&str; 5] = ["name", "env", "envFrom", "volumeMounts", "imagePullPolicy"];

/// Fields of a pod that are not the manifest's to say here, and where they are.
const REFUSED: &[(&str, &str)] = &[
    ("activeDeadlineSeconds", "peers run without end: take it away."),
    ("ephemeralContainers", "they are added to a pod that runs, with `kubectl debug`."),
    ("hostIPC", "peers stay apart from their node: take it away."),
    ("hostNetwork", "peers have addresses of their own: use expose to reach them from outside."),
    ("hostPID", "peers stay apart from their node: take it away."),
    ("hostname", "a peer is called by its pod's name: take it away."),
    ("nodeName", "use placement.nodeSelector."),
    ("nodeSelector", "use placement.nodeSelector."),
    ("priorityClassName", "use placement.priorityClassName."),
    ("restartPolicy", "pods of a StatefulSet are always started again: take it away."),
    ("subdomain", "a peer is found by its pool's Service: take it away."),
    ("tolerations", "use placement.tolerations."),
];

/// Prefixes of labels and annotations by which pods are found again.
const KEYS: [&str; 5] = [
    "app.kubernetes.io/",
    "sorcha.org/",
    "statefulset.kubernetes.io/",
    "apps.kubernetes.io/",
    "controller-revision",
];

/// Everything that a `podTemplate` must not say. `grace_seconds` is how long the peer itself may take to stop.
pub(crate) fn problems(path: &str, template: &Value, grace_seconds: u64) -> Vec<Problem> {
    let mut check = Check { problems: Vec::new() };
    let bytes = template.to_string().len();
    if bytes > BYTES_MAX {
        check.add(path, format!("has {bytes} bytes as JSON; at most {BYTES_MAX} are taken."));
        return check.problems;
    }
    for (name, part) in check.fields(path, template) {
        let path = format!("{path}.{name}");
        match name.as_str() {
            "metadata" => check.metadata(&path, part),
            "spec" => check.spec(&path, part, grace_seconds),
            _ => check.add(&path, "there is no such field here; it has metadata and spec, as a pod has."),
        }
    }
    check.problems
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(path, message));
    }

    fn fields<'a>(&mut self, path: &str, value: &'a Value) -> Vec<(&'a String, &'a Value)> {
        let fields = value.as_object();
        if fields.is_none() && !value.is_null() {
            self.add(path, "must be a group of fields.");
        }
        fields.into_iter().flatten().collect()
    }

    fn items<'a>(&mut self, path: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
        let items = value.as_array();
        if items.is_none() && !value.is_null() {
            self.add(path, "must be a list: one `- entry` on each line.");
        }
        let mut named = Vec::new();
        for (index, item) in items.into_iter().flatten().enumerate() {
            let path = format!("{path}[{index}]");
            if item["name"].is_string() {
                named.push((path, item));
            } else {
                self.add(&path, "must be a group of fields with a name.");
            }
        }
        named
    }

    fn metadata(&mut self, path: &str, metadata: &Value) {
        for (kind, entries) in self.fields(path, metadata) {
            let path = format!("{path}.{kind}");
            if kind != "labels" && kind != "annotations" {
                self.add(&path, "is not taken: it has labels and annotations.");
                continue;
            }
            for (key, value) in self.fields(&path, entries) {
                if !value.is_string() {
                    self.add(&format!("{path}.{key}"), format!("{value} must be text: write it in quotes."));
                }
                if KEYS.iter().any(|prefix| key.starts_with(prefix)) {
                    self.add(&format!("{path}.{key}"), "is the operator's own: choose another key.");
                }
            }
        }
    }

    fn spec(&mut self, path: &str, spec: &Value, grace_seconds: u64) {
        for (name, value) in self.fields(path, spec) {
            let here = format!("{path}.{name}");
            if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| refused == name) {
                self.add(&here, format!("is not taken here: {instead}"));
                continue;
            }
            match name.as_str() {
                "containers" | "initContainers" => self.containers(&here, value, name == "containers"),
                "volumes" => {
                    for (path, volume) in self.items(&here, value) {
                        if VOLUMES.iter().any(|own| volume["name"] == *own) {
                            self.add(
                                &path,
                                format!("{} is a volume of the peer: choose another name.", volume["name"]),
                            );
                        }
                    }
                }
                "terminationGracePeriodSeconds"
                    if value.as_u64().is_none_or(|given| given < grace_seconds) =>
                {
                    self.add(
                        &here,
                        format!(
                            "{value} is less than the {grace_seconds} seconds that the peer may take to stop \
                             (spec.shutdown.deadline and 5 s): raise it."
                        ),
                    );
                }
                _ => {}
            }
        }
    }

    fn containers(&mut self, path: &str, containers: &Value, may_name_peer: bool) {
        let mut names = Vec::new();
        for (path, container) in self.items(path, containers) {
            if names.contains(&&container["name"]) {
                self.add(&path, format!("{} is given twice: choose another name.", container["name"]));
            }
            names.push(&container["name"]);
            if container["name"] == CONTAINER {
                if may_name_peer {
                    self.peer(&path, container);
                } else {
                    self.add(&path, "\"peer\" is the peer's own container: choose another name.");
                }
                continue;
            }
            for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
                let number = port["containerPort"].as_u64().unwrap_or_default();
                let own = [PORT_PEER, PORT_API, PORT_ADMIN].iter().any(|own| u64::from(*own) == number);
                if own || ["peer", "admin"].iter().any(|own| port["name"] == *own) {
                    let message =
                        format!("{port} is a port of the peer, which shares its addresses: choose another.");
                    self.add(&format!("{path}.ports[{index}]"), message);
                }
            }
        }
    }

    fn peer(&mut self, path: &str, container: &Value) {
        for (name, value) in self.fields(path, container) {
            let here = format!("{path}.{name}");
            if !OF_THE_PEER.contains(&name.as_str()) {
                let message = "cannot be said of the peer's own container, which takes env, envFrom, volumeMounts and \
                               imagePullPolicy; its image is spec.image, its resources are those of the pool.";
                self.add(&here, message);
            }
            if name == "env" {
                for (path, variable) in self.items(&here, value) {
                    let name = variable["name"].as_str().unwrap_or_default();
                    if name.starts_with("SORCHA_") || name == ORDINAL_VARIABLE {
                        self.add(
                            &path,
                            format!("{name} is the operator's own: use the fields of the manifest."),
                        );
                    }
                }
            }
            if name == "volumeMounts" {
                for (path, mount) in self.items(&here, value) {
                    let folder = mount["mountPath"].as_str().unwrap_or_default();
                    if FOLDERS.iter().any(|own| folder.starts_with(own)) {
                        self.add(&path, format!("{folder} lies in a folder of the peer: choose another."));
                    }
                }
            }
        }
    }
}

/// The peer's pod and what the manifest has beside it, as one template. Expects that there are no problems.
///
/// Labels and annotations are added; lists of containers, init containers and volumes are joined; what else the manifest
/// says of the pod takes the place of what the operator says, group of fields by group of fields. With containers beside
/// it the peer becomes a sidecar: an init container that is always started again, the first of all, so that the others
/// find it when they start and have it until they have ended.
pub(crate) fn merge(mut base: Value, template: &Value) -> Value {
    for kind in ["labels", "annotations"] {
        overlay(&mut base["metadata"][kind], &template["metadata"][kind]);
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let pod = &mut base["spec"];
    let mut peer = pod["containers"][0].take();
    let mut beside = list(&template["spec"]["containers"]);
    if let Some(place) = beside.iter().position(|container| container["name"] == CONTAINER) {
        let said = beside.remove(place);
        for (name, value) in said.as_object().into_iter().flatten() {
            match value.as_array() {
                Some(more) => {
                    let joined = [list(&peer[name]), more.clone()].concat();
                    peer[name] = joined.into();
                }
                None => peer[name] = value.clone(),
            }
        }
    }
    let mut first = Vec::new();
    if beside.is_empty() {
        beside = vec![peer];
    } else {
        peer["restartPolicy"] = json!("Always");
        first.push(peer);
    }
    first.extend(list(&template["spec"]["initContainers"]));
    pod["containers"] = beside.into();
    if !first.is_empty() {
        pod["initContainers"] = first.into();
    }
    for (name, value) in template["spec"].as_object().into_iter().flatten() {
        match name.as_str() {
            "containers" | "initContainers" => {}
            "volumes" | "topologySpreadConstraints" => {
                let joined = [list(&pod[name]), list(value)].concat();
                pod[name] = joined.into();
            }
            _ => overlay(&mut pod[name], value),
        }
    }
    base
}

/// Groups field by field, anything else whole.
fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                overlay(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Ports that the containers beside the peer say they listen on: (port, protocol), each once.
pub(crate) fn ports(template: &Value) -> Vec<(i32, String)> {
    let lists = ["containers", "initContainers"].map(|kind| template["spec"][kind].as_array());
    let containers = lists.into_iter().flatten().flatten();
    let mut ports: Vec<(i32, String)> = containers
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .filter_map(|port| {
            let number = i32::try_from(port["containerPort"].as_i64()?).ok()?;
            Some((number, port["protocol"].as_str().unwrap_or("TCP").to_owned()))
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}
