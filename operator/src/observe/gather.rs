//! A network's view of itself: the cache's copy, completed by what is read only when it is needed.

use std::collections::BTreeMap;

use sorcha_operator_plan::observed::{
    ObjectName, ObservedAuthority, ObservedClaim, ObservedNetwork, ObservedPod, ObservedPool, Rendered,
};

use super::cache::{Network, NetworkKey};
use crate::kind::Kind;

/// What the process knows besides the cache.
pub struct Surroundings {
    /// Milliseconds since the Unix epoch.
    pub now_unix_ms: i64,
    /// Image of networks that are new and name none.
    pub image_default: String,
    /// Whether the cluster knows PodMonitor.
    pub has_pod_monitors: bool,
}

impl Network {
    /// As decisions want it, without what others know: authority, troubles, answers of peers.
    pub fn observed(&self, key: &NetworkKey, uid: &str, surroundings: &Surroundings) -> ObservedNetwork {
        ObservedNetwork {
            namespace: key.namespace.to_string(),
            now_unix_ms: surroundings.now_unix_ms,
            image_default: surroundings.image_default.clone(),
            has_pod_monitors: surroundings.has_pod_monitors,
            pools: self.observed_pools(uid),
            claims: self.observed_claims(),
            authority: ObservedAuthority::default(),
            foreign: Vec::new(),
            owned: self.owned(uid),
            refused: Vec::new(),
        }
    }

    /// Objects that the network controls.
    fn owned(&self, uid: &str) -> Vec<ObjectName> {
        let ours = self.objects.iter().filter(|(_, seen)| seen.controller.as_deref() == Some(uid));
        ours.map(|((kind, name), _)| ObjectName { kind: kind.name().to_owned(), name: name.to_string() })
            .collect()
    }

    /// Pods of a pool without a StatefulSet are orphans, which a new one adopts.
    fn observed_pools(&self, uid: &str) -> BTreeMap<String, ObservedPool> {
        let mut pools: BTreeMap<String, ObservedPool> = BTreeMap::new();
        for (name, set) in &self.sets {
            let seen = self.objects.get(&(Kind::StatefulSet, name.clone()));
            let controller = seen.and_then(|seen| seen.controller.as_deref());
            if controller.is_some_and(|controller| controller != uid) {
                continue;
            }
            pools.insert(
                set.pool.to_string(),
                ObservedPool {
                    uid: Some(set.uid.to_string()),
                    replicas: set.replicas,
                    is_settled: set.is_settled,
                    update_revision: set.update_revision.as_deref().map(str::to_owned),
                    rendered: set.rendered.as_deref().and_then(rendered),
                    immutable: serde_json::from_str(&set.immutable).unwrap_or_default(),
                    trouble: None,
                    pods: BTreeMap::new(),
                },
            );
        }
        for seen in self.pods.values() {
            let pool = pools.entry(seen.pool.to_string()).or_default();
            pool.pods.insert(seen.ordinal, seen.pod.clone());
        }
        pools
    }

    fn observed_claims(&self) -> Vec<ObservedClaim> {
        self.claims.values().map(|seen| seen.claim.clone()).collect()
    }

    /// Classes of the claims, each once.
    pub fn classes(&self) -> Vec<(String, String)> {
        let classes = self.claims.values().filter_map(|seen| Some((seen, seen.class.as_deref()?)));
        classes.map(|(seen, class)| (seen.claim.name.clone(), class.to_owned())).collect()
    }

    /// Names and resource versions of the Secrets that carry the network's labels.
    pub fn secrets(&self) -> Vec<(Box<str>, Box<str>)> {
        let secrets = self.objects.iter().filter(|((kind, _), _)| *kind == Kind::Secret);
        secrets.map(|((_, name), seen)| (name.clone(), seen.resource_version.clone())).collect()
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = &ObservedPod> {
        self.pods.values().map(|seen| &seen.pod)
    }
}

/// What cannot be read was written by somebody else, or by a version that is older than any that is supported: it is
/// rendered anew.
fn rendered(text: &str) -> Option<Rendered> {
    serde_json::from_str(text).ok()
}
