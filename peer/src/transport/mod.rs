//! Links to other peers over TLS: listening, dialling, frames in and out.
//!
//! Knows certificates and sockets; does not know what frames mean. Everything that happens is sent to
//! the driver as an [`Input`]: `LinkUp`, `Frame`, `BadFrame`, `LinkDown`, `DialFailed`.

use sorcha_peer_core::Input;
use sorcha_peer_core::event::Class;
use sorcha_peer_core::message::Frame;
use sorcha_peer_core::types::{Address, LinkId, OpId, PeerId};
use tokio::sync::mpsc;

/// Cheap to clone. No call blocks.
#[derive(Debug, Clone)]
pub struct Transport {
    #[expect(dead_code, reason = "being built")]
    inputs: mpsc::Sender<Input>,
}

#[expect(clippy::todo, unused_variables, clippy::unused_self, reason = "being built")]
impl Transport {
    /// Opens a link in the background: `LinkUp` or `DialFailed` follows within the dial deadline.
    pub fn dial(&self, op: OpId, address: Address, expect: Option<PeerId>) {
        todo!()
    }

    /// Queues a frame. Where the link's queue is over its bound in bytes the link is closed as too slow.
    pub fn send(&self, link: LinkId, class: Class, frame: &Frame) {
        todo!()
    }

    /// Sends what is queued (within a deadline), then closes; `LinkDown` follows.
    pub fn close(&self, link: LinkId, reason: String) {
        todo!()
    }
}
