//! Wrong surroundings of a peer: each ends in a sentence and a documented exit code, and loses nothing.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sorcha_e2e::network::kill;
use sorcha_e2e::peer::Solo;
use sorcha_e2e::{programs, skip, wait};

/// The peer refuses to start with this code, and says all of these.
fn check_refused(solo: &Solo, code: i32, says: &[&str]) -> anyhow::Result<()> {
    let (found, log) = solo.refused()?;
    assert_eq!(found, Some(code), "{log}");
    for word in says {
        assert!(log.contains(word), "'{word}' is missing in: {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

#[test]
fn a_sound_peer_starts_answers_and_stops_on_sigterm_within_its_deadline() -> anyhow::Result<()> {
    let solo = Solo::prepare("sound")?;
    let mut running = solo.start()?;
    solo.submit("alone")?.ok()?;
    kill(running.pid(), Signal::TERM);
    let status = running.await_end()?;
    assert!(status.success(), "{status}: {}", solo.log());
    Ok(())
}

#[test]
fn certificates_that_do_not_fit_are_refused_at_the_start() -> anyhow::Result<()> {
    let solo = Solo::prepare("certificates")?;
    let cases: [(&[&str], &str); 2] = [
        (&["--not-before", "2020-01-01T00:00:00Z", "--not-after", "2020-02-01T00:00:00Z"], "expired"),
        (
            &["--not-before", "2030-01-01T00:00:00Z", "--not-after", "2030-02-01T00:00:00Z"],
            "not valid before",
        ),
    ];
    for (more, says) in cases {
        solo.issue("ca", more)?;
        check_refused(&solo, 2, &[says, "tls.crt"])?;
    }
    solo.create_ca("other")?;
    solo.issue("other", &[])?;
    std::fs::copy(solo.path().join("ca/ca.crt"), solo.path().join("tls/ca.crt"))?;
    check_refused(&solo, 2, &["tls.crt", "unknown CA"])?;
    std::fs::remove_file(solo.path().join("tls/tls.key"))?;
    check_refused(&solo, 2, &["tls.key"])
}

#[test]
fn a_port_in_use_is_named() -> anyhow::Result<()> {
    let solo = Solo::prepare("port")?;
    for (address, key) in
        [(solo.peer_address(), "listen.peer"), (solo.api(), "listen.api"), (solo.admin(), "listen.admin")]
    {
        let _held = std::net::TcpListener::bind(&address)?;
        check_refused(&solo, 1, &[&address, key])?;
    }
    Ok(())
}

#[test]
fn a_wrong_configuration_names_every_field() -> anyhow::Result<()> {
    let solo = Solo::prepare("config")?;
    solo.configure("limits: {bodyBytesMax: lots, linksMax: 0}\n")?;
    check_refused(&solo, 2, &["limits.bodyBytesMax", "lots", "limits.linksMax"])?;
    solo.configure("limit: {}\n")?;
    let said = programs::peer(&["config", "check", &solo.config_file().to_string_lossy()])?;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(format!("{}{}", said.err, said.text()).contains("limits"), "a suggestion: {}", said.err);
    Ok(())
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() -> anyhow::Result<()> {
    let solo = Solo::prepare("state")?;
    std::fs::write(solo.state(), "a file stands here")?;
    check_refused(&solo, 1, &["state"])?;
    std::fs::remove_file(solo.state())?;
    let running = solo.start()?;
    check_refused_second(&solo)?;
    drop(running);
    Ok(())
}

/// A second peer on the same state directory, on other ports.
fn check_refused_second(first: &Solo) -> anyhow::Result<()> {
    let second = Solo::prepare("state")?;
    let text = std::fs::read_to_string(second.config_file())?
        .replace(&second.state().display().to_string(), &first.state().display().to_string());
    std::fs::write(second.config_file(), text)?;
    check_refused(&second, 1, &["in use by process"])
}

#[test]
fn a_corrupt_store_is_reported_and_not_touched() -> anyhow::Result<()> {
    let solo = Solo::prepare("corrupt")?;
    let mut running = solo.start()?;
    solo.submit("kept")?.ok()?;
    kill(running.pid(), Signal::TERM);
    running.await_end()?;
    let file = solo.state().join("store.redb");
    let garbage = vec![0xa5; 64 * 1024];
    std::fs::write(&file, &garbage)?;
    check_refused(&solo, 1, &["store.redb"])?;
    assert_eq!(std::fs::read(&file)?, garbage, "the file is as it was");
    let said = programs::peer(&["store", "check", &solo.state().to_string_lossy()])?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    Ok(())
}

#[test]
fn a_full_disk_refuses_keeps_what_was_acknowledged_and_recovers() -> anyhow::Result<()> {
    let solo = Solo::prepare("full")?;
    std::fs::create_dir(solo.state())?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
        .arg(solo.state())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        skip!("a_full_disk_refuses_keeps_what_was_acknowledged_and_recovers", "mounting a tmpfs needs root");
    }
    let result = fill_and_free(&solo);
    Command::new("umount").arg("-l").arg(solo.state()).status()?;
    result
}

fn fill_and_free(solo: &Solo) -> anyhow::Result<()> {
    let _running = solo.start()?;
    let before = solo.submit("before")?.ok()?.json()?["id"].clone();
    let ballast = solo.state().join("ballast");
    // As much as there is room for.
    drop(Command::new("dd").args(["if=/dev/zero", "bs=64k", &format!("of={}", ballast.display())]).output()?);
    let body = "x".repeat(100_000);
    let refused = wait::until("a refusal", Duration::from_secs(20), || {
        let said = solo.submit(&body).ok()?;
        (said.code != Some(0)).then_some(said)
    })?;
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert!(refused.err.contains("full"), "{}", refused.err);
    let id = before.as_str().expect("an id").to_owned();
    std::fs::remove_file(&ballast)?;
    wait::until("it accepts again", Duration::from_secs(20), || {
        solo.submit("after").ok().filter(|said| said.code == Some(0)).map(|_| ())
    })?;
    let said = solo.cli(&["tail", "--from", "earliest", "--count", "1", "-o", "json"])?.ok()?;
    assert_eq!(said.json()?["id"], id, "what was acknowledged is still the first");
    assert!(!solo.log().contains("panicked"), "{}", solo.log());
    Ok(())
}

#[test]
fn an_oversized_body_is_refused_with_its_bound() -> anyhow::Result<()> {
    let solo = Solo::prepare("oversized")?;
    solo.configure("limits: {bodyBytesMax: 1Ki}\n")?;
    let _running = solo.start()?;
    let said = solo.submit(&"x".repeat(1025))?;
    assert_eq!(said.code, Some(4), "{}", said.err);
    assert!(said.err.contains("1024") && said.err.contains("bodyBytesMax"), "{}", said.err);
    solo.submit(&"x".repeat(1024))?.ok()?;
    Ok(())
}

#[test]
fn nobody_at_the_api_is_unreachable() -> anyhow::Result<()> {
    let solo = Solo::prepare("nobody")?;
    let said = solo.cli(&["status"])?;
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains(&solo.api()), "{}", said.err);
    Ok(())
}
