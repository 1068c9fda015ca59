//! What `/readyz` wants to know beside the driver's own figures: whether the local API serves and how long
//! the certificate is valid. Being linked is deliberately no part of it: a partition would take the
//! applications beside the peer down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sorcha_peer_core::types::WallTime;
use sorcha_peer_core::view::State;
use tokio::sync::watch;

use crate::node::NodeHandle;
use crate::tls::Material;

/// Validity of the certificate that the peer shows to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// First moment.
    pub not_before: WallTime,
    /// Last moment.
    pub not_after: WallTime,
}

impl From<&Material> for Certificate {
    fn from(material: &Material) -> Self {
        let wall =
            |at: jiff::Timestamp| WallTime::from_unix_ms(u64::try_from(at.as_millisecond()).unwrap_or(0));
        Self { not_before: wall(material.not_before), not_after: wall(material.not_after) }
    }
}

/// Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Readiness {
    serving: Arc<AtomicBool>,
    certificate: Arc<watch::Sender<Option<Certificate>>>,
    started: Instant,
}

/// One check of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `store`, `submissions`, `api`, `certificate`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// As a sentence.
    pub reason: String,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Nothing is ready yet; the process's uptime counts from here.
    pub fn new() -> Self {
        Self {
            serving: Arc::default(),
            certificate: Arc::new(watch::Sender::new(None)),
            started: Instant::now(),
        }
    }

    /// Told by whoever loads the certificate, at the start and after every reload.
    pub fn set_certificate(&self, certificate: Certificate) {
        self.certificate.send_replace(Some(certificate));
    }

    /// The certificate told last.
    pub fn certificate(&self) -> Option<Certificate> {
        *self.certificate.borrow()
    }

    /// Told by the local API.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// Whether the local API serves.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Milliseconds since [`Readiness::new`].
    pub fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// All checks, in a fixed order.
    pub async fn checks(&self, node: &NodeHandle, now: WallTime) -> Vec<Check> {
        let status = match tokio::time::timeout(super::DRIVER_ANSWERS_WITHIN, node.status()).await {
            Err(_) => Err("the driver does not answer".to_owned()),
            Ok(Err(stopped)) => Err(stopped.to_string()),
            Ok(Ok(status)) => Ok(status),
        };
        let draining = match &status {
            Ok(status) if status.state == State::Draining => {
                Err("the peer is shutting down or being drained: it accepts nothing".to_owned())
            }
            Ok(_) => Ok("submissions are accepted".to_owned()),
            Err(why) => Err(why.clone()),
        };
        let store = status.and_then(|status| {
            status.store_fault.map_or(Ok("the store accepts transactions".to_owned()), Err)
        });
        let api = if self.is_serving() {
            Ok("the local API serves".to_owned())
        } else {
            Err("the local API does not serve".to_owned())
        };
        [
            ("store", store),
            ("submissions", draining),
            ("api", api),
            ("certificate", certificate(self.certificate(), now)),
        ]
        .into_iter()
        .map(|(name, found)| Check {
            name: name.to_owned(),
            ok: found.is_ok(),
            reason: found.unwrap_or_else(|reason| reason),
        })
        .collect()
    }
}

fn certificate(certificate: Option<Certificate>, now: WallTime) -> Result<String, String> {
    let Some(Certificate { not_before, not_after }) = certificate else {
        return Err("no certificate is loaded".to_owned());
    };
    if now < not_before {
        Err(format!("the certificate is not valid before {}: check the clock", second_text(not_before)))
    } else if now > not_after {
        Err(format!("the certificate expired at {}: renew it", second_text(not_after)))
    } else {
        Ok(format!("the certificate is valid until {}", second_text(not_after)))
    }
}

/// RFC 3339 in UTC, milliseconds; the bare number where no calendar reaches.
pub fn time_text(at: WallTime) -> String {
    i64::try_from(at.as_unix_ms())
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{} ms", at.as_unix_ms()), |time| format!("{time:.3}"))
}

/// RFC 3339 in UTC, whole seconds: for sentences, and for certificates, which know no smaller unit.
pub fn second_text(at: WallTime) -> String {
    let text = time_text(at);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_whole_seconds() {
        assert_eq!(second_text(WallTime::from_unix_ms(1_795_400_716_029)), "2026-11-23T02:25:16Z");
        assert_eq!(second_text(WallTime::from_unix_ms(u64::MAX)), format!("{} ms", u64::MAX));
    }

    #[test]
    fn a_certificate_counts_only_within_its_validity() {
        let at = WallTime::from_unix_ms;
        let valid = Some(Certificate { not_before: at(1_000), not_after: at(2_000) });
        let check = |certificate_, now, expected: &str| {
            let found = certificate(certificate_, at(now)).unwrap_or_else(|reason| reason);
            assert!(found.contains(expected), "{found}");
        };
        check(None, 0, "no certificate");
        check(valid, 999, "not valid before 1970-01-01T00:00:01Z");
        check(valid, 1_000, "is valid until 1970-01-01T00:00:02Z");
        check(valid, 2_001, "expired at");
    }
}
