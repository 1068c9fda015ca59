//! `cursors`: what named subscriptions have acknowledged.

use clap::Subcommand;
use sorcha_proto::v1::{DeleteCursorRequest, ListCursorsRequest};

use crate::api::view::{CursorJson, CursorsJson};
use crate::cli::client::Client;
use crate::cli::console::{Cell, Console, Failure, Format, Tone};
use crate::cli::{Global, escape};

/// What `cursors` does.
#[derive(Debug, Subcommand)]
pub enum CursorsVerb {
    /// All of them
    List,
    /// One of them
    Show {
        /// Its name
        name: String,
    },
    /// Delete one, and end whoever subscribes with it
    Delete {
        /// Its name
        name: String,
    },
}

pub(super) async fn cursors(
    global: &Global,
    verb: &CursorsVerb,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    if let CursorsVerb::Delete { name } = verb {
        let request = DeleteCursorRequest { name: name.clone() };
        client.answer(node.delete_cursor(request)).await?;
        return Ok(());
    }
    let answer = client.answer(node.list_cursors(ListCursorsRequest {})).await?;
    let found = CursorsJson::from(answer.into_inner());
    match verb {
        CursorsVerb::Show { name } => {
            let cursor = found.cursors.iter().find(|cursor| cursor.name == *name).ok_or_else(|| {
                Failure::Refused(format!(
                    "there is no cursor '{}' here: `sorcha-peer cursors list` names them",
                    escape::text(name)
                ))
            })?;
            if global.output != Format::Table {
                return console.value(global.output, cursor);
            }
            table(console, std::slice::from_ref(cursor))
        }
        _ if global.output != Format::Table => console.value(global.output, &found),
        _ if found.cursors.is_empty() => Ok(writeln!(console.out, "there is no cursor")?),
        _ => table(console, &found.cursors),
    }
}

fn table(console: &mut Console<'_>, cursors: &[CursorJson]) -> Result<(), Failure> {
    let row = |cursor: &CursorJson| {
        let subscribed =
            if cursor.subscribed { Cell::toned("yes", Tone::Good) } else { Cell::toned("no", Tone::Dim) };
        vec![
            Cell::new(&cursor.name),
            Cell::new(cursor.position.to_string()),
            Cell::new(cursor.ahead.to_string()),
            Cell::new(cursor.behind.to_string()),
            subscribed,
        ]
    };
    let rows: Vec<Vec<Cell>> = cursors.iter().map(row).collect();
    console.table(&["NAME", "POSITION", "AHEAD", "BEHIND", "SUBSCRIBED"], &rows)
}
