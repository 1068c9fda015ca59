//! Nothing is written when nothing has changed, and nothing is asked for in a hot loop.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use sorcha_e2e::audit::{self, Rate};

use crate::space::{Space, on_every_server, operator_from};

/// How long an operator is watched at rest: a minute is meant; `SORCHA_E2E_IDLE_SECONDS` says another time.
pub(crate) fn idle() -> Duration {
    let given = std::env::var("SORCHA_E2E_IDLE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(20))
}

/// Requests that an operator may make in 20 s while something is wrong and stays so: the backoff of a few networks,
/// twice a network and second at the very most.
const TROUBLED_REQUESTS_MAX: usize = 60;

/// Fails where the operator asks for more in 20 s than backoff explains.
pub(crate) fn is_bounded(space: &Space<'_>, when: &str) -> anyhow::Result<Rate> {
    let since = Timestamp::now();
    std::thread::sleep(Duration::from_secs(20));
    let mut asked = space.world.audit.since(&space.user(), since);
    asked.retain(|request| request.resource != "leases");
    let rate = audit::rate(&asked);
    say(&format!("{when}: {} requests in 20 s, {} in the busiest second", rate.total, rate.peak));
    anyhow::ensure!(
        rate.total <= TROUBLED_REQUESTS_MAX,
        "a hot loop {when}:\n{}",
        crate::space::lines(&asked)
    );
    Ok(rate)
}

/// A figure for whoever reads the output; past the harness's capture.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    drop(std::io::stderr().write_all(format!("FIGURE: {line}\n").as_bytes()));
}

/// Manifests that use much of what there is.
fn networks(space: &Space<'_>) -> anyhow::Result<()> {
    space.network("a", &json!({ "replicas": 3 }))?;
    space.network(
        "b",
        &json!({
            "replicas": 2,
            "resources": { "requests": { "cpu": "0.25", "memory": "1024Mi" }, "limits": { "memory": "2048Mi" } },
            "storage": { "size": "1024Mi" },
            "bootstrap": { "addresses": ["peers.partner.example:7450"] },
        }),
    )
}

#[test]
fn an_operator_at_rest_writes_nothing() -> anyhow::Result<()> {
    on_every_server("an_operator_at_rest_writes_nothing", |space| {
        networks(space)?;
        let operator = space.operator()?;
        // No peers run behind these pods: once that has been told nothing is left to be told.
        for name in ["a", "b"] {
            space.await_ready(name)?;
            space.await_condition(name, "Degraded", "True", Some("PeersSilent"))?;
        }
        space.await_rest()?;
        let since = Timestamp::now();
        space.stays_quiet(idle())?;
        let asked = space.world.audit.since(&space.user(), since);
        let leases = asked.iter().filter(|request| request.resource == "leases").count();
        say(&format!(
            "{}: two networks at rest for {:?}: 0 writes, {} reads, {leases} requests for the Lease",
            space.world.server.version(),
            idle(),
            asked.len() - leases
        ));

        // Looked at again, because an object was touched without being changed.
        let since = Timestamp::now();
        for (resource, name) in
            [("sorchapeernetworks", "a"), ("configmaps", "a-peers"), ("statefulsets", "b-peers")]
        {
            let touched = json!({ "metadata": { "annotations": { "example.org/touched": "yes" } } });
            space.world.rest.merge(&space.path(resource, name), &touched)?.ok()?;
        }
        space.await_rest()?;
        let writes = space.writes(since);
        anyhow::ensure!(writes.is_empty(), "{}", crate::space::lines(&writes));
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_restarted_operator_writes_nothing() -> anyhow::Result<()> {
    on_every_server("a_restarted_operator_writes_nothing", |space| {
        networks(space)?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        space.await_ready("b")?;
        space.await_rest()?;
        let status = operator.stop()?;
        anyhow::ensure!(status.success(), "it ends with {status}");
        let since = Timestamp::now();
        let operator = space.operator()?;
        std::thread::sleep(Duration::from_secs(5));
        space.await_rest()?;
        let writes = space.writes(since);
        anyhow::ensure!(writes.is_empty(), "{}", crate::space::lines(&writes));
        drop(operator);
        Ok(())
    })
}

#[test]
fn a_new_operator_changes_no_pod_template() -> anyhow::Result<()> {
    on_every_server("a_new_operator_changes_no_pod_template", |space| {
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        space.await_rest()?;
        operator.stop()?;

        // What an earlier version would have rendered: another template and file from the same manifest.
        let mut set = space.held("statefulsets", "a-peers")?;
        let pinned = set["metadata"]["annotations"]["sorcha.org/rendered"].as_str().unwrap_or_default();
        let mut rendered: Value = serde_json::from_str(pinned)?;
        let older = json!([{ "name": "SORCHA_OLDER", "value": "yes" }]);
        let variables = rendered["template"]["spec"]["containers"][0]["env"].as_array_mut();
        variables
            .context("a pinned container has variables")?
            .extend(older.as_array().cloned().into_iter().flatten());
        let config = rendered["config"].as_str().unwrap_or_default().to_owned();
        rendered["config"] = json!(format!("# An older version wrote this.\n{config}"));
        let at = space.path("statefulsets", "a-peers");
        let manager = "fieldManager=sorcha-operator&force=true";
        set["metadata"]["annotations"]["sorcha.org/rendered"] = json!(rendered.to_string());
        set["spec"]["template"] = rendered["template"].clone();
        for name in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
            set["metadata"].as_object_mut().map(|metadata| metadata.remove(name));
        }
        set.as_object_mut().map(|object| object.remove("status"));
        let form = "application/apply-patch+yaml";
        space.world.rest.send(&http::Method::PATCH, &format!("{at}?{manager}"), form, Some(&set))?.ok()?;
        let map = json!({ "data": { "peer.yaml": rendered["config"] } });
        space.world.rest.merge(&space.path("configmaps", "a-peers"), &map)?.ok()?;
        let before = space.held("statefulsets", "a-peers")?;

        let mut setup = space.setup();
        setup.args = vec!["--peer-image".to_owned(), "sorcha-peer:of-tomorrow".to_owned()];
        let operator = operator_from(&setup)?;
        std::thread::sleep(Duration::from_secs(5));
        space.await_rest()?;
        let after = space.held("statefulsets", "a-peers")?;
        anyhow::ensure!(after["spec"]["template"] == before["spec"]["template"], "{after}");
        anyhow::ensure!(after["metadata"]["generation"] == before["metadata"]["generation"], "{after}");
        let text = space.held("configmaps", "a-peers")?["data"]["peer.yaml"].clone();
        anyhow::ensure!(text == rendered["config"], "{text}");

        // With a change that the user makes everything is rendered anew, but for the image.
        space.change("a", &json!({ "log": { "level": "debug" } }))?;
        let set = space.await_held("statefulsets", "a-peers", |set| {
            set["metadata"]["generation"] != before["metadata"]["generation"]
        })?;
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        anyhow::ensure!(!container["env"].to_string().contains("SORCHA_OLDER"), "{container}");
        say(&format!("image after the user's change: {}", container["image"]));
        drop(operator);
        Ok(())
    })
}
