//! Idempotency keys with their time: remembered for a day, swept in bounded steps.

use redb::{ReadableTable, StorageError, Table};
use sorcha_peer_core::types::{TxId, WallTime};

use super::schema::{KEY_AGE_MS_MAX, KEY_SWEEP_MAX};

/// The transaction accepted under `key`, where that is less than a day ago. A time ahead of the clock counts as now.
pub(super) fn recall<T>(keys: &T, key: &str, now: WallTime) -> Result<Option<TxId>, StorageError>
where
    T: ReadableTable<&'static str, (u64, &'static [u8; 32])>,
{
    let found = keys.get(key)?;
    Ok(found.and_then(|found| {
        let (accepted, id) = found.value();
        (now.as_unix_ms().saturating_sub(accepted) < KEY_AGE_MS_MAX).then(|| TxId::from_bytes(*id))
    }))
}

/// Both tables, open in a group.
pub(super) struct Writer<'txn> {
    pub(super) keys: Table<'txn, &'static str, (u64, &'static [u8; 32])>,
    pub(super) times: Table<'txn, (u64, &'static str), ()>,
}

impl Writer<'_> {
    /// Keeps `key` for `id`, unless it still stands for an earlier transaction. Answers whether it did.
    pub(super) fn keep(&mut self, key: &str, id: &TxId, now: WallTime) -> Result<bool, StorageError> {
        if recall(&self.keys, key, now)?.is_some() {
            return Ok(false);
        }
        let now = now.as_unix_ms();
        let expired = self.keys.insert(key, (now, id.as_bytes()))?.map(|before| before.value().0);
        if let Some(before) = expired {
            self.times.remove((before, key))?;
        }
        self.times.insert((now, key), ())?;
        Ok(true)
    }

    /// Drops keys of more than a day ago, the oldest first and not too many at once. Answers how many.
    pub(super) fn sweep(&mut self, now: WallTime) -> Result<usize, StorageError> {
        let oldest_kept = (now.as_unix_ms() + 1).saturating_sub(KEY_AGE_MS_MAX);
        let mut expired = Vec::new();
        for row in self.times.range((0, "")..(oldest_kept, ""))?.take(KEY_SWEEP_MAX) {
            let (at, ()) = row.map(|(at, unit)| (at, unit.value()))?;
            let (accepted, key) = at.value();
            expired.push((accepted, key.to_owned()));
        }
        for (accepted, key) in &expired {
            self.times.remove((*accepted, key.as_str()))?;
            self.keys.remove(key.as_str())?;
        }
        Ok(expired.len())
    }
}
