//! `tail`: a subscription, a line per transaction or the bodies as they are.

use std::str::FromStr;

use bytes::Bytes;
use serde::Serialize;
use sorcha_peer_core::types::WallTime;
use sorcha_proto::v1::subscribe_event::Event;
use sorcha_proto::v1::subscribe_open::Start;
use sorcha_proto::v1::{SubscribeAck, SubscribeOpen, SubscribeRequest, Transaction, subscribe_request};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::api::readiness::time_text;
use crate::api::view::TransactionJson;
use crate::cli::client::Client;
use crate::cli::console::{Console, Failure, Format, Tone};
use crate::cli::show::bytes_text;
use crate::cli::{Global, TailArgs, escape};
use crate::clock::wall_now;

/// Characters of a body shown in a line.
const PREVIEW_CHARS: usize = 60;
/// Acknowledgements made and not yet sent.
const ACKS_QUEUED_MAX: usize = 64;

/// `--from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The oldest held.
    Earliest,
    /// What comes from now on.
    Latest,
    /// After this position.
    Position(u64),
    /// What was received at this time or later, Unix ms.
    Time(u64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map(Self::Position).map_err(|_| "that is no position".to_owned())
            }
            other => time(other).map(Self::Time).ok_or_else(|| {
                "write earliest, latest, a position in digits, a time (2026-01-31T12:00:00Z) or how long ago (15m)"
                    .to_owned()
            }),
        }
    }
}

/// A time, or how long ago.
fn time(text: &str) -> Option<u64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(at.as_millisecond()).ok();
    }
    let ago = text.parse::<jiff::SignedDuration>().ok().filter(|ago| !ago.is_negative())?;
    Some(wall_now().as_unix_ms().saturating_sub(u64::try_from(ago.as_millis()).ok()?))
}

/// A transaction for programs: as in REST, with the beginning of its body.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    transaction: TransactionJson,
    preview: String,
}

pub(super) async fn tail(global: &Global, args: &TailArgs, console: &mut Console<'_>) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let end = global.timeout.map(|timeout| Instant::now() + timeout);
    let mut tail = Tail::open(client, args, end).await?;
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        let position = match tail.next().await {
            Ok(Event::Delivery(delivery)) => {
                let transaction = delivery.transaction.unwrap_or_default();
                let position = delivery.position;
                if args.raw {
                    tail.copy(&transaction.body, delivery.more, console).await?;
                } else {
                    print(console, global.output, position, transaction)?;
                    tail.skip(delivery.more).await?;
                }
                console.out.flush()?;
                position
            }
            Ok(Event::Gap(gap)) => {
                let text = "are gone: retention has passed them";
                writeln!(console.err, "sorcha-peer: positions {} to {} {text}", gap.from, gap.to)?;
                continue;
            }
            Ok(Event::OriginGap(gap)) => {
                let origin = escape::text(&gap.origin);
                let (from, to) = (gap.from_sequence, gap.to_sequence);
                writeln!(
                    console.err,
                    "sorcha-peer: numbers {from} to {to} of {origin}, start {}, have not arrived yet; later ones follow",
                    gap.incarnation
                )?;
                continue;
            }
            Ok(Event::CaughtUp(_) | Event::AckDurable(_) | Event::BodyPart(_)) => continue,
            Err(Failure::TimedOut(_)) => return Err(short(printed, args.count)),
            Err(failure) => return Err(failure),
        };
        printed += 1;
        tail.acknowledge(position).await?;
    }
    tail.settle().await
}

fn print(
    console: &mut Console<'_>,
    format: Format,
    position: u64,
    transaction: Transaction,
) -> Result<(), Failure> {
    let preview = escape::preview(&transaction.body, PREVIEW_CHARS);
    let cut = transaction.body.len() > PREVIEW_CHARS;
    let transaction = TransactionJson { position, ..transaction.into() };
    match format {
        Format::Table => {
            let time =
                console.tone(Tone::Dim, &time_text(WallTime::from_unix_ms(transaction.published_unix_ms)));
            let origin = transaction.origin.rsplit('/').next().unwrap_or_default();
            let register = if transaction.register.is_empty() { "-" } else { &transaction.register };
            let id = transaction.id.get(..8).unwrap_or(&transaction.id);
            let (origin, register) = (escape::text(origin), escape::text(register));
            let bytes = bytes_text(transaction.body_bytes);
            let more = if cut { "…" } else { "" };
            writeln!(console.out, "{time}  {origin}  {register}  {bytes:>9}  {id}  {preview}{more}")?;
        }
        Format::Json => {
            let line = serde_json::to_string(&Line { transaction, preview }).expect("text and numbers");
            writeln!(console.out, "{line}")?;
        }
        Format::Yaml => {
            writeln!(console.out, "---")?;
            console.value(Format::Yaml, &Line { transaction, preview })?;
        }
    }
    Ok(())
}

/// An open subscription.
struct Tail {
    client: Client,
    requests: mpsc::Sender<SubscribeRequest>,
    events: Streaming<sorcha_proto::v1::SubscribeEvent>,
    end: Option<Instant>,
    named: bool,
    acknowledged: u64,
}

impl Tail {
    async fn open(client: Client, args: &TailArgs, end: Option<Instant>) -> Result<Self, Failure> {
        let (start, position) = match args.from {
            From::Earliest => (Start::Earliest, 0),
            From::Latest => (Start::Latest, 0),
            From::Position(position) => (Start::Position, position),
            From::Time(_) => (Start::Time, 0),
        };
        let from_unix_ms = if let From::Time(at) = args.from { at } else { 0 };
        let open = SubscribeOpen {
            cursor: args.cursor.clone(),
            start: start.into(),
            position,
            registers: args.registers.clone(),
            headers_only: false,
            origins: args.origins.clone(),
            from_unix_ms,
        };
        let (requests, queued) = mpsc::channel(ACKS_QUEUED_MAX);
        let first = SubscribeRequest { request: Some(subscribe_request::Request::Open(open)) };
        requests.try_send(first).expect("the queue is new");
        let mut node = client.node.clone();
        let events = client.answer(node.subscribe(ReceiverStream::new(queued))).await?.into_inner();
        Ok(Self { client, requests, events, end, named: !args.cursor.is_empty(), acknowledged: 0 })
    }

    async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            let message = match self.end {
                None => self.events.message().await,
                Some(end) => tokio::time::timeout_at(end, self.events.message())
                    .await
                    .map_err(|_| Failure::TimedOut("no more came in time".to_owned()))?,
            };
            match message {
                // An event of a later version.
                Ok(Some(event)) if event.event.is_none() => {}
                Ok(Some(event)) => return Ok(event.event.expect("checked above")),
                Ok(None) => return Err(Failure::Failed("the peer ended the subscription".to_owned())),
                Err(status) => return Err(self.client.failure(&status)),
            }
        }
    }

    /// The rest of a body; acknowledgements may stand between its parts.
    async fn part(&mut self) -> Result<(Bytes, bool), Failure> {
        loop {
            if let Event::BodyPart(part) = self.next().await? {
                return Ok((part.body, part.more));
            }
        }
    }

    async fn copy(
        &mut self,
        first: &Bytes,
        mut more: bool,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        console.out.write_all(first)?;
        while more {
            let (part, rest) = self.part().await?;
            console.out.write_all(&part)?;
            more = rest;
        }
        Ok(())
    }

    async fn skip(&mut self, mut more: bool) -> Result<(), Failure> {
        while more {
            (_, more) = self.part().await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self, position: u64) -> Result<(), Failure> {
        if self.named {
            let request = subscribe_request::Request::Ack(SubscribeAck { position });
            let request = SubscribeRequest { request: Some(request) };
            match self.requests.send_timeout(request, self.client.timeout()).await {
                Ok(()) => self.acknowledged = position,
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(self.client.late()),
                // The subscription has ended; the next event says why.
                Err(mpsc::error::SendTimeoutError::Closed(_)) => {}
            }
        }
        Ok(())
    }

    /// Waits until everything acknowledged is durable, so that the next command goes on after it.
    async fn settle(&mut self) -> Result<(), Failure> {
        if !self.named || self.acknowledged == 0 {
            return Ok(());
        }
        self.end = Some(Instant::now() + self.client.timeout());
        loop {
            match self.next().await {
                Ok(Event::AckDurable(ack)) if ack.position >= self.acknowledged => return Ok(()),
                Ok(_) => {}
                Err(Failure::TimedOut(_)) => return Err(self.client.late()),
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn short(printed: u64, count: Option<u64>) -> Failure {
    let wanted = count.map(|count| format!(" of {count}")).unwrap_or_default();
    let noun = if printed == 1 && count.is_none() { "transaction" } else { "transactions" };
    Failure::TimedOut(format!("{printed}{wanted} {noun} came before --timeout"))
}
