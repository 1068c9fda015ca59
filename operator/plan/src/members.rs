//! All peers of a network in one row: those wanted and those there, of every pool, with what each of them is up to.
//! Other rooms decide on this view; it decides nothing.

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::names;
use crate::observed::{ObservedClaim, ObservedNetwork, ObservedPod, PeerSeen};
use crate::step::PeerAddress;
use crate::validate::Validated;

/// In networks below this size every peer links to every other; above, the grid decides, and a peer says itself whether
/// it has the links that it wants (design, § 3).
const EVERYBODY_BELOW: usize = 24;

/// One peer.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) pool: &'a str,
    pub(crate) ordinal: u32,
    /// Also its pod's name.
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) pod: Option<&'a ObservedPod>,
    pub(crate) claim: Option<&'a ObservedClaim>,
    /// The manifest wants it.
    pub(crate) stays: bool,
    /// Its StatefulSet has it, and would make its pod again.
    pub(crate) in_set: bool,
    /// Its pod was started with another template than the StatefulSet has now.
    pub(crate) outdated: bool,
}

/// All peers.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a> {
    /// By pool, in the manifest's order and then those that it has no more, then by ordinal.
    pub(crate) all: Vec<Member<'a>>,
    /// Of those that stay, how many answer.
    answering: usize,
}

impl<'a> Members<'a> {
    pub(crate) fn new(network: &'a Validated, seen: &'a ObservedNetwork) -> Self {
        let known = network.pools.iter().map(|pool| (pool.name.as_str(), pool.replicas));
        let gone = seen.pools.keys().filter(|name| network.pool(name).is_none());
        let claims: BTreeMap<(&str, u32), &ObservedClaim> =
            seen.claims.iter().map(|claim| ((claim.pool.as_str(), claim.ordinal), claim)).collect();
        let mut all = Vec::new();
        for (pool, wanted) in known.chain(gone.map(|name| (name.as_str(), 0))) {
            let there = seen.pools.get(pool);
            let last = there.map_or(0, |there| {
                there.pods.keys().next_back().map_or(0, |last| last + 1).max(there.replicas)
            });
            for ordinal in 0..wanted.max(last) {
                let name = names::peer(&network.name, pool, ordinal);
                let pod = there.and_then(|there| there.pods.get(&ordinal));
                let newest = there.filter(|there| there.is_settled && there.uid.is_some());
                let newest = newest.and_then(|there| there.update_revision.as_deref());
                let outdated = pod.zip(newest).is_some_and(|(pod, newest)| {
                    pod.revision.as_deref().is_some_and(|revision| revision != newest)
                });
                all.push(Member {
                    uri: names::peer_uri(&network.spec.tls.trust_domain, &network.network_id, &name),
                    claim: claims.get(&(pool, ordinal)).copied(),
                    stays: ordinal < wanted,
                    in_set: there.is_some_and(|there| ordinal < there.replicas),
                    pool,
                    ordinal,
                    name,
                    pod,
                    outdated,
                });
            }
        }
        let answering = all.iter().filter(|it| it.stays && it.report().is_some()).count();
        Self { all, answering }
    }

    pub(crate) fn staying(&self) -> impl Iterator<Item = &Member<'a>> {
        self.all.iter().filter(|member| member.stays)
    }

    pub(crate) fn leaving(&self) -> impl Iterator<Item = &Member<'a>> {
        self.all.iter().filter(|member| !member.stays)
    }

    /// Why a member is not whole: ready, linked to the others and caught up with them; none where it is.
    pub(crate) fn lack(&self, member: &Member<'_>) -> Option<Lack> {
        let Some(pod) = member.pod else { return Some(Lack::of("has no pod")) };
        if pod.is_terminating {
            return Some(Lack::of("is being stopped"));
        }
        if let Some(trouble) = pod.trouble.as_ref().filter(|_| !pod.is_ready) {
            return Some(Lack {
                what: format!("does not run: {}", sentence(&trouble.message)),
                is_trouble: true,
            });
        }
        if !pod.is_ready {
            return Some(Lack::of("is not ready"));
        }
        let report = match &pod.peer {
            None => return Some(Lack::of("was not asked yet")),
            Some(Err(why)) => {
                return Some(Lack { what: format!("does not answer: {}", sentence(why)), is_trouble: true });
            }
            Some(Ok(report)) => report,
        };
        if let Some(fault) = &report.store_fault {
            return Some(Lack { what: format!("cannot store: {}", sentence(fault)), is_trouble: true });
        }
        if let Some(links) = self.missing_links(report) {
            return Some(Lack::of(links));
        }
        (!report.is_caught_up).then(|| Lack::of("catches up with the others"))
    }

    /// What a peer lacks in links; none where it has those that a network of this size asks for.
    pub(crate) fn missing_links(&self, report: &PeerSeen) -> Option<String> {
        let others = self.answering.saturating_sub(1);
        let linked = if others + 1 < EVERYBODY_BELOW {
            report.peers_linked as usize >= others
        } else {
            report.state == "online" && report.peers_known as usize >= others
        };
        (!linked).then(|| format!("is linked to {} of {others} others", report.peers_linked))
    }
}

/// What a peer lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    /// Goes on after the peer's name.
    pub(crate) what: String,
    /// It will hardly pass by itself.
    pub(crate) is_trouble: bool,
}

impl Lack {
    fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_trouble: false }
    }
}

impl<'a> Member<'a> {
    /// Where it can be called; none while its pod has no address or is on its way out.
    pub(crate) fn address(&self) -> Option<PeerAddress> {
        let pod = self.pod.filter(|pod| !pod.is_terminating)?;
        let address: IpAddr = pod.address?;
        Some(PeerAddress { pod: pod.name.clone(), pod_uid: pod.uid.clone(), uri: self.uri.clone(), address })
    }

    /// Its own report, where it answers.
    pub(crate) fn report(&self) -> Option<&'a PeerSeen> {
        self.pod.and_then(|pod| pod.peer.as_ref()).and_then(|answer| answer.as_ref().ok())
    }

    /// It was drained and has not been started anew since, which it would have forgotten.
    pub(crate) fn is_drained(&self) -> bool {
        let told = self.pod.and_then(|pod| pod.drain.as_ref()).is_some_and(|drain| drain.is_drained);
        told && self.report().is_none_or(|report| report.state == "draining")
    }

    /// For how long its pod exists, in milliseconds.
    pub(crate) fn age_ms(&self, now_unix_ms: i64) -> i64 {
        self.pod.map_or(0, |pod| now_unix_ms.saturating_sub(pod.created_unix_ms))
    }
}

/// So many peers, in words.
pub(crate) fn peers(count: usize) -> String {
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}

/// A text as the end of a sentence: what others say does not always end in a full stop, and ours adds one.
pub(crate) fn sentence(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
