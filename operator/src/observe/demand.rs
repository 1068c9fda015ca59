//! What is read only when something is missing: Events about sets whose pods are not made, about pods that do not start
//! and about claims that are not bound, and whether a storage class lets volumes grow.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use sorcha_crds::Size;
use sorcha_operator_plan::Validated;
use sorcha_operator_plan::observed::{ObservedNetwork, Trouble};
use tokio::time::Instant;

use super::pod::trouble;
use crate::api::DEADLINE;

/// Events about one object at most; the API server keeps them for an hour and counts repetitions in one.
const EVENTS_MAX: usize = 100;
/// A claim may take this long to be bound before anybody asks why (a guess: provisioners take seconds).
const BINDING: Duration = Duration::from_secs(10);
/// Claims of a network of which Events are read: one cause fells all.
const CLAIMS_ASKED: usize = 3;
/// A pod may take this long from its making to its first container before anybody asks why (a guess: images are fetched
/// meanwhile, which tells of itself where it fails).
const STARTING: Duration = Duration::from_secs(10);
/// Pods of a network of which Events are read.
const PODS_ASKED: usize = 3;
/// How long a storage class is taken to be as it was.
const CLASS_KNOWN: Duration = Duration::from_secs(60);
/// Storage classes that are remembered.
const CLASSES_MAX: usize = 256;

/// Why the controller of sets makes no pods.
const OF_SETS: [&str; 2] = ["FailedCreate", "FailedUpdate"];
/// Why a pod has no containers yet: nothing in its status tells.
const OF_PODS: [&str; 3] = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"];
/// Why a claim has no volume.
const OF_CLAIMS: [&str; 2] = ["ProvisioningFailed", "FailedBinding"];

/// Reads on demand.
pub struct Demand {
    client: Client,
    classes: Mutex<HashMap<String, (Instant, Option<bool>)>>,
}

#[derive(Deserialize)]
struct Events {
    items: Vec<Occurrence>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Occurrence {
    reason: String,
    message: String,
    event_time: Option<String>,
    last_timestamp: Option<String>,
    series: Option<Series>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

impl Occurrence {
    /// Times of the API server are of one form and in UTC: later is greater as text too, but for fractions of the same
    /// second.
    fn last(&self) -> &str {
        let series = self.series.as_ref().and_then(|series| series.last_observed_time.as_deref());
        series.or(self.last_timestamp.as_deref()).or(self.event_time.as_deref()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StorageClass {
    #[serde(default)]
    allow_volume_expansion: bool,
}

impl Demand {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { client, classes: Mutex::default() }
    }

    /// Completes a view. What cannot be read stays unknown: it is help, and no condition of going on.
    pub async fn complete(
        &self,
        seen: &mut ObservedNetwork,
        network: &Validated,
        classes: &[(String, String)],
    ) {
        let namespace = seen.namespace.clone();
        for pool in seen.pools.values_mut().filter(|pool| is_short(pool.replicas, pool.pods.len())) {
            if let (Some(uid), true) = (&pool.uid, pool.is_settled) {
                pool.trouble = self.newest(&namespace, &format!("involvedObject.uid={uid}"), &OF_SETS).await;
            }
        }
        let now = seen.now_unix_ms;
        let older = |created: i64, than: Duration| now.saturating_sub(created) > than.as_millis() as i64;
        let late = |created: i64| older(created, BINDING);
        let pods =
            seen.pools.values_mut().flat_map(|pool| pool.pods.values_mut()).filter(|pod| {
                !pod.is_ready && !pod.has_started && !pod.is_terminating && pod.trouble.is_none()
            });
        for pod in pods.filter(|pod| older(pod.created_unix_ms, STARTING)).take(PODS_ASKED) {
            let selector = format!("involvedObject.uid={}", pod.uid);
            pod.trouble = self.last(&namespace, &selector, &OF_PODS).await;
        }
        let unbound = seen.claims.iter_mut().filter(|claim| {
            claim.capacity.is_none() && claim.trouble.is_none() && late(claim.created_unix_ms)
        });
        for claim in unbound.take(CLAIMS_ASKED) {
            let selector =
                format!("involvedObject.kind=PersistentVolumeClaim,involvedObject.name={}", claim.name);
            claim.trouble = self.newest(&namespace, &selector, &OF_CLAIMS).await;
        }
        for claim in &mut seen.claims {
            let wanted = network.pool(&claim.pool).and_then(|pool| pool.storage.size.thousandths());
            if wanted <= Size::new(&claim.requested).thousandths() {
                continue;
            }
            if let Some((_, class)) = classes.iter().find(|(name, _)| *name == claim.name) {
                claim.can_grow = self.can_grow(class).await;
            }
        }
    }

    /// The newest Event with one of these reasons.
    async fn newest(&self, namespace: &str, selector: &str, reasons: &[&str]) -> Option<Trouble> {
        newest(self.events(namespace, selector).await?, |event| reasons.contains(&&*event.reason))
    }

    /// The newest Event, where it has one of these reasons: what failed once and got on since is no trouble.
    async fn last(&self, namespace: &str, selector: &str, reasons: &[&str]) -> Option<Trouble> {
        let last = newest(self.events(namespace, selector).await?, |_| true)?;
        reasons.contains(&&*last.reason).then_some(last)
    }

    async fn events(&self, namespace: &str, selector: &str) -> Option<Events> {
        let selector = selector.replace('=', "%3D").replace(',', "%2C");
        let path =
            format!("/api/v1/namespaces/{namespace}/events?limit={EVENTS_MAX}&fieldSelector={selector}");
        self.get(&path).await
    }

    async fn can_grow(&self, class: &str) -> Option<bool> {
        let classes = || self.classes.lock().expect("nobody panics while holding it");
        if let Some((read, known)) = classes().get(class)
            && read.elapsed() < CLASS_KNOWN
        {
            return *known;
        }
        let found: Option<StorageClass> =
            self.get(&format!("/apis/storage.k8s.io/v1/storageclasses/{class}")).await;
        let known = found.map(|class| class.allow_volume_expansion);
        let mut classes = classes();
        if classes.len() >= CLASSES_MAX {
            classes.clear();
        }
        classes.insert(class.to_owned(), (Instant::now(), known));
        known
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        match tokio::time::timeout(DEADLINE, self.client.request::<T>(request)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::debug!(path, "{}", crate::cli::chain(&error));
                None
            }
            Err(_) => None,
        }
    }
}

fn newest(events: Events, is_wanted: impl Fn(&Occurrence) -> bool) -> Option<Trouble> {
    let told = events.items.into_iter().filter(is_wanted);
    let newest = told.max_by(|a, b| a.last().cmp(b.last()))?;
    Some(trouble(&newest.reason, Some(&newest.message)))
}

/// Whether pods are missing.
pub fn is_short(wanted: u32, there: usize) -> bool {
    (there as u64) < u64::from(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_events_in_either_form_is_told() {
        let json = r#"{"items": [
            {"reason": "FailedCreate", "message": "old", "lastTimestamp": "2026-01-01T00:00:01Z"},
            {"reason": "FailedCreate", "message": "new", "eventTime": "2026-01-01T00:00:02.000000Z",
             "series": {"lastObservedTime": "2026-01-01T00:00:09.000000Z"}},
            {"reason": "FailedCreate", "message": "middle", "eventTime": "2026-01-01T00:00:03.000000Z"}]}"#;
        let events: Events = serde_json::from_str(json).expect("events");
        assert_eq!(newest(events, |_| true).expect("there are some").message, "new");
    }
}
