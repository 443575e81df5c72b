//! How a job is meant: by its id, or by its name.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::{JobId, JobName, Namespace, TOKEN_CHARS_MAX};
use crate::outcome::shorten;

/// A job, by its id, or by its name in a namespace: `web`, `team-a/web`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRef {
    /// By its id.
    Id(JobId),
    /// By its name.
    Name(Namespace, JobName),
}

/// A text that can mean no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` means no job: give its id (a UUID), its name, or namespace/name")]
pub struct BadJobRef(String);

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(namespace, name) if *namespace == Namespace::default() => name.fmt(f),
            Self::Name(namespace, name) => write!(f, "{namespace}/{name}"),
        }
    }
}

impl FromStr for JobRef {
    type Err = BadJobRef;

    fn from_str(text: &str) -> Result<Self, BadJobRef> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let bad = || BadJobRef(shorten(text, 2 * TOKEN_CHARS_MAX));
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Namespace::new(namespace).map_err(|_| bad())?, name),
            None => (Namespace::default(), text),
        };
        Ok(Self::Name(namespace, JobName::new(name).map_err(|_| bad())?))
    }
}

impl Serialize for JobRef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobRef {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for JobRef {
    fn schema_name() -> Cow<'static, str> {
        "JobRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A job's id, its name, or namespace/name.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_as_it_is_written() {
        for text in ["web", "team-a/web", "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
            assert_eq!(text.parse::<JobRef>().unwrap().to_string(), text);
        }
        assert_eq!("default/web".parse::<JobRef>().unwrap().to_string(), "web");
        for text in ["", "a b", "a/b/c", "/web", "x.y"] {
            assert!(text.parse::<JobRef>().unwrap_err().to_string().contains("means no job"), "{text}");
        }
    }
}
