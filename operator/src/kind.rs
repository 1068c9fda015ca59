//! The kinds of objects that a network is made of, with their places in the API. Nothing else spells a path.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

/// A kind of object that the operator owns or reads. The order is the one of dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// core/v1.
    ServiceAccount,
    /// core/v1.
    ConfigMap,
    /// core/v1.
    Secret,
    /// core/v1.
    Service,
    /// networking.k8s.io/v1.
    NetworkPolicy,
    /// policy/v1.
    PodDisruptionBudget,
    /// monitoring.coreos.com/v1, where the cluster knows it.
    PodMonitor,
    /// apps/v1.
    StatefulSet,
    /// core/v1.
    Pod,
    /// core/v1.
    PersistentVolumeClaim,
    /// sorcha.org/v1alpha1.
    SorchaPeerNetwork,
}

impl Kind {
    /// Kinds that the operator applies and of which it watches the metadata only.
    pub const WATCHED_BY_METADATA: [Self; 7] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::PodMonitor,
    ];

    /// Kinds that a plan may hold and that may be pruned.
    const APPLIED: [Self; 8] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::PodMonitor,
        Self::StatefulSet,
    ];

    /// As manifests spell it.
    pub const fn name(self) -> &'static str {
        self.place().2
    }

    /// `apiVersion`, plural, kind.
    const fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("v1", "serviceaccounts", "ServiceAccount"),
            Self::ConfigMap => ("v1", "configmaps", "ConfigMap"),
            Self::Secret => ("v1", "secrets", "Secret"),
            Self::Service => ("v1", "services", "Service"),
            Self::NetworkPolicy => ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
            Self::PodDisruptionBudget => ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
            Self::PodMonitor => ("monitoring.coreos.com/v1", "podmonitors", "PodMonitor"),
            Self::StatefulSet => ("apps/v1", "statefulsets", "StatefulSet"),
            Self::Pod => ("v1", "pods", "Pod"),
            Self::PersistentVolumeClaim => ("v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
            Self::SorchaPeerNetwork => (sorcha_crds::API_VERSION, "sorchapeernetworks", sorcha_crds::KIND),
        }
    }

    /// `apiVersion`.
    pub const fn api_version(self) -> &'static str {
        self.place().0
    }

    /// As paths and roles spell it.
    pub const fn plural(self) -> &'static str {
        self.place().1
    }

    /// The kind of an object, where it is one that a plan may hold.
    pub fn of(object: &Value) -> Option<Self> {
        Self::APPLIED
            .into_iter()
            .find(|kind| object["kind"] == kind.name() && object["apiVersion"] == kind.api_version())
    }

    /// The kind of this name, where it is one that a plan may hold.
    pub fn named(name: &str) -> Option<Self> {
        Self::APPLIED.into_iter().find(|kind| kind.name() == name)
    }

    /// For kube's client.
    pub fn resource(self) -> ApiResource {
        let (api_version, plural, kind) = self.place();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Path of the collection in a namespace.
    pub fn collection(self, namespace: &str) -> String {
        let (api_version, plural, _) = self.place();
        let root = if api_version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{api_version}/namespaces/{namespace}/{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(Kind::Secret.collection("a"), "/api/v1/namespaces/a/secrets");
        assert_eq!(Kind::StatefulSet.collection("a"), "/apis/apps/v1/namespaces/a/statefulsets");
        let object = serde_json::json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"});
        assert_eq!(Kind::of(&object), Some(Kind::PodDisruptionBudget));
        assert_eq!(Kind::of(&serde_json::json!({"apiVersion": "v1", "kind": "Pod"})), None);
    }
}
