//! What TLS between two peers runs on: a TCP connection, or one that is carried by calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sorcha_peer_core::event::Rung;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
