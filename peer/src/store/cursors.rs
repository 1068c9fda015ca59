//! Named cursors: what a subscriber has acknowledged. That is everything up to a position and, where transactions were
//! delivered before others of an earlier position, runs of positions beyond it.

use redb::{ReadableTable, ReadableTableMetadata, StorageError, Table};

use super::schema::{CURSOR_RUNS_MAX, CURSORS_MAX};

/// Positions of a run, both included.
pub type Run = (u64, u64);

/// Where a cursor stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CursorState {
    /// Everything up to here is acknowledged.
    pub position: u64,
    /// So is this, beyond it: ascending, neither touching nor overlapping.
    pub ahead: Vec<Run>,
}

impl CursorState {
    /// Acknowledges one more run.
    pub fn add(&mut self, (from, to): Run) {
        if to <= self.position {
            return;
        }
        let mut merged = (from.max(self.position + 1), to);
        self.ahead.retain(|(start, end)| {
            let apart = *start > merged.1 + 1 || *end + 1 < merged.0;
            if !apart {
                merged = (merged.0.min(*start), merged.1.max(*end));
            }
            apart
        });
        if merged.0 == self.position + 1 {
            self.position = merged.1;
        } else {
            let at = self.ahead.partition_point(|(start, _)| *start < merged.0);
            self.ahead.insert(at, merged);
        }
    }

    /// Everything up to this is acknowledged.
    pub fn add_up_to(&mut self, position: u64) {
        self.add((self.position + 1, position));
    }

    /// Whether this position is acknowledged.
    pub fn has(&self, position: u64) -> bool {
        position <= self.position || self.ahead.iter().any(|(from, to)| (*from..=*to).contains(&position))
    }

    /// Positions acknowledged beyond the first that is not.
    pub fn ahead_len(&self) -> u64 {
        self.ahead.iter().map(|(from, to)| to - from + 1).sum()
    }
}

/// Both tables on a snapshot or in a group.
pub(super) struct Cursors<P, A> {
    pub(super) positions: P,
    pub(super) ahead: A,
}

impl<P, A> Cursors<P, A>
where
    P: ReadableTable<&'static str, u64>,
    A: ReadableTable<&'static str, &'static [u8]>,
{
    /// Where the cursor stands; `None`: there is none of this name.
    pub(super) fn read(&self, name: &str) -> Result<Option<CursorState>, StorageError> {
        let Some(position) = self.positions.get(name)?.map(|position| position.value()) else {
            return Ok(None);
        };
        let ahead = self.ahead.get(name)?.map(|row| runs(row.value())).unwrap_or_default();
        Ok(Some(CursorState { position, ahead }))
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Result<Vec<(String, CursorState)>, StorageError> {
        let mut found = Vec::new();
        for row in self.positions.iter()? {
            let (name, position) = row?;
            let ahead = self.ahead.get(name.value())?.map(|row| runs(row.value())).unwrap_or_default();
            found.push((name.value().to_owned(), CursorState { position: position.value(), ahead }));
        }
        Ok(found)
    }
}

fn runs(row: &[u8]) -> Vec<Run> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    row.chunks_exact(16).map(|run| (number(&run[..8]), number(&run[8..]))).collect()
}

impl Cursors<Table<'_, &'static str, u64>, Table<'_, &'static str, &'static [u8]>> {
    /// Moves a cursor forward, never back: what was acknowledged stays so. Answers whether anything changed; an error
    /// sentence where there are too many.
    pub(super) fn advance(
        &mut self,
        name: &str,
        given: &CursorState,
    ) -> Result<Result<bool, String>, StorageError> {
        let before = self.read(name)?;
        if before.is_none() && self.positions.len()? >= CURSORS_MAX {
            let refusal = format!(
                "cursor '{name}' would be one more than the {CURSORS_MAX} that a store keeps: delete one, or use an existing name"
            );
            return Ok(Err(refusal));
        }
        let mut state = before.clone().unwrap_or_default();
        state.add_up_to(given.position);
        for run in &given.ahead {
            state.add(*run);
        }
        if state.ahead.len() > CURSOR_RUNS_MAX {
            let refusal = format!(
                "cursor '{name}' has more than {CURSOR_RUNS_MAX} separate runs acknowledged: acknowledge in the order of delivery"
            );
            return Ok(Err(refusal));
        }
        if before.as_ref() == Some(&state) {
            return Ok(Ok(false));
        }
        self.positions.insert(name, state.position)?;
        if state.ahead.is_empty() {
            self.ahead.remove(name)?;
        } else {
            let row: Vec<u8> = state
                .ahead
                .iter()
                .flat_map(|(from, to)| from.to_le_bytes().into_iter().chain(to.to_le_bytes()))
                .collect();
            self.ahead.insert(name, row.as_slice())?;
        }
        Ok(Ok(true))
    }

    /// Answers whether there was one of this name.
    pub(super) fn delete(&mut self, name: &str) -> Result<bool, StorageError> {
        self.ahead.remove(name)?;
        Ok(self.positions.remove(name)?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_together_and_into_the_position() {
        let check = |runs: &[Run], position: u64, ahead: &[Run]| {
            let mut state = CursorState { position: 10, ahead: Vec::new() };
            for run in runs {
                state.add(*run);
            }
            assert_eq!((state.position, state.ahead.as_slice()), (position, ahead), "{runs:?}");
        };
        check(&[(1, 10)], 10, &[]);
        check(&[(11, 12)], 12, &[]);
        check(&[(9, 12)], 12, &[]);
        check(&[(13, 14)], 10, &[(13, 14)]);
        check(&[(13, 14), (16, 16), (15, 15)], 10, &[(13, 16)]);
        check(&[(20, 21), (13, 14)], 10, &[(13, 14), (20, 21)]);
        check(&[(13, 14), (20, 21), (11, 12)], 14, &[(20, 21)]);
        check(&[(13, 14), (20, 21), (12, 30)], 10, &[(12, 30)]);
        check(&[(13, 14), (20, 21), (11, 30)], 30, &[]);
        let mut state = CursorState { position: 3, ahead: vec![(5, 6)] };
        assert_eq!([3, 4, 5, 6, 7].map(|position| state.has(position)), [true, false, true, true, false]);
        assert_eq!(state.ahead_len(), 2);
        state.add_up_to(4);
        assert_eq!(state, CursorState { position: 6, ahead: Vec::new() });
    }
}
