//! Replacing and removing peers, with a real `sorcha-peer` behind every pod: their own answers decide when a pod goes,
//! and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};
use sorcha_e2e::network::kill;
use sorcha_e2e::node::{ALWAYS_READY, address_of};
use sorcha_e2e::programs::{self, Said};
use sorcha_e2e::{plain, wait};

use crate::quiet::{idle, is_bounded, say};
use crate::space::{SOON, Space, condition, on_newest_server};

/// A rollout takes a few times what a single step takes.
const DONE: Duration = Duration::from_secs(240);
/// How often peers are asked how they are; an operator's knowledge is up to two seconds old.
const SAMPLE: Duration = Duration::from_millis(100);
/// A sample says how it was when a pod was deleted, if it is not older than this.
const SAMPLE_AGE_MAX: SignedDuration = SignedDuration::from_secs(5);

fn names(count: u32) -> Vec<String> {
    (0..count).map(|ordinal| format!("a-peers-{ordinal}")).collect()
}

/// `sorcha-peer ARGS` at the peer of a pod.
fn cli(space: &Space<'_>, pod: &str, args: &[&str]) -> anyhow::Result<Said> {
    let api = format!("{}:7451", address_of(&space.name, pod));
    programs::run(programs::command("sorcha-peer").args(["--api", &api]).args(args))
}

/// The id of a transaction that the peer acknowledged.
fn submit(space: &Space<'_>, pod: &str, text: &str) -> anyhow::Result<String> {
    let said = cli(space, pod, &["submit", "--text", text, "-o", "json", "--timeout", "2s"])?.ok()?;
    Ok(said.json()?["id"].as_str().context("submit prints an id")?.to_owned())
}

/// Waits until a peer holds all of these.
fn await_all_held(space: &Space<'_>, pod: &str, ids: &[String]) -> anyhow::Result<()> {
    let held = || -> anyhow::Result<BTreeSet<String>> {
        let count = status(space, pod).context("it answers")?["transactions"].to_string();
        let tail = ["tail", "--from", "earliest", "--count", &count, "-o", "json", "--timeout", "60s"];
        let said = cli(space, pod, &tail)?.ok()?;
        let lines = said.text();
        let ids = lines.lines().map(|line| anyhow::Ok(serde_json::from_str::<Value>(line)?["id"].clone()));
        ids.map(|id| Ok(id?.as_str().unwrap_or_default().to_owned())).collect()
    };
    let mut missing = ids.len();
    wait::until(&format!("{pod} holds {} transactions", ids.len()), SOON, || {
        let held = held().ok()?;
        missing = ids.iter().filter(|id| !held.contains(*id)).count();
        (missing == 0).then_some(())
    })
    .with_context(|| format!("{missing} of {} are missing at {pod}", ids.len()))
}

/// What a peer says of itself.
fn status(space: &Space<'_>, pod: &str) -> Option<Value> {
    let (code, body) = plain::ask(&format!("{}:7451", address_of(&space.name, pod)), "/v1/status")?;
    (code == 200).then(|| serde_json::from_str(&body).ok()).flatten()
}

/// A process behind a pod that stands still until this is dropped: a stopped one would outlive its test.
struct Frozen(i32);

impl Frozen {
    fn new(space: &Space<'_>, pod: &str) -> anyhow::Result<Self> {
        let files = space.world.server.directory().join("node").join(&space.name).join(pod);
        let found = programs::processes_in(&files);
        anyhow::ensure!(found.len() == 1, "{pod} is {} processes", found.len());
        kill(found[0].0, Signal::STOP);
        Ok(Self(found[0].0))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        kill(self.0, Signal::CONT);
    }
}

/// Waits until `Degraded` says all of these words; returns its sentence.
fn await_told(space: &Space<'_>, words: &[&str]) -> anyhow::Result<String> {
    let message = |held: &Value| condition(held, "Degraded").map_or(Value::Null, |it| it["message"].clone());
    let held = space.await_held("sorchapeernetworks", "a", |held| {
        let message = message(held).as_str().unwrap_or_default().to_owned();
        words.iter().all(|word| message.contains(word))
    })?;
    Ok(message(&held).as_str().unwrap_or_default().to_owned())
}

/// When the operator deleted which pod, in order.
fn deleted(space: &Space<'_>, since: Timestamp) -> Vec<(Timestamp, String)> {
    let writes = space.writes(since).into_iter();
    let pods = writes.filter(|write| write.verb == "delete" && write.resource == "pods" && write.code == 200);
    pods.map(|write| (write.received, write.name)).collect()
}

/// What every peer said of itself at a time.
struct Sample {
    when: Timestamp,
    of: Vec<Option<Value>>,
}

/// Use of a network while something is done to it.
#[derive(Default)]
struct Use {
    acknowledged: Mutex<Vec<(Instant, String, String)>>,
    samples: Mutex<Vec<Sample>>,
    stop: AtomicBool,
}

impl Use {
    /// Everything that a peer acknowledged, or all peers did.
    fn ids(&self, of: Option<&str>) -> Vec<String> {
        let all = self.acknowledged.lock().expect("no user panics");
        all.iter().filter(|it| of.is_none_or(|pod| it.1 == pod)).map(|it| it.2.clone()).collect()
    }

    /// Longest time without an acknowledgement by anybody.
    fn longest_gap(&self) -> Duration {
        let mut times: Vec<Instant> =
            self.acknowledged.lock().expect("no user panics").iter().map(|it| it.0).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// The last samples before a time, one at least.
    fn before(&self, when: Timestamp) -> anyhow::Result<Vec<Vec<Option<Value>>>> {
        let samples = self.samples.lock().expect("no user panics");
        let fits = |it: &&Sample| it.when <= when && when.duration_since(it.when) < SAMPLE_AGE_MAX;
        let found: Vec<_> = samples.iter().filter(fits).map(|it| it.of.clone()).collect();
        anyhow::ensure!(!found.is_empty(), "nobody was asked before {when}");
        Ok(found)
    }
}

/// Submits at each of the peers and samples them while something is done.
fn in_use(
    space: &Space<'_>,
    pods: &[String],
    act: impl FnOnce(&Use) -> anyhow::Result<()>,
) -> anyhow::Result<Use> {
    let used = Use::default();
    let outcome = std::thread::scope(|scope| {
        for pod in pods {
            let used = &used;
            scope.spawn(move || {
                for number in 0_u64.. {
                    if used.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if let Ok(id) = submit(space, pod, &format!("{pod} {number}")) {
                        let told = (Instant::now(), pod.clone(), id);
                        used.acknowledged.lock().expect("no user panics").push(told);
                    }
                    std::thread::sleep(SAMPLE);
                }
            });
        }
        scope.spawn(|| {
            while !used.stop.load(Ordering::Relaxed) {
                let of = pods.iter().map(|pod| status(space, pod)).collect();
                used.samples.lock().expect("no user panics").push(Sample { when: Timestamp::now(), of });
                std::thread::sleep(SAMPLE);
            }
        });
        let warm = wait::until("everybody acknowledges", SOON, || {
            pods.iter().all(|pod| !used.ids(Some(pod)).is_empty()).then_some(())
        });
        let outcome = warm.and_then(|()| act(&used));
        used.stop.store(true, Ordering::Relaxed);
        outcome
    });
    outcome.map(|()| used)
}

/// A network of so many peers that are ready and linked to one another.
fn network(space: &Space<'_>, replicas: u32, spec: &Value) -> anyhow::Result<()> {
    let mut whole = json!({ "replicas": replicas, "image": "sorcha-peer:1" });
    if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
        whole.extend(spec.clone());
    }
    space.network("a", &whole)?;
    space.await_ready("a")?;
    space.await_condition("a", "Linked", "True", None).map(drop)
}

/// Waits until all of these run an image and the network is ready.
fn await_image(space: &Space<'_>, pods: &[String], image: &str) -> anyhow::Result<()> {
    wait::until(&format!("all pods run {image}"), DONE, || {
        let runs = |pod: &String| {
            let held = space.get("pods", pod).ok()??;
            (held["spec"]["containers"][0]["image"] == image).then_some(())
        };
        pods.iter().all(|pod| runs(pod).is_some()).then_some(())
    })?;
    space.await_ready("a")
}

fn is_whole(status: Option<&Value>, others: u64) -> bool {
    status.is_some_and(|status| {
        status["peersLinked"].as_u64() >= Some(others) && status["caughtUp"] == json!(true)
    })
}

#[test]
fn peers_are_replaced_one_at_a_time_in_use() -> anyhow::Result<()> {
    on_newest_server("peers_are_replaced_one_at_a_time_in_use", |space| {
        let operator = space.operator()?;
        network(space, 3, &json!({}))?;
        let (pods, since) = (names(3), Timestamp::now());
        let began = Instant::now();
        let used = in_use(space, &pods, |_| {
            space.change("a", &json!({ "image": "sorcha-peer:2" }))?;
            await_image(space, &pods, "sorcha-peer:2").with_context(|| operator.last_words())
        })?;
        let took = began.elapsed();
        let order = deleted(space, since);
        let told: Vec<&str> = order.iter().map(|(_, pod)| pod.as_str()).collect();
        anyhow::ensure!(told == ["a-peers-2", "a-peers-1", "a-peers-0"], "deleted: {told:?}");
        for (when, pod) in &order {
            // The answers that the operator went by are among these; a later one than the deletion is not.
            let samples = used.before(*when)?;
            let whole = samples.iter().any(|of| of.iter().all(|status| is_whole(status.as_ref(), 2)));
            anyhow::ensure!(whole, "{pod} was deleted while its peers were not whole: {samples:?}");
        }
        let ids = used.ids(None);
        for pod in &pods {
            await_all_held(space, pod, &ids)?;
        }
        let handed_over = operator.log().matches("it has handed over what only it held").count();
        say(&format!(
            "3 peers replaced in {:.1} s in use: {} acknowledged, 0 lost, longest gap {:.2} s, {handed_over} drained \
             first",
            took.as_secs_f32(),
            ids.len(),
            used.longest_gap().as_secs_f32()
        ));
        Ok(())
    })
}

#[test]
fn peers_at_rest_cost_no_write() -> anyhow::Result<()> {
    on_newest_server("peers_at_rest_cost_no_write", |space| {
        let operator = space.operator()?;
        network(space, 3, &json!({}))?;
        space.await_rest()?;
        let since = Timestamp::now();
        space.stays_quiet(idle()).with_context(|| operator.last_words())?;
        let asked = space.world.audit.since(&space.user(), since);
        let reads = asked.iter().filter(|request| request.resource != "leases").count();
        say(&format!("3 real peers at rest for {:?}: 0 writes, {reads} reads", idle()));
        Ok(())
    })
}

#[test]
fn peers_that_do_not_answer_stop_a_rollout() -> anyhow::Result<()> {
    on_newest_server("peers_that_do_not_answer_stop_a_rollout", |space| {
        let operator = space.operator()?;
        // In the cluster's eyes they stay ready, whatever happens to them.
        network(
            space,
            3,
            &json!({ "podTemplate": { "metadata": { "annotations": { ALWAYS_READY: "yes" } } } }),
        )?;
        let frozen = Frozen::new(space, "a-peers-0")?;
        let since = Timestamp::now();
        space.change("a", &json!({ "image": "sorcha-peer:2" }))?;
        let told =
            await_told(space, &["Replacing peers has stopped after 0 of 3", "a-peers-0 does not answer"])
                .with_context(|| operator.last_words())?;
        say(&format!("a frozen peer: {told}"));
        is_bounded(space, "while a rollout stands still")?;
        let gone = deleted(space, since);
        anyhow::ensure!(gone.is_empty(), "replaced nevertheless: {gone:?}");
        drop(frozen);
        await_image(space, &names(3), "sorcha-peer:2").with_context(|| operator.last_words())?;
        let told: Vec<String> = deleted(space, since).into_iter().map(|(_, pod)| pod).collect();
        anyhow::ensure!(told.len() == 3, "once it answers the rollout goes on: {told:?}");
        Ok(())
    })
}

#[test]
fn peers_that_do_not_start_stop_a_rollout() -> anyhow::Result<()> {
    on_newest_server("peers_that_do_not_start_stop_a_rollout", |space| {
        let operator = space.operator()?;
        network(space, 3, &json!({}))?;
        let (since, stay) =
            (Timestamp::now(), [space.held("pods", "a-peers-0")?, space.held("pods", "a-peers-1")?]);
        let used = in_use(space, &names(2), |_| {
            space.change("a", &json!({ "image": "sorcha-peer:broken" }))?;
            // With the peer's own words.
            let words = ["Replacing peers has stopped after 1 of 3", "a-peers-2 does not run", "log level"];
            let told = await_told(space, &words).with_context(|| operator.last_words())?;
            say(&format!("a peer that does not start: {told}"));
            is_bounded(space, "while a peer crashes").map(drop)
        })?;
        for (ordinal, before) in stay.iter().enumerate() {
            let now = space.held("pods", &format!("a-peers-{ordinal}"))?;
            anyhow::ensure!(
                now["metadata"]["uid"] == before["metadata"]["uid"],
                "the others are left as they are"
            );
        }
        say(&format!(
            "meanwhile {} acknowledged, longest gap {:.2} s",
            used.ids(None).len(),
            used.longest_gap().as_secs_f32()
        ));
        space.change("a", &json!({ "image": "sorcha-peer:2" }))?;
        await_image(space, &names(3), "sorcha-peer:2").with_context(|| operator.last_words())?;
        await_all_held(space, "a-peers-2", &used.ids(None))?;
        let mut told: Vec<String> = deleted(space, since).into_iter().map(|(_, pod)| pod).collect();
        told.dedup();
        anyhow::ensure!(told == ["a-peers-2", "a-peers-1", "a-peers-0"], "{told:?}");
        Ok(())
    })
}

#[test]
fn peers_hand_over_before_they_leave() -> anyhow::Result<()> {
    on_newest_server("peers_hand_over_before_they_leave", |space| {
        let operator = space.operator()?;
        network(space, 4, &json!({}))?;
        let (pods, since) = (names(4), Timestamp::now());
        let stay = [space.held("pods", "a-peers-0")?, space.held("pods", "a-peers-1")?];
        let began = Instant::now();
        let used = in_use(space, &pods, |_| {
            space.change("a", &json!({ "replicas": 2 }))?;
            wait::until("two pods", DONE, || {
                let gone = |pod: &str| matches!(space.get("pods", pod), Ok(None));
                (gone("a-peers-2") && gone("a-peers-3")).then_some(())
            })
            .with_context(|| operator.last_words())?;
            space.await_ready("a")
        })?;
        let took = began.elapsed();
        // The StatefulSet shrank only after each of those that leave had said that it accepts nothing any more.
        let shrunk = space.writes(since).into_iter().find(|write| {
            write.verb == "patch" && write.resource == "statefulsets" && !write.uri.contains("dryRun")
        });
        let shrunk = shrunk.context("the StatefulSet was changed")?.received;
        let samples = used.before(shrunk)?;
        for leaving in [2, 3] {
            let drained = |of: &Vec<Option<Value>>| {
                of[leaving]
                    .as_ref()
                    .is_some_and(|status| status["state"] == "draining" && status["outbox"] == 0)
            };
            anyhow::ensure!(samples.iter().any(drained), "a-peers-{leaving} was not drained: {samples:?}");
        }
        for (ordinal, before) in stay.iter().enumerate() {
            let now = space.held("pods", &format!("a-peers-{ordinal}"))?;
            anyhow::ensure!(
                now["metadata"]["uid"] == before["metadata"]["uid"],
                "those that stay are not touched"
            );
        }
        let left: Vec<String> = [2, 3].iter().flat_map(|it| used.ids(Some(&pods[*it]))).collect();
        anyhow::ensure!(!left.is_empty(), "those that left had accepted something");
        let all = used.ids(None);
        for pod in &pods[..2] {
            await_all_held(space, pod, &all)?;
        }
        say(&format!(
            "4 to 2 peers in {:.1} s in use: {} acknowledged, {} of them by those that left, 0 lost, longest gap {:.2} s",
            took.as_secs_f32(),
            all.len(),
            left.len(),
            used.longest_gap().as_secs_f32()
        ));
        Ok(())
    })
}

#[test]
fn peers_that_cannot_hand_over_stay() -> anyhow::Result<()> {
    on_newest_server("peers_that_cannot_hand_over_stay", |space| {
        let operator = space.operator()?;
        network(space, 2, &json!({ "shutdown": { "drainDeadline": "10s" } }))?;
        let frozen = Frozen::new(space, "a-peers-0")?;
        let alone = submit(space, "a-peers-1", "nobody else holds this")?;
        space.change("a", &json!({ "replicas": 1 }))?;
        let told =
            await_told(space, &["cannot hand over", "a-peers-1"]).with_context(|| operator.last_words())?;
        say(&format!("a peer that cannot hand over: {told}"));
        is_bounded(space, "while a peer cannot hand over")?;
        anyhow::ensure!(
            space.held("statefulsets", "a-peers")?["spec"]["replicas"] == 2,
            "the scale-down is held"
        );
        space.held("pods", "a-peers-1")?;
        drop(frozen);
        wait::until("it has left", DONE, || matches!(space.get("pods", "a-peers-1"), Ok(None)).then_some(()))
            .with_context(|| operator.last_words())?;
        space.await_ready("a")?;
        await_all_held(space, "a-peers-0", &[alone])?;
        say("it left once the other took over: 0 lost");
        Ok(())
    })
}
