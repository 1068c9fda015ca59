//! Where an API listens: TCP, or a Unix socket for this machine's users.
//!
//! Knows sockets and the bound on connections; nothing of what is spoken on them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections to one API at a time; more wait in the kernel's backlog until one ends (guess: far above what
/// applications on one machine hold).
pub const CONNECTIONS_MAX: usize = 1_024;
/// Group and owner may use the socket, others may not.
const SOCKET_MODE: u32 = 0o660;
/// Wait after a failed accept, where file handles have run out (the same as hyper's server took).
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// `HOST:PORT` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiAddress {
    /// `host:port`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an address: write HOST:PORT, such as 127.0.0.1:7451, or unix:/path/of/socket")]
pub struct NotAnAddress(String);

impl FromStr for ApiAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(text.chars().take(80).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(wrong()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let plain = !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace());
        match port.parse::<u16>() {
            Ok(_) if plain => Ok(Self::Tcp(text.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{address} is in use: stop the process that listens there, or choose another address")]
    InUse {
        /// Wanted.
        address: String,
    },
    /// Any other reason.
    #[error("cannot listen at {address}: {source}")]
    Io {
        /// Wanted.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound socket of an API.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    slots: Arc<Semaphore>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

/// Where a listener listens, as the browser protection wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// This address and port.
    Tcp(SocketAddr),
    /// A Unix socket, which no browser reaches.
    Unix,
}

impl Listener {
    /// Listens. A Unix socket left over by a dead process is taken over; a live one is in use.
    pub async fn bind(address: &ApiAddress) -> Result<Self, BindError> {
        let shown = address.to_string();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address: shown.clone() },
            _ => BindError::Io { address: shown.clone(), source },
        };
        let socket = match address {
            ApiAddress::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await.map_err(failed)?),
            ApiAddress::Unix(path) => {
                clear_stale_socket(path).await.map_err(failed)?;
                let listener = UnixListener::bind(path).map_err(failed)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))
                    .map_err(failed)?;
                Socket::Unix { listener, path: path.clone() }
            }
        };
        Ok(Self { socket, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)) })
    }

    /// Where it listens; with port 0 asked for, the port that was given.
    pub fn bound(&self) -> io::Result<Bound> {
        match &self.socket {
            Socket::Tcp(listener) => Ok(Bound::Tcp(listener.local_addr()?)),
            Socket::Unix { .. } => Ok(Bound::Unix),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, .. } = &self.socket {
            // Nothing is lost where it stays: the next bind takes a dead socket over.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes the socket of a process that is gone; leaves files of any other kind alone.
async fn clear_stale_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path),
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Small answers go out at once; where the option fails they are only later.
                    let _ = stream.set_nodelay(true);
                    Stream::Tcp(stream)
                }),
                Socket::Unix { listener, .. } => {
                    listener.accept().await.map(|(stream, _)| Stream::Unix(stream))
                }
            };
            match accepted {
                Ok(stream) => return (Connection { stream, _slot: slot }, ()),
                Err(error) => {
                    tracing::warn!(%error, "a connection to an API could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection, with its place among `CONNECTIONS_MAX`.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_socket() {
        let check = |text: &str, valid: bool| assert_eq!(text.parse::<ApiAddress>().is_ok(), valid, "{text}");
        check("127.0.0.1:7451", true);
        check("[::1]:7451", true);
        check("localhost:7451", true);
        check("unix:/run/sorcha/api.sock", true);
        check("unix:///run/sorcha/api.sock", true);
        check("unix:relative", false);
        check("127.0.0.1", false);
        check(":7451", false);
        check("127.0.0.1:70000", false);
        check("http://127.0.0.1:7451", false);
        check("", false);
    }

    #[tokio::test]
    async fn a_socket_left_by_a_dead_process_is_taken_over_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
        let address = ApiAddress::Unix(path.clone());
        let live = Listener::bind(&address).await.expect("the stale socket is replaced");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(Listener::bind(&address).await, Err(BindError::InUse { .. })));
        drop(live);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_in_the_sockets_place_is_left_alone() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let refused = Listener::bind(&ApiAddress::Unix(file.path().into())).await.expect_err("not a socket");
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert!(file.path().exists());
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Listener::bind(&ApiAddress::Tcp("127.0.0.1:0".into())).await.expect("free");
        let Bound::Tcp(address) = first.bound().expect("bound") else { panic!("TCP") };
        let refused = Listener::bind(&ApiAddress::Tcp(address.to_string())).await.expect_err("in use");
        assert!(refused.to_string().starts_with(&format!("{address} is in use")), "{refused}");
    }
}
