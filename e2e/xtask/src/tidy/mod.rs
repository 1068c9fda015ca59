//! The architecture held by checks. Each violation is a sentence with its place and what to do.
//!
//! Knows the repository as files and as cargo's own description of it; compiles nothing.

mod crates;
mod licences;
mod purity;
mod rooms;
mod shape;
mod source;
mod texts;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::shell::{Workspace, say};
use source::Source;

/// What is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    file: String,
    /// From 1; 0 where the whole file is meant.
    line: usize,
    says: String,
}

impl Violation {
    fn new(file: &str, line: usize, says: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, says: says.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.says),
            line => write!(f, "{}:{line}: {}", self.file, self.says),
        }
    }
}

/// Runs every rule and prints what they found.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let metadata = workspace.metadata()?;
    let mut found = crates::check(workspace, &metadata)?;
    found.extend(licences::check(workspace, &metadata)?);
    let files = workspace.files()?;
    let (mut sources, mut long) = (0, Vec::new());
    for file in &files {
        let Ok(text) = std::fs::read_to_string(workspace.root().join(file)) else { continue };
        found.extend(texts::check_file(file, &text, &|path| workspace.root().join(path).exists()));
        if Path::new(file).extension() != Some("rs".as_ref()) {
            continue;
        }
        sources += 1;
        let source = Source::read(file, &text);
        found.extend(shape::check(&source));
        found.extend(purity::check(&source));
        found.extend(rooms::check(&source));
        if source.lines.len() > shape::LINES_LONG {
            long.push((source.lines.len(), file.as_str()));
        }
    }
    let changelog = std::fs::read_to_string(workspace.root().join("CHANGELOG.md"));
    found.extend(texts::check_changelog(&changelog.context("CHANGELOG.md cannot be read")?));
    report(&mut found, sources, &mut long)
}

fn report(found: &mut Vec<Violation>, sources: usize, long: &mut [(usize, &str)]) -> Result<()> {
    long.sort_by(|a, b| b.cmp(a));
    for (lines, file) in &*long {
        say(&format!(
            "note: {file} has {lines} lines; {} is where a file begins to be long",
            shape::LINES_LONG
        ));
    }
    found.sort();
    found.dedup();
    for violation in &*found {
        say(&violation.to_string());
    }
    if !found.is_empty() {
        bail!("tidy found {} violations; each line above says what to do", found.len());
    }
    say(&format!("tidy: {sources} source files, no violations"));
    Ok(())
}
