//! Bodies packed for the wire and unpacked again (docs/design.md § 3.7).
//!
//! Knows LZ4 and what packing has to gain. Whoever unpacks says how many bytes must come of it: no more are ever allocated
//! than that, whatever the packed bytes claim.

use bytes::Bytes;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use sorcha_peer_core::payload::{Coding, Payload};
use sorcha_proto::v1;

use crate::error::FrameError;

/// Shorter bodies travel plain: beside header, signature and certificate, about 900 bytes, there is little to gain. Guess,
/// chosen so that transactions of 1 KB are packed.
pub const PACK_BYTES_MIN: usize = 1000;
/// Packing must save this share of a body, or it travels plain: unpacking costs every receiver. Guess.
const SAVES_MIN: f64 = 0.1;

/// Packs bytes of a body, or one chunk, for those who read that; leaves them alone where it does not pay. Takes some
/// 40 µs for 16 KiB (docs/design.md § 3.7), so it is nothing for a loop that others wait for.
pub fn pack(plain: Bytes) -> Payload {
    if plain.len() < PACK_BYTES_MIN {
        return plain.into();
    }
    let most = (plain.len() as f64 * (1.0 - SAVES_MIN)) as usize;
    let mut packed = vec![0; get_maximum_output_size(plain.len())];
    match compress_into(&plain, &mut packed) {
        Ok(length) if length <= most => {
            // A copy of its own size: the rest of the buffer would be kept as long as the transaction.
            Payload::packed(plain, Coding::Lz4Block, Bytes::copy_from_slice(&packed[..length]))
        }
        _ => plain.into(),
    }
}

/// Unpacks to exactly `plain_bytes`, whose bound the caller has checked.
pub(crate) fn unpack(
    field: &'static str,
    coding: Coding,
    packed: Bytes,
    plain_bytes: usize,
) -> Result<Payload, FrameError> {
    let mut plain = vec![0; plain_bytes];
    let detail = match coding {
        Coding::Lz4Block => match decompress_into(&packed, &mut plain) {
            Ok(length) if length == plain_bytes => {
                return Ok(Payload::packed(plain.into(), coding, packed));
            }
            Ok(length) => format!("they make {length}"),
            Err(error) => error.to_string(),
        },
    };
    Err(FrameError::Garbled { field, actual: packed.len(), plain: plain_bytes as u64, detail })
}

/// `None`: plain.
pub(crate) fn read_coding(field: &'static str, coding: i32) -> Result<Option<Coding>, FrameError> {
    match v1::Coding::try_from(coding) {
        Ok(v1::Coding::Plain) => Ok(None),
        Ok(v1::Coding::Lz4Block) => Ok(Some(Coding::Lz4Block)),
        Err(_) => {
            let rule = "it is not among the codings that this peer names in its Hello";
            Err(FrameError::Invalid { field, actual: coding.to_string(), rule })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without any pattern: the generator of `splitmix64` (Steele, Lea, Flood 2014).
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let word = std::iter::repeat_with(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = state;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (x ^ (x >> 31)).to_le_bytes()
        });
        word.flatten().take(bytes).collect()
    }

    #[test]
    fn it_packs_where_that_pays_and_only_there() {
        let text = br#"{"from":"alice","to":"bob","amount":17}"#.repeat(100);
        let mut half = noise(8192);
        half.extend(vec![0; 8192]);
        for (plain, pays) in [
            (text.clone(), true),
            (text[..PACK_BYTES_MIN].to_vec(), true),
            (text[..PACK_BYTES_MIN - 1].to_vec(), false),
            (Vec::new(), false),
            (noise(16 * 1024), false),
            (half, true),
        ] {
            let payload = pack(plain.clone().into());
            assert_eq!(payload.plain(), &plain);
            assert_eq!(payload.coded().is_some(), pays, "{} bytes", plain.len());
            assert!(payload.coded().is_none() || payload.carried_len() * 10 <= plain.len() * 9);
        }
    }

    fn refused(packed: &[u8], plain_bytes: usize) -> String {
        unpack("x", Coding::Lz4Block, Bytes::copy_from_slice(packed), plain_bytes)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn what_makes_more_or_less_than_it_stands_for_is_refused() {
        // One literal and a match of 255 * 255 and some bytes: 270 bytes that make 65,000.
        let mut bomb = vec![0x1f, b'a', 1, 0];
        bomb.extend(vec![0xff; 255]);
        bomb.extend([0, 0x50, b'a', b'a', b'a', b'a', b'a']);
        let mut room = vec![0; 70_000];
        let makes = decompress_into(&bomb, &mut room).expect("it is a block");
        assert!(makes > 65_000, "{makes}");
        assert!(unpack("x", Coding::Lz4Block, bomb.clone().into(), makes).is_ok());
        for plain_bytes in [0, 1, 4096, 16 * 1024, makes - 1] {
            let said = refused(&bomb, plain_bytes);
            assert!(said.starts_with("x: 266 packed bytes do not make the "), "{said}");
        }
        assert!(refused(&bomb, makes + 1).ends_with(&format!("they make {makes}")));
        for nonsense in [&[][..], &[0xff; 64], &[0x0f, 0, 0, 0], &[0x0f, 9, 9, 0]] {
            refused(nonsense, 16 * 1024);
        }
    }
}
