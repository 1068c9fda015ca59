//! What does not arrive, or arrives late: frames shed by a full queue, and segments that TCP sends again.

use sorcha_peer_core::message::Message;

use crate::queue::Micros;
use crate::random::{Purpose, unit};

/// Payload of one TCP segment: Ethernet's 1,500 bytes less IP, TCP and their options.
const SEGMENT_BYTES: u32 = 1448;
/// Lower bound of TCP's retransmission timer on Linux (TCP_RTO_MIN), in place of RFC 6298's one second.
const RTO_MIN: Micros = 200_000;
/// Retransmissions of one segment after which the next is taken to arrive.
const RETRANSMISSIONS_MAX: u64 = 8;

/// Whether an overloaded sender may shed this frame. What holds a link together is never shed: its queue
/// is the shortest, and a transport that sheds it would close the link instead.
pub fn may_be_shed(message: &Message) -> bool {
    !matches!(
        message,
        Message::Hello(_) | Message::Goodbye { .. } | Message::Ping { .. } | Message::Pong { .. }
    )
}

/// Whether frame number `draw` of a direction is shed at this rate.
pub fn is_shed(rate: f64, seed: u64, direction: u64, draw: u64) -> bool {
    rate > 0.0 && unit(seed, Purpose::Drop, direction, 0, draw) < rate
}

/// How much later a frame arrives because segments of it were lost at this rate.
///
/// The links are sparse, so that a lost segment is nearly always the last one in flight: the first
/// retransmission is the tail loss probe after two round trips (RFC 8985 § 7.2), the next follow the
/// retransmission timer, doubled each time (RFC 6298 § 5.5).
pub fn retransmission(
    rate: f64,
    bytes: u32,
    round_trip: Micros,
    seed: u64,
    direction: u64,
    draw: u64,
) -> Micros {
    if rate <= 0.0 {
        return 0;
    }
    let segments = u64::from(bytes.div_ceil(SEGMENT_BYTES).max(1));
    // Segments travel side by side: the latest one counts.
    (0..segments)
        .map(|segment| {
            let (mut late, mut timer) = (0, 2 * round_trip);
            for attempt in 0..RETRANSMISSIONS_MAX {
                let lost = unit(seed, Purpose::Loss, direction, draw, segment << 8 | attempt) < rate;
                if !lost {
                    break;
                }
                late += timer;
                timer = if attempt == 0 { round_trip.max(RTO_MIN) } else { timer * 2 };
            }
            late
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_shed_at_the_rate_asked_for() {
        for rate in [0.0, 0.05, 0.2, 0.5] {
            let shed = (0..100_000).filter(|draw| is_shed(rate, 3, 17, *draw)).count() as f64 / 100_000.0;
            assert!((shed - rate).abs() < 0.005, "{shed} instead of {rate}");
        }
    }

    #[test]
    fn a_lost_segment_costs_at_least_a_probe_and_a_long_frame_loses_more() {
        let late = |bytes, draw| retransmission(0.05, bytes, 120_000, 1, 2, draw);
        let count = |bytes| (0..10_000).filter(|draw| late(bytes, *draw) > 0).count();
        assert!((0..10_000).all(|draw| late(100, draw) == 0 || late(100, draw) >= 240_000));
        assert!((400..600).contains(&count(100)), "{}", count(100));
        assert!(count(16_384) > 3_500, "{}", count(16_384));
        assert_eq!(retransmission(0.0, 16_384, 120_000, 1, 2, 3), 0);
    }
}
