//! How gRPC calls of this protocol are encoded: prost, with buffers as large as its messages usually are.

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a stream keeps for each direction while it is silent, and the step in which a longer message makes it grow. Most frames
/// have a few hundred bytes; tonic's 8 KiB would be a fifth of what a link takes, and a peer has hundreds.
const BUFFER_BYTES: usize = 2 * 1024;
/// Encoded bytes after which a stream hands over what it has, as tonic's default.
const YIELD_BYTES: usize = 32 * 1024;

/// Prost in small buffers.
#[derive(Debug)]
pub struct FrugalCodec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for FrugalCodec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::new())
    }
}

impl<T, U> Codec for FrugalCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
