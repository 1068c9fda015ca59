//! The certificate authority of each network: what its Secrets hold, and issuing what a plan asks for.
//!
//! Knows Secrets, keys and certificates; whether one is due, or an authority is to be made, is decided in
//! `sorcha-operator-plan`. Secrets are read one by one by name. No key outlives the call that needs it, the operator's
//! own short-lived one apart, and every buffer of this module that held one is wiped (those of the HTTP client are
//! not ours).

mod authority;
mod memory;
mod pool;
mod secret;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use sorcha_operator_plan::Validated;
use sorcha_operator_plan::names;
use sorcha_operator_plan::observed::{ObservedAuthority, Root};
use sorcha_operator_plan::step::{AuthorityPlan, CertificatePlan};
use sorcha_peer_pki::{AuthorityError, IssueRequest, SpiffeError, SpiffeId};

use crate::peers::{Identity, IdentityError};
use memory::{Memory, SecretKey};
use secret::{Secrets, Stored};

/// How long the operator's own certificate lives: it is in memory only, and reissued at half of it. Two hours bound
/// what a copied one is worth, and ask the API server for a network's CA once an hour (a guess).
const OPERATOR_VALIDITY: SignedDuration = SignedDuration::from_hours(2);

/// What the certificates of a network are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// Where its Secrets are.
    pub namespace: String,
    /// `metadata.name`.
    pub network: String,
    /// `metadata.uid` of the manifest, the owner of the pools' Secrets.
    pub uid: Option<String>,
    /// Trust domain of its root.
    pub trust_domain: String,
    /// Network id in its peers' URIs.
    pub network_id: String,
    /// Names of its pools.
    pub pools: Vec<String>,
}

impl Realm {
    /// Of a network in a namespace.
    pub fn of(namespace: &str, network: &Validated) -> Self {
        Self {
            namespace: namespace.to_owned(),
            network: network.name.clone(),
            uid: network.uid.clone(),
            trust_domain: network.spec.tls.trust_domain.clone(),
            network_id: network.network_id.clone(),
            pools: network.pools.iter().map(|pool| pool.name.clone()).collect(),
        }
    }

    fn key(&self, secret: &str) -> SecretKey {
        (self.namespace.as_str().into(), secret.into())
    }

    fn peer_uri(&self, peer: &str) -> String {
        names::peer_uri(&self.trust_domain, &self.network_id, peer)
    }
}

/// What was written to one Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub secret: String,
    /// Peers that got a new certificate; empty where only others went, or the roots changed, or it is the authority's.
    pub issued: Vec<String>,
}

/// Why certificates could not be read or issued. Nothing was written but what an earlier [`Written`] says.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The API server did not give or take a Secret.
    #[error("{what}: {source}")]
    Api {
        /// Verb, kind and name.
        what: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("{what}: no answer from the API server within {} s", secret::DEADLINE.as_secs())]
    TimedOut {
        /// Verb, kind and name.
        what: String,
    },
    /// It is not what it was when the plan was made; the next look decides anew.
    #[error("Secret {secret} has changed since it was looked at; it is looked at again")]
    Changed {
        /// Its name.
        secret: String,
    },
    /// Somebody else's Secret under the name of a pool's.
    #[error(
        "Secret {secret} belongs to {owner}: the certificates of the pool need that name. Delete or rename that \
         Secret, or rename the network"
    )]
    Foreign {
        /// Its name.
        secret: String,
        /// Whose, as far as labels and owners say.
        owner: String,
    },
    /// The root cannot sign.
    #[error("Secret {secret} cannot sign: {why}")]
    NoAuthority {
        /// Its name.
        secret: String,
        /// As a sentence.
        why: String,
    },
    /// More certificates than a Secret can hold.
    #[error(
        "the certificates of {peers} peers have {bytes} bytes, and a Secret holds at most {}: spread the peers of \
         {secret} over several pools",
        pool::SECRET_BYTES_MAX
    )]
    TooLarge {
        /// The Secret.
        secret: String,
        /// Peers of the pool.
        peers: usize,
        /// What they take.
        bytes: usize,
    },
    /// A name in the plan that no certificate can carry.
    #[error(transparent)]
    Name(#[from] SpiffeError),
    /// Nothing was issued.
    #[error("the certificate of {peer} was not issued: {source}")]
    Issue {
        /// For whom.
        peer: String,
        /// Why.
        source: AuthorityError,
    },
    /// The operator's own certificate does not serve.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The authorities of all networks. Remembers of each Secret what plans need and nothing that is secret.
pub struct Authorities {
    secrets: Secrets,
    memory: Memory,
}

impl Authorities {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { secrets: Secrets::new(client), memory: Memory::default() }
    }

    /// What the network's Secrets hold. `watched` names those that carry its labels with their resource versions, as
    /// the watch has told; what was read at the same version is not read again.
    pub async fn observe(
        &self,
        realm: &Realm,
        watched: &[(Box<str>, Box<str>)],
        now: Timestamp,
    ) -> Result<ObservedAuthority, CaError> {
        let version =
            |secret: &str| watched.iter().find(|(name, _)| **name == *secret).map(|(_, version)| &**version);
        let name = names::authority_secret(&realm.network);
        let root = match self.memory.root(&realm.key(&name), version(&name), realm, now) {
            Some(root) => root,
            None => self.read_root(realm, &name, now).await?,
        };
        let bundle = match &root {
            Root::Usable { bundle, .. } => Some(bundle.as_str()),
            Root::Absent | Root::Broken(_) => None,
        };
        let mut observed =
            ObservedAuthority { certificates: std::collections::BTreeMap::new(), root: Root::Absent };
        for secret in pool_secrets(realm, watched) {
            let key = realm.key(&secret);
            if self.memory.pool(&key, version(&secret), bundle, &mut observed.certificates) {
                continue;
            }
            let found = match self.secrets.get(&realm.namespace, &secret).await? {
                Some(stored) if secret::is_of(&stored, realm) => pool::look(&stored, realm, bundle),
                // Somebody else's counts for nothing; the writer names whose it is.
                Some(_) | None => pool::Found::default(),
            };
            observed.certificates.extend(found.certificates.clone());
            self.memory.keep_pool(key, found, bundle);
        }
        observed.root = root;
        Ok(observed)
    }

    /// Makes the root where the plan says so and the pools' Secrets as planned. Writes what differs only.
    pub async fn ensure(
        &self,
        realm: &Realm,
        authority: &AuthorityPlan,
        pools: &[CertificatePlan],
        now: Timestamp,
    ) -> Result<Vec<Written>, CaError> {
        let mut written = Vec::new();
        if authority.make {
            let made = authority::make(realm, authority, now)?;
            let created = self.secrets.create(&realm.namespace, made).await?;
            self.memory.forget(&realm.key(&authority.secret));
            if !created {
                // Somebody else made one meanwhile: it counts.
                return Err(CaError::Changed { secret: authority.secret.clone() });
            }
            written.push(Written { secret: authority.secret.clone(), issued: Vec::new() });
        }
        for plan in pools {
            let key = realm.key(&plan.secret);
            if plan.issue.is_empty() && self.memory.holds_exactly(&key, plan) {
                continue;
            }
            written.extend(self.ensure_pool(realm, &authority.secret, plan, now).await?);
        }
        Ok(written)
    }

    /// The operator's identity towards the network's peers; made anew at half its life.
    pub async fn identity(&self, realm: &Realm, now: Timestamp) -> Result<Arc<Identity>, CaError> {
        let key = realm.key(&realm.network);
        if let Some(identity) = self.memory.identity(&key, now) {
            return Ok(identity);
        }
        let secret = names::authority_secret(&realm.network);
        let authority = self.read_authority(realm, &secret, now).await?;
        let uri: SpiffeId = names::operator_uri(&realm.trust_domain, &realm.network_id).parse()?;
        let request =
            IssueRequest { not_after: now + OPERATOR_VALIDITY, ..IssueRequest::new(uri.clone(), now) };
        let issued = authority
            .issue(&request)
            .map_err(|source| CaError::Issue { peer: uri.peer().to_owned(), source })?;
        let renew_at = now + OPERATOR_VALIDITY / 2;
        let identity = Arc::new(Identity::new(uri, &issued, authority.certificate_pem(), renew_at)?);
        self.memory.keep_identity(key, Arc::clone(&identity));
        Ok(identity)
    }

    /// The network is gone: nothing is kept of it.
    pub fn forget(&self, namespace: &str, network: &str) {
        self.memory.forget_network(namespace, network);
    }

    async fn read_root(&self, realm: &Realm, secret: &str, now: Timestamp) -> Result<Root, CaError> {
        let stored = self.secrets.get(&realm.namespace, secret).await?;
        let version = stored.as_ref().map(|stored| stored.version.clone());
        let root = match stored.map(|stored| authority::read(&stored, &realm.trust_domain, now)) {
            None => Root::Absent,
            Some(Err(why)) => Root::Broken(why),
            Some(Ok(authority)) => Root::Usable {
                bundle: authority.certificate_pem().to_owned(),
                not_after_unix_ms: authority.not_after().as_millisecond(),
            },
        };
        self.memory.keep_root(realm.key(secret), &realm.key(&realm.network), version, realm, &root);
        Ok(root)
    }

    async fn read_authority(
        &self,
        realm: &Realm,
        secret: &str,
        now: Timestamp,
    ) -> Result<sorcha_peer_pki::Authority, CaError> {
        let no_authority = |why: String| CaError::NoAuthority { secret: secret.to_owned(), why };
        let stored = self.secrets.get(&realm.namespace, secret).await?;
        let stored = stored.ok_or_else(|| no_authority("it does not exist.".to_owned()))?;
        authority::read(&stored, &realm.trust_domain, now).map_err(no_authority)
    }

    async fn ensure_pool(
        &self,
        realm: &Realm,
        authority: &str,
        plan: &CertificatePlan,
        now: Timestamp,
    ) -> Result<Option<Written>, CaError> {
        let key = realm.key(&plan.secret);
        let stored = self.secrets.get(&realm.namespace, &plan.secret).await?;
        if let Some(stored) = stored.as_ref().filter(|stored| !secret::is_of(stored, realm)) {
            return Err(CaError::Foreign { secret: plan.secret.clone(), owner: secret::owner_of(stored) });
        }
        let version = stored.as_ref().map(|stored| stored.version.clone());
        if !self.memory.is_known(&key, version.as_deref()) {
            self.memory.forget(&key);
            return Err(CaError::Changed { secret: plan.secret.clone() });
        }
        let authority = self.read_authority(realm, authority, now).await?;
        let before = stored.unwrap_or_else(|| Stored::absent(&plan.secret));
        let bundle = authority.certificate_pem().to_owned();
        let (plan, realm_again) = (plan.clone(), realm.clone());
        // A pool of hundreds of peers takes as many keys and signatures.
        let made =
            tokio::task::spawn_blocking(move || pool::make(&realm_again, &authority, before, &plan, now));
        let Some((data, issued)) =
            made.await.map_err(|_| CaError::Changed { secret: key.1.to_string() })??
        else {
            return Ok(None);
        };
        let stored = self.secrets.apply(realm, data).await?;
        self.memory.keep_pool(key, pool::look(&stored, realm, Some(&bundle)), Some(&bundle));
        Ok(Some(Written { secret: stored.name.clone(), issued }))
    }
}

/// The Secrets of the manifest's pools and of pools that it no longer has.
fn pool_secrets(realm: &Realm, watched: &[(Box<str>, Box<str>)]) -> BTreeSet<String> {
    let ours = |name: &str| {
        name.strip_prefix(realm.network.as_str())
            .and_then(|rest| rest.strip_prefix('-')?.strip_suffix("-tls"))
            .is_some()
    };
    let of_manifest = realm.pools.iter().map(|pool| names::tls_secret(&realm.network, pool));
    let left = watched.iter().map(|(name, _)| name.to_string()).filter(|name| ours(name));
    of_manifest.chain(left).collect()
}
