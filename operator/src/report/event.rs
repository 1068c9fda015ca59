//! Kubernetes Events about a network.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{self, Event, EventType, Recorder};
use sorcha_crds::SorchaPeerNetwork;
use sorcha_operator_plan::names::MANAGER;
use sorcha_operator_plan::status::Note;
use tracing::debug;

/// Longest note of an Event, in bytes: the API server refuses longer ones than 1 kB.
const NOTE_BYTES_MAX: usize = 1000;

/// Publishes Events. The same one again counts up the first.
pub struct Reporter {
    recorder: Recorder,
}

impl Reporter {
    /// Reports as this process.
    pub fn new(client: kube::Client, identity: &str) -> Self {
        let reporter =
            events::Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells of it. Events are for people: one that is lost is logged and not tried again.
    pub async fn tell(&self, manifest: &SorchaPeerNetwork, note: &Note) {
        let metadata = &manifest.metadata;
        let reference = ObjectReference {
            api_version: Some(sorcha_crds::API_VERSION.to_owned()),
            kind: Some(sorcha_crds::KIND.to_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if note.is_warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            note: Some(cut(&note.note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let publish = self.recorder.publish(&event, &reference);
        match tokio::time::timeout(crate::api::DEADLINE, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(reason = event.reason, "an Event was not taken: {error}"),
            Err(_) => debug!(reason = event.reason, "an Event was not taken in time"),
        }
    }
}

fn cut(note: &str) -> String {
    let end = (0..=NOTE_BYTES_MAX.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note[..end.unwrap_or(0)].to_owned()
}
