//! Where in a text the value at a path such as `task.constraints[0].value` stands.
//!
//! The deserializers know line and column of each value and tell them with an error, and only then. So the text is read
//! once more, down to the value that is looked for, and that is refused.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// The place in a YAML document; where there is no such value, that of the innermost one around it.
pub(super) fn in_yaml(document: serde_norway::Deserializer<'_>, path: &str) -> Option<Place> {
    let location = Seek(path).deserialize(document).err()?.location()?;
    Some(Place { line: location.line(), column: location.column() })
}

/// The place in a JSON text.
pub(super) fn in_json(text: &str, path: &str) -> Option<Place> {
    let error = Seek(path).deserialize(&mut serde_json::Deserializer::from_str(text)).err()?;
    Some(Place { line: error.line(), column: error.column() })
}

/// The rest of the path, from the value at hand on.
#[derive(Clone, Copy)]
struct Seek<'p>(&'p str);

const FOUND: &str = "found";

impl Seek<'_> {
    /// What is left of the path below the entry `key`; nothing where it leads elsewhere.
    fn below(&self, key: &str) -> Option<&str> {
        let rest = self.0.strip_prefix(key)?;
        match rest.chars().next() {
            None | Some('[') => Some(rest),
            Some('.') => Some(&rest[1..]),
            Some(_) => None,
        }
    }

    /// The index the path begins with, and what is left of it.
    fn index(&self) -> Option<(usize, &str)> {
        let (index, rest) = self.0.strip_prefix('[')?.split_once(']')?;
        Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.0.is_empty() {
            return Err(de::Error::custom(FOUND));
        }
        while let Some(key) = map.next_key::<String>()? {
            match self.below(&key) {
                Some(rest) => map.next_value_seed(Seek(rest))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Err(de::Error::custom(FOUND))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((index, rest)) = self.index() else { return Err(de::Error::custom(FOUND)) };
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Err(de::Error::custom(FOUND));
            }
        }
        seq.next_element_seed(Seek(rest))?;
        Err(de::Error::custom(FOUND))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom(FOUND))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom(FOUND))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(E::custom(FOUND))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom(FOUND))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(FOUND))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
}
