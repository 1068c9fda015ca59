//! Carries out a plan at the API server, and writes nothing that is there already.
//!
//! Knows objects and their comparison; leaves no choice open that the plan has not made.

pub mod compare;
mod ownership;
pub mod step;

use kube::core::ObjectMeta;
use serde_json::Value;
use sorcha_operator_plan::observed::{Foreign, ObjectName, Refused};
use tracing::info;

use crate::api::{ApiError, Class, Objects, name_of};
use crate::kind::Kind;
use crate::observe::{Cache, NetworkKey};

/// Why a plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server did not take an object; what was applied before it stays.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A mistake of this program.
    #[error("the plan holds {0}, which is no object that the operator applies, a mistake of this program")]
    Unknown(String),
    /// A StatefulSet that was to be made again does not go away.
    #[error("StatefulSet {set} is still there {seconds} s after its deletion: see its finalizers")]
    StaysThere {
        /// Its name.
        set: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

impl ApplyError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Api(error) => error.class(),
            Self::Unknown(_) => Class::Refused,
            Self::StaysThere { .. } => Class::Unavailable,
        }
    }
}

/// What became of a plan's objects.
#[derive(Debug, Default)]
pub struct Applied {
    /// Objects that were written.
    pub written: Vec<ObjectName>,
    /// Objects of others under planned names.
    pub foreign: Vec<Foreign>,
    /// Objects that the API server does not take.
    pub refused: Vec<Refused>,
    /// What is to be written.
    writes: Vec<Write>,
    /// The first failure.
    failed: Option<ApplyError>,
}

impl Applied {
    fn fail(&mut self, error: ApplyError) {
        self.failed.get_or_insert(error);
    }

    fn sets(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(|write| write.kind == Kind::StatefulSet)
    }

    /// Whether the steps before the objects must wait: something could not be looked at.
    pub fn is_incomplete(&self) -> bool {
        self.failed.is_some()
    }
}

/// One object of the plan that is to be written.
#[derive(Debug)]
struct Write {
    index: usize,
    kind: Kind,
    exists: bool,
}

/// The network whose objects are applied.
pub struct Target<'a> {
    /// Its place.
    pub key: &'a NetworkKey,
    /// `metadata.uid` of its manifest.
    pub uid: &'a str,
}

impl Target<'_> {
    /// Those of the foreign objects that are still there and still foreign.
    pub async fn still_foreign(
        &self,
        objects: &Objects,
        known: &[Foreign],
    ) -> Result<Vec<Foreign>, ApplyError> {
        let mut still = Vec::new();
        for foreign in known {
            let Some(kind) = Kind::named(&foreign.object.kind) else { continue };
            let live = objects.get(kind, &self.key.namespace, &foreign.object.name).await?;
            if let Some(owner) = live.and_then(|live| ownership::stranger(&live, self)) {
                still.push(Foreign { object: foreign.object.clone(), owner });
            }
        }
        Ok(still)
    }
}

/// Carries out plans.
pub struct Executor<'a> {
    /// The way to the API server.
    pub objects: &'a Objects,
    /// What is known already.
    pub cache: &'a Cache,
    /// For whom.
    pub target: Target<'a>,
}

/// What is to be done with one object.
enum Verdict {
    /// It is as it should be.
    Same,
    /// It is to be written; it is already there or not.
    Write { exists: bool },
    /// Somebody else's.
    Foreign(Foreign),
}

impl Executor<'_> {
    /// Finds out which objects are to be written, and tries StatefulSets without effect, so that a pod template that
    /// the API server refuses leaves everything as it is. `recreated` names the sets that are deleted before.
    pub async fn judge(&self, objects: &[Value], recreated: &[&str]) -> Applied {
        let mut applied = Applied::default();
        let verdicts = futures::future::join_all(objects.iter().map(|object| self.verdict(object))).await;
        for (index, verdict) in verdicts.into_iter().enumerate() {
            match verdict {
                Ok((_, Verdict::Same)) => {}
                Ok((_, Verdict::Foreign(foreign))) => applied.foreign.push(foreign),
                Ok((kind, Verdict::Write { exists })) => applied.writes.push(Write { index, kind, exists }),
                Err(error) => applied.fail(error),
            }
        }
        let sets: Vec<(usize, bool)> = applied.sets().map(|write| (write.index, write.exists)).collect();
        for (index, exists) in sets {
            let set = &objects[index];
            match self.try_set(set, exists && recreated.contains(&name_of(set))).await {
                Ok(refused) => applied.refused.extend(refused),
                Err(error) => applied.fail(error),
            }
        }
        applied
    }

    /// Writes what is to be written, in the order of the objects. Where one fails the others are written nevertheless,
    /// so that every look gets on, but no StatefulSet: it comes when all is there that it refers to.
    pub async fn write(&self, objects: &[Value], applied: &mut Applied) -> Result<(), ApplyError> {
        for Write { index, kind, exists } in std::mem::take(&mut applied.writes) {
            if kind == Kind::StatefulSet && applied.failed.is_some() {
                continue;
            }
            let object = &objects[index];
            let name = name_of(object);
            match self.put(kind, object).await {
                Ok(()) => {
                    let verb = if exists { "changed" } else { "made" };
                    info!(network = %self.target.key, kind = kind.name(), name, "{verb}");
                    applied.written.push(object_name(kind, object));
                }
                Err(error) if error.class() == Class::Refused => {
                    applied.refused.push(refused(kind, object, &error));
                }
                Err(error) => applied.fail(error.into()),
            }
        }
        applied.failed.take().map_or(Ok(()), Err)
    }

    /// Whether an object must be written: without a request where nothing has changed since it was verified.
    async fn verdict(&self, object: &Value) -> Result<(Kind, Verdict), ApplyError> {
        let kind = Kind::of(object).ok_or_else(|| ApplyError::Unknown(object["kind"].to_string()))?;
        let name = name_of(object);
        let digest = compare::digest(object);
        if let Some(seen) = self.cache.object(self.target.key, kind, name)
            && seen.verified.as_ref().is_some_and(|(version, it)| *version == seen.version && **it == *digest)
        {
            return Ok((kind, Verdict::Same));
        }
        let Some(live) = self.objects.get(kind, &self.target.key.namespace, name).await? else {
            return Ok((kind, Verdict::Write { exists: false }));
        };
        if let Some(owner) = ownership::stranger(&live, &self.target) {
            let object = object_name(kind, object);
            return Ok((kind, Verdict::Foreign(Foreign { object, owner })));
        }
        if let Some(field) = compare::difference(&compare::sealed(object), &live) {
            tracing::debug!(network = %self.target.key, kind = kind.name(), name, field, "differs");
            return Ok((kind, Verdict::Write { exists: true }));
        }
        self.cache.verified(self.target.key, kind, &metadata(&live), &digest);
        Ok((kind, Verdict::Same))
    }

    /// A set that is to be made anew is tried under another name: its old self would refuse the change.
    async fn try_set(&self, set: &Value, anew: bool) -> Result<Option<Refused>, ApplyError> {
        let mut tried = compare::sealed(set);
        if anew {
            tried["metadata"]["name"] = format!("{}-check", name_of(set)).into();
        }
        match self.objects.dry_run(Kind::StatefulSet, &self.target.key.namespace, &tried).await {
            Ok(_) => Ok(None),
            Err(error) if error.class() == Class::Refused => {
                Ok(Some(refused(Kind::StatefulSet, set, &error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, kind: Kind, object: &Value) -> Result<(), ApiError> {
        let sealed = compare::sealed(object);
        let live = self.objects.apply(kind, &self.target.key.namespace, &sealed).await?;
        self.cache.verified(self.target.key, kind, &metadata(&live), &compare::digest(object));
        Ok(())
    }
}

/// Of an object as the API server gave it.
fn metadata(live: &Value) -> ObjectMeta {
    serde_json::from_value(live["metadata"].clone()).unwrap_or_default()
}

fn object_name(kind: Kind, object: &Value) -> ObjectName {
    ObjectName { kind: kind.name().to_owned(), name: name_of(object).to_owned() }
}

/// Words of the API server; what it cannot even read is as invalid as what it refuses.
fn refused(kind: Kind, object: &Value, error: &ApiError) -> Refused {
    let (reason, message) = match error {
        ApiError::Answered { code: 400 | 422 | 500.., message, .. } => {
            ("Invalid".to_owned(), message.clone())
        }
        ApiError::Answered { reason, message, .. } => (reason.clone(), message.clone()),
        other => ("Failed".to_owned(), other.to_string()),
    };
    Refused { object: object_name(kind, object), reason, message }
}
