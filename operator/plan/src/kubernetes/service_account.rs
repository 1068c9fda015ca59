//! The peers' ServiceAccount. Peers do not speak to the Kubernetes API, so it carries no token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::names;
use crate::observed::ObservedNetwork;
use crate::validate::Validated;

pub(super) fn build(network: &Validated, seen: &ObservedNetwork) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(names::network(&network.name), network, seen),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
