//! What can go wrong, as sentences: at open, at a read, in a group. Knows the errors of the database; decides
//! nothing but whether space is missing and whether the database has to be opened anew.

use std::io;
use std::path::PathBuf;

use sorcha_peer_core::event::StoreFault;

/// Why a store could not be opened. Nothing was changed, except that a missing directory may have been made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path, or a part of it, is a file.
    #[error("the state directory {} is not a directory: name a directory, or move the file away", .0.display())]
    NotADirectory(PathBuf),
    /// No permission, or a read-only file system.
    #[error("the state directory {} is not writable ({error}): grant this user write access to it, or name another", directory.display())]
    NotWritable {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No space left.
    #[error("the state directory {} has no space left ({detail}): free some and start again; nothing was lost", directory.display())]
    Full {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// Another process holds the lock.
    #[error("the state directory {} is in use by {holder}: stop that peer first, or give this one a directory of its own", directory.display())]
    InUse {
        /// Which.
        directory: PathBuf,
        /// `process 1234`, where it left its number.
        holder: String,
    },
    /// Written by a later version.
    #[error("the store {} has layout {found}, this program reads layouts up to {known}: run the newer sorcha-peer that wrote it, or start with an empty state directory", file.display())]
    Newer {
        /// The database.
        file: PathBuf,
        /// Layout found.
        found: u64,
        /// Newest layout known.
        known: u64,
    },
    /// Not a store at all.
    #[error("{} is not a Sorcha store ({detail}): move it away, or name another state directory", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The database contradicts itself.
    #[error("the store {} is damaged ({detail}): `sorcha-peer store check` lists the damage, and `sorcha-peer store repair` keeps what is whole, so that the peer fetches the rest again from others that hold it", file.display())]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// There is no store where one was expected.
    #[error("there is no store in {}: name the state directory of a peer that has run", .0.display())]
    Missing(PathBuf),
    /// Any other failure of the system.
    #[error("the store {} could not be opened: {detail}", file.display())]
    Failed {
        /// The database.
        file: PathBuf,
        /// What the system said.
        detail: String,
    },
}

/// What a piece of work on the database ended in.
#[derive(Debug)]
pub(super) enum Broken {
    /// The database or the system under it.
    Database(Box<redb::Error>),
    /// What was read contradicts the layout.
    Damaged(String),
    /// The code of the database panicked: it found what it never wrote.
    Panicked(String),
    /// The store is closed, or waits to be opened anew.
    Closed,
}

impl<E: Into<redb::Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// Whether space or quota is missing, or the file may not grow.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl Broken {
    /// Whether only a database opened anew can answer: after a fault of the device nothing else does.
    pub(super) fn wants_reopening(&self) -> bool {
        use redb::Error::{Backend, DatabaseClosed, Io, LockPoisoned, PreviousIo};
        match self {
            Self::Database(error) => {
                matches!(**error, Io(_) | PreviousIo | DatabaseClosed | LockPoisoned(_) | Backend(_))
            }
            Self::Closed => true,
            Self::Panicked(_) | Self::Damaged(_) => false,
        }
    }

    /// What was found, for a list of damage.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Damaged(detail) => detail.clone(),
            Self::Panicked(detail) => format!("a page of the database is not what was written: {detail}"),
            Self::Database(error) => error.to_string(),
            Self::Closed => "the database closed itself".to_owned(),
        }
    }

    /// Whether somebody still reads.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(**error, redb::Error::TransactionInProgress))
    }

    /// Whether only missing space is to blame.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(&**error, redb::Error::Io(error) if is_full(error)))
    }

    /// As a sentence for those who asked.
    pub(super) fn fault(&self, file: &std::path::Path) -> StoreFault {
        let file = file.display();
        let check = "stop the peer and run `sorcha-peer store check`";
        match self {
            Self::Database(error) => match &**error {
                redb::Error::Io(error) if is_full(error) => {
                    StoreFault::Full(format!("{file}: {error}; accepting again as soon as there is space"))
                }
                redb::Error::Corrupted(detail) => {
                    StoreFault::Failed(format!("{file} is damaged ({detail}); {check}"))
                }
                error => StoreFault::Failed(format!("{file}: {error}")),
            },
            Self::Damaged(detail) => StoreFault::Failed(format!("{file} is damaged ({detail}); {check}")),
            Self::Panicked(detail) => {
                StoreFault::Failed(format!("{file} could not be read ({detail}); {check}"))
            }
            Self::Closed => StoreFault::Failed(format!("{file} is closed")),
        }
    }
}

/// Runs work on the database, whose code may panic on pages that it never wrote.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Broken::Panicked(text.unwrap_or("no reason given").to_owned()))
    })
}
