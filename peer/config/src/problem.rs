//! What is wrong with a configuration: every finding names its key, the value and the way out.

use std::fmt;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `listen.peer`; empty: the whole file.
    pub key: String,
    /// As a sentence without the key.
    pub message: String,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, from 1.
    Line(u64),
    /// A variable of the environment.
    Environment(String),
    /// Left out, or built in memory.
    Nowhere,
}

impl Problem {
    pub(crate) fn new(key: &str, origin: Origin, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into(), origin }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.origin {
            Origin::Line(line) => write!(f, " (line {line})"),
            Origin::Environment(variable) => write!(f, " (from the environment's {variable})"),
            Origin::Nowhere => Ok(()),
        }
    }
}

/// All findings, in the order of the file. Shown one per line.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.0.sort_by_key(|problem| match problem.origin {
            Origin::Line(line) => line,
            _ => u64::MAX,
        });
        self
    }

    pub(crate) fn without_lines(mut self) -> Self {
        self.0.iter_mut().for_each(|problem| problem.origin = Origin::Nowhere);
        self
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
