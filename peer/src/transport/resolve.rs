//! Names to addresses, on few threads: the system's resolver may hang for half a minute, and must not take the
//! threads that read the store.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Names looked up at a time, of 16 threads for blocking work; further ones wait (guess).
const LOOK_UPS_MAX: usize = 4;

type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The resolver of the system, within bounds.
#[derive(Debug)]
pub(super) struct Resolver {
    turns: Arc<Semaphore>,
    look_up: LookUp,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::with(|address| Ok(address.to_socket_addrs()?.collect()))
    }
}

impl Resolver {
    fn with(look_up: LookUp) -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOK_UPS_MAX)), look_up }
    }

    /// All addresses of `host:port`, in the order of the system. Whoever gives up waiting leaves the look-up its
    /// turn until it has ended.
    pub(super) async fn addresses(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = address.parse() {
            return Ok(vec![address]);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
        let (name, look_up) = (address.to_owned(), self.look_up);
        let found = tokio::task::spawn_blocking(move || {
            let found = look_up(&name);
            drop(turn);
            found
        });
        found.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const HANGS: Duration = Duration::from_secs(3);

    #[test]
    fn names_that_hang_leave_threads_to_others() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOK_UPS_MAX + 1)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let resolver = Arc::new(Resolver::with(|_| {
                std::thread::sleep(HANGS);
                Ok(Vec::new())
            }));
            for _ in 0..20 {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move {
                    let found = resolver.addresses("nowhere.invalid:1");
                    tokio::time::timeout(Duration::from_millis(50), found).await
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let started = Instant::now();
            tokio::task::spawn_blocking(|| ()).await.expect("it runs");
            assert!(started.elapsed() < HANGS / 2, "{:?}", started.elapsed());
            let literal = resolver.addresses("192.0.2.1:7450").await.expect("no name");
            assert_eq!(literal, ["192.0.2.1:7450".parse().expect("an address")]);
        });
        runtime.shutdown_background();
    }
}
