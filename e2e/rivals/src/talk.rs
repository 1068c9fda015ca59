//! A child process that answers by lines. Every wait has a deadline.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

/// Lines that it may be ahead of its reader.
const LINES_MAX: usize = 4;

/// Killed when dropped.
#[derive(Debug)]
pub struct Talk {
    what: String,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    /// Starts it; `what` it is called in sentences.
    pub fn start(mut command: Command, what: &str) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{what} does not start"))?;
        let (stdin, stdout) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        let (lines_in, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines_in.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { what: what.to_owned(), child, stdin, lines })
    }

    /// Its number at the kernel.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it a line.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}")
            .and_then(|()| self.stdin.flush())
            .with_context(|| format!("{} has ended", self.what))
    }

    /// Its next line.
    pub fn hear(&mut self, within: Duration) -> Result<String> {
        self.lines
            .recv_timeout(within)
            .map_err(|_| anyhow!("{} has ended, or says nothing for {} s", self.what, within.as_secs()))
    }

    /// Tells it a line and waits for the answer.
    pub fn ask(&mut self, line: &str, within: Duration) -> Result<String> {
        self.tell(line)?;
        self.hear(within)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
