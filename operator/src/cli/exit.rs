//! Exit codes, and a failure that carries one.

use std::fmt;
use std::process::ExitCode;

/// How a verb ends when it does not succeed. The same numbers in all Sorcha programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: it was tried and failed.
    Failed,
    /// 2: the command line, a manifest or another input is wrong.
    Usage,
    /// 3: what it needs does not answer.
    Unreachable,
    /// 4: it is not allowed now.
    Refused,
    /// 5: it took too long.
    TimedOut,
    /// 130: interrupted a second time, as a shell reports a program ended by Ctrl-C.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Refused => 4,
            Exit::TimedOut => 5,
            Exit::Interrupted => 130,
        })
    }
}

/// A verb's failure: what happened, and the exit code that says which kind it is.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The sentence, with its causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// Wrong input, as a sentence.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Usage, error)
    }
}

/// One line: the sentence, then each cause after a colon.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// An error and its causes in one line, each after a colon.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_one_line_with_its_causes() {
        let cause = std::io::Error::other("no such file");
        let error = anyhow::Error::new(cause).context("the manifest a.yaml cannot be read");
        assert_eq!(Failure::usage(error).to_string(), "the manifest a.yaml cannot be read: no such file");
    }
}
