//! Figures, on request: `cargo test --release -p sorcha-peer-wire --test packing_time -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sorcha_peer_core::message::{Frame, Message};
use sorcha_peer_core::tree;
use sorcha_peer_core::types::TxId;
use sorcha_peer_core::types::bounds::{CHUNK_BYTES, PUSH_BODY_BYTES_MAX};
use sorcha_peer_wire::{decode_frame, encode_frame, pack};

const ROUNDS: u32 = 2000;

/// Bytes without a pattern (SplitMix64; Steele, Lea, Flood 2014).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)).to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

/// Transactions such as a ledger's: names and dates that repeat, amounts and hashes that do not.
fn json(bytes: usize) -> Vec<u8> {
    let random = noise(bytes);
    let line = |(number, hash): (usize, &[u8])| {
        format!(
            r#"{{"number":{number},"from":"account-{}","to":"account-{}","at":"2026-01-31T12:{:02}:00Z","previous":"{}"}}"#,
            number % 97,
            number % 89,
            number % 60,
            hex::encode(hash)
        )
    };
    random.chunks(32).enumerate().flat_map(|item| line(item).into_bytes()).take(bytes).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    let words = ["the ", "peer ", "holds ", "what ", "others ", "do ", "not, ", "and ", "tells ", "them. "];
    noise(bytes).iter().flat_map(|byte| words[usize::from(*byte) % words.len()].bytes()).take(bytes).collect()
}

fn micros<T>(work: impl Fn() -> T) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            black_box(work());
        }
        best = best.min(begin.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    }
    best
}

#[test]
#[ignore = "prints figures of this processor"]
#[expect(clippy::print_stdout, reason = "figures are what it is for")]
fn how_long_packing_takes_and_what_it_saves() {
    for bytes in [PUSH_BODY_BYTES_MAX, CHUNK_BYTES] {
        for (name, body) in
            [("json with hashes", json(bytes)), ("words", text(bytes)), ("noise", noise(bytes))]
        {
            let plain = Bytes::from(body);
            let payload = pack(plain.clone());
            let id = TxId::from_bytes([1; 32]);
            let message = Message::Chunk { id, index: 0, data: payload.clone(), proof: Vec::new() };
            let frame = encode_frame(&Frame { sequence: 1, ack: 0, ack_bits: 0, message });
            let packing = micros(|| pack(black_box(plain.clone())));
            let reading = micros(|| decode_frame(black_box(frame.clone())));
            let hashing = micros(|| tree::leaf(black_box(&plain)));
            println!(
                "{bytes} bytes of {name}: carried {}, packing {packing:.1} us, reading the frame {reading:.1} us, its hash {hashing:.1} us",
                payload.carried_len()
            );
        }
    }
}
