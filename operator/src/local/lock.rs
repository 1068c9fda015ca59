//! One supervisor per network: an advisory lock on a file of its state directory.
//!
//! The kernel releases it when the process ends, however it ends, so that a killed supervisor blocks nobody.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::error::LocalError;

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock and writes down who has it: process id, then manifest.
pub(super) fn take(path: &Path, network: &str, manifest: &Path) -> Result<Lock, LocalError> {
    let failed = || LocalError::state("locking", path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(refused(path, network)),
        Err(TryLockError::Error(error)) => return Err(failed()(error)),
    }
    let holder = format!("{}\n{}\n", std::process::id(), manifest.display());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(failed())?;
    Ok(Lock { _file: file })
}

fn refused(path: &Path, network: &str) -> LocalError {
    let holder = fs::read_to_string(path).unwrap_or_default();
    let mut lines = holder.lines();
    LocalError::AlreadyRuns {
        network: network.to_owned(),
        pid: lines.next().and_then(|pid| pid.parse().ok()).unwrap_or(0),
        manifest: lines.next().unwrap_or("its manifest").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_the_first_ones_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("supervisor.lock");
        let first = take(&path, "quickstart", Path::new("/srv/a-much-longer-name.yaml")).expect("free");
        let refused = take(&path, "quickstart", Path::new("b.yaml")).expect_err("held").to_string();
        let expected = format!(
            "the network quickstart is already run by process {} from /srv/a-much-longer-name.yaml;",
            std::process::id()
        );
        assert!(refused.starts_with(&expected), "{refused}");

        drop(first);
        let second = take(&path, "quickstart", Path::new("b.yaml")).expect("free again");
        assert_eq!(fs::read_to_string(&path).expect("read"), format!("{}\nb.yaml\n", std::process::id()));
        drop(second);
    }
}
