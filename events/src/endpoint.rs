//! Where an HTTP worker is reached. A URL that the cluster will call, so what it may be is checked here, once, when it
//! enters: `http` or `https`, a host, a port, a path to stand before ours, and nothing else.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::WorkerId;
use crate::outcome::shorten;

/// The most bytes of an endpoint.
pub const ENDPOINT_BYTES_MAX: usize = 512;

/// The base URL of an HTTP worker: `http://worker1:9000`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Arc<str>);

/// An HTTP worker as those see it who call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its name.
    pub worker: WorkerId,
    /// Where it is reached.
    pub endpoint: Endpoint,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no endpoint such as http://worker1:9000: {reason}")]
pub struct BadEndpoint {
    text: String,
    reason: &'static str,
}

impl Endpoint {
    /// Checks `text` and makes it an endpoint.
    pub fn new(text: &str) -> Result<Self, BadEndpoint> {
        match fault(text) {
            None => Ok(Self(text.into())),
            Some(reason) => Err(BadEndpoint { text: shorten(text, 100), reason }),
        }
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is called over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The URL of `path`, which begins with a slash, below it.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0.trim_end_matches('/'))
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if text.len() > ENDPOINT_BYTES_MAX {
        return Some("it may have 512 bytes at most");
    }
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Some("it must begin with http:// or https://");
    };
    if !rest.bytes().all(|b| b.is_ascii_graphic()) {
        return Some("it may hold visible ASCII characters only");
    }
    if rest.contains(['?', '#', '\\', '@']) {
        return Some("it may hold neither a query, a fragment, a backslash nor a user");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (address, port),
            _ => return Some("what stands in brackets must be an IPv6 address"),
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_name) {
        return Some("it must name a host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if digits.parse::<u16>().is_ok_and(|port| port > 0) => None,
        _ => Some("its port must be a number from 1 to 65535"),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        Self::new(text)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        Self::new(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "uri", "pattern": "^https?://", "maxLength": ENDPOINT_BYTES_MAX,
            "description": "The base URL of an HTTP worker: http or https, without user, query or fragment."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_endpoints_stay_as_they_were_written() {
        for text in [
            "http://worker1:9000",
            "https://worker1.example/behind/a/proxy/",
            "http://127.0.0.1:1",
            "http://[::1]:65535/",
            "http://my_host",
        ] {
            assert_eq!(Endpoint::new(text).unwrap().as_str(), text);
        }
        let behind = Endpoint::new("https://w/proxy/").unwrap();
        assert_eq!(behind.join("/api/health"), "https://w/proxy/api/health");
        assert!(behind.is_https() && !Endpoint::new("http://w").unwrap().is_https());
    }

    #[test]
    fn what_the_cluster_must_not_call_is_refused() {
        let long = format!("http://{}", "x".repeat(ENDPOINT_BYTES_MAX));
        for (text, word) in [
            ("", "http://"),
            ("ftp://x", "http://"),
            ("file:///etc/passwd", "http://"),
            ("worker1:9000", "http://"),
            ("http://", "host"),
            ("http://:9000", "host"),
            ("http://a b", "visible"),
            ("http://a\r\nX-Evil: 1", "visible"),
            ("http://user:secret@host", "user"),
            ("http://host/?q", "query"),
            ("http://host#f", "fragment"),
            ("http://host:0", "port"),
            ("http://host:65536", "port"),
            ("http://host:1:2", "port"),
            ("http://[::1", "IPv6"),
            ("http://[nonsense]:1", "IPv6"),
            ("http://ho*st", "host"),
            (&long, "512"),
        ] {
            let error = Endpoint::new(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
