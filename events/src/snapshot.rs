//! A snapshot as bytes: what a state was at one position of the log, so that a start need not fold all before it.
//!
//! ```text
//! magic (8) │ form (2) │ length of the header (4) │ header │ body │ BLAKE3 of all before (32)
//! ```
//! Numbers are big-endian, the header is MessagePack, the body MessagePack in an LZ4 frame. The form stands in front of
//! all that may change, so that a build can name what it cannot read. Nothing here is trusted: whoever reads a snapshot
//! compares it with the log, see `domain::snapshot`.

use std::io::{BufReader, BufWriter, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Encoding};
use crate::hash::Hash;
use crate::time::Timestamp;

/// The form this build writes, and the only one it reads: an older snapshot is worth no more than the time in which the
/// log is folded, and nobody would ever test that it still means the same. It goes up with every change of what a state
/// holds or of how events change it; a test pins both.
pub const FORM: u16 = 2;

/// The most bytes of a snapshot, and of what is in it before it is compressed: bounds for what is damaged or foreign,
/// far beyond the state of a cell at the limits of muster (a million tasks have about a hundredth and a tenth of it).
pub const BYTES_MAX: u64 = 8 << 30;

/// What a snapshot begins with; its form follows, in two bytes.
pub const MAGIC: [u8; 8] = *b"\x8dMUSTER\n";
const FORM_AT: usize = MAGIC.len();
const LENGTH_AT: usize = FORM_AT + 2;
const HEADER_AT: usize = LENGTH_AT + 4;
const SUM: usize = 32;
/// The most bytes of a header; one has about two hundred.
const HEADER_MAX: usize = 4096;
/// How much is gathered before it is compressed, and after: serializers write and read a few bytes at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The position of the newest commit in it.
    pub position: u64,
    /// The hash of that commit.
    pub commit: Hash,
    /// The `seq` of the newest event in it.
    pub seq: u64,
    /// When that commit was decided.
    pub at: Timestamp,
    /// The hash of the state.
    pub state: Hash,
}

/// Why bytes are no snapshot that can be used, or none could be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not even the beginning is there.
    #[error("it is no snapshot: it does not begin like one")]
    Foreign,
    /// Of another build.
    #[error("it has form {found}, this build reads form {FORM}")]
    Form {
        /// Its form.
        found: u16,
    },
    /// Cut off, or changed.
    #[error("it is damaged: its {bytes} bytes do not have the checksum that stands behind them")]
    Damaged {
        /// How many there are.
        bytes: usize,
    },
    /// Beyond [`BYTES_MAX`].
    #[error("it is too large: more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// The bytes are whole, but not what they should be.
    #[error("what is in it {0}")]
    Codec(#[from] codec::CodecError),
    /// The compressed part cannot be read, or does not end where it should.
    #[error("its compressed part cannot be read: {0}")]
    Compression(String),
}

/// `header` and `body` as a snapshot.
///
/// # Errors
/// [`SnapshotError::Codec`], [`SnapshotError::TooLarge`].
pub fn seal<T: Serialize>(header: &Header, body: &T) -> Result<Vec<u8>, SnapshotError> {
    seal_within(header, body, BYTES_MAX)
}

fn seal_within<T: Serialize>(header: &Header, body: &T, max: u64) -> Result<Vec<u8>, SnapshotError> {
    let head = codec::encode(Encoding::MessagePack, header)?;
    let length = u32::try_from(head.len()).map_err(|_| SnapshotError::TooLarge { max })?;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORM.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&head);
    let frame = FrameInfo::new().block_size(BlockSize::Max1MB).block_mode(BlockMode::Linked);
    let counted = Counted { inner: FrameEncoder::with_frame_info(frame, bytes), left: max };
    let mut sink = BufWriter::with_capacity(BUFFER_BYTES, counted);
    codec::write(&mut sink, body)?;
    let counted = sink.into_inner().map_err(|_| SnapshotError::TooLarge { max })?;
    let mut bytes = counted.inner.finish().map_err(|e| SnapshotError::Compression(e.to_string()))?;
    let sum = Hash::of(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    Ok(bytes)
}

/// What a snapshot says of itself, once it is known to be whole.
///
/// # Errors
/// Every [`SnapshotError`].
pub fn header(bytes: &[u8]) -> Result<Header, SnapshotError> {
    parts(bytes).map(|(header, _)| header)
}

/// The header and the body of a snapshot.
///
/// # Errors
/// Every [`SnapshotError`].
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Header, T), SnapshotError> {
    open_within(bytes, BYTES_MAX)
}

fn open_within<T: DeserializeOwned>(bytes: &[u8], max: u64) -> Result<(Header, T), SnapshotError> {
    let (header, compressed) = parts(bytes)?;
    let source = Counted { inner: FrameDecoder::new(compressed), left: max };
    let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
    let body = codec::read(&mut source);
    if source.get_ref().left == 0 {
        return Err(SnapshotError::TooLarge { max });
    }
    let body = body?;
    match source.read(&mut [0]) {
        Ok(0) => Ok((header, body)),
        Ok(_) => Err(SnapshotError::Compression("something follows its end".to_owned())),
        Err(error) => Err(SnapshotError::Compression(error.to_string())),
    }
}

/// The header and the compressed body.
fn parts(bytes: &[u8]) -> Result<(Header, &[u8]), SnapshotError> {
    let form = bytes.get(FORM_AT..LENGTH_AT).and_then(|form| form.try_into().ok());
    let (true, Some(form)) = (bytes.starts_with(&MAGIC), form) else {
        return Err(SnapshotError::Foreign);
    };
    let found = u16::from_be_bytes(form);
    if found != FORM {
        return Err(SnapshotError::Form { found });
    }
    let damaged = || SnapshotError::Damaged { bytes: bytes.len() };
    let (content, sum) = bytes.split_last_chunk::<SUM>().ok_or_else(damaged)?;
    if Hash::of(content).as_bytes() != sum {
        return Err(damaged());
    }
    let length = content.get(LENGTH_AT..HEADER_AT).and_then(|l| l.try_into().ok()).map(u32::from_be_bytes);
    let length = length.and_then(|l| usize::try_from(l).ok()).filter(|l| *l <= HEADER_MAX);
    let behind = content.get(HEADER_AT..).unwrap_or_default();
    let (head, compressed) = length.and_then(|l| behind.split_at_checked(l)).ok_or_else(damaged)?;
    Ok((codec::decode(Encoding::MessagePack, head)?, compressed))
}

/// Lets through so many bytes, one way or the other.
struct Counted<I> {
    inner: I,
    left: u64,
}

impl<I> Counted<I> {
    fn pass(&mut self, bytes: usize) -> std::io::Result<()> {
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 { Err(std::io::Error::other("too large")) } else { Ok(()) }
    }
}

impl<I: Write> Write for Counted<I> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.pass(bytes.len())?;
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<I: Read> Read for Counted<I> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(into)?;
        if count > 0 {
            self.pass(count)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(body: &str) -> Header {
        let (commit, state) = (Hash::of(b"commit"), Hash::of(body.as_bytes()));
        Header { position: 7, commit, seq: 40, at: Timestamp::from_micros(5), state }
    }

    fn sample() -> (Header, String, Vec<u8>) {
        let body = "what there is, ".repeat(200);
        let header = header_of(&body);
        let bytes = seal(&header, &body).unwrap();
        (header, body, bytes)
    }

    /// A snapshot whose checksum is right, whatever it says.
    fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        bytes.truncate(bytes.len() - SUM);
        change(&mut bytes);
        let sum = Hash::of(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    #[test]
    fn what_is_sealed_is_opened_and_smaller() {
        let (header, body, bytes) = sample();
        assert_eq!(open::<String>(&bytes).unwrap(), (header, body.clone()));
        assert_eq!(super::header(&bytes).unwrap(), header);
        assert!(bytes.len() < body.len() / 2, "{}", bytes.len());
    }

    #[test]
    fn every_flipped_bit_and_every_missing_end_is_noticed() {
        let (_, _, bytes) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<String>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(open::<String>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_form_is_named_also_when_it_is_otherwise_unlike() {
        let (_, _, bytes) = sample();
        let other = resealed(bytes, |b| {
            b[FORM_AT..LENGTH_AT].copy_from_slice(&(FORM + 1).to_be_bytes());
            b.truncate(20);
        });
        let error = open::<String>(&other).unwrap_err();
        assert!(matches!(error, SnapshotError::Form { found } if found == FORM + 1), "{error}");
        assert!(matches!(open::<String>(b"{\"json\": 1}"), Err(SnapshotError::Foreign)));
    }

    #[test]
    fn what_is_beyond_the_bound_is_neither_written_nor_read() {
        let (header, body, bytes) = sample();
        let max = body.len() as u64;
        let error = seal_within(&header, &body, max).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
        assert!(matches!(open_within::<String>(&bytes, max), Err(SnapshotError::TooLarge { .. })));
        assert!(open_within::<String>(&bytes, max + 64).is_ok());
    }

    #[test]
    fn a_whole_snapshot_with_nonsense_in_it_is_refused() {
        let (_, _, bytes) = sample();
        let longer = resealed(bytes.clone(), |b| b[LENGTH_AT] = 0xff);
        assert!(matches!(open::<String>(&longer), Err(SnapshotError::Damaged { .. })));
        let header = header_of("");
        let more = seal(&header, &("a", "b")).unwrap();
        assert!(open::<String>(&more).is_err());
        let no_frame = resealed(bytes, |b| {
            let end = b.len() - 9;
            b.truncate(end);
        });
        assert!(open::<String>(&no_frame).is_err());
    }
}
