//! Certificates on disk: a peer's directory (`tls.crt`, `tls.key`, `ca.crt`) and a CA's (`ca.crt`, `ca.key`).
//!
//! A directory may hold the certificates of several peers, each under its own name (`<peer>.crt`, `<peer>.key`): so
//! a Kubernetes Secret of a whole pool is mounted. Every file is written whole and renamed into place; keys have
//! mode 0600 from their first byte.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::authority::{Authority, AuthorityError, Issued};

/// A peer's certificate chain.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// A peer's key.
pub const KEY_FILE: &str = "tls.key";
/// The roots that a peer trusts; in a CA's directory its own root.
pub const TRUST_FILE: &str = "ca.crt";
/// A CA's key.
pub const AUTHORITY_KEY_FILE: &str = "ca.key";
/// The link through which Kubernetes swaps all files of a mounted Secret or ConfigMap at once.
const SWAP_LINK: &str = "..data";
/// Swaps that one reading waits out; the kubelet swaps about once a minute (guess).
const SWAPS_MAX: usize = 3;
/// Longest file that is read.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{} cannot be {verb}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Longer than [`FILE_BYTES_MAX`].
    #[error("{} has {bytes} bytes; at most {FILE_BYTES_MAX} are read", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// No certificate for this peer.
    #[error(
        "{} holds no certificate for this peer: neither {CERTIFICATE_FILE} with {KEY_FILE} nor {name}.crt with {name}.key is there; issue one with `sorcha-peer cert issue`, or correct name or tls.directory",
        directory.display()
    )]
    NoIdentity {
        /// Which directory.
        directory: PathBuf,
        /// Name of the peer.
        name: String,
    },
    /// A CA is there already.
    #[error("{} holds a CA already: it is not overwritten, since every certificate hangs on it; choose another directory", directory.display())]
    AuthorityExists {
        /// Which directory.
        directory: PathBuf,
    },
    /// The files were read and make no CA.
    #[error("{} holds no usable CA: {source}", directory.display())]
    Authority {
        /// Which directory.
        directory: PathBuf,
        /// Why.
        source: AuthorityError,
    },
}

/// Where a peer's certificate, key and roots lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The peer's certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The roots that it trusts.
    pub trust: PathBuf,
}

impl IdentityFiles {
    /// The files of this peer in a directory: `tls.crt` and `tls.key` where one of them is there, else `<name>.crt`
    /// and `<name>.key`. What is half there is named by whoever reads it.
    pub fn of(directory: &Path, name: &str) -> Result<Self, FileError> {
        // A link that leads nowhere is there: it is being swapped, or broken.
        let there = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
        let plain = (CERTIFICATE_FILE.to_owned(), KEY_FILE.to_owned());
        let by_name = (format!("{name}.crt"), format!("{name}.key"));
        for (certificate, key) in [plain, by_name] {
            let (certificate, key) = (directory.join(certificate), directory.join(key));
            if there(&certificate) || there(&key) {
                return Ok(Self { certificate, key, trust: directory.join(TRUST_FILE) });
            }
        }
        // A directory that is not there, or may not be read, says more than a missing file.
        fs::read_dir(directory).map_err(|source| FileError::Io {
            path: directory.to_owned(),
            verb: "read",
            source,
        })?;
        Err(FileError::NoIdentity { directory: directory.to_owned(), name: name.to_owned() })
    }
}

/// A peer's certificate, key and roots as they are on disk.
#[derive(Debug, Clone)]
pub struct IdentityContent {
    /// Where they were read.
    pub files: IdentityFiles,
    /// PEM.
    pub certificate: Vec<u8>,
    /// PEM; wiped from memory when dropped.
    pub key: Zeroizing<Vec<u8>>,
    /// PEM.
    pub trust: Vec<u8>,
}

/// Reads what a directory holds for a peer. Where Kubernetes swaps the directory meanwhile (the link `..data` leads
/// elsewhere), all is read again, so that no key is taken with the certificate of another mount.
pub fn read_identity(directory: &Path, name: &str) -> Result<IdentityContent, FileError> {
    let mut target = swap_target(directory);
    let mut content = read_identity_once(directory, name);
    for _ in 0..SWAPS_MAX {
        let now = swap_target(directory);
        if now == target {
            break;
        }
        target = now;
        content = read_identity_once(directory, name);
    }
    content
}

fn read_identity_once(directory: &Path, name: &str) -> Result<IdentityContent, FileError> {
    let files = IdentityFiles::of(directory, name)?;
    Ok(IdentityContent {
        certificate: read(&files.certificate)?,
        key: Zeroizing::new(read(&files.key)?),
        trust: read(&files.trust)?,
        files,
    })
}

/// Where Kubernetes' link leads; `None` in other directories.
fn swap_target(directory: &Path) -> Option<PathBuf> {
    fs::read_link(directory.join(SWAP_LINK)).ok()
}

/// Writes a peer's directory, made where it is missing (mode 0700).
pub fn write_identity(directory: &Path, issued: &Issued, trust_pem: &str) -> Result<(), FileError> {
    make_directory(directory)?;
    write(&directory.join(TRUST_FILE), trust_pem.as_bytes(), 0o644)?;
    write(&directory.join(KEY_FILE), issued.key_pem.as_bytes(), 0o600)?;
    write(&directory.join(CERTIFICATE_FILE), issued.cert_pem.as_bytes(), 0o644)
}

/// Writes a CA's directory; never over a CA that is there.
pub fn write_authority(directory: &Path, authority: &Authority) -> Result<(), FileError> {
    make_directory(directory)?;
    let (certificate, key) = (directory.join(TRUST_FILE), directory.join(AUTHORITY_KEY_FILE));
    if certificate.exists() || key.exists() {
        return Err(FileError::AuthorityExists { directory: directory.to_owned() });
    }
    write(&key, authority.key_pem().as_bytes(), 0o600)?;
    write(&certificate, authority.certificate_pem().as_bytes(), 0o644)
}

/// Reads a CA's directory.
pub fn read_authority(directory: &Path) -> Result<Authority, FileError> {
    let certificate = read(&directory.join(TRUST_FILE))?;
    let key = Zeroizing::new(read(&directory.join(AUTHORITY_KEY_FILE))?);
    Authority::from_pem(&certificate, &key)
        .map_err(|source| FileError::Authority { directory: directory.to_owned(), source })
}

/// Reads a file of at most [`FILE_BYTES_MAX`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let refused = |source| FileError::Io { path: path.to_owned(), verb: "read", source };
    let bytes = fs::metadata(path).map_err(refused)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(FileError::TooLong { path: path.to_owned(), bytes });
    }
    fs::read(path).map_err(refused)
}

/// Writes a file whole: to a temporary name beside it, synced, then renamed.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let refused = |source| FileError::Io { path: path.to_owned(), verb: "written", source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let _ = fs::remove_file(&temporary);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(refused)
}

fn make_directory(directory: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| FileError::Io {
        path: directory.to_owned(),
        verb: "written",
        source,
    })
}
