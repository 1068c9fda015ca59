//! Named cursors: the last position that a subscriber acknowledged.

use redb::{ReadableTable, ReadableTableMetadata, StorageError, Table};

use super::schema::CURSORS_MAX;

/// Where the cursor stands; `None`: never acknowledged.
pub(super) fn read<T>(cursors: &T, name: &str) -> Result<Option<u64>, StorageError>
where
    T: ReadableTable<&'static str, u64>,
{
    Ok(cursors.get(name)?.map(|position| position.value()))
}

/// Moves a cursor forward, never back. Answers whether anything changed; an error sentence where there are too many.
pub(super) fn advance(
    cursors: &mut Table<'_, &'static str, u64>,
    name: &str,
    position: u64,
) -> Result<Result<bool, String>, StorageError> {
    match read(cursors, name)? {
        Some(before) if before >= position => return Ok(Ok(false)),
        None if cursors.len()? >= CURSORS_MAX => {
            let refusal = format!(
                "cursor '{name}' would be one more than the {CURSORS_MAX} that a store keeps: use an existing name"
            );
            return Ok(Err(refusal));
        }
        _ => {}
    }
    cursors.insert(name, position)?;
    Ok(Ok(true))
}
