//! `submit`: a file, standard input or a text, streamed in parts.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use sorcha_proto::v1::submit_part::Part;
use sorcha_proto::v1::{SubmitEnd, SubmitPart, SubmitResponse, SubmitStart};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::level::HOLDERS_MAX;
use crate::api::view::SubmittedJson;
use crate::cli::client::Client;
use crate::cli::console::{Console, Failure, Format};
use crate::cli::{Global, SubmitArgs};

/// Bytes read and sent at a time.
const PART_BYTES: usize = 256 * 1024;
/// Parts read and not yet sent.
const PARTS_QUEUED_MAX: usize = 4;
/// A submission that takes longer shows a bar.
const SHOWS_PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// `--ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Durable at this peer.
    Local,
    /// So many others hold it.
    Holders(u32),
}

impl FromStr for Ack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            digits => match digits.parse() {
                Ok(holders @ 1..=HOLDERS_MAX) => Ok(Self::Holders(holders)),
                _ => Err(format!("write local, or a number of other peers from 1 to {HOLDERS_MAX}")),
            },
        }
    }
}

/// A body to be read.
struct Source {
    reader: Box<dyn AsyncRead + Unpin>,
    /// 0 where unknown.
    bytes: u64,
    name: String,
}

pub(super) async fn submit(
    global: &Global,
    args: &SubmitArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut source = open(args).await?;
    let client = Client::connect(global).await?;
    let (parts, queued) = mpsc::channel(PARTS_QUEUED_MAX);
    let start = SubmitStart {
        register: args.register.clone(),
        idempotency_key: args.idempotency_key.clone(),
        body_bytes: source.bytes,
        holders: args.ack.map(|ack| match ack {
            Ack::Local => 0,
            Ack::Holders(holders) => holders,
        }),
        wait_ms: u32::try_from(args.wait.as_millis()).unwrap_or(u32::MAX),
    };
    // Also where the level is left to the peer, it may ask for holders.
    let patience = client.timeout() + if args.ack == Some(Ack::Local) { Duration::ZERO } else { args.wait };
    let mut progress = Progress { wanted: console.progress, began: Instant::now(), read: 0, bar: None };
    let feeding = feed(&client, start, &mut source, parts, &mut progress);
    let answering = answer(&client, queued);
    tokio::pin!(answering);
    let answered = tokio::select! {
        biased;
        // Where the peer refuses before it has read everything.
        answered = &mut answering => answered,
        fed = feeding => match fed {
            Ok(()) => tokio::time::timeout(patience, answering).await.unwrap_or_else(|_| Err(client.late())),
            Err(failure) => Err(failure),
        },
    };
    progress.end();
    let submitted = SubmittedJson::from(answered?);
    if global.output == Format::Table {
        writeln!(console.out, "{}", submitted.id)?;
    } else {
        console.value(global.output, &submitted)?;
    }
    if submitted.pending {
        console.out.flush()?;
        return Err(Failure::TimedOut(format!(
            "{} is accepted and durable at this peer, but {} hold it so far: it goes on spreading; `sorcha-peer holders` says how far it is",
            submitted.id,
            match submitted.holders {
                0 => "no other peers".to_owned(),
                1 => "only 1 other peer".to_owned(),
                holders => format!("only {holders} other peers"),
            }
        )));
    }
    Ok(())
}

async fn open(args: &SubmitArgs) -> Result<Source, Failure> {
    if let Some(text) = &args.text {
        let bytes = text.len() as u64;
        let reader = Box::new(std::io::Cursor::new(text.clone().into_bytes()));
        return Ok(Source { reader, bytes, name: "--text".to_owned() });
    }
    let path = args.file.as_deref().unwrap_or(Path::new("-"));
    if path.as_os_str() == "-" {
        return Ok(Source {
            reader: Box::new(tokio::io::stdin()),
            bytes: 0,
            name: "standard input".to_owned(),
        });
    }
    let unreadable =
        |error: std::io::Error| Failure::Usage(format!("{} cannot be read: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let found = file.metadata().await.map_err(unreadable)?;
    if found.is_dir() {
        return Err(Failure::Usage(format!("{} is a directory: name a file", path.display())));
    }
    let bytes = if found.is_file() { found.len() } else { 0 };
    Ok(Source { reader: Box::new(file), bytes, name: path.display().to_string() })
}

async fn feed(
    client: &Client,
    start: SubmitStart,
    source: &mut Source,
    parts: mpsc::Sender<SubmitPart>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    send(client, &parts, Part::Start(start)).await?;
    let mut buffer = vec![0; PART_BYTES];
    loop {
        let read = source.reader.read(&mut buffer).await;
        let read =
            read.map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", source.name)))?;
        if read == 0 {
            break;
        }
        send(client, &parts, Part::Body(Bytes::copy_from_slice(&buffer[..read]))).await?;
        progress.add(read as u64, source.bytes);
    }
    send(client, &parts, Part::End(SubmitEnd {})).await
}

async fn send(client: &Client, parts: &mpsc::Sender<SubmitPart>, part: Part) -> Result<(), Failure> {
    match parts.send_timeout(SubmitPart { part: Some(part) }, client.timeout()).await {
        Ok(()) => Ok(()),
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(client.late()),
        // The peer has answered already; its answer says why, so this half waits for the other.
        Err(mpsc::error::SendTimeoutError::Closed(_)) => std::future::pending().await,
    }
}

async fn answer(client: &Client, parts: mpsc::Receiver<SubmitPart>) -> Result<SubmitResponse, Failure> {
    let mut node = client.node.clone();
    let mut answers = node
        .submit_stream(ReceiverStream::new(parts))
        .await
        .map_err(|status| client.failure(&status))?
        .into_inner();
    match answers.message().await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Failure::Failed("the peer ended the call without an answer".to_owned())),
        Err(status) => Err(client.failure(&status)),
    }
}

/// A bar on the terminal, once the submission has taken a while.
struct Progress {
    wanted: bool,
    began: Instant,
    read: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn add(&mut self, read: u64, total: u64) {
        self.read += read;
        if self.wanted && self.began.elapsed() > SHOWS_PROGRESS_AFTER {
            self.bar.get_or_insert_with(|| bar(total)).set_position(self.read);
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let (bar, template) = match bytes {
        0 => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
        known => (ProgressBar::new(known), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a fixed template"))
}
