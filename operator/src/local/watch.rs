//! Noticing that the manifest's file has changed.
//!
//! Looks at the content itself, twice a second: that costs next to nothing for a file of a few KiB, and it
//! sees editors that replace the file, network file systems and touched files alike.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between looks. A person who saves a file does not notice half a second.
const INTERVAL: Duration = Duration::from_millis(500);
/// Longest manifest that is read: what a Kubernetes API server takes at most (etcd's request limit).
const MANIFEST_BYTES_MAX: u64 = 1536 * 1024;

/// Reads a manifest, which must be UTF-8 and not longer than the limit.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        let message = format!("it is longer than {MANIFEST_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

/// A file and the content last seen in it.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    interval: Duration,
    seen: Result<String, String>,
    pending: Option<Result<String, String>>,
}

impl Watch {
    /// Watches a file whose content is known.
    pub(super) fn new(path: PathBuf, content: String) -> Self {
        Self { path, interval: INTERVAL, seen: Ok(content), pending: None }
    }

    /// Waits until the file says something new, and says it for two looks in a row, so that a half-written file is
    /// not taken. An unreadable file is news too, told once, as a sentence.
    pub(super) async fn changed(&mut self) -> Result<String, String> {
        loop {
            tokio::time::sleep(self.interval).await;
            let now = read(&self.path).map_err(|error| error.to_string());
            if now == self.seen {
                self.pending = None;
            } else if self.pending.as_ref() == Some(&now) {
                self.pending = None;
                self.seen.clone_from(&now);
                return now;
            } else {
                self.pending = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn quiet(watch: &mut Watch) {
        let news = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
        assert!(news.is_err(), "{news:?}");
    }

    #[tokio::test]
    async fn a_replaced_a_missing_and_a_returned_file_are_each_news_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("network.yaml");
        fs::write(&path, "a").expect("written");
        let mut watch = Watch::new(path.clone(), "a".to_owned());
        watch.interval = Duration::from_millis(1);
        quiet(&mut watch).await;

        fs::write(directory.path().join("new"), "b").expect("written");
        fs::rename(directory.path().join("new"), &path).expect("replaced");
        assert_eq!(watch.changed().await.as_deref(), Ok("b"));

        fs::remove_file(&path).expect("removed");
        assert!(watch.changed().await.expect_err("missing").contains("No such file"));
        quiet(&mut watch).await;

        fs::write(&path, "b").expect("written");
        assert_eq!(watch.changed().await.as_deref(), Ok("b"));
    }
}
