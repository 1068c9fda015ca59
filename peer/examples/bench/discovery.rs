//! How soon peers find each other, one finds its way in, and those that are gone are forgotten.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::client;
use crate::crowd::{Crowd, Host, Place};
use crate::figures::quantile;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Peers that start together; half of them is killed at the end
    #[arg(long, default_value_t = 100)]
    peers: usize,
    /// Processes that they are spread over
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Whatever is waited for must come within this, s
    #[arg(long, default_value_t = 120)]
    within: u64,
    /// How often one that comes later is measured: the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Value> {
    let within = Duration::from_secs(args.within);
    let (crowd_end, later) = (args.peers, 2 * args.rounds);
    let (refuses, mute) = (crowd_end + later, crowd_end + later + 1);
    let each = args.peers.div_ceil(args.processes);
    // Those who come later: every other one finds nobody at two of its three addresses.
    let bootstrap = |peer: usize| match peer {
        peer if peer < crowd_end => (0..crowd_end).step_by(each).take(3).collect(),
        peer if (peer - crowd_end) % 2 == 0 => vec![0, 1, 2],
        _ => vec![refuses, mute, 0],
    };
    let crowd = Crowd::prepare_with(place, mute + 1, bootstrap, &json!({}))?;
    let _mute = crowd.mute(mute)?;

    let began = Instant::now();
    let mut hosts = Vec::new();
    for first in (0..crowd_end).step_by(each) {
        hosts.push(crowd.host(first..(first + each).min(crowd_end))?);
    }
    // A process answers once all its peers listen.
    for host in &mut hosts {
        host.ask("status")?;
    }
    let listen = Instant::now();
    await_all(&mut hosts, within, "know all others", |status| {
        status["knownMin"].as_u64() == Some(args.peers as u64 - 1)
    })?;
    let mutual = listen.elapsed();

    let (mut usual, mut two_dead) = (Vec::new(), Vec::new());
    for number in 0..later {
        let (begin, peer) = (Instant::now(), crowd.start(crowd_end + number)?);
        let mut client = peer.client().await?;
        client::await_status(&mut client, within, "linked", |status| status.peers_linked > 0).await?;
        let took = begin.elapsed().as_secs_f64();
        if number % 2 == 0 {
            usual.push(took);
        } else {
            two_dead.push(took);
        }
        peer.stop()?;
    }

    let dials = |hosts: &mut [Host]| -> Result<u64> {
        let mut sum = 0;
        for host in hosts {
            sum += host.ask("status")?["dialsFailed"].as_u64().unwrap_or_default();
        }
        Ok(sum)
    };
    let stay = hosts.len().div_ceil(2);
    let (left, before) = ((stay * each).min(args.peers), dials(&mut hosts[..stay])?);
    let killed = Instant::now();
    drop(hosts.split_off(stay));
    let forgotten = await_all(&mut hosts, within, "have forgotten the dead", |status| {
        status["knownMax"].as_u64() == Some(left as u64 - 1)
    });
    if let Err(error) = &forgotten {
        tracing::warn!("{error}");
    }
    let looked = killed.elapsed().as_secs_f64();
    let failed = dials(&mut hosts)? - before;
    let kept = hosts.iter_mut().map(|host| host.ask("status")).collect::<Result<Vec<_>>>()?;
    let kept = kept.iter().filter_map(|status| status["knownMin"].as_u64()).min();
    Ok(json!({
        "peers": args.peers, "processes": args.processes, "listeningAfterS": listen.duration_since(began).as_secs_f64(),
        "mutualAfterLastListensS": mutual.as_secs_f64(),
        "bootstrapS": quantile(&mut usual, 0.5), "bootstrapTwoOfThreeDeadS": quantile(&mut two_dead, 0.5),
        "killed": args.peers - left, "forgottenAfterS": forgotten.is_ok().then_some(looked),
        "livingForgotten": (left as u64 - 1) - kept.unwrap_or_default(),
        "dialsFailedPerPeerAndSecond": failed as f64 / left as f64 / looked,
    }))
}

/// Until every process says so.
fn await_all(hosts: &mut [Host], within: Duration, what: &str, done: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let mut last = Vec::new();
        for host in hosts.iter_mut() {
            last.push(host.ask("status")?);
        }
        if last.iter().all(&done) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not all {what} after {} s: {}", within.as_secs(), json!(last));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
