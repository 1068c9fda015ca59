//! Two operators, one Lease: exactly one writes, the other takes over, and an old one never writes again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::json;
use sorcha_e2e::audit::Request;
use sorcha_e2e::operator::Operator;
use sorcha_e2e::wait;

use crate::quiet::say;
use crate::space::{SOON, Space, lines, on_newest_server};

/// The Lease holds for 15 s; after this much one that died must have been followed.
const TAKEOVER_MAX: Duration = Duration::from_secs(30);

/// An operator with the number of its token.
struct Replica {
    id: String,
    operator: Operator,
}

fn replica(space: &Space<'_>, pod: &str) -> anyhow::Result<Replica> {
    let (id, setup) = space.another(pod)?;
    Ok(Replica { id, operator: Operator::start(&setup)? })
}

fn writes(space: &Space<'_>, replica: &Replica, since: Timestamp) -> Vec<Request> {
    let mut writes = space.writes(since);
    writes.retain(|request| request.credential == replica.id);
    writes
}

/// Makes work for whoever leads, and waits until it is done.
fn work(space: &Space<'_>, level: &str) -> anyhow::Result<()> {
    space.change("a", &json!({ "log": { "level": level } }))?;
    space
        .await_held("configmaps", "a-peers", |held| {
            held["data"]["peer.yaml"].as_str().is_some_and(|text| text.contains(level))
        })
        .map(drop)
}

/// Two operators of which the first leads, with a network that is ready.
fn two(space: &Space<'_>) -> anyhow::Result<[Replica; 2]> {
    space.network("a", &json!({ "replicas": 1 }))?;
    let first = replica(space, "operator-0")?;
    space.await_ready("a").with_context(|| first.operator.last_words())?;
    let second = replica(space, "operator-1")?;
    wait::until("a second operator that is ready", SOON, || {
        second.operator.ask("/readyz").filter(|(code, _)| *code == 200)
    })
    .with_context(|| second.operator.last_words())?;
    space.await_rest()?;
    Ok([first, second])
}

#[test]
fn of_two_operators_one_writes_and_the_other_takes_over() -> anyhow::Result<()> {
    on_newest_server("of_two_operators_one_writes_and_the_other_takes_over", |space| {
        let began = Timestamp::now();
        let [first, second] = two(space)?;
        work(space, "debug")?;
        space.await_rest()?;
        let stray = writes(space, &second, began);
        anyhow::ensure!(stray.is_empty(), "the one that stands by writes:\n{}", lines(&stray));
        anyhow::ensure!(!writes(space, &first, began).is_empty());

        first.operator.signal(Signal::KILL);
        let killed = Instant::now();
        work(space, "warn").with_context(|| second.operator.last_words())?;
        let took = killed.elapsed();
        say(&format!("takeover after a kill: {:.1} s with a Lease of 15 s", took.as_secs_f32()));
        anyhow::ensure!(took <= TAKEOVER_MAX, "it took {took:?}");

        // One that ends in order gives the Lease back.
        let third = replica(space, "operator-2")?;
        wait::until("a third operator", SOON, || {
            third.operator.ask("/readyz").filter(|(code, _)| *code == 200)
        })?;
        second.operator.stop()?;
        let stopped = Instant::now();
        work(space, "info").with_context(|| third.operator.last_words())?;
        say(&format!("takeover after an orderly end: {:.1} s", stopped.elapsed().as_secs_f32()));
        Ok(())
    })
}

#[test]
fn an_operator_that_was_frozen_writes_no_more() -> anyhow::Result<()> {
    on_newest_server("an_operator_that_was_frozen_writes_no_more", |space| {
        let [first, second] = two(space)?;
        for (round, level) in ["debug", "warn", "error"].into_iter().enumerate() {
            let (leads, follows) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
            leads.operator.signal(Signal::STOP);
            let frozen = Timestamp::now();
            // What it has been told of when it wakes is work that another one has done or is doing.
            work(space, level).with_context(|| follows.operator.last_words())?;
            for name in ["a-trust", "a-peers"] {
                space.world.rest.delete(&space.path("configmaps", name), &json!({}))?.ok()?;
            }
            leads.operator.signal(Signal::CONT);
            let woken = Timestamp::now();
            space.await_held("configmaps", "a-trust", |_| true)?;
            space.await_rest()?;
            let late = writes(space, leads, woken);
            anyhow::ensure!(late.is_empty(), "after its Lease had ended:\n{}", lines(&late));
            anyhow::ensure!(!writes(space, follows, frozen).is_empty());
            // It is not the end of it: it stands by again.
            wait::until("the woken one stands by", SOON, || {
                leads.operator.ask("/healthz").filter(|(code, _)| *code == 200)
            })
            .with_context(|| leads.operator.last_words())?;
        }
        Ok(())
    })
}
