//! The writer's thread: takes what waits, commits it as one group, syncs, answers; and opens the database anew after
//! a fault of the device. Nothing is answered as durable before its commit has returned.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sorcha_peer_core::event::StoreFault;

use super::fault::{Broken, guarded};
use super::group::{self, Applied, Operation};
use super::journal::{self, Journal};
use super::open::open_database;
use super::queue::Group;
use super::schema::{COMPACT_LIVE_BYTES_MAX, COMPACT_PART, QUICK_REPAIR_FROM_BYTES, RESERVE_BYTES};
use super::shared::Shared;

/// First pause between attempts on a device that fails; doubles until a commit succeeds (guess).
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause (guess: an attempt may read the whole database).
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What holds a live byte takes so many of the file at most, where nothing was removed (measured: 1.01 with bodies of
/// 1 KB, 1.97 with bodies of 16 KiB, whose pages are of 32 KiB).
const LIVE_TAKES: u64 = 2;
/// Between two attempts to make the file smaller (guess: what it gains comes with hours of retention).
const COMPACT_EVERY: Duration = Duration::from_secs(10 * 60);
/// How long readers are waited for before the file is made smaller (guess: a few pages of a slow disk).
const READERS_END_WITHIN: Duration = Duration::from_secs(1);

/// A group of fewer awaited operations is followed at once by the next: one client alone waits for each answer before it
/// submits again.
const GATHER_FROM_OPS: usize = 2;
/// The next group starts so many times what this one took after this one's start, while operations come: where the
/// processors are busy a group takes long, and costs hardly more the more there is in it (measured as below: 4 times, 1.64 processors;
/// 8 times, 1.58, and a lower p99).
const GATHER_TIMES: u32 = 8;
/// Longest time between the starts (measured with five peers on two cores, 1,000 transactions/s of 1 KB, always as long: p99
/// to all 191 ms where no group gathers, 131 with 20 ms, 109 with 40, and less processor time; over five minutes 283 ms with 40
/// and 484 with 80).
const GATHER_MAX: Duration = Duration::from_millis(40);

/// How long after a group the database takes onto the device what only the journal has there (measured: what it writes for all
/// groups of a second is hardly more than for one; five peers on two cores, 1,000 transactions/s of 1 KB, 40 s each
/// by turns with a program without a journal: p99 to all 144 instead of 205 ms).
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// The same after a group that nobody waits for: what a crash takes of it, others tell again (guess: a sync of the disk in
/// between is not worth it).
const QUIET_SETTLE_AFTER: Duration = Duration::from_secs(30);

/// Runs until the store is closed.
pub(super) fn run(shared: Arc<Shared>, journal: Journal) {
    let mut writer = Writer {
        shared,
        journal: Some(journal),
        is_behind: false,
        settle_at: None,
        pause: PAUSE_MIN,
        reopen_at: None,
        hold: None,
        unsynced: false,
        compacted: None,
        gather_until: None,
    };
    writer.work();
}

/// What became of a group's writes.
enum Way {
    /// There were none.
    Nowhere,
    /// The database shows them, and has them on the device after this time.
    Held(Duration),
    /// The database has them on the device, and all before.
    Settled,
}

struct Writer {
    shared: Arc<Shared>,
    pause: Duration,
    /// When to try to open the database again, and why it is closed.
    reopen_at: Option<(Instant, StoreFault)>,
    /// Until when transactions are refused, though the database is open, and why.
    hold: Option<(Instant, StoreFault)>,
    /// The database was opened after a fault: even a group that changes nothing commits, and so syncs, before it
    /// is answered.
    unsynced: bool,
    /// There while the database is.
    journal: Option<Journal>,
    /// The database shows what it has not on the device.
    is_behind: bool,
    /// When it takes that there.
    settle_at: Option<Instant>,
    /// Until when the next group gathers.
    gather_until: Option<Instant>,
    /// When it was last tried to make the file smaller.
    compacted: Option<Instant>,
}

impl Drop for Writer {
    // Also when a callback panicked: those who come later are refused, not left waiting.
    fn drop(&mut self) {
        self.shared.queue.close();
        loop {
            let rest = self.shared.queue.take(None, None);
            let fault = StoreFault::Failed("the store is closed: the peer is shutting down".to_owned());
            refuse_all(rest.operations, &fault);
            if rest.last {
                break;
            }
        }
        self.journal = None;
        self.shared.shut();
    }
}

impl Writer {
    fn work(&mut self) {
        loop {
            let deadline = self.reopen_at.as_ref().map(|(at, _)| *at).or(self.settle_at);
            let Group { operations, reopen, last } =
                self.shared.queue.take(deadline, self.gather_until.take());
            if reopen.is_some_and(|generation| generation == self.shared.door.generation()) {
                self.close_database();
            }
            let opened = self.ensure_open();
            if !operations.is_empty() {
                match opened {
                    Ok(()) => self.commit(operations),
                    Err(fault) => refuse_all(operations, &fault),
                }
            }
            if last || self.settle_at.is_some_and(|at| at <= Instant::now()) {
                self.settle();
            }
            if last {
                return;
            }
        }
    }

    /// Lets the database take onto the device what it shows. Where that fails, nothing that was answered is lost, and new
    /// transactions are refused until it succeeds.
    fn settle(&mut self) {
        self.settle_at = None;
        if !self.is_behind {
            return;
        }
        let settled = guarded(|| {
            let mut txn = self.shared.door.begin_write()?;
            txn.set_quick_repair(self.shared.stats().bytes >= QUICK_REPAIR_FROM_BYTES);
            Ok(txn.commit()?)
        });
        match settled {
            Ok(()) => self.settled(),
            Err(broken) => {
                let again = self.next_attempt();
                self.hold = Some((again, broken.fault(&self.shared.file)));
                // Whether it opens shows with the next group.
                let _opened = self.reopen(&broken);
                self.settle_at = Some(again);
            }
        }
    }

    /// A synced commit of the database has everything.
    fn settled(&mut self) {
        (self.unsynced, self.is_behind) = (false, false);
        self.settle_at = None;
        if let Some(journal) = &mut self.journal {
            journal.begin_again();
        }
    }

    fn commit(&mut self, operations: Vec<Operation>) {
        let operations = match self.room_for(&operations) {
            Ok(()) => operations,
            Err(fault) => {
                // Only transactions need room; the rest is small and may use the reserve.
                let (transactions, rest): (Vec<_>, Vec<_>) = operations
                    .into_iter()
                    .partition(|operation| matches!(operation, Operation::Persist { .. }));
                refuse_all(transactions, &fault);
                if rest.is_empty() {
                    return;
                }
                rest
            }
        };
        let started = Instant::now();
        match self.attempt_twice(&operations) {
            Ok(applied) => {
                self.pause = PAUSE_MIN;
                self.hold = None;
                let took = started.elapsed();
                self.shared.committed(&applied, took);
                let awaited = operations.iter().filter(|operation| operation.is_awaited()).count();
                let pause = (GATHER_TIMES * took).min(GATHER_MAX);
                self.gather_until = (awaited >= GATHER_FROM_OPS).then(|| started + pause);
                let trimmed = applied.trimmed;
                for (operation, outcome) in operations.into_iter().zip(applied.outcomes) {
                    operation.answer(outcome);
                }
                if trimmed {
                    self.compact();
                }
            }
            Err(fault) => {
                self.hold = Some((self.next_attempt(), fault.clone()));
                refuse_all(operations, &fault);
            }
        }
    }

    /// A fault ends the database's session: it is opened anew, so that reads go on. Unless space is missing the group
    /// is tried once more, which also finds what the failed commit may have made durable.
    fn attempt_twice(&mut self, operations: &[Operation]) -> Result<Applied, StoreFault> {
        let broken = match self.attempt(operations) {
            Ok(applied) => return Ok(applied),
            Err(broken) => broken,
        };
        self.reopen(&broken)?;
        if broken.is_full() {
            return Err(broken.fault(&self.shared.file));
        }
        self.attempt(operations).or_else(|broken| {
            self.reopen(&broken)?;
            Err(broken.fault(&self.shared.file))
        })
    }

    /// Gives space back to the system that retention has freed in the file, where that is much of it, nobody waits, and
    /// what is left is soon moved. What is freed otherwise is used again.
    fn compact(&mut self) {
        let stats = self.shared.stats();
        let from = self.shared.compact_from_bytes.load(Ordering::Relaxed);
        let worth = stats.bytes >= from && stats.live_bytes < stats.bytes / COMPACT_PART;
        let soon = self.compacted.is_some_and(|at| at.elapsed() < COMPACT_EVERY);
        if !worth || soon || stats.live_bytes > COMPACT_LIVE_BYTES_MAX || self.shared.queue.is_awaited() {
            return;
        }
        let Some(mut database) = self.shared.door.borrow() else { return };
        let started = Instant::now();
        let result = loop {
            match guarded(|| Ok(database.compact()?)) {
                Err(broken) if broken.is_in_use() && started.elapsed() < READERS_END_WITHIN => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => break result,
            }
        };
        self.shared.door.put(database);
        self.compacted = Some(Instant::now());
        let bytes = self.shared.resized();
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(_) => tracing::info!(before = stats.bytes, bytes, seconds, "the file was made smaller"),
            // A fault of the device shows again with the next group, which opens the database anew.
            Err(broken) => {
                let fault = broken.fault(&self.shared.file);
                tracing::warn!(%fault, "the file was not made smaller");
            }
        }
    }

    fn reopen(&mut self, broken: &Broken) -> Result<(), StoreFault> {
        let fault = broken.fault(&self.shared.file);
        tracing::warn!(%fault, "the database is closed, opened again and verified");
        self.close_database();
        self.ensure_open()
    }

    /// When a failing device is tried again.
    fn next_attempt(&mut self) -> Instant {
        // Several peers may share the device: none of them in step.
        let jitter = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs() % 1000;
        let pause = self.pause.mul_f64(0.5 + f64::from(jitter) / 1000.0);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Instant::now() + pause
    }

    /// One transaction of the database: durable where this answers `Ok`, in the journal or in the database itself.
    fn attempt(&mut self, operations: &[Operation]) -> Result<Applied, Broken> {
        let now = (self.shared.clock)();
        let (shared, journal, unsynced) = (&self.shared, &mut self.journal, self.unsynced);
        let (applied, way) = guarded(|| {
            let journal = journal.as_mut().ok_or(Broken::Closed)?;
            let mut txn = shared.door.begin_write()?;
            let applied = group::apply(&txn, operations, now)?;
            if !applied.changed && !unsynced {
                txn.abort()?;
                return Ok((applied, Way::Nowhere));
            }
            if !unsynced && !operations.iter().any(Operation::is_awaited) {
                // Nobody was told that it is durable: it goes to the device with what was.
                journal::commit(txn)?;
                return Ok((applied, Way::Held(QUIET_SETTLE_AFTER)));
            }
            journal::number_group(&txn, journal.next())?;
            if !unsynced && journal.takes(operations) {
                journal.append(operations, now)?;
                journal::commit(txn)?;
                return Ok((applied, Way::Held(SETTLE_AFTER)));
            }
            txn.set_quick_repair(shared.stats().bytes >= QUICK_REPAIR_FROM_BYTES);
            txn.commit()?;
            journal.passed();
            Ok((applied, Way::Settled))
        })?;
        match way {
            Way::Nowhere => {}
            Way::Settled => self.settled(),
            Way::Held(after) => {
                let at = Instant::now() + after;
                self.settle_at = Some(self.settle_at.map_or(at, |earlier| earlier.min(at)));
                self.is_behind = true;
            }
        }
        Ok(applied)
    }

    /// Refuses before the device does: a full device would end the database's session.
    fn room_for(&self, operations: &[Operation]) -> Result<(), StoreFault> {
        if let Some((until, fault)) = &self.hold
            && Instant::now() < *until
        {
            return Err(fault.clone());
        }
        let Some(available) = self.shared.backing.available() else { return Ok(()) };
        let bytes: usize = operations.iter().map(Operation::bytes).sum();
        // Pages are copied on write: about twice the bytes, and the indices.
        let needed = RESERVE_BYTES + 2 * bytes as u64;
        // Pages that retention has freed are used before the file grows.
        let stats = self.shared.stats();
        let free_inside = stats.bytes.saturating_sub(stats.live_bytes * LIVE_TAKES);
        if available >= needed || free_inside >= needed {
            return Ok(());
        }
        Err(StoreFault::Full(format!(
            "{} has {available} bytes left on its device, of which {RESERVE_BYTES} stay in reserve; accepting again \
             as soon as there is space",
            self.shared.file.display()
        )))
    }

    fn close_database(&mut self) {
        self.journal = None;
        let Some(database) = self.shared.door.take() else { return };
        let closed = guarded(|| Ok(database.close()?));
        if let Err(broken) = closed {
            tracing::debug!(fault = %broken.fault(&self.shared.file), "closing after a fault");
        }
        // What the system still holds may differ from what is on the device after a failed sync.
        self.shared.backing.forget_cached();
    }

    fn ensure_open(&mut self) -> Result<(), StoreFault> {
        if self.shared.door.is_open() {
            return Ok(());
        }
        if let Some((at, fault)) = &self.reopen_at
            && Instant::now() < *at
        {
            return Err(fault.clone());
        }
        let backing = &*self.shared.backing;
        let opened = guarded(|| {
            let database = open_database(backing, self.shared.cache_bytes_max)?;
            let journal = Journal::recover(&database, backing.journal()?)?;
            Ok((database, journal))
        });
        match opened {
            Ok((database, journal)) => {
                self.reopen_at = None;
                self.unsynced = true;
                self.is_behind = journal.is_needed();
                self.settle_at = self.is_behind.then(|| Instant::now() + SETTLE_AFTER);
                self.journal = Some(journal);
                self.shared.door.put(database);
                Ok(())
            }
            Err(broken) => {
                let fault = broken.fault(&self.shared.file);
                tracing::warn!(%fault, "the database does not open; it is tried again");
                self.reopen_at = Some((self.next_attempt(), fault.clone()));
                Err(fault)
            }
        }
    }
}

fn refuse_all(operations: Vec<Operation>, fault: &StoreFault) {
    for operation in operations {
        operation.refuse(fault);
    }
}
