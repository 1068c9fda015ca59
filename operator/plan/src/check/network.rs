//! Checks a plan of Kubernetes objects, as JSON, the form in which a cluster gets them.

use std::collections::BTreeSet;

use serde_json::Value;
use sorcha_peer_config::raw::RawConfig;

use super::{Broken, is_dns_label};
use crate::plan::NetworkPlan;
use crate::validate::Validated;

/// Longest name of a StatefulSet: its controller appends a hash of 11 characters in a label of 63.
const STATEFUL_SET_NAME_MAX: usize = 52;

/// Everything that is wrong with a plan of objects; nothing, if all is well.
pub fn check_network(plan: &NetworkPlan, network: &Validated) -> Vec<Broken> {
    let objects = plan.objects.to_json();
    let mut check = Check { objects: &objects, broken: Vec::new() };
    check.all_objects(plan, network);
    for set in check.of_kind("StatefulSet") {
        check.pods(set, network);
        check.references(set);
        check.security(set);
    }
    check.configuration(plan, network);
    check.broken
}

struct Check<'a> {
    objects: &'a [Value],
    broken: Vec<Broken>,
}

fn name(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
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
        self.of_kind(kind).iter().any(|object| text(object, "/metadata/name") == name)
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
        }
    }

    fn pods(&mut self, set: &Value, network: &Validated) {
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        let set_name = text(set, "/metadata/name");
        self.require(
            set_name.len() <= STATEFUL_SET_NAME_MAX,
            set,
            "its name is too long for its pods' labels.",
        );
        let pool = text(set, "/metadata/labels/sorcha.org~1pool");
        let Some(pool) = network.pools.iter().find(|known| known.name == pool) else {
            return self.require(false, set, "is of a pool that the manifest has not.");
        };
        let last = format!("{set_name}-{}", pool.replicas.saturating_sub(1));
        self.require(is_dns_label(&last), set, "the name of its last pod is no DNS label.");
        let wanted = set["spec"]["replicas"] == pool.replicas;
        self.require(wanted, set, "has another number of pods than the manifest.");
        for (kind, pointer) in [
            ("StatefulSet", "/spec/selector/matchLabels"),
            ("Service", "/spec/selector"),
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ] {
            for object in self.of_kind(kind) {
                self.require(
                    selects(object.pointer(pointer), labels),
                    object,
                    "does not select the peers' pods.",
                );
            }
        }
        let services = self.of_kind("Service");
        let headless = services.iter().find(|service| text(service, "/spec/clusterIP") == "None");
        let governs = headless.is_some_and(|service| {
            text(service, "/metadata/name") == text(set, "/spec/serviceName")
                && service["spec"]["publishNotReadyAddresses"] == true
        });
        self.require(governs, set, "has no headless Service that names pods before they are ready.");
    }

    fn references(&mut self, set: &Value) {
        let pod = &set["spec"]["template"]["spec"];
        let account = text(pod, "/serviceAccountName");
        self.require(self.exists("ServiceAccount", account), set, "its ServiceAccount is not planned.");
        let mut mountable: BTreeSet<&str> = list(set, "/spec/volumeClaimTemplates")
            .iter()
            .map(|claim| text(claim, "/metadata/name"))
            .collect();
        for volume in list(pod, "/volumes") {
            mountable.insert(text(volume, "/name"));
            let config_map = text(volume, "/configMap/name");
            let planned = config_map.is_empty() || self.exists("ConfigMap", config_map);
            self.require(planned, set, "mounts a ConfigMap that is not planned.");
        }
        let mut ports = BTreeSet::new();
        for container in list(pod, "/containers") {
            ports.extend(list(container, "/ports").iter().map(|port| text(port, "/name")));
            for mount in list(container, "/volumeMounts") {
                self.require(
                    mountable.contains(text(mount, "/name")),
                    set,
                    "mounts a volume that it has not.",
                );
                let whole = mount.get("subPath").is_none() && mount.get("subPathExpr").is_none();
                self.require(whole, set, "mounts by subPath, which never sees a change.");
            }
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let port = text(&container[probe], "/httpGet/port");
                self.require(ports.contains(port), set, "probes a port that it does not open.");
            }
        }
        for service in self.of_kind("Service") {
            for port in list(service, "/spec/ports") {
                let open = ports.contains(text(port, "/targetPort"));
                self.require(open, service, "leads to a port that no pod opens.");
            }
        }
    }

    /// The `restricted` Pod Security standard of Kubernetes.
    fn security(&mut self, set: &Value) {
        let pod = &set["spec"]["template"]["spec"];
        let context = &pod["securityContext"];
        let restricted = context["runAsNonRoot"] == true
            && context["runAsUser"].as_i64().is_some_and(|user| user > 0)
            && context["seccompProfile"]["type"] == "RuntimeDefault"
            && pod["automountServiceAccountToken"] == false
            && ["hostNetwork", "hostPID", "hostIPC"].iter().all(|field| pod.get(field).is_none());
        self.require(restricted, set, "its pods do not fit the restricted Pod Security standard.");
        for container in list(pod, "/containers") {
            let context = &container["securityContext"];
            let restricted = context["allowPrivilegeEscalation"] == false
                && context["readOnlyRootFilesystem"] == true
                && list(context, "/capabilities/drop") == [Value::from("ALL")];
            self.require(restricted, set, "its containers do not fit the restricted Pod Security standard.");
        }
    }

    fn configuration(&mut self, plan: &NetworkPlan, network: &Validated) {
        let files = self.of_kind("ConfigMap").into_iter().filter(|map| map["data"]["ca.crt"].is_null());
        for config_map in files {
            let file = config_map["data"]["peer.yaml"].as_str().unwrap_or_default();
            let Ok(config) = serde_saphyr::from_str::<RawConfig>(file) else {
                self.require(false, config_map, "its peer.yaml cannot be read back.");
                continue;
            };
            let identity = config.network_id.as_ref() == Some(&network.network_id)
                && config.trust_domain.as_ref() == Some(&network.spec.tls.trust_domain)
                && config.name.is_none();
            self.require(identity, config_map, "its peer.yaml gives peers another identity.");
            // what each pod's environment adds
            let first = RawConfig {
                name: Some(format!("{}-0", text(config_map, "/metadata/name"))),
                ..config.clone()
            };
            if let Err(problems) = sorcha_peer_config::check(&first) {
                let message = format!("peers would not start with its peer.yaml: {problems}");
                self.require(false, config_map, &message);
            }
            let own = |address: &str| {
                let pools = network.pools.iter().map(|pool| &pool.name);
                pools
                    .map(|pool| format!(".{}-{pool}.{}.svc:7450", plan.network, plan.namespace))
                    .any(|end| address.ends_with(&end))
                    || address.ends_with(&format!(".{}-peers.{}.svc:7450", plan.network, plan.namespace))
            };
            let given = &network.spec.bootstrap.addresses;
            let addresses = config.bootstrap.addresses.unwrap_or_default();
            let known = addresses.iter().all(|address| own(address) || given.contains(address));
            let complete = given.iter().all(|address| addresses.contains(address));
            self.require(
                known && complete,
                config_map,
                "its peer.yaml begins with other peers than it should.",
            );
        }
    }
}
