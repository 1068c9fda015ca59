//! Volumes that are to grow, and StatefulSets that must be made again because a field of theirs cannot change.

use serde_json::Value;
use sorcha_crds::Size;

use crate::kubernetes::stateful_set;
use crate::members::sentence;
use crate::names;
use crate::observed::{ObservedClaim, ObservedNetwork, ObservedPool};
use crate::plan::{Concern, Finding};
use crate::step::Step;
use crate::validate::{Pool, Validated};

#[derive(Debug, Default)]
pub(crate) struct Volumes {
    /// Before the objects.
    pub(crate) recreate: Vec<Step>,
    /// After everything else: a class may refuse.
    pub(crate) grow: Vec<Step>,
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn decide(network: &Validated, seen: &ObservedNetwork) -> Volumes {
    let mut volumes = Volumes::default();
    for pool in &network.pools {
        if let Some(there) = seen.pools.get(&pool.name) {
            volumes.recreate.extend(recreate(network, pool, there));
        }
        let claims = seen.claims.iter().filter(|it| it.pool == pool.name && !it.is_terminating);
        volumes.of_claims(pool, claims.collect());
    }
    let troubles = seen.claims.iter().filter_map(|claim| Some((claim, claim.trouble.as_ref()?)));
    for (claim, trouble) in troubles {
        let message = format!(
            "Volume claim {} is not as it should be: {}. Look at `kubectl describe pvc {}`.",
            claim.name,
            sentence(&trouble.message),
            claim.name
        );
        volumes.findings.push(Finding::new(Concern::Trouble, "VolumeTrouble", message));
    }
    volumes
}

/// Where an immutable field is to be another; pods and volumes stay.
fn recreate(network: &Validated, pool: &Pool, there: &ObservedPool) -> Option<Step> {
    let uid = there.uid.clone()?;
    let wanted = stateful_set::immutable(network, pool);
    if there.immutable.is_null() || is_within(&wanted, &there.immutable) {
        return None;
    }
    let fields = wanted.as_object().into_iter().flatten();
    let differs = fields.filter(|(name, value)| !is_within(value, &there.immutable[name.as_str()]));
    let names: Vec<&str> = differs.map(|(name, _)| name.as_str()).collect();
    let set = names::pool(&network.name, &pool.name);
    let why = format!(
        "StatefulSet {set} is made again, and its pods stay: {} cannot be changed in place.",
        names.join(", ")
    );
    Some(Step::RecreateSet { set, uid, why })
}

impl Volumes {
    fn of_claims(&mut self, pool: &Pool, claims: Vec<&ObservedClaim>) {
        let size = |text: &str| Size::new(text).thousandths().unwrap_or_default();
        let wanted = size(&pool.storage.size.0);
        let (mut fixed, mut growing) = (Vec::new(), Vec::new());
        for claim in claims {
            if size(&claim.requested) < wanted {
                if claim.can_grow == Some(false) {
                    fixed.push(claim.name.as_str());
                } else {
                    self.grow.push(Step::GrowClaim {
                        claim: claim.name.clone(),
                        size: pool.storage.size.0.clone(),
                    });
                    growing.push(claim.name.as_str());
                }
            } else if claim.capacity.as_ref().is_some_and(|capacity| size(capacity) < size(&claim.requested))
            {
                growing.push(claim.name.as_str());
            }
        }
        let named = |claims: &[&str]| match claims {
            [one] => (*one).to_owned(),
            [first, ..] => format!("{first} and {} more", claims.len() - 1),
            [] => String::new(),
        };
        if !growing.is_empty() {
            let message = format!("Volumes grow to {}: {}.", pool.storage.size, named(&growing));
            self.findings.push(Finding::new(Concern::Progress, "VolumesGrowing", message));
        }
        if !fixed.is_empty() {
            let message = format!(
                "Volumes of pool {} cannot grow to {}, because their StorageClass does not allow it: {}. New peers get \
                 the larger size. Set allowVolumeExpansion on the class, or add a pool with larger volumes and take \
                 this one down to 0.",
                pool.name,
                pool.storage.size,
                named(&fixed)
            );
            self.findings.push(Finding::new(Concern::Trouble, "VolumesCannotGrow", message));
        }
    }
}

/// Whether everything wanted is there: what an API server adds does not count, and sizes are compared as such.
fn is_within(wanted: &Value, there: &Value) -> bool {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => {
            wanted.iter().all(|(name, value)| there.get(name).is_some_and(|there| is_within(value, there)))
        }
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.len() == there.len()
                && wanted.iter().zip(there).all(|(wanted, there)| is_within(wanted, there))
        }
        (wanted, there) if wanted == there => true,
        (wanted, there) => {
            let size = |value: &Value| {
                let number = value.as_u64().map(|number| number.to_string());
                Size::new(number.or_else(|| value.as_str().map(str::to_owned))?).thousandths()
            };
            size(wanted).is_some_and(|wanted| Some(wanted) == size(there))
        }
    }
}
