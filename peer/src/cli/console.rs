//! How the commands speak: output for people or programs, failures as one sentence with an exit code.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// The same names as in REST
    Json,
    /// The same names as in REST
    Yaml,
}

/// Why a command ended without success. The message is a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Exit code 3.
    #[error("{0}")]
    Unreachable(String),
    /// Exit code 4.
    #[error("{0}")]
    Refused(String),
    /// Exit code 5.
    #[error("{0}")]
    TimedOut(String),
    /// The reader of the output has gone: exit code 0, for that is how `| head` ends.
    #[error("the reader of the output has gone")]
    OutputClosed,
}

impl Failure {
    /// The documented exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
            Self::TimedOut(_) => 5,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("the output could not be written: {error}")),
        }
    }
}

/// Where a command writes, and how colourful.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Failures and progress.
    pub err: &'a mut dyn Write,
    /// `out` is a terminal that takes colours.
    pub colour: bool,
    /// `err` is a terminal: progress may be shown.
    pub progress: bool,
}

/// Colours of words in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
    /// Of less interest.
    Dim,
}

impl<'a> Console<'a> {
    /// The process's own streams.
    pub fn standard(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        // https://no-color.org: any value that is not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { out, err, colour: !plain && io::stdout().is_terminal(), progress: io::stderr().is_terminal() }
    }

    /// Streams of a test or a caller: no colours, no progress.
    pub fn plain(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, colour: false, progress: false }
    }

    /// Shows what clap has to say: help is a result, the rest a usage failure.
    pub(crate) fn clap(&mut self, error: &clap::Error) -> u8 {
        let text = error.render();
        // Where even this cannot be written there is nobody to tell.
        let _ = if error.use_stderr() { write!(self.err, "{text}") } else { write!(self.out, "{text}") };
        u8::from(error.use_stderr()) * 2
    }

    /// Flushes, shows a failure, gives the exit code.
    pub(crate) fn end(&mut self, result: Result<(), Failure>) -> u8 {
        let result = result.and_then(|()| Ok(self.out.flush()?));
        let Err(failure) = result else { return 0 };
        if !matches!(failure, Failure::OutputClosed) {
            // Where even this cannot be written there is nobody to tell.
            let _ = writeln!(self.err, "sorcha-peer: {}", crate::cli::escape::lines(&failure.to_string()));
        }
        failure.code()
    }

    /// The word in its colour, where colours are shown.
    pub(crate) fn tone(&self, tone: Tone, word: &str) -> String {
        if !self.colour {
            return word.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
        };
        format!("\x1b[{code}m{word}\x1b[0m")
    }

    /// Writes a value for programs.
    pub(crate) fn value<T: Serialize>(&mut self, format: Format, value: &T) -> Result<(), Failure> {
        let text = match format {
            Format::Yaml => serde_saphyr::to_string(value)
                .map_err(|error| Failure::Failed(format!("the answer does not fit YAML: {error}")))?,
            Format::Json | Format::Table => {
                let mut text = serde_json::to_string_pretty(value)
                    .map_err(|error| Failure::Failed(format!("the answer does not fit JSON: {error}")))?;
                text.push('\n');
                text
            }
        };
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Writes rows in columns as wide as their widest cell; the last is not padded. Cells are text without
    /// colours; `tones` colours a whole column's cell by row.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) -> Result<(), Failure> {
        let columns = head.len();
        let mut widths: Vec<usize> = head.iter().map(|name| name.len()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut lines = String::new();
        let head: Vec<Cell> =
            head.iter().map(|name| Cell { text: (*name).to_owned(), tone: Some(Tone::Dim) }).collect();
        for row in std::iter::once(&head).chain(rows) {
            for (at, cell) in row.iter().enumerate() {
                let pad = if at + 1 == columns { 0 } else { widths[at] + 2 - cell.text.chars().count() };
                match cell.tone {
                    Some(tone) => lines.push_str(&self.tone(tone, &cell.text)),
                    None => lines.push_str(&cell.text),
                }
                lines.extend(std::iter::repeat_n(' ', pad));
            }
            lines.push('\n');
        }
        Ok(self.out.write_all(lines.as_bytes())?)
    }
}

/// One cell of a table; its text is made safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// Without colour.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: crate::cli::escape::text(text.as_ref()), tone: None }
    }

    /// With one.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { tone: Some(tone), ..Self::new(text) }
    }
}
