//! Checks the pods of a StatefulSet: that they hang together, and that they fit the `restricted` Pod Security standard
//! of Kubernetes but for what the manifest's `podTemplate` itself says otherwise.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Broken;
use super::network::{list, name, text};

/// A StatefulSet and what the manifest has beside its peers.
pub(super) struct Pods<'a> {
    pub(super) set: &'a Value,
    pub(super) beside: Option<&'a Value>,
    pub(super) broken: &'a mut Vec<Broken>,
}

impl Pods<'_> {
    pub(super) fn check(mut self) {
        let set = self.set;
        let pod = &set["spec"]["template"]["spec"];
        let containers = list(pod, "/containers");
        let first = list(pod, "/initContainers").first();
        let is_peer = |container: &&Value| text(container, "/name") == "peer";
        let alone = containers.iter().find(is_peer);
        let sidecar = first.filter(is_peer).filter(|it| text(it, "/restartPolicy") == "Always");
        let peer = match (alone, sidecar) {
            (Some(peer), None) if containers.len() == 1 => Some(peer),
            (None, Some(peer)) if !containers.is_empty() => Some(peer),
            _ => None,
        };
        let Some(peer) = peer else {
            return self.wrong("has no peer that is there before and after what runs beside it.");
        };
        self.mounts(pod, peer);
        self.known(containers.iter().chain(list(pod, "/initContainers")));
        self.security(pod, peer);
    }

    fn wrong(&mut self, message: &str) {
        self.broken.push(Broken::new(name(self.set), message));
    }

    fn require(&mut self, holds: bool, message: &str) {
        if !holds {
            self.wrong(message);
        }
    }

    fn mounts(&mut self, pod: &Value, peer: &Value) {
        let claims = list(self.set, "/spec/volumeClaimTemplates").iter().map(|it| text(it, "/metadata/name"));
        let volumes = list(pod, "/volumes").iter().map(|volume| text(volume, "/name"));
        let mut mountable = BTreeSet::new();
        for volume in claims.chain(volumes) {
            self.require(mountable.insert(volume), "has two volumes of one name.");
        }
        let mut mounted = BTreeSet::new();
        for mount in list(peer, "/volumeMounts") {
            self.require(mountable.contains(text(mount, "/name")), "mounts a volume that it has not.");
            let own = ["config", "tls", "state"].contains(&text(mount, "/name"));
            let whole = mount.get("subPath").is_none() && mount.get("subPathExpr").is_none();
            self.require(whole || !own, "mounts by subPath, which never sees a change.");
            mounted.insert((text(mount, "/name"), text(mount, "/mountPath")));
        }
        let complete = [("config", "/etc/sorcha"), ("tls", "/run/sorcha/tls"), ("state", "/var/lib/sorcha")];
        self.require(complete.iter().all(|it| mounted.contains(it)), "lacks what the peer reads and writes.");
        let ports: BTreeSet<&str> = list(peer, "/ports").iter().map(|port| text(port, "/name")).collect();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = text(&peer[probe], "/httpGet/port");
            self.require(ports.contains(port), "probes a port that it does not open.");
        }
    }

    /// Nothing runs that neither the operator nor the manifest has named, and each name once.
    fn known<'c>(&mut self, containers: impl Iterator<Item = &'c Value>) {
        let mut names = BTreeSet::new();
        for container in containers {
            let container = text(container, "/name");
            self.require(names.insert(container), "has two containers of one name.");
            let asked = container == "peer"
                || ["/spec/containers", "/spec/initContainers"].iter().any(|kind| {
                    let beside = self.beside.map(|template| list(template, kind)).unwrap_or_default();
                    beside.iter().any(|it| text(it, "/name") == container)
                });
            self.require(asked, "runs a container that nobody asked for.");
        }
    }

    fn security(&mut self, pod: &Value, peer: &Value) {
        let context = &pod["securityContext"];
        let rules = [
            ("/securityContext/runAsNonRoot", context["runAsNonRoot"] == true),
            ("/securityContext/runAsUser", context["runAsUser"].as_i64().is_some_and(|user| user > 0)),
            ("/securityContext/seccompProfile", context["seccompProfile"]["type"] == "RuntimeDefault"),
            ("/automountServiceAccountToken", pod["automountServiceAccountToken"] == false),
            ("/hostNetwork", pod.get("hostNetwork").is_none()),
            ("/hostPID", pod.get("hostPID").is_none()),
            ("/hostIPC", pod.get("hostIPC").is_none()),
        ];
        for (field, restricted) in rules {
            let said = self.beside.is_some_and(|template| template["spec"].pointer(field).is_some());
            self.require(restricted || said, "its pods do not fit the restricted Pod Security standard.");
        }
        let context = &peer["securityContext"];
        let restricted = context["allowPrivilegeEscalation"] == false
            && context["readOnlyRootFilesystem"] == true
            && list(context, "/capabilities/drop") == [Value::from("ALL")]
            && context["privileged"].is_null();
        self.require(restricted, "its peers do not fit the restricted Pod Security standard.");
    }
}
