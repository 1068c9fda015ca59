//! A network namespace in which all nodes live, with the switch as its only way from one address to another.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::plan::{NETWORK, address};
use crate::switch::DEVICE;
use crate::talk::Talk;

/// Congestion control of TCP, whatever this system has by default: the first of these that a namespace may have. For messages that end
/// in slow start they are the same.
const CONGESTION: [&str; 2] = ["cubic", "reno"];

/// Names of namespaces begin so; the number of the process that made them follows.
const PREFIX: &str = "sorcha-rivals-";
/// The switch answers at once; a machine this busy measures nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Gone, with everything in it, when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    switch: Option<Talk>,
}

/// What has passed through the switch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets lost.
    pub dropped: u64,
    /// Packets that came more than 5 ms after their time.
    pub late: u64,
    /// How much too late the latest of them came, since the last look.
    pub latest: Duration,
}

impl Passed {
    /// What has passed between two looks.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            packets: self.packets - earlier.packets,
            dropped: self.dropped - earlier.dropped,
            late: self.late - earlier.late,
            latest: self.latest,
        }
    }
}

impl Namespace {
    /// Makes one for so many nodes.
    pub fn new(nodes: usize, delay: Duration) -> Result<Self> {
        sweep()?;
        let name = format!("{PREFIX}{}", std::process::id());
        ip(&["netns", "add", &name]).context("no network namespace: root and iproute2 are needed")?;
        let mut namespace = Self { name, switch: None };
        let mut command = namespace.command()?;
        command.args(["switch", "--delay-ms", &delay.as_millis().to_string()]);
        let mut switch = Talk::start(command, "the switch")?;
        let line = switch.hear(ANSWERS_WITHIN)?;
        ensure!(line.trim() == "ready", "the switch says '{line}'");
        namespace.switch = Some(switch);
        namespace.route(nodes)?;
        Ok(namespace)
    }

    /// Every packet between the nodes leaves through the switch, and is taken back when it comes from there: the table
    /// of local addresses is asked only after packets made here have been sent to the device.
    fn route(&self, nodes: usize) -> Result<()> {
        let mut script = String::from("set -e\nip link set lo up\n");
        for node in 0..nodes {
            script += &format!("ip addr add {}/32 dev {DEVICE}\n", address(node));
        }
        script += &format!(
            "ip link set {DEVICE} up\nip route add {NETWORK} dev {DEVICE} table 77\nip rule add pref 10 iif lo lookup 77\n\
             ip rule add pref 20 lookup local\nip rule del pref 0\n\
             for name in all {DEVICE}; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; echo 1 > /proc/sys/net/ipv4/conf/$name/accept_local; done\n\
             to=/proc/sys/net/ipv4/tcp_congestion_control; {{ echo {first} > $to; }} 2>/dev/null || echo {second} > $to\n",
            first = CONGESTION[0],
            second = CONGESTION[1],
        );
        let output = Command::new("ip").args(["netns", "exec", &self.name, "sh", "-c", &script]).output()?;
        ensure!(output.status.success(), "no routes: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// This program inside the namespace; its arguments are still to come.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(std::env::current_exe()?);
        Ok(command)
    }

    /// So far.
    pub fn passed(&mut self) -> Result<Passed> {
        let switch = self.switch.as_mut().context("the switch has started")?;
        let line = switch.ask("", ANSWERS_WITHIN)?;
        let figures: Vec<u64> = line.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        let [bytes, packets, dropped, late, latest] = figures[..] else {
            bail!("the switch answers '{line}'")
        };
        Ok(Passed { bytes, packets, dropped, late, latest: Duration::from_micros(latest) })
    }

    /// The process that is the network.
    pub fn switch_pid(&self) -> Option<u32> {
        self.switch.as_ref().map(Talk::pid)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.switch.take());
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("namespace {} stays: {error}", self.name);
        }
    }
}

/// Removes what runs that were killed have left.
fn sweep() -> Result<()> {
    let output = Command::new("ip").args(["netns", "list"]).output().context("`ip` does not start")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in text.lines().filter_map(|line| line.split_whitespace().next()) {
        let Some(pid) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("`ip` does not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
