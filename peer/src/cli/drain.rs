//! `drain` and `resume`: for whoever is about to stop a peer for good.

use std::time::{Duration, Instant};

use sorcha_proto::v1::{DrainRequest, ResumeRequest};

use crate::api::view::DrainJson;
use crate::cli::client::Client;
use crate::cli::console::{Console, Failure, Format};
use crate::cli::{DrainArgs, Global, escape};

/// One question waits this long for its answer; then the next follows, so that a peer that hangs is noticed.
const ASKED_FOR_MS_MAX: u128 = 2_000;

pub(super) async fn drain(
    global: &Global,
    args: &DrainArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let until = Instant::now() + args.wait;
    let answer = loop {
        let left = until.saturating_duration_since(Instant::now());
        let longest = client.timeout().as_millis() / 2;
        let wait_ms = left.as_millis().min(ASKED_FOR_MS_MAX).min(longest) as u32;
        let request = DrainRequest { wait_ms, leaving: Vec::new(), leave: args.leave };
        let mut node = client.node.clone();
        let answer = DrainJson::from(client.answer(node.drain(request)).await?.into_inner());
        if answer.drained || left == Duration::ZERO {
            break answer;
        }
    };
    if global.output != Format::Table {
        console.value(global.output, &answer)?;
    } else if answer.drained {
        writeln!(
            console.out,
            "drained: others hold everything, and nothing is accepted any more; `sorcha-peer resume` takes it back"
        )?;
    }
    if answer.drained {
        return Ok(());
    }
    let why = if answer.reason.is_empty() { "it goes on".to_owned() } else { escape::text(&answer.reason) };
    Err(Failure::TimedOut(format!(
        "not drained within {:?}: {} transactions are not known to be held elsewhere; {why}. Ask again with a longer --wait, or take it back with `sorcha-peer resume`",
        args.wait, answer.remaining
    )))
}

pub(super) async fn resume(global: &Global, console: &mut Console<'_>) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    let status = client.answer(node.resume(ResumeRequest {})).await?.into_inner();
    writeln!(console.out, "{} accepts again", escape::text(&status.name))?;
    Ok(())
}
