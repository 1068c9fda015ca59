//! The ConfigMap with the roots that peers trust, for those who want to check the peers' certificates.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::names;
use crate::observed::{ObservedNetwork, Root};
use crate::validate::Validated;

/// None until there is an authority.
pub(super) fn build(network: &Validated, seen: &ObservedNetwork) -> Option<ConfigMap> {
    let Root::Usable { bundle, .. } = &seen.authority.root else { return None };
    Some(ConfigMap {
        metadata: metadata(names::trust_bundle(&network.name), network, seen),
        data: Some(BTreeMap::from([("ca.crt".to_owned(), bundle.clone())])),
        ..ConfigMap::default()
    })
}
