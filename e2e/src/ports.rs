//! Ports for the servers of a test.
//!
//! Taken from below the range that the system gives to outgoing connections (32768 and up on Linux), and each once
//! per test program: a port asked of the system and let go can be somebody's source port before the server has it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

/// First port that is handed out; local mode's own ports lie below.
const FIRST: u16 = 20_000;
/// How many there are.
const COUNT: u16 = 10_000;

/// Three ports of 127.0.0.1 on which nobody listens, different at every call.
pub fn free_ports() -> anyhow::Result<[u16; 3]> {
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = (0..COUNT)
            .map(|_| next())
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .context("every port from 20000 to 29999 is in use")?;
    }
    Ok(ports)
}

fn next() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test programs at once begin at different places.
    let begin = (std::process::id() % 100) as u16 * 100;
    FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT
}
