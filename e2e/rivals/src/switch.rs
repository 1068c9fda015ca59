//! The network between the nodes: a TUN device whose packets come back after a fixed delay, and are counted.
//!
//! One device serves all nodes: routing rules send every packet between their addresses out through it, also between
//! two nodes of one process (`namespace.rs`). So TCP and UDP, of every rival, meet the same delay, and what is counted
//! is whole IP packets, headers, acknowledgements and handshakes included. What the kernel does with a received packet happens
//! on this process's time, so that its processor time is that of the network.

use std::collections::VecDeque;
use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Name of the device.
pub const DEVICE: &str = "rivals0";
/// As on most networks.
const MTU: u16 = 1500;
/// Packets that wait to be read from the device; the kernel drops more. Its default is 500: one body of 48 KiB to all fills it.
const DEVICE_QUEUE: u32 = 65_536;
/// Bytes on their way at most; more are dropped, as a switch does, and counted.
const QUEUED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Packets that are handed over between two looks at the queue.
const BATCH: usize = 64;
/// A packet that comes so much later than its delay is counted as late: a quarter of the delay that is measured with.
const LATE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct Line {
    packets: Mutex<Packets>,
    arrived: Condvar,
    bytes: AtomicU64,
    count: AtomicU64,
    dropped: AtomicU64,
    late: AtomicU64,
    /// Since the last question, us.
    latest: AtomicU64,
}

#[derive(Debug, Default)]
struct Packets {
    queue: VecDeque<(Instant, Box<[u8]>)>,
    bytes: usize,
}

/// Runs until standard input ends. Every line on it is answered by one: bytes, packets, drops and late packets so far, and by how
/// much the latest came too late since the last question, us.
pub fn run(delay: Duration) -> Result<()> {
    // Nodes that are busy must not slow the network down. Threads inherit it; without the right to, it runs as others do.
    let _unprivileged = rustix::process::setpriority_process(None, -20);
    let device = DeviceBuilder::new().name(DEVICE).mtu(MTU).tx_queue_len(DEVICE_QUEUE);
    let device = Arc::new(device.build_sync().context("no TUN device: /dev/net/tun and root are needed")?);
    let line = Arc::new(Line::default());
    let (reading, writing) = (Arc::clone(&device), Arc::clone(&line));
    std::thread::spawn(move || read(&reading, &writing, delay));
    let delivering = Arc::clone(&line);
    std::thread::spawn(move || deliver(&device, &delivering));
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for request in std::io::stdin().lock().lines() {
        request?;
        let [bytes, count, dropped, late] =
            [&line.bytes, &line.count, &line.dropped, &line.late].map(|it| it.load(Ordering::Relaxed));
        let latest = line.latest.swap(0, Ordering::Relaxed);
        writeln!(out, "{bytes} {count} {} {late} {latest}", dropped + dropped_by_kernel()?)?;
        out.flush()?;
    }
    Ok(())
}

/// Packets for which the device's queue had no room.
fn dropped_by_kernel() -> Result<u64> {
    let file = format!("/sys/class/net/{DEVICE}/statistics/tx_dropped");
    let text = std::fs::read_to_string(&file).context(file)?;
    Ok(text.trim().parse()?)
}

fn read(device: &SyncDevice, line: &Line, delay: Duration) {
    let mut buffer = vec![0; usize::from(MTU) + 64];
    while let Ok(length) = device.recv(&mut buffer) {
        let due = Instant::now() + delay;
        line.bytes.fetch_add(length as u64, Ordering::Relaxed);
        line.count.fetch_add(1, Ordering::Relaxed);
        let mut packets = line.lock();
        if packets.bytes + length > QUEUED_BYTES_MAX {
            line.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        packets.bytes += length;
        let first = packets.queue.is_empty();
        packets.queue.push_back((due, Box::from(&buffer[..length])));
        drop(packets);
        if first {
            line.arrived.notify_one();
        }
    }
}

fn deliver(device: &SyncDevice, line: &Line) {
    loop {
        for (due, packet) in line.due() {
            let late = Instant::now().saturating_duration_since(due);
            line.late.fetch_add(u64::from(late > LATE), Ordering::Relaxed);
            line.latest.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            // A packet that the kernel refuses is a lost packet.
            if device.send(&packet).is_err() {
                line.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Packets> {
        self.packets.lock().expect("no holder panics")
    }

    /// Waits for packets whose time has come. All wait equally long, so that the first is the next.
    fn due(&self) -> Vec<(Instant, Box<[u8]>)> {
        let mut packets = self.lock();
        loop {
            let Some((due, _)) = packets.queue.front() else {
                packets = self.arrived.wait(packets).expect("no holder panics");
                continue;
            };
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            drop(packets);
            std::thread::sleep(wait);
            packets = self.lock();
        }
        let now = Instant::now();
        let ready = packets.queue.iter().take(BATCH).take_while(|(due, _)| *due <= now).count();
        let ready: Vec<_> = packets.queue.drain(..ready).collect();
        packets.bytes -= ready.iter().map(|(_, packet)| packet.len()).sum::<usize>();
        ready
    }
}
