//! Which of several replicas acts: the one that holds the Lease.
//!
//! Nobody compares clocks. A candidate takes a Lease over when it has seen the same record for the Lease's duration
//! (15 s by default) by its own monotonic clock. The holder's record has then been the same at the API server for at
//! least as long, since a record is seen only after it was written. The holder counts from the moment *before* it sent
//! its last renewal that succeeded, and stops every write two thirds of the duration later (the futures that write
//! are dropped, which closes their connections, and the API server gives up requests whose client is gone). So between
//! its last write and the first of another lies at least a third of the duration, 5 s, which covers clocks of different
//! speed and a request that was under way.
//!
//! A replica that waits keeps no caches: it costs a few MB and one request every two seconds; after a takeover it
//! lists everything first, which takes a second for 500 networks, and the Lease took fifteen.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::{ApiError, DEADLINE};
use crate::backoff::jittered;

/// How often a candidate looks.
const LOOK: Duration = Duration::from_secs(2);

/// Where the Lease is and who asks for it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This replica; no other has the same.
    pub identity: String,
    /// How long a record must stand unchanged before another may take the Lease. With the 15 s of client-go the
    /// times below are client-go's as well.
    pub duration: Duration,
}

impl Place {
    /// The holder writes nothing from this long after its last renewal on.
    fn stop_after(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// How often the holder renews, and how often it tries again when that failed.
    fn renew_every(&self) -> Duration {
        self.stop_after() / 5
    }
}

/// The record as a candidate saw it first.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// A Lease that this replica holds.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    /// Before the last renewal that succeeded was sent.
    renewed: Instant,
}

/// Asks for one Lease.
pub struct Elector {
    leases: Api<Lease>,
    place: Place,
}

impl Elector {
    /// For this place.
    pub fn new(client: Client, place: Place) -> Self {
        Self { leases: Api::namespaced(client, &place.namespace), place }
    }

    /// Waits until this replica holds the Lease. `heard` is called whenever the API server has answered, and with the
    /// sentence when it has not, or will not give the Lease.
    pub async fn acquire(&self, heard: impl Fn(Option<String>)) -> Held {
        let mut seen: Option<Seen> = None;
        let mut told = None;
        loop {
            let asked = Instant::now();
            match self.try_acquire(&mut seen).await {
                Ok(Some(lease)) => {
                    info!(identity = self.place.identity, "this replica leads");
                    return Held { lease, renewed: asked };
                }
                Ok(None) => heard(None),
                Err(error) => {
                    let sentence = self.sentence(&error);
                    if told.as_ref() != Some(&sentence) {
                        warn!("{sentence}");
                    }
                    heard(Some(sentence.clone()));
                    told = Some(sentence);
                }
            }
            tokio::time::sleep(jittered(LOOK)).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<Lease>, ApiError> {
        let Some(lease) = self.get().await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.place.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.record(None)),
            };
            let params = PostParams::default();
            return won(self.within("create", self.leases.create(&params, &lease)).await);
        };
        let now = Instant::now();
        let version = lease.metadata.resource_version.clone();
        let first = match seen {
            Some(first) if first.version == version => first.clone(),
            _ => seen.insert(Seen { version, since: now }).clone(),
        };
        let unchanged = now.saturating_duration_since(first.since);
        if !is_free(lease.spec.as_ref(), unchanged, self.place.duration) {
            return Ok(None);
        }
        let taken = Lease { spec: Some(self.record(lease.spec.as_ref())), metadata: lease.metadata };
        won(self.replace(&taken).await)
    }

    /// Renews until the Lease is lost. Returns at the latest when nothing may be written any more.
    pub async fn keep(&self, held: &mut Held) {
        loop {
            let stop_at = held.renewed + self.place.stop_after();
            let renewal = async {
                tokio::time::sleep(jittered(self.place.renew_every())).await;
                let asked = Instant::now();
                (asked, self.renew(&held.lease).await)
            };
            let Ok((asked, outcome)) = tokio::time::timeout_at(stop_at, renewal).await else {
                let seconds = self.place.stop_after().as_secs_f32();
                warn!("the Lease was not renewed for {seconds:.1} s: this replica stops acting");
                return;
            };
            match outcome {
                Ok(Some(lease)) => {
                    held.lease = lease;
                    held.renewed = asked;
                }
                Ok(None) => {
                    warn!("another replica holds the Lease: this one stops acting");
                    return;
                }
                Err(error) => warn!("{}", self.sentence(&error)),
            }
        }
    }

    /// The Lease as renewed; none where it is another's.
    async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, ApiError> {
        let renewed = |lease: &Lease| {
            let mut lease = lease.clone();
            let spec = lease.spec.get_or_insert_default();
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            lease
        };
        match self.replace(&renewed(lease)).await {
            Err(ApiError::Answered { code: 404 | 409, .. }) => {
                // somebody labelled it, took it, or deleted it
                let Some(live) = self.get().await? else { return Ok(None) };
                let holder = live.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
                if holder != Some(&self.place.identity) {
                    return Ok(None);
                }
                won(self.replace(&renewed(&live)).await)
            }
            outcome => outcome.map(Some),
        }
    }

    /// Gives the Lease up, so that another need not wait.
    pub async fn release(&self, held: Held) {
        let mut lease = held.lease;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match self.replace(&lease).await {
            Ok(_) => info!("the Lease is released"),
            Err(error) => warn!("{}", self.sentence(&error)),
        }
    }

    fn record(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = before.map_or(0, |spec| spec.lease_transitions.unwrap_or(0).saturating_add(1));
        LeaseSpec {
            acquire_time: now.clone(),
            renew_time: now,
            holder_identity: Some(self.place.identity.clone()),
            lease_duration_seconds: Some(self.place.duration.as_secs() as i32),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    async fn get(&self) -> Result<Option<Lease>, ApiError> {
        self.within("get", self.leases.get_opt(&self.place.name)).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, ApiError> {
        let params = PostParams::default();
        self.within("renew", self.leases.replace(&self.place.name, &params, lease)).await
    }

    async fn within<T>(
        &self,
        verb: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        let what = || format!("{verb} Lease {}", self.place.name);
        match tokio::time::timeout(DEADLINE.min(self.place.stop_after() / 2), request).await {
            Ok(outcome) => outcome.map_err(|error| ApiError::new(what(), error)),
            Err(_) => Err(ApiError::TimedOut { what: what() }),
        }
    }

    fn sentence(&self, error: &ApiError) -> String {
        let Place { namespace, name, .. } = &self.place;
        match error.code() {
            Some(403) => format!(
                "the Lease {name} in namespace {namespace} is not given: {error}. Grant get, create and update on \
                 leases of coordination.k8s.io there, as the chart does, or name another place with --lease-namespace."
            ),
            Some(404) => format!(
                "the Lease {name} cannot be made: {error}. Make namespace {namespace}, or name another with \
                 --lease-namespace."
            ),
            _ => error.to_string(),
        }
    }
}

/// A race that was lost is no failure.
fn won(outcome: Result<Lease, ApiError>) -> Result<Option<Lease>, ApiError> {
    match outcome {
        Ok(lease) => Ok(Some(lease)),
        Err(ApiError::Answered { code: 409, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a record that was seen unchanged for this long may be replaced.
fn is_free(record: Option<&LeaseSpec>, unchanged: Duration, duration: Duration) -> bool {
    let Some(record) = record else { return true };
    if record.holder_identity.as_deref().unwrap_or_default().is_empty() {
        return true;
    }
    // a holder that was started otherwise may count with another duration: the longer one holds
    let stated = record.lease_duration_seconds.and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
    unchanged >= duration.max(Duration::from_secs(stated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, seconds: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            // long ago by the holder's clock: that says nothing
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        }
    }

    const DURATION: Duration = Duration::from_secs(15);

    #[test]
    fn a_lease_is_taken_only_after_it_was_seen_unchanged_for_its_whole_duration() {
        let free =
            |record: &LeaseSpec, seconds| is_free(Some(record), Duration::from_secs(seconds), DURATION);
        assert!(!free(&record("a", 15), 0));
        assert!(!free(&record("a", 15), 14));
        assert!(free(&record("a", 15), 15));
        assert!(!free(&record("a", 60), 59), "a holder that promised to be slower");
        assert!(!free(&record("a", 1), 14), "nobody is taken over sooner than our own holder stops");
        assert!(free(&record("", 1), 0), "released");
        assert!(is_free(None, Duration::ZERO, DURATION));
    }

    #[test]
    fn the_holder_stops_before_another_can_begin() {
        for seconds in [5, 15, 300] {
            let duration = Duration::from_secs(seconds);
            let place =
                Place { namespace: String::new(), name: String::new(), identity: String::new(), duration };
            // the record changed at the API server when the renewal was sent or later; a candidate saw that later still
            assert!(place.stop_after() + duration / 3 <= duration);
            assert!(place.renew_every() * 3 < place.stop_after(), "two renewals may fail");
        }
    }
}
