//! Bodies on their way in: bounded each, and bounded together, so that many large submissions cannot take
//! the process out of memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sorcha_peer_core::event::SubmitRefused;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::refusal::{Kind, Refusal};

/// Bytes of all bodies being submitted at a time where the configuration does not say; beyond it submissions are refused
/// as busy. Four bodies of the largest size allowed by default (guess).
pub const BODIES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Granularity of the budget.
const UNIT_BYTES: u64 = 1024;

/// The budget of bodies being taken in.
#[derive(Debug, Clone)]
pub struct Intake {
    units: Arc<Semaphore>,
    body_bytes_max: u64,
    bytes_max: u64,
}

impl Intake {
    /// For bodies of at most this length, and of so many bytes together.
    pub fn new(body_bytes_max: u64, bytes_max: u64) -> Self {
        let units = bytes_max.max(body_bytes_max).div_ceil(UNIT_BYTES) as usize;
        Self { units: Arc::new(Semaphore::new(units)), body_bytes_max, bytes_max }
    }

    /// Starts a body; `declared` is its length where the client said so, refused at once where too long.
    pub fn start(&self, declared: Option<u64>) -> Result<Incoming, Refusal> {
        let declared = declared.unwrap_or(0);
        self.check(declared)?;
        let mut incoming =
            Incoming { intake: self.clone(), bytes: BytesMut::new(), held: None, held_units: 0 };
        incoming.hold(declared)?;
        incoming.bytes.reserve(declared as usize);
        Ok(incoming)
    }

    /// Counts a body that has come whole.
    pub fn whole(&self, bytes: Bytes) -> Result<Taken, Refusal> {
        self.check(bytes.len() as u64)?;
        let mut counted =
            Incoming { intake: self.clone(), bytes: BytesMut::new(), held: None, held_units: 0 };
        counted.hold(bytes.len() as u64)?;
        Ok(Taken { bytes, _held: counted.held })
    }

    fn check(&self, bytes: u64) -> Result<(), Refusal> {
        let max = self.body_bytes_max;
        if bytes > max { Err(SubmitRefused::BodyTooLarge { bytes, max }.into()) } else { Ok(()) }
    }
}

/// A body of which parts have come.
#[derive(Debug)]
pub struct Incoming {
    intake: Intake,
    bytes: BytesMut,
    held: Option<OwnedSemaphorePermit>,
    held_units: u64,
}

/// A whole body with its share of the budget, given back when this is dropped.
#[derive(Debug)]
pub struct Taken {
    /// The body.
    pub bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    /// Adds a part.
    pub fn push(&mut self, part: &[u8]) -> Result<(), Refusal> {
        let total = self.bytes.len() as u64 + part.len() as u64;
        self.intake.check(total)?;
        self.hold(total)?;
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Bytes that have come.
    pub fn received(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The whole body.
    pub fn finish(self) -> Taken {
        Taken { bytes: self.bytes.freeze(), _held: self.held }
    }

    fn hold(&mut self, total: u64) -> Result<(), Refusal> {
        let wanted = total.div_ceil(UNIT_BYTES);
        let more = wanted.saturating_sub(self.held_units);
        if more == 0 {
            return Ok(());
        }
        let permit = Arc::clone(&self.intake.units).try_acquire_many_owned(more as u32).map_err(|_| {
            Refusal::new(
                Kind::Busy,
                format!(
                    "bodies of {} MiB are being submitted, as much as this peer takes in at once: try again in a moment, or raise limits.submitBytesMax",
                    self.intake.bytes_max >> 20
                ),
            )
        })?;
        self.held_units = wanted;
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_refused_when_declared_or_grown_beyond_the_bound() {
        let intake = Intake::new(10, BODIES_BYTES_MAX);
        assert_eq!(intake.start(Some(11)).expect_err("too long").kind, Kind::TooLarge);
        let mut body = intake.start(None).expect("unknown length");
        body.push(b"0123456789").expect("fits");
        assert_eq!(body.push(b"x").expect_err("too long").kind, Kind::TooLarge);
        assert_eq!(&body.finish().bytes[..], b"0123456789");
    }

    #[test]
    fn the_budget_of_all_bodies_comes_back() {
        let intake = Intake::new(BODIES_BYTES_MAX, BODIES_BYTES_MAX);
        let most = intake.start(Some(BODIES_BYTES_MAX - UNIT_BYTES)).expect("free");
        let mut other = intake.start(Some(1)).expect("the last unit");
        assert_eq!(other.push(&[0; 2048]).expect_err("nothing left").kind, Kind::Busy);
        assert_eq!(intake.whole(Bytes::from_static(&[0; 2048])).expect_err("nothing left").kind, Kind::Busy);
        drop(most.finish());
        other.push(&[0; 2048]).expect("given back");
    }
}
