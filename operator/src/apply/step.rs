//! The steps of a plan that destroy or change something: each names its object by uid where it can.

use std::time::Duration;

use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use serde_json::json;
use sorcha_operator_plan::observed::ObjectName;
use tokio::time::Instant;
use tracing::info;

use super::{ApplyError, Executor};
use crate::api::{ApiError, Class};
use crate::kind::Kind;

/// Longest wait for a StatefulSet to be gone after its deletion; the controller takes milliseconds to orphan its pods
/// (a guess).
const GONE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(100);

impl Executor<'_> {
    /// Deletes a StatefulSet and keeps its pods, and waits until it is gone.
    pub async fn recreate_set(&self, set: &str, uid: &str, why: &str) -> Result<(), ApplyError> {
        let namespace = &self.target.key.namespace;
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        info!(network = %self.target.key, set, "made again: {why}");
        self.objects.delete(Kind::StatefulSet, namespace, set, &params).await?;
        let begin = Instant::now();
        while begin.elapsed() < GONE {
            let live = self.objects.get(Kind::StatefulSet, namespace, set).await?;
            if live.is_none_or(|live| live["metadata"]["uid"] != uid) {
                self.cache.deleted(self.target.key, Kind::StatefulSet, set);
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(ApplyError::StaysThere { set: set.to_owned(), seconds: GONE.as_secs() })
    }

    /// Raises what a claim asks for.
    pub async fn grow_claim(&self, claim: &str, size: &str) -> Result<(), ApplyError> {
        let change = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        info!(network = %self.target.key, claim, size, "grown");
        self.objects.merge(Kind::PersistentVolumeClaim, &self.target.key.namespace, claim, &change).await?;
        Ok(())
    }

    /// Deletes a pod, for its StatefulSet to make it again. True when this pod was there.
    pub async fn replace_pod(&self, pod: &str, uid: &str, why: &str) -> Result<bool, ApplyError> {
        info!(network = %self.target.key, pod, "replaced: {why}");
        self.delete(Kind::Pod, pod, uid).await
    }

    /// Deletes an object that the manifest does not ask for any more. True when it was there.
    pub async fn prune(&self, object: &ObjectName) -> Result<bool, ApplyError> {
        let kind = Kind::named(&object.kind).ok_or_else(|| ApplyError::Unknown(object.kind.clone()))?;
        let Some(seen) = self.cache.object(self.target.key, kind, &object.name) else { return Ok(false) };
        // labels can be copied; what another controls is not ours
        if seen.controller.as_deref() != Some(self.target.uid) {
            return Ok(false);
        }
        info!(network = %self.target.key, kind = kind.name(), name = object.name, "not asked for any more: deleted");
        let gone = self.delete(kind, &object.name, &seen.uid).await?;
        self.cache.deleted(self.target.key, kind, &object.name);
        Ok(gone)
    }

    /// Another object of the same name is left alone.
    async fn delete(&self, kind: Kind, name: &str, uid: &str) -> Result<bool, ApplyError> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.objects.delete(kind, &self.target.key.namespace, name, &params).await {
            Ok(gone) => Ok(gone),
            Err(ApiError::Answered { code: 409, .. }) => Ok(false),
            Err(error) if error.class() == Class::Refused && error.code() == Some(404) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
