//! A stand-in for `sorcha-peer` in tests of local mode: `stand_in_peer run --config peer.yaml`.
//!
//! Holds the peer's ports, answers `GET /v1/status` and `POST /v1/leave`, ends with its standard input. It is
//! "linked" to every sibling folder whose peer port answers. Files in its folder change what it does: `crash`
//! ends it at once, `alone` leaves it without links, `clingy` lets it outlive its supervisor, `stubborn` makes it
//! ignore SIGTERM.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sorcha_peer_config::raw::RawConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    anyhow::ensure!(arguments.next().as_deref() == Some("run"), "only `run` stands in");
    anyhow::ensure!(arguments.next().as_deref() == Some("--config"), "--config is wanted");
    let config = PathBuf::from(arguments.next().unwrap_or_default());
    let folder = config.parent().unwrap_or(Path::new(".")).to_owned();
    let has = |name: &str| folder.join(name).exists();
    writeln!(std::io::stdout(), "starting with {}", config.display())?;
    anyhow::ensure!(!has("crash"), "the store is on fire");

    let listen = read(&config)?.listen;
    let bind = |address: Option<String>| TcpListener::bind(address.unwrap_or_default());
    let (_peer, api, _admin) = (bind(listen.peer)?, bind(listen.api)?, bind(listen.admin)?);
    let end = Arc::new(Notify::new());
    if std::env::var_os("SORCHA_EXIT_WITH_STDIN").is_some() && !has("clingy") {
        let end = end.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            end.notify_one();
        });
    }
    let stubborn = has("stubborn");
    let left = end.clone();
    std::thread::spawn(move || {
        for connection in api.incoming().flatten() {
            let (folder, left) = (folder.clone(), left.clone());
            std::thread::spawn(move || answer(connection, &folder, &left));
        }
    });
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = end.notified() => {}
        _ = terminate.recv(), if !stubborn => {}
    }
    Ok(())
}

fn read(config: &Path) -> anyhow::Result<RawConfig> {
    Ok(serde_saphyr::from_str(&fs::read_to_string(config)?)?)
}

fn answer(connection: TcpStream, folder: &Path, left: &Notify) -> anyhow::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(connection);
    reader.read_line(&mut line)?;
    while reader.read_line(&mut String::new())? > 2 {}
    let mut connection = reader.into_inner();
    let leave = line.starts_with("POST /v1/leave");
    let linked = if folder.join("alone").exists() { 0 } else { linked(folder) };
    let body = format!("{{\"state\":\"STATE_ONLINE\",\"peersKnown\":{linked},\"peersLinked\":{linked}}}");
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    if leave {
        fs::write(folder.join("left"), "")?;
        connection.shutdown(std::net::Shutdown::Write)?;
        left.notify_one();
    }
    Ok(())
}

fn linked(folder: &Path) -> usize {
    let siblings =
        folder.parent().and_then(|network| fs::read_dir(network).ok()).into_iter().flatten().flatten();
    siblings
        .filter(|sibling| sibling.path() != folder)
        .filter_map(|sibling| read(&sibling.path().join("peer.yaml")).ok()?.listen.peer)
        .filter(|address| TcpStream::connect(address).is_ok())
        .count()
}
