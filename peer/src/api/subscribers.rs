//! Who subscribes now, so that one cursor has one reader, and how far each is, so that it can be acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sorcha_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::api::Local;
use crate::api::progress::Progress;
use crate::api::reading::read;
use crate::api::refusal::{Kind, Refusal};
use crate::store::CursorState;

/// Subscriptions at a time; more are refused as busy (guess: far above what one machine's applications want).
pub(super) const SUBSCRIPTIONS_MAX: usize = 256;
/// Cursors whose last subscriber is remembered after its end, so that it can still acknowledge.
const ENDED_MAX: usize = 1_024;

/// How far a subscription is, shared by those who deliver and those who acknowledge.
pub(super) type Shared = Arc<Mutex<Progress>>;

/// All subscriptions.
#[derive(Debug)]
pub(super) struct Subscriptions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: usize,
    generation: u64,
    cursors: BTreeMap<String, Reader>,
}

/// The present or last reader of a cursor.
#[derive(Debug)]
struct Reader {
    generation: u64,
    fence: CancellationToken,
    /// `None`: it has ended.
    open: bool,
    /// Once it is known where it begins.
    progress: Option<Shared>,
}

/// A place among the subscriptions; given back when dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    of: &'a Subscriptions,
    cursor: Option<(String, u64)>,
}

impl Subscriptions {
    /// For a peer in this start: generations of later starts are higher.
    pub(super) fn new(incarnation: u64) -> Self {
        Self { inner: Mutex::new(Inner { generation: incarnation << 24, ..Inner::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that may panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self) -> Result<Place<'_>, Refusal> {
        let mut inner = self.lock();
        if inner.open >= SUBSCRIPTIONS_MAX {
            let sentence = format!(
                "{SUBSCRIPTIONS_MAX} subscriptions are open, as many as this peer serves: close one, or read pages with GET /v1/transactions"
            );
            return Err(Refusal::new(Kind::Busy, sentence));
        }
        inner.open += 1;
        Ok(Place { of: self, cursor: None })
    }

    /// Whether somebody reads the cursor, and the generation of its present or last reader.
    pub(super) fn reader(&self, cursor: &str) -> (bool, u64) {
        self.lock().cursors.get(cursor).map_or((false, 0), |reader| (reader.open, reader.generation))
    }

    /// What the reader of this generation has acknowledged with the delivery of `position`.
    pub(super) fn acknowledge(
        &self,
        cursor: &str,
        generation: u64,
        position: u64,
    ) -> Result<CursorState, Refusal> {
        let inner = self.lock();
        let reader = inner.cursors.get(cursor);
        let Some(progress) =
            reader.filter(|it| it.generation == generation).and_then(|it| it.progress.as_ref())
        else {
            let sentence = match reader {
                Some(reader) if reader.generation != generation => format!(
                    "generation {generation} of cursor '{cursor}' is over, {} has taken over: what it acknowledges counts",
                    reader.generation
                ),
                _ => format!(
                    "generation {generation} of cursor '{cursor}' is not known in this run of the peer: subscribe again and acknowledge with the new one"
                ),
            };
            return Err(Refusal::new(Kind::Fenced, sentence));
        };
        let mut progress = lock(progress);
        let last = progress.last();
        progress.acknowledge(position).cloned().ok_or_else(|| not_delivered(position, last))
    }

    /// Ends whoever reads the cursor: it is deleted.
    fn forget(&self, cursor: &str) {
        if let Some(reader) = self.lock().cursors.remove(cursor) {
            reader.fence.cancel();
        }
    }
}

/// The progress of one subscription.
pub(super) fn lock(progress: &Shared) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn not_delivered(position: u64, last: u64) -> Refusal {
    let sentence = format!("position {position} is not delivered yet: the last one delivered is {last}");
    Refusal::bad("position", sentence)
}

impl Place<'_> {
    /// Makes this the only reader of the cursor, of this generation; the token is cancelled when another takes over.
    pub(super) fn own(&mut self, cursor: &str) -> (CancellationToken, u64) {
        let fence = CancellationToken::new();
        let mut inner = self.of.lock();
        inner.generation += 1;
        let generation = inner.generation;
        if inner.cursors.len() >= ENDED_MAX
            && let Some(ended) = inner.cursors.iter().find(|(_, it)| !it.open).map(|(name, _)| name.clone())
        {
            inner.cursors.remove(&ended);
        }
        let reader = Reader { generation, fence: fence.clone(), open: true, progress: None };
        if let Some(former) = inner.cursors.insert(cursor.to_owned(), reader) {
            former.fence.cancel();
        }
        self.cursor = Some((cursor.to_owned(), generation));
        (fence, generation)
    }

    /// It begins there.
    pub(super) fn begin(&self, progress: &Shared) {
        let mut inner = self.of.lock();
        if let Some((cursor, generation)) = &self.cursor
            && let Some(reader) = inner.cursors.get_mut(cursor).filter(|it| it.generation == *generation)
        {
            reader.progress = Some(Arc::clone(progress));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.of.lock();
        inner.open -= 1;
        if let Some((cursor, generation)) = &self.cursor
            && let Some(reader) = inner.cursors.get_mut(cursor).filter(|it| it.generation == *generation)
        {
            reader.open = false;
        }
    }
}

/// All named cursors, or the one of this name.
pub(super) async fn list(local: &Local, name: Option<&str>) -> Result<v1::Cursors, Refusal> {
    let store = local.node.store();
    let head = *store.head().borrow();
    let found = match name {
        None => read(store, crate::store::Store::cursors).await?,
        Some(name) => {
            let wanted = name.to_owned();
            let state = read(store, move |store| store.cursor_state(&wanted)).await?;
            vec![(name.to_owned(), state.ok_or_else(|| missing(name))?)]
        }
    };
    let cursor = |(name, state): (String, CursorState)| {
        let (subscribed, generation) = local.subscriptions.reader(&name);
        let (position, ahead) = (state.position, state.ahead_len());
        let behind = head.saturating_sub(position).saturating_sub(ahead);
        v1::Cursor { name, position, ahead, behind, subscribed, generation }
    };
    Ok(v1::Cursors { cursors: found.into_iter().map(cursor).collect() })
}

/// Deletes a cursor and ends whoever reads it; answers with those that are left.
pub(super) async fn delete(local: &Local, name: &str) -> Result<v1::Cursors, Refusal> {
    local.subscriptions.forget(name);
    if !local.node.store().delete_cursor(name).await? {
        return Err(missing(name));
    }
    list(local, None).await
}

/// Acknowledges a delivery of a subscription that has no channel of its own for it; answers when that is durable.
pub(super) async fn acknowledge(
    local: &Local,
    name: &str,
    generation: u64,
    position: u64,
) -> Result<v1::Cursors, Refusal> {
    let state = local.subscriptions.acknowledge(name, generation, position)?;
    local.node.store().acknowledge_runs(name, state).await?;
    list(local, Some(name)).await
}

fn missing(name: &str) -> Refusal {
    let shown: String = name.chars().take(80).flat_map(char::escape_default).collect();
    Refusal::new(Kind::NotFound, format!("there is no cursor '{shown}' here; GET /v1/cursors lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(position: u64) -> Shared {
        let state = CursorState { position, ahead: Vec::new() };
        Arc::new(Mutex::new(Progress::new(state, false)))
    }

    #[test]
    fn a_cursor_has_one_reader_and_places_come_back() {
        let subscriptions = Subscriptions::new(1);
        let mut first = subscriptions.enter().expect("free");
        let (token, _) = first.own("a");
        let mut second = subscriptions.enter().expect("free");
        let (newer, generation) = second.own("a");
        assert!(token.is_cancelled() && !newer.is_cancelled());
        drop(first);
        assert_eq!(subscriptions.reader("a"), (true, generation), "the newer reader keeps its cursor");
        drop(second);
        assert_eq!(subscriptions.reader("a"), (false, generation));
        let places: Vec<_> = (0..SUBSCRIPTIONS_MAX).map(|_| subscriptions.enter().expect("free")).collect();
        assert_eq!(subscriptions.enter().expect_err("full").kind, Kind::Busy);
        drop(places);
    }

    #[test]
    fn only_the_last_reader_acknowledges_also_after_its_end() {
        let subscriptions = Subscriptions::new(1);
        let mut first = subscriptions.enter().expect("free");
        let (_, old) = first.own("a");
        let shared = progress(0);
        first.begin(&shared);
        lock(&shared).delivered(1).expect("few");
        drop(first);
        assert_eq!(subscriptions.acknowledge("a", old, 1).expect("the last reader").position, 1);
        assert_eq!(subscriptions.acknowledge("a", old, 2).expect_err("not delivered").kind, Kind::BadInput);
        let mut second = subscriptions.enter().expect("free");
        let (_, new) = second.own("a");
        assert!(new > old);
        second.begin(&progress(1));
        let fenced = subscriptions.acknowledge("a", old, 1).expect_err("taken over");
        assert!(fenced.kind == Kind::Fenced && fenced.sentence.contains("has taken over"), "{fenced}");
        assert_eq!(subscriptions.acknowledge("a", new, 1).expect("it stands there").position, 1);
        assert_eq!(subscriptions.acknowledge("b", 1, 1).expect_err("unknown").kind, Kind::Fenced);
    }

    #[test]
    fn ended_readers_are_forgotten_where_there_are_many() {
        let subscriptions = Subscriptions::new(1);
        for number in 0..2 * ENDED_MAX {
            subscriptions.enter().expect("free").own(&format!("{number}"));
        }
        assert!(subscriptions.lock().cursors.len() <= ENDED_MAX);
    }
}
