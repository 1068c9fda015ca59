//! Between operator and API server things go wrong: it converges all the same, and asks no faster for it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use sorcha_e2e::proxy::{Fault, Meets, Outage, Rule};

use crate::quiet::say;
use crate::space::{Space, on_newest_server, operator_from};

/// Most requests in one second while something fails: those of starting up (a list and a watch for each kind, twice)
/// or of a network made at once, not those of a loop.
const PEAK_MAX: u32 = 100;
/// Most requests a second over a whole outage, the Lease's among them.
const OUTAGE_MEAN_MAX: f64 = 10.0;

/// How long nothing gets through: five minutes are meant; `SORCHA_E2E_OUTAGE_SECONDS` says another time.
fn outage() -> Duration {
    let given = std::env::var("SORCHA_E2E_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(20))
}

fn rule(meets: Meets, percent: u32, fault: Fault) -> Rule {
    Rule { meets, percent, fault }
}

#[test]
fn a_network_comes_up_through_every_fault() -> anyhow::Result<()> {
    on_newest_server("a_network_comes_up_through_every_fault", |space| {
        let proxy = space.proxy()?;
        let mut setup = space.setup();
        setup.url = proxy.url();
        let operator = operator_from(&setup)?;
        let refuse = |code, retry_after| Fault::Refuse { code, retry_after };
        let faults: [(&str, Vec<Rule>); 8] = [
            ("conflict", vec![rule(Meets::Writes, 20, refuse(409, None))]),
            ("throttled", vec![rule(Meets::All, 20, refuse(429, Some(1)))]),
            ("failing", vec![rule(Meets::All, 20, refuse(500, None))]),
            ("unavailable", vec![rule(Meets::All, 20, refuse(503, None))]),
            ("slow", vec![rule(Meets::All, 100, Fault::Delay(Duration::from_millis(300)))]),
            ("cut-watches", vec![rule(Meets::Watches, 100, Fault::Cut(Duration::from_secs(1)))]),
            ("lost-answers", vec![rule(Meets::Writes, 20, Fault::LoseAnswer)]),
            (
                "all-at-once",
                vec![
                    rule(Meets::Writes, 10, refuse(409, None)),
                    rule(Meets::All, 10, refuse(429, Some(1))),
                    rule(Meets::All, 10, refuse(500, None)),
                    rule(Meets::All, 10, Fault::Close),
                    rule(Meets::Writes, 10, Fault::LoseAnswer),
                    rule(Meets::Watches, 50, Fault::Cut(Duration::from_secs(2))),
                ],
            ),
        ];
        let names = faults.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        for (name, rules) in faults {
            proxy.faults(&rules);
            proxy.cut();
            let (begin, second) = (Instant::now(), proxy.second());
            space.network(name, &json!({ "replicas": 1 }))?;
            space.await_ready(name).with_context(|| format!("through {name}\n{}", operator.last_words()))?;
            let (total, peak) = proxy.counts().since(second);
            say(&format!(
                "{name}: ready after {:.1} s, {total} requests, {peak} in the busiest second",
                begin.elapsed().as_secs_f32()
            ));
            anyhow::ensure!(peak <= PEAK_MAX, "{name}: {peak} requests in one second");
        }
        proxy.faults(&[]);
        // no peers run behind these pods: once that has been told of every network nothing is left to be told
        for name in names {
            space.await_condition(name, "Degraded", "True", Some("PeersSilent"))?;
        }
        space.await_rest()?;
        space.stays_quiet(Duration::from_secs(5))?;
        drop(operator);
        Ok(())
    })
}

#[test]
fn an_outage_is_made_good_afterwards() -> anyhow::Result<()> {
    on_newest_server("an_outage_is_made_good_afterwards", |space| {
        let proxy = space.proxy()?;
        let mut setup = space.setup();
        setup.url = proxy.url();
        space.network("a", &json!({ "replicas": 1 }))?;
        let mut operator = operator_from(&setup)?;
        space.await_ready("a")?;
        space.await_rest()?;
        for kind in [Outage::Closed, Outage::Silent] {
            let second = proxy.second();
            proxy.outage(Some(kind));
            meanwhile(space)?;
            std::thread::sleep(outage());
            anyhow::ensure!(operator.ended().is_none(), "it ended: {}", operator.last_words());
            let (total, peak) = proxy.counts().since(second);
            let mean = f64::from(total) / outage().as_secs_f64();
            say(&format!(
                "{kind:?} for {:?}: {total} requests, {mean:.1} a second, {peak} in the busiest",
                outage()
            ));
            anyhow::ensure!(mean <= OUTAGE_MEAN_MAX, "{mean:.1} requests a second while nothing is answered");
            let ended = Instant::now();
            proxy.outage(None);
            space.await_held("networkpolicies", "a", |_| true).with_context(|| operator.last_words())?;
            space.await_held("configmaps", "a-trust", |held| {
                held["data"]["ca.crt"].as_str().is_some_and(|text| text.contains("BEGIN"))
            })?;
            say(&format!("{kind:?}: made good {:.1} s after its end", ended.elapsed().as_secs_f32()));
            let since = Timestamp::now();
            space.await_rest()?;
            space.stays_quiet(Duration::from_secs(3))?;
            let requests = space.world.audit.since(&space.user(), since).len();
            say(&format!("{kind:?}: {requests} requests until it rested"));
        }
        drop(operator);
        Ok(())
    })
}

/// What others do while the operator sees nothing.
fn meanwhile(space: &Space<'_>) -> anyhow::Result<()> {
    let rest = &space.world.rest;
    rest.delete(&space.path("networkpolicies", "a"), &json!({}))?.ok()?;
    let spoiled = json!({ "data": { "ca.crt": "spoiled" } });
    rest.merge(&space.path("configmaps", "a-trust"), &spoiled)?.ok()?;
    Ok(())
}
