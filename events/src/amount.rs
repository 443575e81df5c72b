//! Amounts as people write them.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserializer;
use serde::de::{self, Visitor};

const KIB: u64 = 1 << 10;

/// Bytes: `1048576`, `64MiB`, `1g`, `1.5GiB`, `10MB`. One letter and the `i` forms count in 1024, `KB` and its like in 1000.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no amount of bytes such as 1048576, 64MiB, 1g (1024s) or 10MB (1000s)");
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => KIB,
        "m" | "mi" | "mib" => KIB.pow(2),
        "g" | "gi" | "gib" => KIB.pow(3),
        "t" | "ti" | "tib" => KIB.pow(4),
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "tb" => 1000_u64.pow(4),
        _ => return Err(bad()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(bad);
    }
    let value = number.parse::<f64>().map_err(|_| bad())? * whole(factor);
    // 2^63 is far beyond any machine, and exact in a double.
    if !(0.0..9.223_372_036_854_776e18).contains(&value) {
        return Err(bad());
    }
    Ok(floor(value))
}

#[expect(clippy::cast_precision_loss, reason = "at most 2^40")]
const fn whole(factor: u64) -> f64 {
    factor as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates; the caller checks"
)]
const fn floor(value: f64) -> u64 {
    value as u64
}

/// Reads a field of bytes: a number, or a text as for [`bytes`].
pub(crate) fn read_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes: a number, or a text such as 64MiB, 1g (1024s) or 10MB (1000s)")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
            u64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            bytes(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Bytes)
}

/// The schema of such a field.
pub(crate) fn bytes_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "integer", "format": "uint64", "minimum": 0 },
            { "type": "string", "pattern": r"^\s*[0-9.]+\s*(?:[bB]|[kKmMgGtT](?:[iI]?[bB]|[iI])?)?\s*$", "examples": ["64MiB", "1g"] }
        ]
    })
}

#[cfg(test)]
mod tests {
    use crate::codec::{Encoding, decode_request};
    use crate::spec::TaskDefinition;

    #[test]
    fn a_definition_takes_bytes_as_people_write_them() {
        let read = |memory: &str| {
            let text = format!(r#"{{"name":"x","command":["true"],"memory":{memory}}}"#);
            decode_request::<TaskDefinition>(Encoding::Json, text.as_bytes()).map(|task| task.memory)
        };
        assert_eq!(read("65536").unwrap(), 65_536);
        assert_eq!(read(r#""64MiB""#).unwrap(), 64 << 20);
        assert_eq!(read(r#""1.5g""#).unwrap(), 3 << 29);
        for (wrong, words) in [(r#""lots""#, "lots"), ("-1", "-1"), ("true", "bytes")] {
            let refused = read(wrong).unwrap_err().message;
            assert!(refused.contains(words) && refused.contains("memory"), "{refused}");
        }
    }
}
