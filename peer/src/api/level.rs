//! Acknowledgement levels: when a submission is answered, and the wait for it.
//!
//! `local`: when it is durable here. A number: when that many other peers hold it durably, or when the wait is over;
//! accepted it is either way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sorcha_peer_core::types::TxId;
use sorcha_proto::v1;
use tokio::sync::Semaphore;

use crate::api::refusal::{Kind, Refusal};
use crate::node::NodeHandle;

/// Holders that a submission may ask for; as many as are counted.
pub const HOLDERS_MAX: u32 = 64;
/// Longest wait for holders.
pub const WAIT_MS_MAX: u64 = 3_600_000;
/// Wait for holders where the request does not say (guess: longer than any link takes that works).
pub const WAIT_MS_DEFAULT: u64 = 30_000;
/// Requests that wait for holders at a time; beyond it they are refused as busy before anything is accepted.
const WAITING_MAX: usize = 4_096;

/// When to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    holders: u32,
    wait: Duration,
}

/// Places for those who wait.
#[derive(Debug, Clone)]
pub struct Waiting(Arc<Semaphore>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITING_MAX)))
    }
}

impl Level {
    /// From what a request says. `wait_ms` 0: the default.
    pub fn new(node: &NodeHandle, holders: Option<u32>, wait_ms: u64) -> Result<Self, Refusal> {
        let holders = match holders {
            None if node.is_durable() => 0,
            None => 1,
            Some(0) if !node.is_durable() => {
                let sentence = "this peer keeps nothing durable (state.durable is false), so 'local' promises nothing: ask for holders, such as ack=1";
                return Err(Refusal::bad("ack", sentence));
            }
            Some(holders) if holders > HOLDERS_MAX => {
                return Err(Refusal::bad(
                    "ack",
                    format!("ack {holders} is too many: at most {HOLDERS_MAX} holders are counted"),
                ));
            }
            Some(holders) => holders,
        };
        Ok(Self { holders, wait: wait(wait_ms)? })
    }

    /// From the words of a query: `local`, or a number above zero.
    pub fn parse(node: &NodeHandle, ack: Option<&str>, wait_ms: u64) -> Result<Self, Refusal> {
        let holders = match ack {
            None => None,
            Some("local") => Some(0),
            Some(text) => Some(text.parse().ok().filter(|holders| *holders > 0).ok_or_else(|| {
                let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
                Refusal::bad("ack", format!("ack '{shown}' is no level: write local, or a number of holders from 1 to {HOLDERS_MAX}"))
            })?),
        };
        Self::new(node, holders, wait_ms)
    }
}

fn wait(wait_ms: u64) -> Result<Duration, Refusal> {
    if wait_ms > WAIT_MS_MAX {
        let sentence =
            format!("wait {wait_ms} is too long: at most {WAIT_MS_MAX} ms, and ask for its holders later");
        return Err(Refusal::bad("wait", sentence));
    }
    Ok(Duration::from_millis(if wait_ms == 0 { WAIT_MS_DEFAULT } else { wait_ms }))
}

/// Submits, and waits as the level says.
pub async fn submit(
    node: &NodeHandle,
    waiting: &Waiting,
    level: Level,
    register: String,
    body: Bytes,
    key: String,
) -> Result<v1::SubmitResponse, Refusal> {
    let place = if level.holders == 0 {
        None
    } else {
        let place = Arc::clone(&waiting.0).try_acquire_owned().map_err(|_| {
            Refusal::new(
                Kind::Busy,
                format!("{WAITING_MAX} requests wait for holders, as many as this peer serves at once: try again, or ask for ack=local"),
            )
        })?;
        Some(place)
    };
    let accepted = node.submit(register, body, key).await?;
    let mut response = crate::api::local_grpc::submitted(accepted);
    if place.is_some() {
        // Where the peer stops meanwhile, it is accepted all the same.
        let holders = node.holders(accepted.id, level.holders, level.wait).await.unwrap_or(0);
        response.holders = holders;
        response.pending = holders < level.holders;
    }
    Ok(response)
}

/// How many others hold a transaction: at once, or when enough do or the wait is over.
pub async fn holders(
    node: &NodeHandle,
    waiting: &Waiting,
    id: TxId,
    wanted: u32,
    wait_ms: u64,
) -> Result<v1::Holders, Refusal> {
    if wanted > HOLDERS_MAX {
        let sentence = format!("wanted {wanted} is too many: at most {HOLDERS_MAX} holders are counted");
        return Err(Refusal::bad("wanted", sentence));
    }
    crate::api::reading::transaction(node.store(), id).await?;
    let wait = if wait_ms == 0 { Duration::ZERO } else { wait(wait_ms)? };
    let _place = Arc::clone(&waiting.0)
        .try_acquire_owned()
        .map_err(|_| Refusal::new(Kind::Busy, "too many requests wait for holders: try again in a moment"))?;
    let wanted = if wanted == 0 { HOLDERS_MAX } else { wanted };
    let holders = node.holders(id, wanted, wait).await?;
    Ok(v1::Holders { id: id.as_bytes().to_vec().into(), holders })
}
