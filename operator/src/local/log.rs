//! A peer's `peer.log`: opened for the process itself, bounded from outside, read back when something is wrong.
//!
//! The process writes to the file without this program in between, so that its last words survive both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// From this length on the log is moved to `peer.log.1`, which replaces the one before. A guess.
const ROTATE_BYTES: u64 = 10 * 1024 * 1024;
/// How far back the last lines are looked for. A guess; log lines are a few hundred bytes.
const TAIL_BYTES: u64 = 32 * 1024;

/// The log, opened so that every write goes to its end even after it was cut.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Copies a log that grew too long aside and empties it; the process keeps its open file. Lines written between
/// copy and cut are lost, which is the price of not standing between the process and its log.
pub(super) fn bound(path: &Path) -> io::Result<bool> {
    if fs::metadata(path).map_or(0, |it| it.len()) < ROTATE_BYTES {
        return Ok(false);
    }
    fs::copy(path, path.with_extension("log.1"))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

/// The last lines at most, oldest first; none where there is no log.
pub(super) fn last_lines(path: &Path, lines: usize) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_long_log_is_moved_aside_while_its_writer_goes_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("peer.log");
        let mut writer = open(&path).expect("opened");
        writeln!(writer, "first").expect("written");
        assert!(!bound(&path).expect("short"));
        writer.write_all(&vec![b'x'; ROTATE_BYTES as usize]).expect("written");
        assert!(bound(&path).expect("long"));
        writeln!(writer, "after").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"after\n");
        assert!(fs::metadata(directory.path().join("peer.log.1")).expect("kept").len() > ROTATE_BYTES);
    }

    #[test]
    fn the_last_lines_are_given_oldest_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("peer.log");
        assert!(last_lines(&path, 3).is_empty());
        fs::write(&path, "a\n\nb\nc\nd\n").expect("written");
        assert_eq!(last_lines(&path, 3), ["b", "c", "d"]);
        assert_eq!(last_lines(&path, 30), ["a", "b", "c", "d"]);
    }
}
