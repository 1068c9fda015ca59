//! Constant use of a network: at every peer somebody submits, one transaction after the other, and keeps what was
//! acknowledged. A refusal or an answer that does not come is no acknowledgement; the next one is tried at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Cluster, ClusterNetwork};

/// Between two submissions at one peer: some ten a second leave a small machine room for what is tested.
const PAUSE: Duration = Duration::from_millis(80);

/// Running use.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    kept: Arc<Mutex<Vec<(Instant, String)>>>,
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
    /// Whole seconds in which no peer acknowledged anything.
    pub seconds_without: u64,
}

impl Traffic {
    /// Begins at these peers, and goes on until it is stopped.
    pub fn start(network: &ClusterNetwork, pods: &[String]) -> Self {
        let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let user = |pod: &String| {
            let (stop, kept) = (Arc::clone(&stop), Arc::clone(&kept));
            let (cluster, namespace, pod) = (network.cluster, network.namespace.clone(), pod.clone());
            std::thread::spawn(move || use_peer(cluster, &namespace, &pod, &stop, &kept))
        };
        let threads = pods.iter().map(user).collect();
        Self { stop, kept, threads, began: Instant::now() }
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
        let mut kept = std::mem::take(&mut *self.kept.lock().expect("no holder panics"));
        kept.sort_by_key(|(when, _)| *when);
        let mut times = vec![self.began];
        times.extend(kept.iter().map(|(when, _)| *when).filter(|when| *when < ended));
        times.push(ended);
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        TrafficReport {
            ids: kept.into_iter().map(|(_, id)| id).collect(),
            lasted: ended - self.began,
            longest_gap: gaps.iter().max().copied().unwrap_or_default(),
            seconds_without: gaps.iter().map(Duration::as_secs).sum(),
        }
    }
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
            "{} acknowledged in {:.0} s, longest gap {:.2} s, {} s without a peer that accepts",
            self.ids.len(),
            self.lasted.as_secs_f64(),
            self.longest_gap.as_secs_f64(),
            self.seconds_without
        )
    }
}
