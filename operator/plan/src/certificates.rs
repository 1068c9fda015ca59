//! Which certificates the pools' Secrets must hold, and which of them are issued now. Knows times and names; keys and
//! signatures are the executor's.

use std::time::Duration;

use sorcha_crds::Problem;

use crate::names;
use crate::observed::{CertificateSeen, ObservedNetwork, Root};
use crate::plan::{Concern, Finding};
use crate::step::{AuthorityPlan, CertificatePlan};
use crate::validate::Validated;

/// A certificate is renewed once less than this share of its life is left: of 30 days the last 10 (design, § 6).
const RENEWED_AT_SHARE: i64 = 3;

pub(crate) struct Certificates {
    pub(crate) authority: AuthorityPlan,
    pub(crate) pools: Vec<CertificatePlan>,
    pub(crate) findings: Vec<Finding>,
    /// Until the next one is renewed.
    pub(crate) again: Option<Duration>,
}

/// What a Secret may hold, in bytes (Kubernetes, `MaxSecretSize`), less 64 KiB for the roots.
const SECRET_BYTES_MAX: usize = (1024 - 64) * 1024;
/// A certificate and its key in a Secret, in bytes, without the identity: measured 1,027 with an identity of 50
/// characters, each of which counts twice here, since base64 and the subject's name add to it.
const CERTIFICATE_BYTES: usize = 960;

/// Pools with more peers than their Secret can hold certificates. Not for local mode, which keeps files.
pub(crate) fn beyond_a_secret(network: &Validated) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, pool) in network.pools.iter().enumerate() {
        let last = names::peer(&network.name, &pool.name, pool.replicas);
        let uri = names::peer_uri(&network.spec.tls.trust_domain, &network.network_id, &last);
        let most = SECRET_BYTES_MAX / (CERTIFICATE_BYTES + 2 * uri.len());
        if pool.replicas as usize > most {
            let path = match index.checked_sub(1) {
                None => "spec.replicas".to_owned(),
                Some(index) => format!("spec.pools[{index}].replicas"),
            };
            let message = format!(
                "{} is more than the Secret of one pool holds certificates for in a cluster, {most}: divide the peers \
                 into pools.",
                pool.replicas
            );
            problems.push(Problem::new(path, message));
        }
    }
    problems
}

pub(crate) fn decide(network: &Validated, seen: &ObservedNetwork) -> Certificates {
    let secret = names::authority_secret(&network.name);
    let known = &seen.authority.certificates;
    let lost = seen.authority.root == Root::Absent && !known.is_empty();
    let finding = match &seen.authority.root {
        Root::Absent if lost => Some((
            "AuthorityMissing",
            format!(
                "Secret {secret} with the certificate authority is gone, though its certificates are in use: put it back \
             from a backup, or delete the Secrets {}-*-tls to begin anew with another authority, which cuts all links \
             once.",
                network.name
            ),
        )),
        Root::Broken(why) => Some((
            "AuthorityBroken",
            format!(
                "Secret {secret} cannot sign: {why} Put it back from a backup; until then no certificate is issued or \
             renewed."
            ),
        )),
        Root::Absent | Root::Usable { .. } => None,
    };
    let findings: Vec<Finding> = finding
        .into_iter()
        .map(|(reason, message)| Finding::new(Concern::Certificates, reason, message))
        .collect();
    let authority = AuthorityPlan {
        secret,
        make: seen.authority.root == Root::Absent && !lost,
        goes_with_network: !network.spec.tls.retain_authority,
    };
    let pools = if findings.is_empty() { pools(network, seen) } else { Vec::new() };
    let renewals = known.values().map(|it| renewal_unix_ms(it).saturating_sub(seen.now_unix_ms));
    let next = renewals.filter(|ms| *ms > 0).min().and_then(|ms| u64::try_from(ms).ok());
    let again = next.map(Duration::from_millis);
    Certificates { authority, pools, findings, again }
}

/// One Secret for each pool that the manifest has, and for each that still has pods.
fn pools(network: &Validated, seen: &ObservedNetwork) -> Vec<CertificatePlan> {
    let mut plans = Vec::new();
    for pool in &network.pools {
        plans.push(of_pool(network, seen, &pool.name, pool.replicas));
    }
    for name in seen.pools.keys().filter(|name| network.pool(name).is_none()) {
        plans.push(of_pool(network, seen, name, 0));
    }
    plans
}

/// Peers that are wanted, and peers that are there.
fn of_pool(network: &Validated, seen: &ObservedNetwork, pool: &str, wanted: u32) -> CertificatePlan {
    let there = seen.pools.get(pool).map_or(0, |pool| {
        let pods = pool.pods.keys().next_back().map_or(0, |last| last + 1);
        pods.max(pool.replicas)
    });
    let peers: Vec<(String, String)> = (0..wanted.max(there))
        .map(|ordinal| {
            let peer = names::peer(&network.name, pool, ordinal);
            let uri = names::peer_uri(&network.spec.tls.trust_domain, &network.network_id, &peer);
            (peer, uri)
        })
        .collect();
    let issue = peers
        .iter()
        .map(|(peer, _)| peer)
        .filter(|peer| seen.authority.certificates.get(*peer).is_none_or(|it| is_due(it, seen.now_unix_ms)))
        .cloned()
        .collect();
    CertificatePlan { secret: names::tls_secret(&network.name, pool), pool: pool.to_owned(), peers, issue }
}

fn is_due(certificate: &CertificateSeen, now_unix_ms: i64) -> bool {
    now_unix_ms >= renewal_unix_ms(certificate) || !certificate.fits
}

/// When a certificate is renewed.
pub(crate) fn renewal_unix_ms(certificate: &CertificateSeen) -> i64 {
    let life = certificate.not_after_unix_ms.saturating_sub(certificate.not_before_unix_ms);
    certificate.not_after_unix_ms.saturating_sub(life / RENEWED_AT_SHARE)
}
