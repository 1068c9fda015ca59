//! Peers that are told to take their files again now, and peers that were told to drain and stay after all.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::members::{Members, peers, sentence};
use crate::observed::{ObservedNetwork, Root};
use crate::plan::{Concern, Finding};
use crate::step::Step;

/// The kubelet brings a changed Secret into a pod within about a minute, and a peer looks by itself too: to ask more
/// often than this is of no use (a guess).
const AGAIN: Duration = Duration::from_secs(10);
/// Peers told in one pass at most; the others follow (a guess).
const RELOADS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Refresh {
    pub(crate) steps: Vec<Step>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) again: Option<Duration>,
}

/// Peers whose trust bundle or certificate in use is not the one in their Secret.
pub(crate) fn reload(seen: &ObservedNetwork, members: &Members<'_>) -> Refresh {
    let mut refresh = Refresh::default();
    let bundle = match &seen.authority.root {
        Root::Usable { bundle, .. } => Some(hex::encode(Sha256::digest(bundle.as_bytes()))),
        Root::Absent | Root::Broken(_) => None,
    };
    let mut refused = Vec::new();
    for member in &members.all {
        let Some(report) = member.report() else { continue };
        let stored = seen.authority.certificates.get(&member.name).filter(|it| it.fits);
        // a certificate counts whole seconds
        let second = |ms: i64| ms.div_euclid(1000);
        let other = stored
            .is_some_and(|it| second(it.not_after_unix_ms) != second(report.certificate_not_after_unix_ms));
        let strange = bundle
            .as_ref()
            .is_some_and(|bundle| !report.bundle_digest.is_empty() && *bundle != report.bundle_digest);
        if !other && !strange {
            continue;
        }
        if let Some(fault) = &report.reload_fault {
            refused.push(format!("peer {} does not take its files again: {}", member.name, sentence(fault)));
        }
        if refresh.steps.len() < RELOADS_MAX {
            refresh.steps.extend(member.address().map(Step::Reload));
        }
    }
    if let Some(first) = refused.first() {
        let message = format!(
            "An older certificate or trust bundle is in use by {}: {first}. It serves until it expires.",
            peers(refused.len())
        );
        refresh.findings.push(Finding::new(Concern::Certificates, "ReloadRefused", message));
    }
    refresh.again = (!refresh.steps.is_empty()).then_some(AGAIN);
    refresh
}

/// Peers that were told to drain, and that neither leave nor are about to be replaced.
pub(crate) fn resume(members: &Members<'_>, draining: Option<&str>, steps: &[Step]) -> Vec<Step> {
    let replaced: BTreeSet<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Step::ReplacePod { pod, .. } => Some(pod.as_str()),
            _ => None,
        })
        .collect();
    let told = members.staying().filter(|member| {
        let drained = member.pod.is_some_and(|pod| pod.drain.is_some());
        let says = member.report().is_some_and(|report| report.state == "draining");
        drained || says
    });
    told.filter(|member| draining != Some(member.name.as_str()) && !replaced.contains(member.name.as_str()))
        .filter_map(|member| member.address().map(Step::Resume))
        .collect()
}
