//! For people: a line on the terminal that moves while something is under way, a block when all is ready, one
//! line for what happens later.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::local::endpoints::Endpoint;
use crate::local::event::{Event, Unlinked};

/// How often the moving line moves. Slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(120);

/// Progress and notices go to stderr, the block to stdout.
pub(super) struct Human {
    terminal: bool,
    moving: Option<ProgressBar>,
}

impl Human {
    pub(super) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), moving: None }
    }

    pub(super) fn tell(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Progress { running, linked, of } = event {
            return self.progress(&format!("{running} of {of} running, {linked} of {of} linked"));
        }
        if matches!(
            event,
            Event::Ready { .. } | Event::Settled { .. } | Event::Stopping { .. } | Event::NotLinked { .. }
        ) && let Some(bar) = self.moving.take()
        {
            bar.finish_and_clear();
        }
        let text = text(event);
        if text.is_empty() {
            return Ok(());
        }
        let write = || {
            if matches!(event, Event::Ready { .. }) {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            } else {
                io::stderr().lock().write_all(text.as_bytes())
            }
        };
        match &self.moving {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn progress(&mut self, text: &str) -> io::Result<()> {
        if !self.terminal {
            return writeln!(io::stderr().lock(), "{text}");
        }
        let bar = self.moving.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            bar.set_style(style.expect("the template is well-formed"));
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(text.to_owned());
        Ok(())
    }
}

/// An event in words; empty where it is not worth any.
pub(super) fn text(event: &Event) -> String {
    match event {
        Event::Planned { network, peers, directory, .. } => {
            format!("network {network}: {} in {}\n", count(*peers), directory.display())
        }
        Event::Notice { field, message } => format!("note: {field}: {message}\n"),
        Event::LeftoverStopped { peer, pid } => {
            format!("{peer}: process {pid} was left over from an earlier run and was stopped\n")
        }
        Event::Exited { peer, how, restart_in_ms } => {
            format!("{peer} {how}; it starts again in {}\n", pause(*restart_in_ms))
        }
        Event::Returned { peer, pid, ms } => {
            format!("{peer} is linked again after {ms} ms (process {pid})\n")
        }
        Event::Moved { peer, port } => {
            format!(
                "{peer}: another program has taken one of its ports; it moves to {port} and the next two\n"
            )
        }
        Event::CrashLoop { peer, failures, log, lines } => {
            format!("{peer} keeps ending: {failures} times in a row. {}", tail(log, lines))
        }
        Event::ManifestRejected { message } => format!("{message}\nThe network stays as it is.\n"),
        Event::ManifestAccepted { peers } => {
            format!("the manifest is valid again and says what runs: {}\n", count(*peers))
        }
        Event::Changing { from, to, added, removed, restarted } => {
            let parts = [("starting", added), ("leaving", removed), ("restarting in turn", restarted)];
            let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
            let parts = parts.map(|(word, names)| format!("{word}: {}", some(names)));
            let all: Vec<String> = [format!("the manifest changed: {} -> {to}", count(*from))]
                .into_iter()
                .chain(parts)
                .collect();
            all.join("; ") + "\n"
        }
        Event::Removed { peer, directory, killed } => format!(
            "{peer} has left{}; identity and data stay in {} for its return\n",
            if *killed { " (it did not end in time and was killed)" } else { "" },
            directory.display()
        ),
        Event::Settled { peers, seconds } => format!("{} linked after {seconds:.2} s\n", count(*peers)),
        Event::NotLinked { seconds, peers } => unlinked(*seconds, peers),
        Event::Renewed { peer } => format!("{peer} has a new certificate\n"),
        Event::Warning { message } => format!("warning: {message}\n"),
        Event::Stopping { reason } => format!("{reason}: stopping all peers (again: kill them at once)\n"),
        Event::Stopped { seconds, killed } => match killed {
            0 => format!("stopped after {seconds:.2} s; no process is left\n"),
            _ => format!(
                "stopped after {seconds:.2} s; {} had to be killed; no process is left\n",
                count(*killed)
            ),
        },
        Event::Ready { network, seconds, endpoints, binary, manifest, peers } => {
            ready(network, *seconds, endpoints, binary, manifest, peers)
        }
        Event::Started { .. } | Event::Progress { .. } => String::new(),
    }
}

fn ready(
    network: &str,
    seconds: f64,
    endpoints: &Path,
    binary: &Path,
    manifest: &Path,
    peers: &[Endpoint],
) -> String {
    let width = peers.iter().map(|peer| peer.name.len()).max().unwrap_or(0).max("PEER".len());
    let row = |name: &str, tls: &str, api: &str, admin: &str| {
        format!("  {name:width$}  {tls:21}  {api:21}  {admin}")
    };
    let mut lines = vec![
        String::new(),
        match peers.len() {
            0 => format!("Network {network} has no peers: spec.replicas is 0."),
            some => format!("Network {network} is ready: {} linked after {seconds:.2} s.", count(some)),
        },
    ];
    if !peers.is_empty() {
        lines.extend([String::new(), row("PEER", "TLS", "API", "ADMIN")]);
    }
    lines.extend(peers.iter().take(ROWS_MAX).map(|it| row(&it.name, &it.peer, &it.api, &it.admin)));
    if peers.len() > ROWS_MAX {
        lines.push(format!("  and {} more in {}", peers.len() - ROWS_MAX, endpoints.display()));
    }
    if let (Some(first), Some(last)) = (peers.first(), peers.last()) {
        lines.extend([
            String::new(),
            "In a second terminal:".to_owned(),
            format!("  export SORCHA_ENDPOINTS={}", quoted(endpoints)),
        ]);
        let binary = quoted(binary);
        lines.extend(
            [(first, "submit --text hello"), (last, "tail"), (first, "status"), (first, "peers")]
                .map(|(peer, words)| format!("  {binary} --peer {} {words}", peer.name)),
        );
    }
    lines.extend([
        String::new(),
        format!("To scale, change spec.replicas in {}; saved changes are followed.", manifest.display()),
        "To stop, press Ctrl-C.".to_owned(),
        String::new(),
    ]);
    lines.join("\n") + "\n"
}

/// Peers listed in full at most: what fits a screen with the rest of the block.
const ROWS_MAX: usize = 24;

fn unlinked(seconds: f64, peers: &[Unlinked]) -> String {
    let each = |it: &Unlinked| format!("{} {}. {}", it.peer, it.how, tail(&it.log, &it.lines));
    let each: String = peers.iter().map(each).collect();
    format!("{} not linked after {seconds:.0} s:\n{each}", count(peers.len()))
}

fn tail(log: &Path, lines: &[String]) -> String {
    if lines.is_empty() {
        return format!("Its log {} is empty.\n", log.display());
    }
    format!("Last lines of {}:\n    {}\n", log.display(), lines.join("\n    "))
}

/// `84 ms`, `3.8 s`.
fn pause(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1e3) }
}

fn count(peers: usize) -> String {
    if peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") }
}

/// At most five names, then a number.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_block_lists_peers_and_commands() {
        let peer = |ordinal: u16| Endpoint {
            name: format!("quickstart-peers-{ordinal}"),
            pid: Some(7),
            peer: format!("127.0.0.1:{}", 7450 + 20 * ordinal),
            api: format!("127.0.0.1:{}", 7451 + 20 * ordinal),
            admin: format!("127.0.0.1:{}", 7452 + 20 * ordinal),
            directory: "/s".into(),
        };
        let ready = Event::Ready {
            network: "quickstart".into(),
            seconds: 1.234,
            endpoints: "/my state/quickstart/endpoints.json".into(),
            binary: "target/release/sorcha-peer".into(),
            manifest: "crds/examples/quickstart.yaml".into(),
            peers: vec![peer(0), peer(1)],
        };
        insta::assert_snapshot!(text(&ready));
    }

    #[test]
    fn a_network_without_peers_says_how_to_get_some() {
        let ready = Event::Ready {
            network: "quickstart".into(),
            seconds: 0.0,
            endpoints: "/s/quickstart/endpoints.json".into(),
            binary: "sorcha-peer".into(),
            manifest: "quickstart.yaml".into(),
            peers: vec![],
        };
        assert_eq!(
            text(&ready),
            "\nNetwork quickstart has no peers: spec.replicas is 0.\n\n\
             To scale, change spec.replicas in quickstart.yaml; saved changes are followed.\n\
             To stop, press Ctrl-C.\n\n"
        );
    }

    #[test]
    fn pauses_are_written_for_people() {
        assert_eq!(pause(84), "84 ms");
        assert_eq!(pause(3796), "3.8 s");
    }

    #[test]
    fn a_change_names_at_most_five_peers_of_a_kind() {
        let names = |range: std::ops::Range<u32>| range.map(|i| format!("n-{i}")).collect::<Vec<_>>();
        let changing =
            Event::Changing { from: 1, to: 8, added: names(1..8), removed: vec![], restarted: names(0..1) };
        assert_eq!(
            text(&changing),
            "the manifest changed: 1 peer -> 8; starting: n-1, n-2, n-3, n-4, n-5 and 2 more; \
             restarting in turn: n-0\n"
        );
    }
}
