//! Secrets as the API server has them: read, created and applied one at a time, wiped when they are let go.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use sorcha_operator_plan::names::{LABEL_NETWORK, MANAGER};
use zeroize::Zeroize;

use super::{CaError, Realm};

/// Longest wait for an answer of the API server; its own limit of a request is 60 s.
pub(super) const DEADLINE: Duration = crate::api::WHOLE;

/// A Secret with what matters of it. Its values are wiped from memory when it is dropped.
pub(super) struct Stored {
    pub(super) name: String,
    /// Empty where it does not exist yet.
    pub(super) version: Box<str>,
    pub(super) metadata: ObjectMeta,
    pub(super) data: BTreeMap<String, Vec<u8>>,
}

impl Stored {
    pub(super) fn absent(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: Box::default(),
            metadata: ObjectMeta::default(),
            data: BTreeMap::new(),
        }
    }

    fn of(secret: Secret) -> Self {
        let values = secret.data.unwrap_or_default().into_iter();
        Self {
            name: secret.metadata.name.clone().unwrap_or_default(),
            version: secret.metadata.resource_version.as_deref().unwrap_or_default().into(),
            metadata: secret.metadata,
            data: values.map(|(key, value)| (key, value.0)).collect(),
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.data.values_mut().for_each(Zeroize::zeroize);
    }
}

/// It was made for this network: by its label, or by its owner where somebody has taken the label away.
pub(super) fn is_of(stored: &Stored, realm: &Realm) -> bool {
    let labelled = || stored.metadata.labels.as_ref()?.get(LABEL_NETWORK);
    let owners = stored.metadata.owner_references.iter().flatten();
    labelled().is_some_and(|of| *of == realm.network)
        || owners.into_iter().any(|owner| Some(&owner.uid) == realm.uid.as_ref())
}

/// It carries these labels and the network as its owner.
pub(super) fn is_marked(stored: &Stored, realm: &Realm, labels: &BTreeMap<String, String>) -> bool {
    let there = stored.metadata.labels.clone().unwrap_or_default();
    let owners = stored.metadata.owner_references.clone().unwrap_or_default();
    labels.iter().all(|(key, value)| there.get(key) == Some(value))
        && owner(realm).iter().flatten().all(|wanted| owners.contains(wanted))
}

/// Whose it is, for people.
pub(super) fn owner_of(stored: &Stored) -> String {
    let labels = stored.metadata.labels.iter().flatten();
    let by =
        labels.into_iter().find(|(key, _)| *key == "app.kubernetes.io/managed-by").map(|(_, by)| by.clone());
    let owner = stored.metadata.owner_references.iter().flatten().next();
    let owner = owner.map(|owner| format!("{} {}", owner.kind, owner.name));
    owner.or(by).unwrap_or_else(|| "somebody else".to_owned())
}

/// The manifest as owner: what it owns goes when it goes.
pub(super) fn owner(realm: &Realm) -> Option<Vec<OwnerReference>> {
    let uid = realm.uid.clone()?;
    Some(vec![OwnerReference {
        api_version: sorcha_crds::API_VERSION.to_owned(),
        kind: sorcha_crds::KIND.to_owned(),
        name: realm.network.clone(),
        uid,
        controller: Some(true),
        block_owner_deletion: Some(true),
    }])
}

/// The way to Secrets.
pub(super) struct Secrets {
    client: Client,
}

impl Secrets {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(super) async fn get(&self, namespace: &str, name: &str) -> Result<Option<Stored>, CaError> {
        let api = self.api(namespace);
        let found = within(format!("get Secret {name}"), api.get_opt(name)).await?;
        Ok(found.map(Stored::of))
    }

    /// Makes it; `false` where one is there already.
    pub(super) async fn create(&self, namespace: &str, mut secret: Secret) -> Result<bool, CaError> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let api = self.api(namespace);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let outcome = within(format!("create Secret {name}"), api.create(&params, &secret)).await;
        wipe(&mut secret);
        match outcome {
            Ok(mut created) => {
                wipe(&mut created);
                Ok(true)
            }
            Err(CaError::Api { source, .. }) if is_conflict(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Applies it as the one owner of its fields, if it is still of the version that it carries.
    pub(super) async fn apply(&self, realm: &Realm, mut secret: Secret) -> Result<Stored, CaError> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let api = self.api(&realm.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&secret);
        let outcome = within(format!("apply Secret {name}"), api.patch(&name, &params, &patch)).await;
        wipe(&mut secret);
        match outcome {
            Err(CaError::Api { source, .. }) if is_conflict(&source) => {
                Err(CaError::Changed { secret: name })
            }
            outcome => outcome.map(Stored::of),
        }
    }
}

fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

async fn within<T>(what: String, call: impl Future<Output = kube::Result<T>>) -> Result<T, CaError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CaError::Api { what, source: Box::new(error) }),
        Err(_) => Err(CaError::TimedOut { what }),
    }
}

/// Values as the API's type wants them.
pub(super) fn values(data: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, ByteString> {
    data.into_iter().map(|(key, value)| (key, ByteString(value))).collect()
}
