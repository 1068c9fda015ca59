//! Checks a plan of Kubernetes objects, as JSON, the form in which a cluster gets them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pods::Pods;
use super::{Broken, is_dns_label};
use crate::plan::NetworkPlan;
use crate::validate::Validated;

/// Longest name of a StatefulSet: its controller appends a hash of 11 characters in a label of 63.
const STATEFUL_SET_NAME_MAX: usize = 52;
/// Largest object in bytes, as JSON: what an API server takes in one request is about three times that.
const OBJECT_BYTES_MAX: usize = 1_000_000;

/// Everything that is wrong with a plan of objects; nothing, if all is well.
pub fn check_network(plan: &NetworkPlan, network: &Validated) -> Vec<Broken> {
    let mut objects = plan.objects.to_json();
    // what others hold under a planned name cannot be judged, but is there to be referred to
    let foreign: BTreeSet<String> =
        plan.objects.left_alone.iter().map(|name| format!("{} {}", name.kind, name.name)).collect();
    objects.sort_by_key(|object| text(object, "/kind") == "StatefulSet");
    let mut check = Check { objects: &objects, foreign, broken: Vec::new() };
    if network.spec.paused {
        for object in &objects {
            check.require(false, object, "is planned though the network is paused.");
        }
        return check.broken;
    }
    check.all_objects(plan, network);
    for set in check.of_kind("StatefulSet") {
        check.set(set, plan, network);
        check.references(set);
        let pool = network.pools.iter().find(|pool| pool.name == pool_of(set));
        let beside = pool.and_then(|pool| pool.pod_template.as_ref());
        Pods { set, beside: beside.map(|template| &template.0), broken: &mut check.broken }.check();
    }
    check.selectors();
    check.configuration(plan, network);
    check.broken
}

struct Check<'a> {
    objects: &'a [Value],
    /// Planned objects under whose names there are others.
    foreign: BTreeSet<String>,
    broken: Vec<Broken>,
}

pub(super) fn name(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn pool_of(object: &Value) -> &str {
    text(object, "/metadata/labels/sorcha.org~1pool")
}

/// Whether every label of the selector is among the labels, and there is one at least.
fn selects(selector: Option<&Value>, labels: &Value) -> bool {
    let Some(selector) = selector.and_then(Value::as_object) else { return false };
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl<'a> Check<'a> {
    fn of_kind(&self, kind: &str) -> Vec<&'a Value> {
        self.objects.iter().filter(|object| text(object, "/kind") == kind).collect()
    }

    fn exists(&self, kind: &str, name: &str) -> bool {
        self.foreign.contains(&format!("{kind} {name}"))
            || self.of_kind(kind).iter().any(|object| text(object, "/metadata/name") == name)
    }

    fn require(&mut self, holds: bool, object: &Value, message: &str) {
        if !holds {
            self.broken.push(Broken::new(name(object), message));
        }
    }

    fn all_objects(&mut self, plan: &NetworkPlan, network: &Validated) {
        let mut seen = BTreeSet::new();
        for object in self.objects {
            self.require(seen.insert(name(object)), object, "is planned twice.");
            self.require(is_dns_label(text(object, "/metadata/name")), object, "its name is no DNS label.");
            self.require(
                text(object, "/metadata/namespace") == plan.namespace,
                object,
                "is in another namespace.",
            );
            let labels = &object["metadata"]["labels"];
            let named = labels["app.kubernetes.io/instance"] == plan.network.as_str()
                && labels["app.kubernetes.io/managed-by"] == "sorcha-operator";
            self.require(named, object, "lacks the labels by which it is found again.");
            let owner = text(object, "/metadata/ownerReferences/0/uid");
            let owned = owner == network.uid.as_deref().unwrap_or_default();
            self.require(owned, object, "does not go when the manifest goes.");
            let fits = object.to_string().len() <= OBJECT_BYTES_MAX;
            self.require(fits, object, "is larger than an API server takes.");
        }
        for pool in &network.pools {
            let name = format!("{}-{}", plan.network, pool.name);
            if !self.exists("StatefulSet", &name) {
                self.broken.push(Broken::new(&name, "the pool has no StatefulSet."));
            }
        }
    }

    fn set(&mut self, set: &Value, plan: &NetworkPlan, network: &Validated) {
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        let set_name = text(set, "/metadata/name");
        self.require(
            set_name.len() <= STATEFUL_SET_NAME_MAX,
            set,
            "its name is too long for its pods' labels.",
        );
        let Some(pool) = network.pools.iter().find(|known| known.name == pool_of(set)) else {
            return self.require(false, set, "is of a pool that the manifest has not.");
        };
        self.require(
            set_name == format!("{}-{}", plan.network, pool.name),
            set,
            "bears another pool's name.",
        );
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or_default();
        let last = format!("{set_name}-{}", replicas.saturating_sub(1));
        self.require(is_dns_label(&last), set, "the name of its last pod is no DNS label.");
        self.require(replicas >= u64::from(pool.replicas), set, "has fewer pods than the manifest wants.");
        let selected = selects(set.pointer("/spec/selector/matchLabels"), labels)
            && text(set, "/spec/selector/matchLabels/sorcha.org~1pool") == pool.name;
        self.require(selected, set, "does not select its own pods alone.");
        let by_operator = text(set, "/spec/updateStrategy/type") == "OnDelete"
            && text(set, "/spec/podManagementPolicy") == "Parallel";
        self.require(by_operator, set, "would replace pods by itself.");
        let governs = self.of_kind("Service").iter().any(|service| {
            text(service, "/spec/clusterIP") == "None"
                && text(service, "/metadata/name") == text(set, "/spec/serviceName")
                && service["spec"]["publishNotReadyAddresses"] == true
                && selects(service.pointer("/spec/selector"), labels)
        });
        let governs =
            governs || self.foreign.contains(&format!("Service {}", text(set, "/spec/serviceName")));
        self.require(governs, set, "has no headless Service that names pods before they are ready.");
    }

    /// What selects pods selects those of the network, of all pools or of one.
    fn selectors(&mut self) {
        let sets = self.of_kind("StatefulSet");
        for (kind, pointer) in [
            ("Service", "/spec/selector"),
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
            ("PodMonitor", "/spec/selector/matchLabels"),
        ] {
            for object in self.of_kind(kind) {
                let mut selector = object.pointer(pointer).cloned().unwrap_or_default();
                // what its controller adds to a pod's labels
                let pod =
                    selector.as_object_mut().and_then(|it| it.remove("statefulset.kubernetes.io/pod-name"));
                let own = pod.is_none_or(|pod| pod == text(object, "/metadata/name"));
                let wanted = if pool_of(object).is_empty() { sets.len() } else { sets.len().min(1) };
                let found = sets
                    .iter()
                    .filter(|set| {
                        let of_pool = pool_of(object).is_empty() || pool_of(object) == pool_of(set);
                        of_pool && selects(Some(&selector), &set["spec"]["template"]["metadata"]["labels"])
                    })
                    .count();
                self.require(own && found >= wanted, object, "does not select the peers' pods.");
            }
        }
        for service in self.of_kind("Service") {
            for port in list(service, "/spec/ports") {
                let leads = port["targetPort"] == 7450;
                self.require(leads, service, "leads to another port than the peers' TLS port.");
            }
        }
        for policy in self.of_kind("NetworkPolicy") {
            let tls_is_open = list(policy, "/spec/ingress").iter().any(|rule| {
                rule.get("from").is_none() && list(rule, "/ports").iter().any(|port| port["port"] == 7450)
            });
            self.require(tls_is_open, policy, "keeps peers from one another.");
        }
    }

    fn references(&mut self, set: &Value) {
        let pod = &set["spec"]["template"]["spec"];
        for volume in list(pod, "/volumes") {
            let config_map = text(volume, "/configMap/name");
            if text(volume, "/name") == "config" {
                self.require(
                    self.exists("ConfigMap", config_map),
                    set,
                    "mounts a ConfigMap that is not planned.",
                );
            }
        }
    }

    fn configuration(&mut self, plan: &NetworkPlan, network: &Validated) {
        for config_map in self.of_kind("ConfigMap") {
            if !pool_of(config_map).is_empty() {
                super::file::check(config_map, plan, network, &mut self.broken);
            }
        }
    }
}
