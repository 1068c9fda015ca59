//! Where a network's state lies on this machine, and how files get there whole.
//!
//! Knows paths and modes; what is in the files is known by those who write them.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::LocalError;

/// The directory of one network: `ca/`, `endpoints.json`, `supervisor.lock` and a folder per peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// Opens or makes `<base>/<network>`, mode 0700, because it holds private keys.
    pub(super) fn open(base: &Path, network: &str) -> Result<Self, LocalError> {
        let root = base.join(network);
        make_directory(&root)?;
        // Canonical, so that a process started from here is recognised by its command line later.
        let root = root.canonicalize().map_err(LocalError::state("finding the path of", &root))?;
        Ok(Self { root })
    }

    /// The directory itself, absolute.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The network's CA: `ca.crt` and `ca.key`.
    pub(super) fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// How other programs find the peers.
    pub(super) fn endpoints(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }

    /// Held by the supervisor.
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("supervisor.lock")
    }
}

/// `--state-dir`, else `$XDG_STATE_HOME/sorcha`, else `$HOME/.local/state/sorcha`.
pub(super) fn base(
    flag: Option<&Path>,
    xdg_state_home: Option<OsString>,
    home: Option<OsString>,
) -> Result<PathBuf, LocalError> {
    if let Some(flag) = flag {
        return Ok(flag.to_owned());
    }
    // The XDG base directory specification: a relative path there is invalid and ignored.
    let xdg = xdg_state_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || home.filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".local/state"));
    Ok(xdg.or_else(home).ok_or(LocalError::NoHome)?.join("sorcha"))
}

/// Files of one peer's folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerFolder<'a>(pub(super) &'a Path);

impl PeerFolder<'_> {
    /// Its configuration.
    pub(super) fn config(self) -> PathBuf {
        self.0.join("peer.yaml")
    }

    /// `tls.crt`, `tls.key` and `ca.crt`.
    pub(super) fn tls(self) -> PathBuf {
        self.0.join("tls")
    }

    /// The store.
    pub(super) fn state(self) -> PathBuf {
        self.0.join("state")
    }

    /// What the process writes to stdout and stderr.
    pub(super) fn log(self) -> PathBuf {
        self.0.join("peer.log")
    }
}

/// Makes a directory and its parents, mode 0700 where it is new.
pub(super) fn make_directory(path: &Path) -> Result<(), LocalError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(LocalError::state("making", path))
}

/// Writes a file so that a reader sees the old content or the new one, never a part: a neighbour is written,
/// synced, and renamed over it. Its mode is `mode` from the first byte on.
pub(super) fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<(), LocalError> {
    let mut name = path.file_name().expect("callers pass a file in a directory").to_owned();
    name.push(".new");
    let neighbour = path.with_file_name(name);
    let write = || {
        // What a killed run left behind may have another mode.
        match fs::remove_file(&neighbour) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&neighbour)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&neighbour, path)
    };
    write().map_err(LocalError::state("writing", path))
}

/// Writes the file only when its content differs. True when it was written.
pub(super) fn write_changed(path: &Path, content: &[u8], mode: u32) -> Result<bool, LocalError> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(false);
    }
    write_whole(path, content, mode).map(|()| true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn check_base(flag: Option<&str>, xdg: Option<&str>, home: Option<&str>, expected: Option<&str>) {
        let found = base(flag.map(Path::new), xdg.map(Into::into), home.map(Into::into)).ok();
        assert_eq!(found.as_deref(), expected.map(Path::new), "{flag:?} {xdg:?} {home:?}");
    }

    #[test]
    fn the_state_goes_where_flag_or_environment_say() {
        check_base(Some("target/sorcha"), Some("/x"), Some("/h"), Some("target/sorcha"));
        check_base(None, Some("/x"), Some("/h"), Some("/x/sorcha"));
        check_base(None, Some("relative"), Some("/h"), Some("/h/.local/state/sorcha"));
        check_base(None, None, Some("/h"), Some("/h/.local/state/sorcha"));
        check_base(None, None, Some(""), None);
        check_base(None, None, None, None);
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("key");
        fs::write(&path, "old and world-readable").expect("written");
        assert!(write_changed(&path, b"new", 0o600).expect("written"));
        assert!(!write_changed(&path, b"new", 0o600).expect("unchanged"));
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }
}
