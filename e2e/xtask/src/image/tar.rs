//! Tar archives (POSIX.1-1988 `ustar`) whose bytes depend on nothing but what goes in: no times, no names of users.
//!
//! Knows headers and padding; knows nothing of images.

use anyhow::{Result, ensure};

/// Everything in an archive lies in units of this (POSIX.1-1988, 10.1.1), in bytes.
const BLOCK: usize = 512;

/// What fits into the field for names; longer ones are not needed here. In bytes.
const NAME_MAX: usize = 100;

/// What fits into the field for sizes: eleven octal digits, in bytes.
const SIZE_MAX: u64 = 0o777_7777_7777;

/// An archive in the making.
#[derive(Debug, Default)]
pub(super) struct Tar {
    bytes: Vec<u8>,
}

/// Owner of an entry, user and group alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner(pub(super) u32);

/// The one of everything that is not written to.
pub(super) const ROOT: Owner = Owner(0);

impl Tar {
    /// A file.
    pub(super) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.header(name, mode, ROOT, b'0', content.len() as u64)?;
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// A directory; its parents come before it.
    pub(super) fn directory(&mut self, name: &str, mode: u32, owner: Owner) -> Result<()> {
        self.header(&format!("{name}/"), mode, owner, b'5', 0)
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 2 * BLOCK]);
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn header(&mut self, name: &str, mode: u32, owner: Owner, kind: u8, size: u64) -> Result<()> {
        ensure!(
            name.len() <= NAME_MAX,
            "`{name}` is too long a name for an archive ({NAME_MAX} bytes at most)"
        );
        ensure!(size <= SIZE_MAX, "`{name}` is too large for an archive: {size} bytes");
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, &format!("{:07o}", owner.0));
        put(116, &format!("{:07o}", owner.0));
        put(124, &format!("{size:011o}"));
        // The time of its last change: the beginning of time, always.
        put(136, "00000000000");
        // The sum is taken with blanks in its own place.
        put(148, "        ");
        put(257, "ustar\u{0}00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
        self.bytes.extend_from_slice(&header);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tar_reads_it() {
        let mut tar = Tar::default();
        tar.directory("etc", 0o755, ROOT).expect("it fits");
        tar.directory("var", 0o750, Owner(65_532)).expect("it fits");
        tar.file("etc/name", 0o644, b"content").expect("it fits");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.tar");
        std::fs::write(&path, tar.finish()).expect("it can be written");
        let listing =
            std::process::Command::new("tar").arg("-tvf").arg(&path).output().expect("tar is there");
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        let lines: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["drwxr-xr-x", "0/0", "0"], "{listing}");
        assert_eq!(lines[1][..3], ["drwxr-x---", "65532/65532", "0"], "{listing}");
        assert_eq!(lines[2][..3], ["-rw-r--r--", "0/0", "7"], "{listing}");
        assert!(lines[2].ends_with(&["etc/name"]), "{listing}");
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(Tar::default().file(&"a".repeat(101), 0o644, b"").is_err());
    }
}
