//! What constraints compare with.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// One.
    Text(String),
    /// Several, for the operator `in`.
    List(Vec<String>),
}

impl Value {
    /// The texts.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(list) => list,
        }
    }

    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }

    /// Whether it says nothing, as the operator `distinct` wants it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(list) => f.write_str(&list.join(",")),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => s.serialize_str(text),
            Self::List(list) => list.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
                Ok(v.into())
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = seq.next_element()? {
                    list.push(text);
                }
                Ok(Value::List(list))
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// The most bytes that a compiled regular expression may take.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// A constraint's regular expression, compiled. Matching takes time in proportion to the text.
#[derive(Clone, Debug)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    /// Compiles it; the error is for people.
    pub fn new(text: &str) -> Result<Self, String> {
        let compiled = regex_lite::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        compiled.map(Self).map_err(|e| e.to_string())
    }

    /// Whether it matches somewhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// The parts of a version or a number such as `1.10`, those that are 0 at the end left out: `1.2` and `1.2.0` are the
/// same. A `v` before it, and what follows a `-` or `+` (`1.2.0-rc1`), are passed over.
pub fn dotted(text: &str) -> Option<Vec<u64>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core = text.split(['-', '+']).next().unwrap_or(text);
    let mut parts = core
        .split('.')
        .map(|part| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit())))
        .collect::<Option<Vec<u64>>>()?;
    while parts.last() == Some(&0) {
        parts.pop();
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_part_by_part() {
        let less = |a, b| dotted(a).unwrap() < dotted(b).unwrap();
        assert!(less("1.9", "1.10") && less("1.2", "1.2.1") && less("0.9.9", "1") && less("2", "16"));
        assert_eq!(dotted("v1.2.0-rc1+5"), dotted("1.2"));
        assert_eq!(dotted("0"), Some(vec![]));
        for none in ["", "x", "1.x", "1..2", "+1", ".", "99999999999999999999"] {
            assert_eq!(dotted(none), None, "{none}");
        }
    }

    #[test]
    fn a_value_is_a_text_or_a_list() {
        let read = |json: &str| serde_json::from_str::<Value>(json);
        assert_eq!(read(r#""a""#).unwrap(), "a".into());
        assert_eq!(read(r#"["a","b"]"#).unwrap(), Value::List(vec!["a".into(), "b".into()]));
        assert!(read("3").unwrap_err().to_string().contains("a text or a list of texts"));
    }
}
