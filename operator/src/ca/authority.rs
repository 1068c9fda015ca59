//! The Secret with a network's root and its key: made once, read, never written again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sorcha_operator_plan::names;
use sorcha_operator_plan::step::AuthorityPlan;
use sorcha_peer_pki::authority::ROOT_VALIDITY;
use sorcha_peer_pki::{Authority, describe};

use super::secret::{Stored, owner, values};
use super::{CaError, Realm};

/// The root, PEM.
const CERTIFICATE: &str = "tls.crt";
/// Its key, PEM.
const KEY: &str = "tls.key";
/// The type of a Secret with both, which the API server checks.
const TYPE: &str = "kubernetes.io/tls";

/// A new root, as the Secret that keeps it.
pub(super) fn make(realm: &Realm, plan: &AuthorityPlan, now: Timestamp) -> Result<Secret, CaError> {
    let authority = Authority::generate(&realm.trust_domain, now, ROOT_VALIDITY)
        .map_err(|error| CaError::NoAuthority { secret: plan.secret.clone(), why: format!("{error}.") })?;
    let data = BTreeMap::from([
        (CERTIFICATE.to_owned(), authority.certificate_pem().as_bytes().to_vec()),
        (KEY.to_owned(), authority.key_pem().as_bytes().to_vec()),
    ]);
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(plan.secret.clone()),
            namespace: Some(realm.namespace.clone()),
            labels: Some(names::labels(&realm.network)),
            owner_references: plan.goes_with_network.then(|| owner(realm)).flatten(),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(values(data)),
        ..Secret::default()
    })
}

/// The authority that a Secret holds, whoever made it; else why it cannot sign, as sentences.
pub(super) fn read(stored: &Stored, trust_domain: &str, now: Timestamp) -> Result<Authority, String> {
    let value = |key: &str| {
        let found = stored.data.get(key).filter(|value| !value.is_empty());
        found.ok_or_else(|| format!("it has no {key}; it needs {CERTIFICATE} and {KEY}, both PEM."))
    };
    let (certificate, key) = (value(CERTIFICATE)?, value(KEY)?);
    let authority = Authority::from_pem(certificate, key).map_err(|error| format!("{error}."))?;
    if authority.trust_domain() != trust_domain {
        return Err(format!(
            "it is of the trust domain {}, and the manifest asks for {trust_domain} (spec.tls.trustDomain).",
            authority.trust_domain()
        ));
    }
    let says = describe(authority.certificate()).map_err(|error| format!("{error}."))?;
    if now >= says.not_after {
        return Err(format!("its root expired at {:.0}.", says.not_after));
    }
    if now < says.not_before {
        return Err(format!("its root is not valid before {:.0}: look at the clocks.", says.not_before));
    }
    Ok(authority)
}
