//! Connections that are carried by calls, where streams do not pass: the lower rungs of the ladder.
//!
//! A carried connection is a byte stream with numbered bytes ([`pipe`]) whose segments travel in calls of
//! `PeerLink.Exchange` (unary gRPC) or `POST /v1/exchange` (HTTP/1.1), see [`sessions`] for the side that listens and
//! [`caller`] for the one that dials. Inside runs what runs on a socket: TLS between the two peers, HTTP/2 and the
//! stream of frames. So identity and secrecy hold end to end whoever ends the outer TLS, and the connection outlives the
//! connections of its calls: a cut one is dialled again, and every byte arrives once.

mod caller;
mod carriers;
mod pipe;
mod sessions;

use std::time::Duration;

/// Where calls come over HTTP/1.1.
pub(super) const EXCHANGE_PATH: &str = "/v1/exchange";

pub(super) use caller::{Carrier, open};
pub(super) use carriers::{Connect, Rest, Unary};
pub(super) use pipe::Carried;
pub(super) use sessions::{Incoming, Refused, Sessions};

/// Bytes of a session's number, drawn by lot by the dialler: nobody guesses one of 2^128.
const SESSION_BYTES: usize = 16;
/// Bytes that one call brings, and that one answer gives. Guess: 16 records of TLS; many proxies keep less than 1 MiB.
pub(super) const SEGMENT_BYTES_MAX: usize = 128 * 1024;
/// How long an answer may be held back while there is nothing to say: below the 30 to 60 s after which proxies usually
/// end a silent request.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);
