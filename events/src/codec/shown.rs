//! The value at a path of a payload, as text: what an error about it shows.
//!
//! Payloads may be large and errors are small, so no more of a value is kept than is shown, and of the rest nothing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::{Path, Segment};

use crate::outcome::VALUE_CHARS_MAX;

/// The value at `path`; none where there is none, or where what stands before it cannot be read.
pub(super) fn at<'de, D: Deserializer<'de>>(d: D, path: &Path) -> Option<String> {
    let path: Vec<&Segment> = path.iter().collect();
    let mut found = None;
    // An error behind the value takes nothing from what was found, and one before it leaves nothing found.
    drop(Seek { path: &path, found: &mut found }.deserialize(d));
    found
}

/// Goes down the rest of the path, from the value at hand on.
struct Seek<'a> {
    path: &'a [&'a Segment],
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if !self.path.is_empty() {
            return d.deserialize_any(self);
        }
        let mut text = Text::default();
        let read = Show { text: &mut text, nested: false }.deserialize(d);
        *self.found = Some(text.0);
        read
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what has parts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match self.path {
                [Segment::Map { key } | Segment::Enum { variant: key }, path @ ..] if *key == name => {
                    map.next_value_seed(Seek { path, found: &mut *self.found })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut place = 0;
        loop {
            let read = match self.path {
                [Segment::Seq { index }, path @ ..] if *index == place => {
                    seq.next_element_seed(Seek { path, found: &mut *self.found })?.is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !read {
                return Ok(());
            }
            place += 1;
        }
    }
}

/// A text that grows a little beyond what is shown, so that it is seen to be cut, and no further.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Characters have four bytes at most.
    const BYTES_MAX: usize = 4 * (VALUE_CHARS_MAX + 1);

    const fn is_full(&self) -> bool {
        self.0.len() > Self::BYTES_MAX
    }

    fn add(&mut self, part: impl fmt::Display) {
        if !self.is_full() {
            self.0.push_str(&part.to_string());
        }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(VALUE_CHARS_MAX + 1).collect()
}

/// Writes the value at hand: a text as it is, all else as JSON.
struct Show<'a> {
    text: &'a mut Text,
    nested: bool,
}

impl Show<'_> {
    const fn part(&mut self) -> Show<'_> {
        Show { text: self.text, nested: true }
    }
}

impl<'de> DeserializeSeed<'de> for Show<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if self.text.is_full() {
            d.deserialize_ignored_any(IgnoredAny).map(drop)
        } else {
            d.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Show<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.text.add(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.text.add(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.text.add(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.text.add(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        let value = beginning(value);
        if self.nested {
            self.text.add(serde_json::Value::String(value));
        } else {
            self.text.add(value);
        }
        Ok(())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<(), E> {
        self.text.add(format_args!("{} bytes", value.len()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.text.add("null");
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.text.add("null");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.text.add('[');
        let mut between = "";
        loop {
            // Whether another follows is known once it has been read.
            let before = self.text.0.len();
            self.text.add(between);
            if seq.next_element_seed(self.part())?.is_none() {
                self.text.0.truncate(before);
                self.text.add(']');
                return Ok(());
            }
            between = ",";
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.text.add('{');
        let mut between = "";
        while let Some(key) = map.next_key::<String>()? {
            self.text.add(between);
            self.text.add(serde_json::Value::String(beginning(&key)));
            self.text.add(':');
            map.next_value_seed(self.part())?;
            between = ",";
        }
        self.text.add('}');
        Ok(())
    }
}
