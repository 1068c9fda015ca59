//! The Secret with the certificates of a pool's peers: what is in it, and what it must become.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};
use sorcha_operator_plan::names;
use sorcha_operator_plan::observed::CertificateSeen;
use sorcha_operator_plan::step::CertificatePlan;
use sorcha_peer_pki::{
    Authority, IssueRequest, SigningKey, SpiffeId, TrustBundle, certificates_from_pem, describe,
};

use super::secret::{Stored, is_marked, owner, values};
use super::{CaError, Realm};

/// What a Secret holds at most: all its values together (Kubernetes, `MaxSecretSize`).
pub(super) const SECRET_BYTES_MAX: usize = 1024 * 1024;
/// The roots that the pool's peers trust.
const TRUST: &str = "ca.crt";
/// Ending of a peer's certificate.
const CERTIFICATE: &str = ".crt";
/// Ending of a peer's key.
const KEY: &str = ".key";

/// What is remembered of a pool's Secret; no key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    /// Empty where there is none.
    pub(super) version: Box<str>,
    /// Keys of its values, sorted.
    pub(super) keys: Vec<Box<str>>,
    /// It carries its labels and its owner.
    pub(super) is_marked: bool,
    /// SHA-256 of its roots.
    pub(super) trust: Option<[u8; 32]>,
    /// By peer.
    pub(super) certificates: BTreeMap<String, CertificateSeen>,
}

/// Which values a Secret must hold by a plan, sorted.
pub(super) fn keys(plan: &CertificatePlan) -> BTreeSet<String> {
    let peers = plan.peers.iter();
    let files = peers.flat_map(|(peer, _)| [format!("{peer}{CERTIFICATE}"), format!("{peer}{KEY}")]);
    files.chain([TRUST.to_owned()]).collect()
}

/// Reads what a Secret holds. `bundle`: the roots, PEM; without them nothing fits.
pub(super) fn look(stored: &Stored, realm: &Realm, bundle: Option<&str>) -> Found {
    let roots = bundle.and_then(|pem| TrustBundle::from_pem(pem.as_bytes()).ok());
    let mut certificates = BTreeMap::new();
    for (name, value) in &stored.data {
        let Some(peer) = name.strip_suffix(CERTIFICATE).filter(|_| name != TRUST) else { continue };
        let key = stored.data.get(&format!("{peer}{KEY}")).map(Vec::as_slice).unwrap_or_default();
        let seen = look_at(value, key, &realm.peer_uri(peer), roots.as_ref());
        certificates.insert(peer.to_owned(), seen);
    }
    Found {
        version: stored.version.clone(),
        keys: stored.data.keys().map(|key| key.as_str().into()).collect(),
        is_marked: is_marked(stored, realm, &marks(stored, realm)),
        trust: stored.data.get(TRUST).map(|pem| Sha256::digest(pem).into()),
        certificates,
    }
}

/// The labels that it must carry by its name.
fn marks(stored: &Stored, realm: &Realm) -> BTreeMap<String, String> {
    let pool = realm.pools.iter().find(|pool| names::tls_secret(&realm.network, pool) == stored.name);
    pool.map_or_else(|| names::labels(&realm.network), |pool| names::pool_labels(&realm.network, pool))
}

/// What cannot be read does not fit, and has no time.
fn look_at(certificate: &[u8], key: &[u8], uri: &str, roots: Option<&TrustBundle>) -> CertificateSeen {
    let unusable = CertificateSeen { not_before_unix_ms: 0, not_after_unix_ms: 0, fits: false };
    let Some(chain) = certificates_from_pem(certificate).ok() else { return unusable };
    let Some((leaf, intermediates)) = chain.split_first() else { return unusable };
    let Ok(says) = describe(leaf) else { return unusable };
    // Whether it is over is for the plan, so it is checked at a moment of its life.
    let fits = || {
        let found = roots?.check_leaf(leaf, intermediates, says.not_before).ok()?;
        Some(found.as_str() == uri && SigningKey::from_pem(key).ok()?.is_of(leaf).ok()?)
    };
    CertificateSeen {
        not_before_unix_ms: says.not_before.as_millisecond(),
        not_after_unix_ms: says.not_after.as_millisecond(),
        fits: fits().unwrap_or(false),
    }
}

/// What a Secret becomes by a plan, and who gets a new certificate; `None` where it is that already. What the plan
/// keeps is taken over as it is.
pub(super) fn make(
    realm: &Realm,
    authority: &Authority,
    mut before: Stored,
    plan: &CertificatePlan,
    now: Timestamp,
) -> Result<Option<(Secret, Vec<String>)>, CaError> {
    let labels = names::pool_labels(&realm.network, &plan.pool);
    let mut changed = before.version.is_empty() || !is_marked(&before, realm, &labels);
    let wanted = keys(plan);
    let gone: Vec<String> = before.data.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
    for key in &gone {
        if let Some(mut value) = before.data.remove(key) {
            zeroize::Zeroize::zeroize(&mut value);
        }
    }
    changed |= !gone.is_empty();
    let trust = authority.certificate_pem().as_bytes();
    if before.data.get(TRUST).is_none_or(|there| there != trust) {
        before.data.insert(TRUST.to_owned(), trust.to_vec());
        changed = true;
    }
    for peer in &plan.issue {
        let Some((_, uri)) = plan.peers.iter().find(|(name, _)| name == peer) else { continue };
        let uri: SpiffeId = uri.parse()?;
        let issued = authority
            .issue(&IssueRequest::new(uri, now))
            .map_err(|source| CaError::Issue { peer: peer.clone(), source })?;
        let files = [
            (format!("{peer}{CERTIFICATE}"), issued.cert_pem.as_bytes().to_vec()),
            (format!("{peer}{KEY}"), issued.key_pem.as_bytes().to_vec()),
        ];
        for (file, value) in files {
            if let Some(mut old) = before.data.insert(file, value) {
                zeroize::Zeroize::zeroize(&mut old);
            }
        }
        changed = true;
    }
    let bytes = before.data.values().map(Vec::len).sum();
    if bytes > SECRET_BYTES_MAX {
        let peers = plan.peers.len();
        return Err(CaError::TooLarge { secret: plan.secret.clone(), peers, bytes });
    }
    let (version, data) = (before.version.clone(), std::mem::take(&mut before.data));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(plan.secret.clone()),
            namespace: Some(realm.namespace.clone()),
            labels: Some(labels),
            owner_references: owner(realm),
            resource_version: (!version.is_empty()).then(|| version.to_string()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(values(data)),
        ..Secret::default()
    };
    Ok(changed.then(|| (secret, plan.issue.clone())))
}
