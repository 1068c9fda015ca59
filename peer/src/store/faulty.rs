//! A disk in memory that fails on purpose: it loses and tears what was not synced, fills up, refuses to sync, and
//! goes dark after a number of operations. For tests only.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::open::Backing;
use super::schema::JOURNAL_BYTES;

/// What a power failure keeps or loses as one.
const SECTOR_BYTES: usize = 512;
/// Unit in which space is taken.
const BLOCK_BYTES: u64 = 4096;

/// How the disk misbehaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// `sync_data` answers without having done anything.
    pub(super) sync_is_omitted: bool,
    /// So many further syncs fail, and what they should have made durable is gone.
    pub(super) failing_syncs: u32,
    /// Operations until the power goes.
    pub(super) power_for: Option<u64>,
    /// Bytes that blocks may take.
    pub(super) capacity: Option<u64>,
    /// Whether the free space can be asked for.
    pub(super) space_is_known: bool,
}

/// What is on a disk: the database and its journal.
pub(super) type Image = [Vec<u8>; 2];
/// In an [`Image`].
const DATABASE: usize = 0;
const JOURNAL: usize = 1;

#[derive(Debug, Default)]
struct Content {
    /// What a power failure leaves.
    durable: Vec<u8>,
    /// What the system shows.
    current: Vec<u8>,
    /// Written, not synced: offset and bytes.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct State {
    files: [Content; 2],
    /// Blocks of the database; the journal has all of its from the start.
    taken: BTreeSet<u64>,
    faults: Faults,
    operations: u64,
    syncs: u64,
}

/// The disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

/// A file on it, by its place in an [`Image`].
#[derive(Debug)]
struct OnDisk(Disk, usize);

impl Disk {
    /// A disk with this content, all of it durable.
    pub(super) fn holding(image: Image) -> Self {
        let disk = Self::default();
        let mut state = disk.lock();
        state.taken = (0..(image[DATABASE].len() as u64).div_ceil(BLOCK_BYTES)).collect();
        state.files =
            image.map(|bytes| Content { durable: bytes.clone(), current: bytes, pending: Vec::new() });
        drop(state);
        disk
    }

    /// The file of the database.
    pub(super) fn database_file(&self) -> impl StorageBackend {
        OnDisk(self.clone(), DATABASE)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how it misbehaves.
    pub(super) fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Reads, writes and syncs so far.
    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Syncs that did what they say.
    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Bytes that blocks take.
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken.len() as u64 * BLOCK_BYTES
    }

    /// What a power failure at this moment leaves at the least.
    pub(super) fn durable(&self) -> Image {
        self.lock().files.each_ref().map(|file| file.durable.clone())
    }

    /// What a power failure leaves: all that was synced, and of the rest whichever sectors the seed picks.
    pub(super) fn after_power_failure(&self, seed: u64) -> Image {
        let mut rng = StdRng::seed_from_u64(seed);
        self.lock().files.each_ref().map(|file| {
            let kept = [0.0, 0.2, 0.5, 0.9, 1.0][rng.random_range(0..5)];
            let mut image = file.durable.clone();
            if rng.random_bool(0.5) {
                image.resize(file.current.len(), 0);
            }
            for (offset, bytes) in &file.pending {
                for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    let at = offset + index * SECTOR_BYTES;
                    if at + sector.len() <= image.len() && rng.random_bool(kept) {
                        image[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            image
        })
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.faults.power_for.is_some_and(|power_for| self.operations > power_for) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }
}

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.0.lock();
        state.operate()?;
        Ok(state.files[self.1].current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        let found = state.files[self.1].current.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        state.files[self.1].current.resize(length as usize, 0);
        if self.1 == DATABASE {
            state.taken.split_off(&length.div_ceil(BLOCK_BYTES));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        let State { files, faults, syncs, .. } = &mut *state;
        let file = &mut files[self.1];
        if faults.failing_syncs > 0 {
            faults.failing_syncs -= 1;
            file.pending.clear();
            return Err(io::Error::from_raw_os_error(5));
        }
        if !faults.sync_is_omitted {
            file.durable.clone_from(&file.current);
            file.pending.clear();
            *syncs += 1;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        let blocks = if self.1 == DATABASE { data.len() } else { 0 } as u64;
        let new: Vec<u64> = (offset / BLOCK_BYTES..(offset + blocks).div_ceil(BLOCK_BYTES))
            .filter(|block| !state.taken.contains(block))
            .collect();
        let taken = (state.taken.len() + new.len()) as u64 * BLOCK_BYTES;
        if !new.is_empty() && state.faults.capacity.is_some_and(|capacity| taken > capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.taken.extend(new);
        let (start, end) = (offset as usize, offset as usize + data.len());
        let file = &mut state.files[self.1];
        if file.current.len() < end {
            file.current.resize(end, 0);
        }
        file.current[start..end].copy_from_slice(data);
        file.pending.push((start, data.to_vec()));
        Ok(())
    }
}

impl Backing for Disk {
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.database_file())
    }

    fn journal(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = OnDisk(self.clone(), JOURNAL);
        if file.len()? < JOURNAL_BYTES {
            file.set_len(JOURNAL_BYTES)?;
            file.sync_data()?;
        }
        Ok(Box::new(file))
    }

    fn forget_cached(&self) {
        // After a sync that failed, what was not durable then is gone; what was only not synced yet is still there.
        for file in &mut self.lock().files {
            let mut shown = file.durable.clone();
            shown.resize(file.current.len(), 0);
            for (offset, bytes) in &file.pending {
                if offset + bytes.len() <= shown.len() {
                    shown[*offset..offset + bytes.len()].copy_from_slice(bytes);
                }
            }
            file.current = shown;
        }
    }

    fn available(&self) -> Option<u64> {
        let state = self.lock();
        let capacity = state.faults.capacity.filter(|_| state.faults.space_is_known)?;
        Some(capacity.saturating_sub(state.taken.len() as u64 * BLOCK_BYTES))
    }

    fn bytes(&self) -> u64 {
        self.taken()
    }
}
