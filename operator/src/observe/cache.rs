//! Everything that watches have told, by network, as small as decisions allow: no whole object but the manifest is
//! kept.
//!
//! Bound: what the cluster holds under the operator's labels; about 2 KB for each network's objects and 0.5 KB for
//! each pod (estimate; `cargo xtask bench operator` measures the whole).

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sorcha_crds::SorchaPeerNetwork;
use sorcha_operator_plan::names::{LABEL_NETWORK, LABEL_POOL};
use sorcha_operator_plan::observed::{ObservedClaim, ObservedPod};

use crate::kind::Kind;

/// A network among all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkKey {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

impl fmt::Display for NetworkKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl NetworkKey {
    /// The network that an object belongs to: its owner, else by its labels, which somebody may have changed.
    pub(super) fn of(metadata: &ObjectMeta) -> Option<Self> {
        let mut owners = metadata.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true) && owner.kind == sorcha_crds::KIND);
        let name = match owner {
            Some(owner) => &owner.name,
            None => metadata.labels.as_ref()?.get(LABEL_NETWORK)?,
        };
        Some(Self { namespace: metadata.namespace.as_deref()?.into(), name: name.as_str().into() })
    }
}

/// An object that carries the operator's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: Box<str>,
    /// uid of the owner that controls it.
    pub controller: Option<Box<str>>,
    /// Changes with everything that the operator might own of it.
    pub version: u64,
    /// The version at which it was found, or made, to be what was wanted, with the digest of that.
    pub verified: Option<(u64, Box<str>)>,
}

impl Seen {
    /// As its metadata tell it.
    pub fn new(metadata: &ObjectMeta) -> Self {
        let owners = metadata.owner_references.iter().flatten();
        let controller =
            owners.filter(|owner| owner.controller == Some(true)).map(|owner| &*owner.uid).next();
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            controller: controller.map(Into::into),
            version: version(metadata),
            verified: None,
        }
    }
}

impl Seen {
    /// Resource versions that are no numbers are not compared: then the watch is taken to be late.
    fn is_newer(&self, than: &Self) -> bool {
        match (self.resource_version.parse::<u64>(), than.resource_version.parse::<u64>()) {
            (Ok(this), Ok(than)) => this > than,
            _ => false,
        }
    }
}

/// Where the API server counts generations a change of the status is none of ours, so the generation with the metadata
/// stands for the object; elsewhere the resource version does.
fn version(metadata: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    match metadata.generation {
        Some(generation) => {
            generation.hash(&mut hasher);
            metadata.labels.hash(&mut hasher);
            metadata.annotations.hash(&mut hasher);
            let owners = metadata.owner_references.iter().flatten();
            owners.for_each(|owner| (&owner.uid, owner.controller).hash(&mut hasher));
            metadata.deletion_timestamp.is_some().hash(&mut hasher);
        }
        None => metadata.resource_version.hash(&mut hasher),
    }
    hasher.finish()
}

/// A StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetSeen {
    pub(super) uid: Box<str>,
    pub(super) pool: Box<str>,
    pub(super) replicas: u32,
    pub(super) is_settled: bool,
    pub(super) update_revision: Option<Box<str>>,
    /// Annotation `sorcha.org/rendered`, as text: parsed it would take several times the memory.
    pub(super) rendered: Option<Box<str>>,
    /// The immutable fields, as text.
    pub(super) immutable: Box<str>,
}

/// A pod with the pool and ordinal that it has by label and name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PodSeen {
    pub(super) pool: Box<str>,
    pub(super) ordinal: u32,
    pub(super) pod: ObservedPod,
}

/// A claim with its class, whose properties are read when they are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimSeen {
    pub(super) claim: ObservedClaim,
    pub(super) class: Option<Box<str>>,
}

/// Everything about one network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// What the user asks for; none where only objects are left.
    pub manifest: Option<Arc<SorchaPeerNetwork>>,
    /// Objects with the operator's labels.
    pub objects: BTreeMap<(Kind, Box<str>), Seen>,
    pub(super) sets: BTreeMap<Box<str>, SetSeen>,
    pub(super) pods: BTreeMap<Box<str>, PodSeen>,
    pub(super) claims: BTreeMap<Box<str>, ClaimSeen>,
}

impl Network {
    fn is_empty(&self) -> bool {
        self.manifest.is_none()
            && self.objects.is_empty()
            && self.sets.is_empty()
            && self.pods.is_empty()
            && self.claims.is_empty()
    }
}

/// Fact about one object, as a watch tells it.
#[derive(Debug)]
pub(super) enum Fact {
    Manifest(Box<SorchaPeerNetwork>),
    Object(Kind, Seen),
    Set(Seen, Box<SetSeen>),
    Pod(Box<PodSeen>),
    Claim(Box<ClaimSeen>),
}

/// All networks. Locked for moments only, never across a wait.
#[derive(Debug, Default)]
pub struct Cache {
    networks: Mutex<BTreeMap<NetworkKey, Network>>,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NetworkKey, Network>> {
        self.networks.lock().expect("nobody panics while holding it")
    }

    /// Takes a fact in. True when the network must be looked at again.
    pub(super) fn learn(&self, key: &NetworkKey, name: &str, fact: Fact) -> bool {
        let mut networks = self.lock();
        let network = networks.entry(key.clone()).or_default();
        match fact {
            Fact::Manifest(manifest) => {
                let before = network.manifest.replace(manifest.into());
                let after = network.manifest.as_ref().expect("just put there");
                before.is_none_or(|before| differs(&before.metadata, &after.metadata))
            }
            Fact::Object(kind, seen) => network.see(kind, name, seen),
            Fact::Set(seen, set) => {
                let changed = network.see(Kind::StatefulSet, name, seen);
                let before = network.sets.insert(name.into(), (*set).clone());
                // what the operator wrote itself it need not look at, but for what the controller made of it
                changed
                    || before.is_some_and(|before| {
                        before.is_settled != set.is_settled || before.update_revision != set.update_revision
                    })
            }
            Fact::Pod(pod) => {
                network.pods.insert(name.into(), (*pod).clone()).is_none_or(|before| before != *pod)
            }
            Fact::Claim(claim) => {
                network.claims.insert(name.into(), (*claim).clone()).is_none_or(|before| before != *claim)
            }
        }
    }

    /// Something is gone. True when the network must be looked at again.
    pub(super) fn forget(&self, key: &NetworkKey, kind: Kind, name: &str, uid: Option<&str>) -> bool {
        let mut networks = self.lock();
        let Some(network) = networks.get_mut(key) else { return false };
        let is_other = |seen: Option<&str>| uid.is_some() && seen.is_some_and(|seen| Some(seen) != uid);
        let gone = match kind {
            Kind::SorchaPeerNetwork => network.manifest.take().is_some(),
            Kind::Pod => {
                let seen = network.pods.get(name).map(|seen| &*seen.pod.uid);
                !is_other(seen) && network.pods.remove(name).is_some()
            }
            Kind::PersistentVolumeClaim => network.claims.remove(name).is_some(),
            kind => {
                let object = (kind, Box::from(name));
                // an object of the same name that was made since is another one
                let other = is_other(network.objects.get(&object).map(|seen| &*seen.uid));
                if kind == Kind::StatefulSet && !other {
                    network.sets.remove(name);
                }
                !other && network.objects.remove(&object).is_some()
            }
        };
        if network.is_empty() {
            networks.remove(key);
        }
        gone
    }

    /// Names of what is known of a kind, in a namespace or in all.
    pub(super) fn known(&self, kind: Kind, namespace: Option<&str>) -> Vec<(NetworkKey, Box<str>)> {
        let mut known = Vec::new();
        for (key, network) in &*self.lock() {
            if namespace.is_some_and(|namespace| namespace != &*key.namespace) {
                continue;
            }
            let mut add = |name: &str| known.push((key.clone(), Box::from(name)));
            match kind {
                Kind::SorchaPeerNetwork => network.manifest.iter().for_each(|_| add(&key.name)),
                Kind::Pod => network.pods.keys().for_each(|name| add(name)),
                Kind::PersistentVolumeClaim => network.claims.keys().for_each(|name| add(name)),
                kind => {
                    let names = network.objects.keys().filter(|(it, _)| *it == kind);
                    names.for_each(|(_, name)| add(name));
                }
            }
        }
        known
    }

    /// A copy of everything about a network.
    pub fn network(&self, key: &NetworkKey) -> Option<Network> {
        self.lock().get(key).cloned()
    }

    /// The keys of all networks that have a manifest.
    pub fn keys(&self) -> Vec<NetworkKey> {
        let networks = self.lock();
        networks.iter().filter(|(_, it)| it.manifest.is_some()).map(|(key, _)| key.clone()).collect()
    }

    /// One object.
    pub fn object(&self, key: &NetworkKey, kind: Kind, name: &str) -> Option<Seen> {
        self.lock().get(key)?.objects.get(&(kind, name.into())).cloned()
    }

    /// An object was found, or made, to be what was wanted.
    pub fn verified(&self, key: &NetworkKey, kind: Kind, metadata: &ObjectMeta, digest: &str) {
        let name = metadata.name.as_deref().unwrap_or_default();
        let mut seen = Seen::new(metadata);
        seen.verified = Some((seen.version, digest.into()));
        let mut networks = self.lock();
        let objects = &mut networks.entry(key.clone()).or_default().objects;
        match objects.get_mut(&(kind, name.into())) {
            // a watch was faster with what somebody else has made of it since
            Some(newer) if newer.uid == seen.uid && newer.is_newer(&seen) => newer.verified = seen.verified,
            _ => {
                objects.insert((kind, name.into()), seen);
            }
        }
    }

    /// An object is gone by the operator's own hand.
    pub fn deleted(&self, key: &NetworkKey, kind: Kind, name: &str) {
        self.forget(key, kind, name, None);
    }
}

impl Network {
    /// True when it is not what the operator itself has put or found there.
    fn see(&mut self, kind: Kind, name: &str, mut seen: Seen) -> bool {
        let before = self.objects.remove(&(kind, name.into()));
        let before = before.filter(|before| before.uid == seen.uid);
        let known = before.as_ref().is_some_and(|before| before.version == seen.version);
        seen.verified = before.and_then(|before| before.verified);
        let verified = seen.verified.as_ref().is_some_and(|(version, _)| *version == seen.version);
        self.objects.insert((kind, name.into()), seen);
        !(known || verified)
    }
}

/// Whether a manifest has changed in what is its user's: its status is ours.
fn differs(before: &ObjectMeta, after: &ObjectMeta) -> bool {
    before.uid != after.uid
        || before.generation != after.generation
        || before.deletion_timestamp != after.deletion_timestamp
        || before.labels != after.labels
        || before.annotations != after.annotations
}

/// The pool of an object, by its label.
pub(super) fn pool_of(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(LABEL_POOL).map(String::as_str)
}
