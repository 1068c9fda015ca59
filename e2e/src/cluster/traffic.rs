//! Constant use of a network: at every peer somebody submits, one transaction after the other, and keeps what was
//! acknowledged. A refusal or an answer that does not come is no acknowledgement; the next one is tried at once.
//!
//! Somebody does the same at a network of one peer that nothing happens to: how long it waits there is the time that the
//! clients and the machine take, and no peer's fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Cluster, ClusterNetwork};

/// Between two submissions at one peer: some ten a second leave a small machine room for what is tested.
const PAUSE: Duration = Duration::from_millis(80);

/// Acknowledged ids and when they were, by all users of a network.
type Kept = Arc<Mutex<Vec<(Instant, String)>>>;

/// Running use.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    kept: Kept,
    control: ClusterNetwork,
    kept_by_control: Kept,
    threads: Vec<JoinHandle<()>>,
    began: Instant,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct TrafficReport {
    /// Acknowledged ids.
    pub ids: Vec<String>,
    /// How long it went on.
    pub lasted: Duration,
    /// Between two acknowledgements by whichever peer, and from the beginning to the first, and from the last to the
    /// end.
    pub longest_gap: Duration,
    /// The longest wait at the peer that nothing happened to.
    pub longest_control: Duration,
    /// Whole seconds in which no peer acknowledged anything, and the peer that nothing happened to did.
    pub seconds_without: u64,
}

impl Traffic {
    /// Begins at these peers, and goes on until it is stopped.
    pub fn start(network: &ClusterNetwork, pods: &[String]) -> anyhow::Result<Self> {
        let control = ClusterNetwork::start(network.cluster, &format!("{}-control", network.name), 1)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, kept_by_control) = (Kept::default(), Kept::default());
        let user = |network: &ClusterNetwork, pod: &String, kept: &Kept| {
            let (stop, kept) = (Arc::clone(&stop), Arc::clone(kept));
            let (cluster, namespace, pod) = (network.cluster, network.namespace.clone(), pod.clone());
            std::thread::spawn(move || use_peer(cluster, &namespace, &pod, &stop, &kept))
        };
        let mut threads: Vec<_> = pods.iter().map(|pod| user(network, pod, &kept)).collect();
        threads.extend(control.peers(1).iter().map(|pod| user(&control, pod, &kept_by_control)));
        Ok(Self { stop, kept, control, kept_by_control, threads, began: Instant::now() })
    }

    /// Acknowledged so far.
    pub fn count(&self) -> usize {
        self.kept.lock().expect("no holder panics").len()
    }

    /// Ends it.
    pub fn stop(self) -> TrafficReport {
        let ended = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no user panics");
        }
        drop(self.control);
        let take = |kept: &Kept| std::mem::take(&mut *kept.lock().expect("no holder panics"));
        let (mut kept, control) = (take(&self.kept), take(&self.kept_by_control));
        kept.sort_by_key(|(when, _)| *when);
        let waits = waits(self.began, &kept, ended);
        let of_control = self::waits(self.began, &control, ended);
        let longest = |waits: &[Wait]| waits.iter().map(Wait::length).max().unwrap_or_default();
        TrafficReport {
            ids: kept.into_iter().map(|(_, id)| id).collect(),
            lasted: ended - self.began,
            longest_gap: longest(&waits),
            longest_control: longest(&of_control),
            seconds_without: seconds_without(&waits, &of_control),
        }
    }
}

/// From one acknowledgement to the next.
#[derive(Debug, Clone, Copy)]
struct Wait {
    from: Instant,
    until: Instant,
}

impl Wait {
    fn length(&self) -> Duration {
        self.until - self.from
    }
}

/// Between acknowledgements, and from the beginning to the first, and from the last to the end.
fn waits(began: Instant, kept: &[(Instant, String)], ended: Instant) -> Vec<Wait> {
    let mut times = vec![began];
    times.extend(kept.iter().map(|(when, _)| *when).filter(|when| *when < ended));
    times.push(ended);
    times.windows(2).map(|pair| Wait { from: pair[0], until: pair[1] }).collect()
}

/// Whole seconds of waiting, less what the control waited meanwhile.
fn seconds_without(waits: &[Wait], control: &[Wait]) -> u64 {
    let excused = |wait: &Wait| {
        let meanwhile = control.iter().filter(|it| it.from < wait.until && it.until > wait.from);
        meanwhile.map(Wait::length).max().unwrap_or_default()
    };
    waits.iter().map(|wait| wait.length().saturating_sub(excused(wait)).as_secs()).sum()
}

fn use_peer(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    stop: &AtomicBool,
    kept: &Mutex<Vec<(Instant, String)>>,
) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let text = format!("{pod} {number}");
        let args = ["submit", "--text", &text, "-o", "json", "--timeout", "2s"];
        let said = cluster.beside_peer(namespace, pod, &args).and_then(super::Said::ok);
        let id =
            said.and_then(|said| said.json()).ok().and_then(|json| Some(json["id"].as_str()?.to_owned()));
        if let Some(id) = id {
            kept.lock().expect("no holder panics").push((Instant::now(), id));
        }
        std::thread::sleep(PAUSE);
    }
}

impl std::fmt::Display for TrafficReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} acknowledged in {:.0} s, longest gap {:.2} s ({:.2} s at a peer that nothing happened to), {} s without a \
             peer that accepts",
            self.ids.len(),
            self.lasted.as_secs_f64(),
            self.longest_gap.as_secs_f64(),
            self.longest_control.as_secs_f64(),
            self.seconds_without
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_where_the_control_was_served_meanwhile() {
        let began = Instant::now();
        let at = |ms: u64| (began + Duration::from_millis(ms), String::new());
        let ended = at(10_000).0;
        let steady: Vec<_> = (1..100).map(|tenth| at(tenth * 100)).collect();
        let stalled: Vec<_> =
            steady.iter().filter(|it| it.0 < at(2_000).0 || it.0 > at(5_500).0).cloned().collect();
        let seconds = |peers: &[_], control: &[_]| {
            seconds_without(&waits(began, peers, ended), &waits(began, control, ended))
        };
        assert_eq!(seconds(&steady, &steady), 0);
        assert_eq!(seconds(&stalled, &steady), 3, "nobody accepted while the control was served");
        assert_eq!(seconds(&stalled, &stalled), 0, "the whole machine stood still");
        assert_eq!(seconds(&[], &steady), 9);
    }
}
