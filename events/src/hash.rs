//! BLAKE3 hashes: of commits (the chain), of states, and short ones of commands.

use std::fmt;
use std::io::BufWriter;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::outcome::shorten;

/// A 256-bit BLAKE3 hash; 64 hexadecimal digits in JSON, 32 bytes in MessagePack.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// The first 64 bits of a BLAKE3 hash; 16 hexadecimal digits in JSON, 8 bytes in MessagePack. Enough to tell what a
/// sender mixed up by mistake; who forges a match fools nobody but himself.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 8]);

/// How much is gathered before it is hashed.
const SINK_BYTES: usize = 64 << 10;

impl Hash {
    /// What the first commit names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of all that `write` puts into the sink, without holding it in memory at once.
    pub fn stream<E>(write: impl FnOnce(&mut dyn std::io::Write) -> Result<(), E>) -> Result<Self, E> {
        // A serializer writes a few bytes at a time; the hasher is at its best with kilobytes.
        let mut sink = BufWriter::with_capacity(SINK_BYTES, blake3::Hasher::new());
        write(&mut sink)?;
        let hasher = match sink.into_inner() {
            Ok(hasher) => hasher,
            Err(_) => unreachable!("a hasher takes every byte"),
        };
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
        Self(first)
    }
}

/// A text that is not the hexadecimal digits of a hash.
#[derive(Debug, thiserror::Error)]
#[error("a hash is {digits} hexadecimal digits, got `{text}`")]
pub struct BadHash {
    digits: usize,
    text: String,
}

fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], BadHash> {
    let bad = || BadHash { digits: 2 * N, text: shorten(text, 2 * N) };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(bad());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or_else(bad)?;
    }
    Ok(bytes)
}

/// Reads digits and bytes, whatever the encoding.
struct Visitor<const N: usize>;

impl<const N: usize> de::Visitor<'_> for Visitor<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits or {N} bytes", 2 * N)
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<[u8; N], E> {
        from_hex(v).map_err(E::custom)
    }
    fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<[u8; N], E> {
        v.try_into().map_err(|_| E::invalid_length(v.len(), &self))
    }
}

macro_rules! hexadecimal {
    ($name:ident, $pattern:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadHash;

            fn from_str(text: &str) -> Result<Self, BadHash> {
                from_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_bytes(&self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(Visitor).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": "BLAKE3" })
            }
        }
    };
}

hexadecimal!(Hash, "^[0-9a-f]{64}$");
hexadecimal!(Digest, "^[0-9a-f]{16}$");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Encoding, decode, encode};

    #[test]
    fn a_hash_is_read_as_it_was_written_in_either_encoding() {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let (hash, digest) = (Hash::of(b"x"), Digest::of(b"x"));
            let bytes = encode(encoding, &(hash, digest)).unwrap();
            assert_eq!(decode::<(Hash, Digest)>(encoding, &bytes).unwrap(), (hash, digest));
        }
        assert!(Hash::of(b"x").to_string().starts_with(&Digest::of(b"x").to_string()));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", "0", "00112233445566", "001122334455667g", "00112233445566778", "äääääääa"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let words = "z".repeat(5000).parse::<Hash>().unwrap_err().to_string();
        assert!(words.starts_with("a hash is 64 hexadecimal digits") && words.len() < 200, "{words}");
    }
}
