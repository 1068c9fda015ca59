//! Carrying out a plan: objects, then steps, in its order.

use std::time::Duration;

use sorcha_operator_plan::NetworkPlan;
use sorcha_operator_plan::observed::ObservedNetwork;
use sorcha_operator_plan::step::Step;

use super::PassError;
use super::look::Pass;
use crate::api::Class;
use crate::apply::{Executor, Target};
use crate::ca::Realm;
use crate::queue::Next;

impl Pass<'_> {
    /// Carries out the plan; `seen` then tells what was in the way. Returns when to look again.
    pub(super) async fn execute(
        &mut self,
        realm: &Realm,
        plan: &NetworkPlan,
        seen: &mut ObservedNetwork,
    ) -> Result<Option<Duration>, PassError> {
        let target = Target { key: self.key, uid: self.uid() };
        let executor = Executor { objects: &self.tools.objects, cache: &self.tools.cache, target };
        let (before, after): (Vec<&Step>, Vec<&Step>) =
            plan.steps.iter().partition(|step| step.is_before_objects());
        let recreated = before.iter().filter_map(|step| match step {
            Step::RecreateSet { set, .. } => Some(set.as_str()),
            _ => None,
        });
        let recreated: Vec<&str> = recreated.collect();
        let objects = plan.objects.to_json();
        let mut applied = executor.judge(&objects, &recreated).await;
        if applied.refused.is_empty() {
            let wait = applied.is_incomplete();
            for step in before.into_iter().filter(|_| !wait) {
                self.step(&executor, realm, step).await?;
            }
            let outcome = executor.write(&objects, &mut applied).await;
            self.writes += applied.written.len();
            outcome?;
        }
        let strangers = applied.foreign.len();
        seen.foreign.extend(applied.foreign);
        // what `ca` could not write is told by itself each time
        let of_secrets = |kind: &str| kind == crate::kind::Kind::Secret.name();
        seen.refused.retain(|refused| of_secrets(&refused.object.kind));
        seen.refused.extend(applied.refused);
        self.memory.foreign.clone_from(&seen.foreign);
        self.memory.foreign.retain(|foreign| !of_secrets(&foreign.object.kind));
        self.memory.refused.clone_from(&seen.refused);
        self.memory.refused.retain(|refused| !of_secrets(&refused.object.kind));
        self.memory.refused_generation = self.manifest.metadata.generation;
        if !seen.refused.is_empty() {
            let (Next::After(wait) | Next::NotBefore(wait)) = self.memory.wait(Class::Refused);
            return Ok(Some(wait));
        }
        // what others have in the way changes the plan
        if strangers > 0 {
            return Ok(Some(Duration::ZERO));
        }
        for step in after {
            self.step(&executor, realm, step).await?;
        }
        Ok(None)
    }

    async fn step(&mut self, executor: &Executor<'_>, realm: &Realm, step: &Step) -> Result<(), PassError> {
        match step {
            Step::RecreateSet { set, uid, why } => {
                executor.recreate_set(set, uid, why).await?;
                self.tell(false, "StatefulSetRecreated", why).await;
            }
            Step::GrowClaim { claim, size } => executor.grow_claim(claim, size).await?,
            Step::ReplacePod { pod, uid, why } => {
                if executor.replace_pod(pod, uid, why).await? {
                    self.memory.drains.remove(uid.as_str());
                    self.tell(false, "PeerReplaced", why).await;
                }
            }
            Step::Prune(object) => {
                executor.prune(object).await?;
            }
            Step::Reload(peer) => {
                self.tools.peers.reload(realm, peer).await?;
                return Ok(());
            }
            Step::Drain { peer, leaving, leave } => return self.drain(realm, peer, leaving, *leave).await,
            Step::Resume(peer) => {
                self.tools.peers.resume(realm, peer).await?;
                self.memory.drains.remove(peer.pod_uid.as_str());
                return Ok(());
            }
        }
        self.writes += 1;
        Ok(())
    }
}
