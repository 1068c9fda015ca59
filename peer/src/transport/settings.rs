//! What both sides set on their connections.

use std::time::Duration;

use tokio::net::TcpStream;

/// One encoded frame (`bounds::FRAME_BYTES_MAX`); gRPC refuses longer ones before it reads them.
pub(super) const FRAME_BYTES_MAX: usize = sorcha_peer_core::types::bounds::FRAME_BYTES_MAX;
/// One encoded call that carries a connection: its segment, and room for the rest.
pub(super) const CALL_BYTES_MAX: usize = super::carry::SEGMENT_BYTES_MAX + 1024;
/// HTTP/2 window of a stream and of a connection. So much may be on its way ahead of an urgent frame, so it is
/// small: 256 KiB is 20 ms at 100 Mbit/s, and at 60 ms round trip still lets 4 MB/s of bulk through one link.
pub(super) const WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2 pings on a connection that is silent for so long. The core's own pings come sooner, so that a link costs none of these: they
/// find connections without a link.
pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
/// Until an unanswered HTTP/2 ping ends the connection.
pub(super) const KEEPALIVE_WITHIN: Duration = Duration::from_secs(20);
/// Headers of a request at most; ours have about 300 bytes.
pub(super) const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Requests under way on one connection at most: one link and a few REST calls.
pub(super) const STREAMS_MAX: u32 = 16;

/// Frames are small and somebody waits for each.
pub(super) fn prepare(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)
}

/// How long those who connect may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A handshake.
    pub(super) handshake: Duration,
    /// Until a connection carries a link: one without is a REST call, or somebody who takes up room.
    pub(super) link: Duration,
    /// Until a link on a lower rung looks for a better one.
    pub(super) climb: Duration,
    /// A link that breaks sooner than this is a sign that its rung does not hold.
    pub(super) hold: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // Guesses. A handshake takes about 2 ms of both sides' time and two round trips, and a machine on which hundreds
        // of peers start has that many to do at once; whoever dials for a link asks for it at once.
        // Middleboxes that cut long connections do so after seconds. An obstacle that goes is noticed within a minute.
        Self {
            handshake: Duration::from_secs(15),
            link: Duration::from_secs(15),
            climb: Duration::from_secs(45),
            hold: Duration::from_secs(10),
        }
    }
}
