//! Where in a text of YAML or JSON the value at a path such as `task.constraints[0].value` stands, and which key it has
//! twice; and errors about such a text, each with its line and column.
//!
//! The deserializers know line and column of each value and tell them with an error, and only then. So the text is read
//! once more, down to the value that is looked for, and that is refused.

use std::collections::BTreeSet;
use std::fmt;

use muster_events::outcome::FieldError;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most faults of a file that are told.
pub(crate) const FAULTS_MAX: usize = 20;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    line: usize,
    column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}

/// What is wrong with values of the file `name`, a line each; `find` says where the value at a path stands.
pub(crate) fn faults(name: &str, faults: &[FieldError], find: impl Fn(&str) -> Option<Place>) -> String {
    let told = faults.iter().take(FAULTS_MAX).map(|fault| match find(&fault.field) {
        Some(place) => format!("{name}: {fault} at {place}"),
        None => format!("{name}: {fault}"),
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Why document `number` of the YAML file `name` cannot be read.
pub(crate) fn yaml_error(name: &str, text: &str, number: usize, error: &serde_norway::Error) -> String {
    let document = || serde_norway::Deserializer::from_str(text).nth(number);
    if let Some(told) = document().and_then(|d| twice(d, of_yaml)) {
        return format!("{name}: {told}");
    }
    // The first place of a file is not told by the parser, and some errors have none.
    match of_yaml(error) {
        Some(place) if place != Place::BEGINNING => format!("{name}: {error}"),
        Some(place) => format!("{name}: {error} at {place}"),
        None => match document().and_then(|d| in_yaml(d, "")) {
            Some(place) => format!("{name}: {error} at {place}"),
            None => format!("{name}: {error}"),
        },
    }
}

/// Which key a JSON text has twice, if any: the parser takes the last one without a word.
pub(crate) fn twice_in_json(text: &str) -> Option<String> {
    twice(&mut serde_json::Deserializer::from_str(text), |e| Some(of_json(e)))
}

fn twice<'de, D: Deserializer<'de>>(d: D, place: impl Fn(&D::Error) -> Option<Place>) -> Option<String> {
    let mut found = None;
    let error = Twice { path: String::new(), found: &mut found }.deserialize(d).err()?;
    let path = found?;
    Some(match place(&error) {
        Some(place) => format!("{path}: is given a second time at {place}"),
        None => format!("{path}: is given a second time"),
    })
}

impl Place {
    const BEGINNING: Self = Self { line: 1, column: 1 };
}

fn of_yaml(error: &serde_norway::Error) -> Option<Place> {
    let location = error.location()?;
    Some(Place { line: location.line(), column: location.column() })
}

fn of_json(error: &serde_json::Error) -> Place {
    Place { line: error.line(), column: error.column() }
}

/// The place in a YAML document; where there is no such value, that of the innermost one around it.
pub(crate) fn in_yaml(document: serde_norway::Deserializer<'_>, path: &str) -> Option<Place> {
    of_yaml(&Seek(path).deserialize(document).err()?)
}

/// The place in a JSON text.
pub(crate) fn in_json(text: &str, path: &str) -> Option<Place> {
    Seek(path).deserialize(&mut serde_json::Deserializer::from_str(text)).err().as_ref().map(of_json)
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

/// Reads all of a value, up to a key that its map has already.
struct Twice<'f> {
    path: String,
    found: &'f mut Option<String>,
}

/// A key of a map at `path` that has these already.
struct Key<'a> {
    path: &'a str,
    seen: &'a mut BTreeSet<String>,
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<String, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        if self.seen.insert(key.to_owned()) {
            return Ok(path);
        }
        *self.found = Some(path);
        Err(E::custom(FOUND))
    }
}

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        loop {
            let key = Key { path: &self.path, seen: &mut seen, found: &mut *self.found };
            let Some(path) = map.next_key_seed(key)? else { return Ok(()) };
            map.next_value_seed(Twice { path, found: &mut *self.found })?;
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut place = 0;
        loop {
            let path = format!("{}[{place}]", self.path);
            if seq.next_element_seed(Twice { path, found: &mut *self.found })?.is_none() {
                return Ok(());
            }
            place += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
