//! `status` and `peers`.

use sorcha_proto::v1::{GetStatusRequest, ListPeersRequest};

use crate::api::readiness::second_text;
use crate::api::view::{BootstrapJson, PeerJson, PeersJson, StatusJson};
use crate::cli::Global;
use crate::cli::client::Client;
use crate::cli::console::{Cell, Console, Failure, Format, Tone};
use crate::cli::escape;
use crate::clock::wall_now;
use sorcha_peer_core::types::WallTime;

/// Bootstrap addresses that fail, shown at most.
const BOOTSTRAP_LINES_MAX: usize = 5;
/// A certificate that ends within this is shown as a warning; it is renewed from 10 days on.
const CERTIFICATE_WARNS_MS: u64 = 7 * 24 * 3600 * 1000;

pub(super) async fn status(global: &Global, console: &mut Console<'_>) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    let answer = client.answer(node.get_status(GetStatusRequest {})).await?;
    let status = StatusJson::from(answer.into_inner());
    if global.output != Format::Table {
        return console.value(global.output, &status);
    }
    let tone = match status.state.as_str() {
        "online" => Tone::Good,
        "offline" => Tone::Bad,
        _ => Tone::Warning,
    };
    let state = console.tone(tone, &escape::text(&status.state));
    let linked = format!("{} of {} known", status.peers_linked, status.peers_known);
    let grid = match status.rows {
        0 | 1 => "one row: everyone is sent everything".to_owned(),
        rows => format!("row {} of {rows}", status.row),
    };
    let store = match status.store_fault.as_str() {
        "" => console.tone(Tone::Good, "accepts"),
        fault => console.tone(Tone::Bad, &escape::text(fault)),
    };
    let lines = [
        ("name", escape::text(&status.name)),
        ("identity", escape::text(&status.uri)),
        ("network", escape::text(&status.network)),
        ("site", escape::text(&status.site)),
        ("state", state),
        ("peers linked", linked),
        ("grid", grid),
        ("addresses", escape::text(&status.addresses.join(", "))),
        ("bootstrap", bootstrap(console, &status)),
        ("transactions", format!("{}, {} on disk", status.transactions, bytes_text(status.store_bytes))),
        ("kept since", kept_since(&status)),
        ("outbox", outbox(console, &status)),
        ("quarantine", quarantine(console, status.quarantined)),
        ("store", store),
        ("certificate", certificate(console, status.certificate_not_after_unix_ms)),
        ("up", span_text(status.uptime_ms)),
        ("version", escape::text(&status.version)),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(console.out, "{name:<13} {value}")?;
    }
    Ok(())
}

/// Why nobody is met at addresses where nobody was; one line each.
fn bootstrap(console: &Console<'_>, status: &StatusJson) -> String {
    let unmet = status.bootstrap.iter().filter(|at| at.peer_id.is_empty() && at.failures > 0);
    let tone = if status.peers_linked == 0 { Tone::Bad } else { Tone::Warning };
    let line = |at: &BootstrapJson| {
        let times =
            if at.failures == 1 { "once".to_owned() } else { format!("{} times in a row", at.failures) };
        console.tone(tone, &escape::text(&format!("{} ({times})", at.last_error)))
    };
    let mut lines: Vec<String> = unmet.clone().take(BOOTSTRAP_LINES_MAX).map(line).collect();
    if let Some(more) = unmet.count().checked_sub(BOOTSTRAP_LINES_MAX).filter(|more| *more > 0) {
        lines.push(format!("{more} more: -o json shows all"));
    }
    lines.join(&format!("\n{:14}", ""))
}

/// How far back the store goes, and whether retention has removed what was older.
fn kept_since(status: &StatusJson) -> String {
    let text = |ms| second_text(WallTime::from_unix_ms(ms));
    match (status.oldest_unix_ms, status.floor_unix_ms) {
        (_, 0) => String::new(),
        (0, floor) => format!("{}, where retention stands; nothing is held", text(floor)),
        (oldest, _) => format!("{}; retention removed what was older", text(oldest)),
    }
}

fn outbox(console: &Console<'_>, status: &StatusJson) -> String {
    let behind = if status.caught_up { "" } else { ", not caught up yet" };
    match status.outbox {
        0 => format!("empty{behind}"),
        waiting => console.tone(Tone::Warning, &format!("{waiting} held by no other peer{behind}")),
    }
}

fn quarantine(console: &Console<'_>, count: u64) -> String {
    match count {
        0 => String::new(),
        kept => console.tone(Tone::Warning, &format!("{kept} of signers that are not trusted here")),
    }
}

fn certificate(console: &Console<'_>, not_after_ms: u64) -> String {
    if not_after_ms == 0 {
        return console.tone(Tone::Bad, "none");
    }
    let text = format!("until {}", second_text(WallTime::from_unix_ms(not_after_ms)));
    match not_after_ms.checked_sub(wall_now().as_unix_ms()) {
        None => console.tone(Tone::Bad, &format!("{text}: expired")),
        Some(left) if left < CERTIFICATE_WARNS_MS => console.tone(Tone::Warning, &text),
        Some(_) => text,
    }
}

pub(super) async fn peers(global: &Global, console: &mut Console<'_>) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let mut node = client.node.clone();
    let answer = client.answer(node.list_peers(ListPeersRequest {})).await?;
    let peers = answer.into_inner().peers.into_iter().map(PeerJson::from).collect();
    let mut peers = PeersJson { peers };
    if global.output != Format::Table {
        return console.value(global.output, &peers);
    }
    if peers.peers.is_empty() {
        writeln!(console.out, "no other peer is known")?;
        return Ok(());
    }
    peers.peers.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
    let rows: Vec<Vec<Cell>> = peers.peers.iter().map(row).collect();
    console
        .table(&["NAME", "LINK", "RTT", "SINCE", "ADDRESS", "ROW", "SITE", "SOFTWARE", "LAST ERROR"], &rows)
}

/// Name without its number, then the number, so that peer 2 comes before peer 10.
fn natural(name: &str) -> (&str, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0))
}

fn row(peer: &PeerJson) -> Vec<Cell> {
    let link = match (peer.linked, peer.dialled) {
        (true, true) => Cell::toned(format!("{} out", peer.transport), Tone::Good),
        (true, false) => Cell::toned(format!("{} in", peer.transport), Tone::Good),
        (false, _) => Cell::toned("none", Tone::Warning),
    };
    let since = match peer.linked_since_unix_ms {
        0 => String::new(),
        at => span_text(wall_now().as_unix_ms().saturating_sub(at)),
    };
    vec![
        Cell::new(&peer.name),
        link,
        Cell::new(if peer.rtt_us == 0 {
            String::new()
        } else {
            format!("{:.1} ms", peer.rtt_us as f64 / 1e3)
        }),
        Cell::new(since),
        Cell::new(&peer.address),
        Cell::new(peer.row.to_string()),
        Cell::new(&peer.site),
        Cell::new(&peer.software),
        Cell::new(&peer.last_error),
    ]
}

/// `812 B`, `1.5 KiB`, `10.0 MiB`.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `850 ms`, `12 s`, `3 min`, `5 h 12 min`, `9 d 4 h`.
pub(super) fn span_text(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(bytes_text(0), "0 B");
        assert_eq!(bytes_text(1023), "1023 B");
        assert_eq!(bytes_text(1536), "1.5 KiB");
        assert_eq!(bytes_text(10 << 20), "10.0 MiB");
        assert_eq!(span_text(850), "850 ms");
        assert_eq!(span_text(119_000), "119 s");
        assert_eq!(span_text(3_600_000 * 5), "5 h 0 min");
        assert_eq!(span_text(86_400_000 * 9), "9 d 0 h");
    }

    #[test]
    fn peer_2_comes_before_peer_10() {
        let mut names = ["n-peers-10", "n-peers-2", "n-edge-3", "laptop"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["laptop", "n-edge-3", "n-peers-2", "n-peers-10"]);
    }
}
