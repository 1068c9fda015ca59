//! Opening: the directory, its lock, the database file, its layout, the new incarnation. Knows paths and what the
//! system says of them; nothing of transactions.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableHandle,
};
use sorcha_peer_core::config::next_incarnation;
use sorcha_peer_core::envelope::SignedRecord;
use sorcha_peer_core::types::WallTime;

use super::fault::{Broken, OpenError, is_full};
use super::journal::Journal;
use super::overlay::Overlay;
use super::retention::Account;
use super::schema::{
    CERTIFICATE_TIMES, CERTIFICATES, CURSORS, CURSORS_AHEAD, IDS, JOURNAL_BYTES, KEY_TIMES, KEYS, LOG, META,
    META_INCARNATION, META_SCHEMA, META_STORE, ORDER, RECORDS, SCHEMA, SEGMENTS, SUMMARY, TREES,
    VERIFY_BYTES_MAX,
};
use super::{buckets, migrate, records};
use crate::clock::wall_now;
use crate::random;

/// The database in a state directory.
pub(super) const DATABASE_FILE: &str = "store.redb";
/// What it has not on the device yet.
pub(super) const JOURNAL_FILE: &str = "store.journal";
/// A database that is being made; it gets its name when it is whole.
pub(super) const FRESH_FILE: &str = "store.redb.new";
/// Page cache of a database that is made or read at one go.
const PASSING_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Held locked while a store is open; names the process that holds it.
const LOCK_FILE: &str = "store.lock";

/// What lies under the database: a file, or something that fails on purpose.
pub(super) trait Backing: Send + Sync + fmt::Debug {
    /// Opens a database on it.
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError>;
    /// The file of its journal, [`JOURNAL_BYTES`] long, made where it is missing.
    fn journal(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Drops what the system holds in memory of both.
    fn forget_cached(&self);
    /// Bytes that it may still grow by, where that is known.
    fn available(&self) -> Option<u64>;
    /// Bytes that it takes.
    fn bytes(&self) -> u64;
}

/// The database file of a state directory.
#[derive(Debug)]
pub(super) struct FileBacking {
    pub(super) file: PathBuf,
}

impl Backing for FileBacking {
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.file)?;
        builder.create_with_backend(FileBackend::new(file)?)
    }

    fn journal(&self) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.file.with_file_name(JOURNAL_FILE);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened?;
        if file.metadata()?.len() < JOURNAL_BYTES {
            // Room that is there needs no change of the file's own data at each sync; what not every file system can do.
            let made = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, JOURNAL_BYTES);
            match made.map_err(io::Error::from) {
                Err(error) if is_full(&error) => return Err(error),
                _ => file.set_len(JOURNAL_BYTES)?,
            }
            file.sync_all()?;
            sync_directory(path.parent().unwrap_or(Path::new("")))?;
        }
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn forget_cached(&self) {
        // Advice: where the system does not take it, the verification sees its memory instead of the device.
        for path in [&self.file, &self.file.with_file_name(JOURNAL_FILE)] {
            if let Ok(file) = File::open(path) {
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            }
        }
    }

    fn available(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.file).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |metadata| metadata.blocks() * 512)
    }
}

/// Opens the database; small ones are verified whole, large ones only after a crash.
pub(super) fn open_database(backing: &dyn Backing, cache_bytes_max: u64) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(usize::try_from(cache_bytes_max).unwrap_or(usize::MAX));
    builder.set_check_integrity_on_open(backing.bytes() <= VERIFY_BYTES_MAX);
    backing.database(&builder)
}

/// Makes the directory where it is missing.
pub(super) fn prepare_directory(directory: &Path) -> Result<(), OpenError> {
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(OpenError::NotADirectory(directory.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(directory_error(directory, error)),
    }
    let missing = directory.ancestors().take_while(|part| !part.exists()).count();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    // A directory is durable when the one that names it is.
    let named = made.and_then(|()| directory.ancestors().skip(1).take(missing).try_for_each(sync_directory));
    named.map_err(|error| directory_error(directory, error))
}

/// Makes durable what a directory names.
fn sync_directory(directory: &Path) -> io::Result<()> {
    let here = directory.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { directory })?.sync_all()
}

fn directory_error(directory: &Path, error: io::Error) -> OpenError {
    let directory = directory.to_owned();
    match error.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => OpenError::NotADirectory(directory),
        _ if is_full(&error) => OpenError::Full { directory, detail: error.to_string() },
        _ => OpenError::NotWritable { directory, error },
    }
}

/// Takes the directory's lock, or says who holds it.
pub(super) fn lock_directory(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_FILE);
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(|error| directory_error(directory, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = Read::by_ref(&mut file).take(20).read_to_string(&mut text);
            let process = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
            let holder = process.map_or("another process".to_owned(), |id| format!("process {id}"));
            return Err(OpenError::InUse { directory: directory.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(directory_error(directory, error)),
    }
    // The number is for people: on a full device the lock holds without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Makes the database file where it is missing: under another name first, so that a crash leaves none half made.
pub(super) fn create_database(directory: &Path) -> Result<PathBuf, OpenError> {
    let path = directory.join(DATABASE_FILE);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => {
            // A start that ended between the two steps below left the name, but not on the device.
            sync_directory(directory).map_err(|error| directory_error(directory, error))?;
            return Ok(path);
        }
        Ok(_) => {
            let detail = "it is not a regular file".to_owned();
            return Err(OpenError::Foreign { file: path, detail });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(directory_error(directory, error)),
    }
    let database = make_fresh(directory)?;
    database.close().map_err(|error| open_error(directory, &path, &error.into()))?;
    replace_by(directory, false)?;
    Ok(path)
}

/// A new, empty database under another name.
pub(super) fn make_fresh(directory: &Path) -> Result<Database, OpenError> {
    let fresh = directory.join(FRESH_FILE);
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    made.map_err(|error| directory_error(directory, error))?;
    let database = open_database(&FileBacking { file: fresh.clone() }, PASSING_CACHE_BYTES as u64);
    let database = database.map_err(|error| open_error(directory, &fresh, &error.into()))?;
    start(&database, directory, &fresh)?;
    Ok(database)
}

/// Gives the new, closed database its name. What has that name is set aside where it is to be kept; under which name.
pub(super) fn replace_by(directory: &Path, keep: bool) -> Result<Option<PathBuf>, OpenError> {
    let path = directory.join(DATABASE_FILE);
    let name = |number: u32| directory.join(format!("{DATABASE_FILE}.damaged-{number}"));
    let aside = if keep { (1..=u32::MAX).map(name).find(|path| !path.exists()) } else { None };
    let kept = aside.as_ref().map_or(Ok(()), |aside| std::fs::hard_link(&path, aside));
    kept.and_then(|()| std::fs::rename(directory.join(FRESH_FILE), &path))
        .and_then(|()| sync_directory(directory))
        .map_err(|error| directory_error(directory, error))?;
    Ok(aside)
}

/// Opens a database file so that nothing of it changes.
pub(super) fn open_overlay(file: &Path) -> Result<Database, Broken> {
    let overlay = Overlay::new(File::open(file)?)?;
    let mut builder = Builder::new();
    builder.set_cache_size(PASSING_CACHE_BYTES);
    Ok(builder.create_with_backend(overlay)?)
}

/// Lets a database that was opened so, of this layout, show what is in its journal.
pub(super) fn overlay_journal(database: &Database, file: &Path) -> Result<(), Broken> {
    match File::open(file.with_file_name(JOURNAL_FILE)) {
        Ok(journal) => Journal::recover(database, Box::new(Overlay::new(journal)?)).map(|_| ()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What an opened database says of itself.
pub(super) struct Start {
    pub(super) incarnation: u64,
    pub(super) records: Vec<Arc<SignedRecord>>,
    pub(super) transactions: u64,
    pub(super) account: Account,
    pub(super) oldest: Option<WallTime>,
}

/// Lays out an empty database, or checks the layout of one with content.
pub(super) fn start(database: &Database, directory: &Path, file: &Path) -> Result<(), OpenError> {
    let broken = |broken: Broken| open_error(directory, file, &broken);
    if is_empty(database).map_err(broken)? {
        return lay_out(database).map_err(broken);
    }
    match check_layout(database, file, broken)? {
        SCHEMA => Ok(()),
        found => {
            migrate::migrate(database, found, file).map_err(|broken| open_error(directory, file, &broken))
        }
    }
}

/// The version of the layout; refuses what is no store, or a later version's.
pub(super) fn check_layout(
    database: &Database,
    file: &Path,
    broken: impl FnOnce(Broken) -> OpenError,
) -> Result<u64, OpenError> {
    let file = file.to_owned();
    match layout(database) {
        Ok(Some(found)) if found > SCHEMA => Err(OpenError::Newer { file, found, known: SCHEMA }),
        Ok(Some(found @ 1..)) => Ok(found),
        Ok(Some(0) | None) => {
            let detail = "it is a database of another program".to_owned();
            Err(OpenError::Foreign { file, detail })
        }
        Err(error) => Err(broken(error)),
    }
}

fn is_empty(database: &Database) -> Result<bool, Broken> {
    Ok(database.begin_read()?.list_tables()?.next().is_none())
}

fn layout(database: &Database) -> Result<Option<u64>, Broken> {
    let snapshot = database.begin_read()?;
    if !snapshot.list_tables()?.any(|table| table.name() == META.name()) {
        return Ok(None);
    }
    let meta = match snapshot.open_table(META) {
        Err(redb::TableError::TableTypeMismatch { .. }) => return Ok(None),
        opened => opened?,
    };
    Ok(meta.get(META_SCHEMA)?.map(|found| found.value()))
}

fn lay_out(database: &Database) -> Result<(), Broken> {
    let txn = database.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_SCHEMA, SCHEMA)?;
        meta.insert(META_STORE, random::number())?;
    }
    txn.open_table(LOG)?;
    txn.open_table(IDS)?;
    txn.open_table(SEGMENTS)?;
    txn.open_table(TREES)?;
    txn.open_table(CERTIFICATES)?;
    txn.open_table(CERTIFICATE_TIMES)?;
    txn.open_table(ORDER)?;
    txn.open_table(SUMMARY)?;
    txn.open_table(KEYS)?;
    txn.open_table(KEY_TIMES)?;
    txn.open_table(CURSORS)?;
    txn.open_table(CURSORS_AHEAD)?;
    txn.open_table(RECORDS)?;
    txn.commit()?;
    Ok(())
}

/// Counts this start, durably, and reads what the last one left.
pub(super) fn begin(database: &Database) -> Result<Start, Broken> {
    let txn = database.begin_write()?;
    let incarnation = {
        let mut meta = txn.open_table(META)?;
        let last = meta.get(META_INCARNATION)?.map_or(0, |last| last.value());
        let new = next_incarnation(last, wall_now());
        meta.insert(META_INCARNATION, new)?;
        new
    };
    // Younger than the first stores of this version.
    txn.open_table(CURSORS_AHEAD)?;
    txn.commit()?;
    let snapshot = database.begin_read()?;
    Ok(Start {
        incarnation,
        records: records::all(&snapshot.open_table(RECORDS)?)?,
        transactions: snapshot.open_table(IDS)?.len()?,
        account: Account::read(&snapshot.open_table(META)?)?,
        oldest: snapshot
            .open_table(ORDER)?
            .first()?
            .map(|(key, _)| WallTime::from_unix_ms(buckets::published_ms(key.value()))),
    })
}

/// What a database's refusal means for whoever starts the peer.
pub(super) fn open_error(directory: &Path, file: &Path, broken: &Broken) -> OpenError {
    let (directory, file) = (directory.to_owned(), file.to_owned());
    let error = match broken {
        Broken::Damaged(detail) | Broken::Panicked(detail) => {
            return OpenError::Damaged { file, detail: detail.clone() };
        }
        Broken::Closed => return OpenError::Failed { file, detail: "it was closed".to_owned() },
        Broken::Database(error) => error,
    };
    match &**error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            OpenError::InUse { directory, holder: "another process".to_owned() }
        }
        redb::Error::UpgradeRequired(version) => {
            let detail = format!("its file format is version {version}, which only older programs read");
            OpenError::Foreign { file, detail }
        }
        redb::Error::Io(error) if is_full(error) => OpenError::Full { directory, detail: error.to_string() },
        redb::Error::Io(error) if error.kind() == ErrorKind::PermissionDenied => {
            OpenError::NotWritable { directory, error: io::Error::new(error.kind(), error.to_string()) }
        }
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            OpenError::Foreign { file, detail: error.to_string() }
        }
        redb::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            OpenError::Damaged { file, detail: format!("it is cut off: {error}") }
        }
        redb::Error::Corrupted(detail) => OpenError::Damaged { file, detail: detail.clone() },
        error => OpenError::Failed { file, detail: error.to_string() },
    }
}
