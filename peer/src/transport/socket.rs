//! What TLS between two peers runs on: a TCP connection, or one that is carried by calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use sorcha_peer_core::event::Rung;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;

use super::carry::Carried;

/// Either.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Carried(Carried, Rung),
}

impl Socket {
    /// The rung that a link on it is on.
    pub(super) fn rung(&self) -> Rung {
        match self {
            Self::Tcp(_) => Rung::Stream,
            Self::Carried(_, rung) => *rung,
        }
    }

    /// Waits until the other side has said something, or has gone.
    pub(super) async fn heard(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            // It was opened by what it says.
            Self::Carried(..) => Ok(()),
        }
    }

    /// Whether the other side has closed.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Tcp(socket) => {
                let ready = socket.ready(Interest::READABLE).now_or_never();
                ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
            }
            Self::Carried(..) => false,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Carried(socket, _) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, data),
            Self::Carried(socket, _) => Pin::new(socket).poll_write(context, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Carried(socket, _) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Carried(socket, _) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
