//! Retention: takes out what is oldest by publication time, in bounded steps within a group, and moves the floor.
//!
//! Everything published before the floor is gone or about to go, so one number stands for a tombstone of all of it.
//! Knows rows; what may be removed at all, whoever asks has decided.

use redb::{ReadableTable, Table};
use sorcha_peer_core::event::Expired;
use sorcha_peer_core::types::WallTime;

use super::fault::Broken;
use super::schema::{
    CERTIFICATE_SLACK_MS, CERTIFICATE_SWEEP_MAX, EXPIRE_BYTES_MAX, EXPIRE_MAX, META_BYTES, META_FLOOR,
    META_HEAD,
};
use super::{buckets, envelope};

/// What retention asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// What was published before goes.
    pub(super) before: WallTime,
    /// The oldest goes while the transactions take more.
    pub(super) bytes_max: u64,
    /// What was published then or later stays.
    pub(super) keep_from: WallTime,
}

/// Numbers that change with what is held; written once for each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// Last position given out.
    pub(super) head: u64,
    /// Publication time below which everything is gone, ms.
    pub(super) floor: u64,
    /// Bytes that the transactions held take, as [`envelope::Writer::write`] counts them.
    pub(super) bytes: u64,
}

impl Account {
    pub(super) fn read<T>(meta: &T) -> Result<Self, Broken>
    where
        T: ReadableTable<&'static str, u64>,
    {
        let number = |name| Ok::<_, Broken>(meta.get(name)?.map_or(0, |found| found.value()));
        Ok(Self { head: number(META_HEAD)?, floor: number(META_FLOOR)?, bytes: number(META_BYTES)? })
    }

    pub(super) fn write(&self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), Broken> {
        meta.insert(META_HEAD, self.head)?;
        meta.insert(META_FLOOR, self.floor)?;
        meta.insert(META_BYTES, self.bytes)?;
        Ok(())
    }
}

/// The tables that a transaction is taken out of.
pub(super) struct Remover<'a, 'txn> {
    pub(super) ids: &'a mut Table<'txn, &'static [u8; 32], u64>,
    pub(super) order: &'a mut Table<'txn, &'static [u8; 40], ()>,
    pub(super) summary: &'a mut Table<'txn, &'static [u8; 41], &'static [u8; 44]>,
    pub(super) entries: &'a mut envelope::Writer<'txn>,
}

impl Remover<'_, '_> {
    /// One step; how far it came.
    pub(super) fn step(&mut self, limits: &Limits, account: &mut Account) -> Result<Expired, Broken> {
        let keep_from = limits.keep_from.as_unix_ms();
        account.floor = account.floor.max(limits.before.as_unix_ms().min(keep_from));
        let (mut removed, mut freed) = (0, 0);
        let mut more = false;
        loop {
            let Some(key) = self.order.first()?.map(|(key, _)| *key.value()) else { break };
            let published = buckets::published_ms(&key);
            let too_many = account.bytes > limits.bytes_max;
            if published >= keep_from || (published >= account.floor && !too_many) {
                break;
            }
            if removed >= EXPIRE_MAX || freed >= EXPIRE_BYTES_MAX {
                more = true;
                break;
            }
            // All of that millisecond goes: a floor stands between milliseconds.
            account.floor = account.floor.max(published + 1);
            let bytes = self.remove(&key)?;
            account.bytes = account.bytes.saturating_sub(bytes);
            freed += bytes;
            removed += 1;
        }
        if removed > 0 && !more {
            self.sweep_certificates(account.floor)?;
        }
        Ok(Expired { floor: WallTime::from_unix_ms(account.floor), removed, more })
    }

    /// Takes one out of every table; the bytes that it took. What a damaged store misses of it is not missed here.
    fn remove(&mut self, key: &buckets::Key) -> Result<u64, Broken> {
        buckets::Writer { order: &mut *self.order, summary: &mut *self.summary }.remove(key)?;
        let id = buckets::id_of(key);
        let Some(position) = self.ids.remove(id.as_bytes())?.map(|position| position.value()) else {
            tracing::warn!(%id, "retention removed a transaction that was not found by its id");
            return Ok(0);
        };
        Ok(self.entries.remove(position)?)
    }

    /// Drops certificates of the archive that signed nothing above the floor.
    fn sweep_certificates(&mut self, floor: u64) -> Result<(), Broken> {
        let mut unused = Vec::new();
        for row in self.entries.certificate_times.iter()?.take(CERTIFICATE_SWEEP_MAX) {
            let (digest, last) = row?;
            if last.value().saturating_add(CERTIFICATE_SLACK_MS) < floor {
                unused.push(*digest.value());
            }
        }
        for digest in &unused {
            self.entries.certificate_times.remove(digest)?;
            self.entries.certificates.remove(digest)?;
        }
        Ok(())
    }
}
