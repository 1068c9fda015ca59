//! Telling the user what happens: for people, or a line of JSON or a YAML document per event.

mod human;

use std::io::{self, Write};

use super::event::Event;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: tables and sentences.
    #[default]
    Table,
    /// One JSON object per line.
    Json,
    /// One YAML document per event.
    Yaml,
}

/// Writes events in one of the formats.
pub(super) struct Report {
    style: Style,
}

enum Style {
    Human(human::Human),
    Json,
    Yaml,
}

impl Report {
    /// To the process's stdout and stderr.
    pub(super) fn new(format: Format) -> Self {
        let style = match format {
            Format::Table => Style::Human(human::Human::new()),
            Format::Json => Style::Json,
            Format::Yaml => Style::Yaml,
        };
        Self { style }
    }

    /// Tells one event. A reader that went away is no reason to end the network.
    pub(super) fn tell(&mut self, event: &Event) {
        let _ = match &mut self.style {
            Style::Human(human) => human.tell(event),
            Style::Json => json(event, &mut io::stdout().lock()).and(trouble(event)),
            Style::Yaml => yaml(event, &mut io::stdout().lock()).and(trouble(event)),
        };
    }
}

/// Programs read stdout; whoever looks at their stderr is told in words what is wrong.
fn trouble(event: &Event) -> io::Result<()> {
    match event {
        Event::ManifestRejected { .. }
        | Event::CrashLoop { .. }
        | Event::NotLinked { .. }
        | Event::Warning { .. } => io::stderr().lock().write_all(human::text(event).as_bytes()),
        _ => Ok(()),
    }
}

fn json(event: &Event, out: &mut impl Write) -> io::Result<()> {
    let line = serde_json::to_string(event).map_err(io::Error::other)?;
    writeln!(out, "{line}")?;
    out.flush()
}

fn yaml(event: &Event, out: &mut impl Write) -> io::Result<()> {
    let text = serde_saphyr::to_string(event).map_err(io::Error::other)?;
    write!(out, "---\n{}\n", text.trim_end())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Event {
        Event::Exited {
            peer: "quickstart-peers-2".into(),
            how: "was killed by signal 9".into(),
            restart_in_ms: 84,
        }
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        let mut out = Vec::new();
        json(&progress(), &mut out).expect("written");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "{\"event\":\"exited\",\"peer\":\"quickstart-peers-2\",\"how\":\"was killed by signal 9\",\"restartInMs\":84}\n"
        );
    }

    #[test]
    fn an_event_is_one_document_of_yaml() {
        let mut out = Vec::new();
        yaml(&progress(), &mut out).expect("written");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "---\nevent: exited\npeer: quickstart-peers-2\nhow: was killed by signal 9\nrestartInMs: 84\n"
        );
    }
}
