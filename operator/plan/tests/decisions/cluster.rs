//! A cluster small enough to be looked through: it does what a plan says and what Kubernetes' controllers would, and
//! writes down what happened. One tick is ten seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};
use sorcha_crds::{SorchaPeerNetwork, SorchaPeerNetworkStatus};
use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::kubernetes::name_of;
use sorcha_operator_plan::observed::{
    CertificateSeen, DrainSeen, ObjectName, ObservedClaim, ObservedNetwork, ObservedPod, ObservedPool,
    PeerSeen, Rendered, Root, Trouble,
};
use sorcha_operator_plan::status::{events, status};
use sorcha_operator_plan::step::Step;
use sorcha_operator_plan::{NetworkPlan, plan, validate};

const TICK_MS: i64 = 10_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// Images with which no peer starts.
    pub(crate) images: BTreeSet<&'static str>,
    /// Peers that are linked to nobody.
    pub(crate) apart: BTreeSet<&'static str>,
    /// Peers that cannot hand over what they hold.
    pub(crate) clinging: BTreeSet<&'static str>,
    /// Peers that hold transactions which nobody else holds.
    pub(crate) holding: BTreeSet<&'static str>,
    /// Volumes of classes that do not grow.
    pub(crate) fixed_volumes: bool,
}

pub(crate) struct Cluster {
    pub(crate) manifest: SorchaPeerNetwork,
    pub(crate) seen: ObservedNetwork,
    pub(crate) faults: Faults,
    /// Pods that were deleted, apart from those that left.
    pub(crate) replaced: Vec<String>,
    status: Option<SorchaPeerNetworkStatus>,
    said: String,
    pods_made: u32,
    start_ms: i64,
}

impl Cluster {
    /// A network that has come up and is at rest; nothing of that is in the transcript.
    pub(crate) fn at_rest(manifest: SorchaPeerNetwork) -> Self {
        let mut cluster = Self::empty(manifest);
        cluster.run(12);
        cluster.said.clear();
        cluster.start_ms = cluster.seen.now_unix_ms;
        cluster
    }

    pub(crate) fn empty(mut manifest: SorchaPeerNetwork) -> Self {
        manifest.metadata.uid = Some("0d6f4a3c-0000-4000-8000-000000000001".to_owned());
        let network = validate(&manifest).expect("the manifest is right");
        let mut seen = ObservedNetwork::empty(&network);
        seen.now_unix_ms = 1000 * DAY_MS;
        "sorcha-peer:1".clone_into(&mut seen.image_default);
        let start_ms = seen.now_unix_ms;
        Self {
            manifest,
            seen,
            faults: Faults::default(),
            replaced: Vec::new(),
            status: None,
            said: String::new(),
            pods_made: 0,
            start_ms,
        }
    }

    pub(crate) fn say(&mut self, what: &str) {
        let seconds = (self.seen.now_unix_ms - self.start_ms) / 1000;
        writeln!(self.said, "{seconds:>5} s  {what}").expect("text takes text");
    }

    /// What happened, and how it is now.
    pub(crate) fn transcript(&mut self) -> String {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        let now: Vec<String> = conditions
            .map(|it| format!("{}={} {}: {}", it.type_, it.status, it.reason, it.message))
            .collect();
        format!("{}\n{}\n", self.said.trim_end(), now.join("\n"))
    }

    pub(crate) fn condition(&self, type_: &str) -> (String, String) {
        let status = self.status.as_ref().expect("it was planned at least once");
        let it = status.conditions.iter().find(|it| it.type_ == type_).expect("it is always told");
        (it.status.clone(), it.reason.clone())
    }

    pub(crate) fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.tick();
        }
    }

    /// Plans and carries out once, without time passing.
    pub(crate) fn plan(&self) -> NetworkPlan {
        let network = validate(&self.manifest).expect("the manifest is right");
        let plan = plan(&network, &self.seen).expect("a cluster can hold it");
        assert_eq!(check_network(&plan, &network), []);
        plan
    }

    pub(crate) fn tick(&mut self) {
        let plan = self.plan();
        let network = validate(&self.manifest).expect("the manifest is right");
        let after = status(&network, &plan, &self.seen, self.status.as_ref());
        for note in events(self.status.as_ref(), &after) {
            let mark = if note.is_warning { "!" } else { "-" };
            self.say(&format!("{mark} {}: {}", note.reason, note.note));
        }
        self.status = Some(after);
        self.certify(&plan);
        let (before, then): (Vec<&Step>, Vec<&Step>) =
            plan.steps.iter().partition(|step| step.is_before_objects());
        for step in before {
            self.carry_out(step);
        }
        for object in plan.objects.to_json() {
            self.apply(&object);
        }
        for step in then {
            self.carry_out(step);
        }
        self.seen.now_unix_ms += TICK_MS;
        self.control();
        self.answer();
    }

    fn certify(&mut self, plan: &NetworkPlan) {
        if plan.authority.make {
            let not_after_unix_ms = self.seen.now_unix_ms + 3650 * DAY_MS;
            self.seen.authority.root = Root::Usable { bundle: "PEM".to_owned(), not_after_unix_ms };
        }
        let now = self.seen.now_unix_ms;
        for issued in plan.certificates.iter().flat_map(|pool| &pool.issue) {
            let certificate =
                CertificateSeen { not_before_unix_ms: now, not_after_unix_ms: now + 30 * DAY_MS, fits: true };
            self.seen.authority.certificates.insert(issued.clone(), certificate);
        }
        let named: BTreeSet<&String> =
            plan.certificates.iter().flat_map(|pool| pool.peers.iter().map(|(name, _)| name)).collect();
        if !plan.certificates.is_empty() {
            self.seen.authority.certificates.retain(|name, _| named.contains(name));
        }
    }

    fn apply(&mut self, object: &Value) {
        let name = name_of(object);
        if !self.seen.owned.contains(&name) {
            self.seen.owned.push(name);
        }
        if object["kind"] != "StatefulSet" {
            return;
        }
        let spec = &object["spec"];
        let pool =
            object["metadata"]["labels"]["sorcha.org/pool"].as_str().expect("it has a pool").to_owned();
        let said: Vec<String> = {
            let there = self.seen.pools.entry(pool.clone()).or_default();
            let mut said = Vec::new();
            let replicas = u32::try_from(spec["replicas"].as_u64().unwrap_or_default()).unwrap_or_default();
            if there.replicas != replicas {
                said.push(format!("  pool {pool}: {} -> {replicas} pods", there.replicas));
            }
            there.replicas = replicas;
            there.uid.get_or_insert_with(|| format!("set-{pool}"));
            there.is_settled = true;
            let revision = hex::encode(Sha256::digest(spec["template"].to_string()));
            let revision = revision[..6].to_owned();
            if there.update_revision.as_ref().is_some_and(|old| *old != revision) {
                said.push(format!("  pool {pool}: the template changes"));
            }
            there.update_revision = Some(revision);
            let rendered = object["metadata"]["annotations"]["sorcha.org/rendered"].as_str();
            there.rendered = rendered.and_then(|text| serde_json::from_str::<Rendered>(text).ok());
            if there.immutable.is_null() {
                for field in ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"] {
                    there.immutable[field] = spec[field].clone();
                }
                there.immutable["volumeClaimTemplates"][0]["status"] =
                    serde_json::json!({"phase": "Pending"});
            }
            said
        };
        for line in said {
            self.say(&line);
        }
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::RecreateSet { set, why, .. } => {
                self.say(&format!("  {why}"));
                for (pool, there) in &mut self.seen.pools {
                    if set.ends_with(pool.as_str()) {
                        there.immutable = Value::Null;
                    }
                }
            }
            Step::GrowClaim { claim, size } => {
                self.say(&format!("  claim {claim} grows to {size}"));
                for it in self.seen.claims.iter_mut().filter(|it| it.name == *claim) {
                    it.requested.clone_from(size);
                }
            }
            Step::Reload(peer) => self.say(&format!("  {} takes its files again", peer.pod)),
            Step::Drain { peer, leave, leaving } => self.drain(&peer.pod, *leave, leaving.len()),
            Step::Resume(peer) => {
                self.say(&format!("  {} is told that it stays", peer.pod));
                if let Some(pod) = self.pod(&peer.pod) {
                    pod.drain = None;
                }
            }
            Step::ReplacePod { pod, why, .. } => {
                self.say(&format!("  {why}"));
                self.replaced.push(pod.clone());
                self.delete_pod(pod);
            }
            Step::Prune(object) => {
                self.say(&format!("  {} {} is deleted", object.kind, object.name));
                self.seen.owned.retain(|it| it != object);
                if object.kind == "StatefulSet" {
                    self.seen.pools.retain(|pool, _| !object.name.ends_with(&format!("-{pool}")));
                }
            }
        }
    }

    fn drain(&mut self, pod: &str, leave: bool, leaving: usize) {
        let now = self.seen.now_unix_ms;
        let clings = self.faults.clinging.contains(pod);
        let Some(it) = self.pod(pod) else { return };
        let began = it.drain.is_none();
        let since = it.drain.as_ref().map_or(now, |drain| drain.since_unix_ms);
        let done = !clings && !began;
        let (remaining, reason) = match (clings, done) {
            (true, _) => (7, "no staying peer is linked".to_owned()),
            (false, true) => (0, String::new()),
            (false, false) => (2, String::new()),
        };
        it.drain =
            Some(DrainSeen { since_unix_ms: since, is_leaving: leave, is_drained: done, remaining, reason });
        if began {
            let of = if leaving > 0 { format!(", {leaving} leave") } else { String::new() };
            self.say(&format!("  {pod} is drained{of}"));
        }
    }

    pub(crate) fn pod(&mut self, name: &str) -> Option<&mut ObservedPod> {
        self.seen.pools.values_mut().flat_map(|pool| pool.pods.values_mut()).find(|pod| pod.name == name)
    }

    pub(crate) fn delete_pod(&mut self, name: &str) {
        for pool in self.seen.pools.values_mut() {
            pool.pods.retain(|_, pod| pod.name != name);
        }
    }

    /// What the controllers of StatefulSets and volumes do in ten seconds.
    fn control(&mut self) {
        let now = self.seen.now_unix_ms;
        let network = self.manifest.metadata.name.clone().unwrap_or_default();
        let images = self.images();
        for (pool, there) in &mut self.seen.pools {
            let ObservedPool { pods, replicas, update_revision, .. } = there;
            pods.retain(|ordinal, _| ordinal < replicas);
            for (_, pod) in pods.iter_mut() {
                let broken = pod.image.as_deref().is_some_and(|image| self.faults.images.contains(image));
                pod.is_ready = !broken;
                pod.has_started = !broken;
                pod.trouble = broken.then(|| Trouble {
                    reason: "ErrImagePull".to_owned(),
                    message: "container peer: there is no such image".to_owned(),
                });
            }
            for ordinal in 0..*replicas {
                let name = format!("{network}-{pool}-{ordinal}");
                pods.entry(ordinal).or_insert_with(|| {
                    self.pods_made += 1;
                    ObservedPod {
                        uid: format!("pod-{}", self.pods_made),
                        created_unix_ms: now,
                        revision: update_revision.clone(),
                        address: Some([10, 0, 0, 1].into()),
                        image: images.get(pool).cloned(),
                        name: name.clone(),
                        is_terminating: false,
                        is_ready: false,
                        has_started: false,
                        trouble: None,
                        peer: None,
                        drain: None,
                    }
                });
                let claim = format!("state-{name}");
                if self.seen.claims.iter().all(|it| it.name != claim) {
                    let size = &there.immutable["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
                    let size = size.as_str().unwrap_or_default().to_owned();
                    self.seen.claims.push(ObservedClaim {
                        name: claim,
                        pool: pool.clone(),
                        ordinal,
                        requested: size.clone(),
                        capacity: Some(size),
                        is_terminating: false,
                        created_unix_ms: now,
                        can_grow: Some(!self.faults.fixed_volumes),
                        trouble: None,
                    });
                }
            }
        }
        for claim in &mut self.seen.claims {
            claim.capacity = Some(claim.requested.clone());
        }
    }

    fn images(&self) -> BTreeMap<String, String> {
        let image = |there: &ObservedPool| {
            let template = &there.rendered.as_ref()?.template["spec"]["containers"][0]["image"];
            template.as_str().map(str::to_owned)
        };
        self.seen.pools.iter().filter_map(|(pool, there)| Some((pool.clone(), image(there)?))).collect()
    }

    /// What the peers say of themselves.
    fn answer(&mut self) {
        let others =
            self.seen.pools.values().flat_map(|it| it.pods.values()).filter(|it| it.is_ready).count();
        let others = u32::try_from(others.saturating_sub(1)).unwrap_or_default();
        let certificates = &self.seen.authority.certificates;
        for pod in self.seen.pools.values_mut().flat_map(|pool| pool.pods.values_mut()) {
            let apart = self.faults.apart.contains(pod.name.as_str());
            let holds = self.faults.holding.contains(pod.name.as_str());
            let not_after = certificates.get(&pod.name).map_or(0, |it| it.not_after_unix_ms);
            pod.peer = pod.is_ready.then(|| {
                Ok(PeerSeen {
                    incarnation: 1,
                    software: "sorcha-peer".to_owned(),
                    state: if pod.drain.is_some() { "draining" } else { "online" }.to_owned(),
                    peers_known: others,
                    peers_linked: if apart { 0 } else { others },
                    outbox: if holds { 3 } else { 0 },
                    is_caught_up: true,
                    store_fault: None,
                    config_digest: String::new(),
                    bundle_digest: hex::encode(Sha256::digest("PEM")),
                    certificate_not_after_unix_ms: not_after,
                    reload_fault: None,
                })
            });
        }
    }

    /// Objects of the network, by kind and name.
    pub(crate) fn owned(&self) -> Vec<String> {
        let named = |it: &ObjectName| format!("{} {}", it.kind, it.name);
        let mut owned: Vec<String> = self.seen.owned.iter().map(named).collect();
        owned.sort();
        owned
    }
}
