//! BLAKE3 hashes: of commits (the chain) and of states.

use std::fmt;
use std::io::BufWriter;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 256-bit BLAKE3 hash; 64 hexadecimal digits in JSON, 32 bytes in MessagePack.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

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

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits, got `{0}`")]
pub struct BadHash(String);

impl FromStr for Hash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        blake3::Hash::from_hex(text).map(|h| Self(*h.as_bytes())).map_err(|_| BadHash(text.to_owned()))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Hash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits or 32 bytes")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Hash, E> {
                v.parse().map_err(E::custom)
            }
            fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<Hash, E> {
                v.try_into().map(Hash).map_err(|_| E::invalid_length(v.len(), &self))
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Hash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hash".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "BLAKE3" })
    }
}
