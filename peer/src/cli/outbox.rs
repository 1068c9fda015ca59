//! `outbox`, `holders` and `quarantine`: how far transactions have come, and those that do not go on.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Subcommand;
use sorcha_peer_core::types::TxId;
use sorcha_proto::v1::{
    GetHoldersRequest, GetTransactionRequest, ListOutboxRequest, ListQuarantineRequest, OutboxIds,
};

use crate::api::view::{HoldersJson, OutboxJson, QuarantineJson, TransactionJson};
use crate::cli::client::Client;
use crate::cli::console::{Cell, Console, Failure, Format, Tone};
use crate::cli::show::span_text;
use crate::cli::{Global, HoldersArgs};
use crate::clock::wall_now;

/// What `outbox` does.
#[derive(Debug, Subcommand)]
pub enum OutboxVerb {
    /// The oldest of them
    List {
        /// So many at most
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), default_value_t = 100)]
        limit: u32,
    },
    /// Bring transactions to linked peers now
    Retry {
        /// Their ids; none: all that are undeliverable
        ids: Vec<String>,
    },
    /// Write a transaction to a file: its header as JSON in the first line, then its body (up to 4 MiB)
    Export {
        /// Its id
        id: String,
        /// File, which must not be there yet
        file: PathBuf,
    },
    /// Take transactions out of the outbox; they stay in this peer's store
    Discard {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

fn id(text: &str) -> Result<Bytes, Failure> {
    let id: TxId = text.parse().map_err(|wrong| Failure::Usage(format!("{wrong}")))?;
    Ok(id.as_bytes().to_vec().into())
}

fn ids(texts: &[String]) -> Result<OutboxIds, Failure> {
    Ok(OutboxIds { ids: texts.iter().map(|text| id(text)).collect::<Result<_, _>>()? })
}

pub(super) async fn outbox(
    global: &Global,
    verb: &OutboxVerb,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    // What is wrong on the command line is said before anybody is asked.
    let named = match verb {
        OutboxVerb::Retry { ids } | OutboxVerb::Discard { ids } => self::ids(ids)?,
        OutboxVerb::Export { id, .. } => ids(std::slice::from_ref(id))?,
        OutboxVerb::List { .. } => OutboxIds::default(),
    };
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    let answer = match verb {
        OutboxVerb::List { limit } => {
            client.answer(node.list_outbox(ListOutboxRequest { limit: *limit })).await?
        }
        OutboxVerb::Retry { .. } => client.answer(node.retry_outbox(named)).await?,
        OutboxVerb::Discard { .. } => client.answer(node.discard_outbox(named)).await?,
        OutboxVerb::Export { file, .. } => {
            let id = named.ids.into_iter().next().unwrap_or_default();
            return export(&client, id, file).await;
        }
    };
    let outbox = OutboxJson::from(answer.into_inner());
    if global.output != Format::Table {
        return console.value(global.output, &outbox);
    }
    if outbox.transactions == 0 {
        return Ok(writeln!(console.out, "the outbox is empty")?);
    }
    let rows: Vec<Vec<Cell>> = outbox
        .entries
        .iter()
        .map(|entry| {
            let state = match entry.undeliverable.as_str() {
                "" => Cell::toned("waits, or is on its way", Tone::Dim),
                reason => Cell::toned(format!("undeliverable: {reason}"), Tone::Bad),
            };
            vec![Cell::new(&entry.id), Cell::new(span_text(entry.age_ms)), state]
        })
        .collect();
    console.table(&["ID", "AGE", "STATE"], &rows)?;
    if outbox.transactions > outbox.entries.len() as u64 {
        let more = outbox.transactions - outbox.entries.len() as u64;
        writeln!(console.out, "and {more} more, of earlier starts or beyond --limit")?;
    }
    Ok(())
}

async fn export(client: &Client, id: Bytes, path: &std::path::Path) -> Result<(), Failure> {
    let mut node = client.node.clone();
    let request = GetTransactionRequest { id, header_only: false };
    let transaction = client.answer(node.get_transaction(request)).await?.into_inner();
    let body = transaction.body.clone();
    let header = serde_json::to_string(&TransactionJson::from(transaction)).expect("text and numbers");
    let failed =
        |error: std::io::Error| Failure::Failed(format!("{} cannot be written: {error}", path.display()));
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(header.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.write_all(&body).and_then(|()| file.sync_all()).map_err(failed)
}

pub(super) async fn holders(
    global: &Global,
    args: &HoldersArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let id = id(&args.id)?;
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    let wait = args.wait.or(args.wanted.map(|_| client.timeout())).unwrap_or_default();
    let request = GetHoldersRequest {
        id,
        wanted: args.wanted.unwrap_or(0),
        wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
    };
    let asking =
        tokio::time::timeout(client.timeout() + wait + Duration::from_secs(1), node.get_holders(request));
    let answer = asking.await.map_err(|_| client.late())?.map_err(|status| client.failure(&status))?;
    let found = HoldersJson::from(answer.into_inner());
    if global.output == Format::Table {
        writeln!(console.out, "{}", found.holders)?;
    } else {
        console.value(global.output, &found)?;
    }
    match args.wanted {
        Some(wanted) if found.holders < wanted => Err(Failure::TimedOut(format!(
            "{} of {wanted} other peers are known to hold it so far",
            found.holders
        ))),
        _ => Ok(()),
    }
}

pub(super) async fn quarantine(
    global: &Global,
    retry: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    let answer = client.answer(node.list_quarantine(ListQuarantineRequest { retry })).await?;
    let kept = QuarantineJson::from(answer.into_inner());
    if global.output != Format::Table {
        return console.value(global.output, &kept);
    }
    if kept.entries.is_empty() {
        return Ok(writeln!(console.out, "nothing is kept aside")?);
    }
    let now = wall_now().as_unix_ms();
    let rows: Vec<Vec<Cell>> = kept
        .entries
        .iter()
        .map(|entry| {
            vec![
                Cell::new(&entry.id),
                Cell::new(&entry.origin),
                Cell::new(span_text(now.saturating_sub(entry.since_unix_ms))),
                Cell::new(&entry.reason),
            ]
        })
        .collect();
    console.table(&["ID", "ORIGIN", "SINCE", "REASON"], &rows)
}
