//! What was read of Secrets, by their resource versions, so that a look at a network that has not changed asks the API
//! server for nothing. Holds no key but the operator's own, inside [`Identity`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sorcha_operator_plan::names;
use sorcha_operator_plan::observed::{CertificateSeen, Root};
use sorcha_operator_plan::step::CertificatePlan;

use super::Realm;
use super::pool::{Found, keys};
use crate::peers::Identity;

/// Secrets remembered at most; beyond it all is forgotten and read again. A network has one and one for each pool.
const SECRETS_MAX: usize = 65_536;

/// Namespace and name.
pub(super) type SecretKey = (Box<str>, Box<str>);

/// Only one that can sign is remembered: why one cannot may change with time alone.
struct RootFound {
    version: Box<str>,
    trust_domain: String,
    bundle: String,
    not_after_unix_ms: i64,
}

struct PoolFound {
    found: Found,
    /// SHA-256 of the roots that its certificates were compared with.
    against: Option<[u8; 32]>,
}

#[derive(Default)]
struct Inner {
    roots: BTreeMap<SecretKey, RootFound>,
    pools: BTreeMap<SecretKey, PoolFound>,
    /// By namespace and network.
    identities: BTreeMap<SecretKey, Arc<Identity>>,
}

/// Locked for moments only.
#[derive(Default)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
}

impl Memory {
    /// Copies and swaps of values cannot break half way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The root as it was read at this version, while it is valid.
    pub(super) fn root(
        &self,
        key: &SecretKey,
        version: Option<&str>,
        realm: &Realm,
        now: Timestamp,
    ) -> Option<Root> {
        let inner = self.lock();
        let found = inner.roots.get(key)?;
        let same = version == Some(&*found.version) && found.trust_domain == realm.trust_domain;
        (same && now.as_millisecond() < found.not_after_unix_ms).then(|| Root::Usable {
            bundle: found.bundle.clone(),
            not_after_unix_ms: found.not_after_unix_ms,
        })
    }

    /// A root was read; an identity of another is worth nothing.
    pub(super) fn keep_root(
        &self,
        key: SecretKey,
        network: &SecretKey,
        version: Option<Box<str>>,
        realm: &Realm,
        root: &Root,
    ) {
        let mut inner = self.lock();
        let (Root::Usable { bundle, not_after_unix_ms }, Some(version)) = (root, version) else {
            inner.roots.remove(&key);
            inner.identities.remove(network);
            return;
        };
        if inner.identities.get(network).is_some_and(|identity| identity.bundle_pem() != bundle) {
            inner.identities.remove(network);
        }
        inner.make_room();
        let found = RootFound {
            version,
            trust_domain: realm.trust_domain.clone(),
            bundle: bundle.clone(),
            not_after_unix_ms: *not_after_unix_ms,
        };
        inner.roots.insert(key, found);
    }

    /// Adds the certificates of a pool as they were read at this version and compared with these roots; `false` where
    /// they were not.
    pub(super) fn pool(
        &self,
        key: &SecretKey,
        version: Option<&str>,
        bundle: Option<&str>,
        certificates: &mut BTreeMap<String, CertificateSeen>,
    ) -> bool {
        let inner = self.lock();
        let Some(pool) = inner.pools.get(key) else { return false };
        if version != Some(&*pool.found.version) || pool.against != digest(bundle) {
            return false;
        }
        certificates.extend(pool.found.certificates.clone());
        true
    }

    /// A pool's Secret was read and compared with these roots.
    pub(super) fn keep_pool(&self, key: SecretKey, found: Found, bundle: Option<&str>) {
        let mut inner = self.lock();
        inner.make_room();
        inner.pools.insert(key, PoolFound { found, against: digest(bundle) });
    }

    /// Whether the Secret was last read at this version; none: there was none.
    pub(super) fn is_known(&self, key: &SecretKey, version: Option<&str>) -> bool {
        self.lock().pools.get(key).is_some_and(|pool| *pool.found.version == *version.unwrap_or_default())
    }

    /// Whether the Secret holds what a plan asks for, and the present roots.
    pub(super) fn holds_exactly(&self, key: &SecretKey, plan: &CertificatePlan) -> bool {
        let inner = self.lock();
        let Some(PoolFound { found, against }) = inner.pools.get(key) else { return false };
        let same = || found.keys.iter().map(|key| &**key).eq(keys(plan).iter().map(String::as_str));
        !found.version.is_empty()
            && found.is_marked
            && found.trust.is_some()
            && found.trust == *against
            && same()
    }

    /// The operator's identity, until it is to be made anew.
    pub(super) fn identity(&self, network: &SecretKey, now: Timestamp) -> Option<Arc<Identity>> {
        let inner = self.lock();
        inner.identities.get(network).filter(|identity| now < identity.renew_at()).cloned()
    }

    pub(super) fn keep_identity(&self, network: SecretKey, identity: Arc<Identity>) {
        self.lock().identities.insert(network, identity);
    }

    /// The Secret is to be read again.
    pub(super) fn forget(&self, key: &SecretKey) {
        let mut inner = self.lock();
        inner.roots.remove(key);
        inner.pools.remove(key);
    }

    pub(super) fn forget_network(&self, namespace: &str, network: &str) {
        let mut inner = self.lock();
        inner.identities.remove(&(namespace.into(), network.into()));
        inner.roots.remove(&(namespace.into(), names::authority_secret(network).into()));
        let of_it = |(there, name): &SecretKey| {
            **there == *namespace && name.strip_prefix(network).is_some_and(|rest| rest.starts_with('-'))
        };
        // A network whose name begins with this one's loses what can be read again.
        inner.pools.retain(|key, _| !of_it(key));
    }
}

impl Inner {
    fn make_room(&mut self) {
        if self.roots.len() + self.pools.len() >= SECRETS_MAX {
            self.roots.clear();
            self.pools.clear();
        }
    }
}

fn digest(bundle: Option<&str>) -> Option<[u8; 32]> {
    bundle.map(|pem| Sha256::digest(pem).into())
}
