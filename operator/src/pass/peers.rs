//! What the peers of a network say of themselves, and how far they are drained.

use std::time::Duration;

use jiff::Timestamp;
use sorcha_operator_plan::names;
use sorcha_operator_plan::observed::{DrainSeen, ObservedNetwork, ObservedPod};
use sorcha_operator_plan::step::PeerAddress;

use super::PassError;
use super::look::Pass;
use crate::ca::Realm;

/// Longest wait for the answer to a drain. Asked again at the next look it goes on where it was, and meanwhile the
/// network is not looked at.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

impl Pass<'_> {
    /// Asks every peer that has an address, all at once.
    pub(super) async fn ask_peers(&mut self, realm: &Realm, seen: &mut ObservedNetwork) {
        let pods = || seen.pools.values().flat_map(|pool| pool.pods.values());
        self.memory.drains.retain(|uid, _| pods().any(|pod| *pod.uid == **uid));
        let mut pods: Vec<&mut ObservedPod> =
            seen.pools.values_mut().flat_map(|pool| pool.pods.values_mut()).collect();
        pods.retain(|pod| pod.address.is_some() && pod.has_started && !pod.is_terminating);
        let peers: Vec<PeerAddress> = pods.iter().filter_map(|pod| address(realm, pod)).collect();
        let peers_of_all = &self.tools.peers;
        let answers =
            futures::future::join_all(peers.iter().map(|peer| peers_of_all.report(realm, peer))).await;
        for (pod, answer) in pods.into_iter().zip(answers) {
            pod.peer = Some(answer.map_err(|error| crate::cli::chain(&error)));
            pod.drain = self.memory.drains.get(pod.uid.as_str()).cloned();
        }
    }

    /// Tells a peer to drain, and remembers its answer for the next plan.
    pub(super) async fn drain(
        &mut self,
        realm: &Realm,
        peer: &PeerAddress,
        leaving: &[String],
        leave: bool,
    ) -> Result<(), PassError> {
        let answer = self.tools.peers.drain(realm, peer, leaving, leave, DRAIN_WAIT).await?;
        let before =
            self.memory.drains.get(peer.pod_uid.as_str()).filter(|before| before.is_leaving == leave);
        let drain = DrainSeen {
            since_unix_ms: before.map_or_else(|| Timestamp::now().as_millisecond(), |it| it.since_unix_ms),
            is_leaving: leave,
            is_drained: answer.is_drained,
            remaining: answer.remaining,
            reason: answer.reason,
        };
        self.memory.drains.insert(peer.pod_uid.as_str().into(), drain);
        Ok(())
    }
}

fn address(realm: &Realm, pod: &ObservedPod) -> Option<PeerAddress> {
    Some(PeerAddress {
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        uri: names::peer_uri(&realm.trust_domain, &realm.network_id, &pod.name),
        address: pod.address?,
    })
}
