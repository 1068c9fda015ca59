//! Core messages <-> protobuf bytes of `sorcha.peer.v1`, so that the shipping peer and the simulator count the same bytes.
//!
//! Knows both sides' types and every bound of `types::bounds`; does not know links, keys or stores. What
//! is signed (headers, records) is kept as the bytes that came in and never encoded again, so that fields
//! of later versions survive relaying. Packed bodies are unpacked here, so that nobody further in meets what does not unpack.

mod coding;
mod decode;
mod encode;
mod error;

pub use coding::{PACK_BYTES_MIN, pack};
pub use decode::{
    decode_envelope, decode_frame, decode_header, decode_record, decode_record_bytes, frame_from_proto,
};
pub use encode::{
    encode_envelope, encode_frame, encode_header, encode_record, encode_record_bytes, frame_len,
    frame_to_proto,
};
pub use error::FrameError;
