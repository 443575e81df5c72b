//! Settings of a client.

use std::fmt;
use std::time::Duration;

/// Settings of a client. Fields may be set freely before [`crate::Client::with`].
#[derive(Clone)]
pub struct Config {
    /// Where the API is: `http://host:port` or `https://host:port`, with a path in front of `/api` where a proxy adds one.
    pub base: String,
    /// The bearer token, where the API asks for one.
    pub token: Option<String>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may take, from the first byte sent to the last received. Streams are not bound by it.
    pub timeout: Duration,
    /// How long a change of the cluster is asked for again where its answer was lost or NATS was away (status 503). It
    /// bears one `Idempotency-Key` all along, so it is not done twice.
    pub repeat_for: Duration,
    /// Certificates (PEM) to trust besides the system's, for `https`.
    pub ca_pem: Option<Vec<u8>>,
}

impl Config {
    /// The settings that do for most: 5 s to connect, 30 s to answer, 10 s of repeating, no token.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            token: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            repeat_for: Duration::from_secs(10),
            ca_pem: None,
        }
    }

    /// With this bearer token; an empty one counts as none.
    #[must_use]
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token.filter(|t| !t.is_empty());
        self
    }

    /// With this limit on answers.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// The token does not belong into a log.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base", &self.base)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("repeat_for", &self.repeat_for)
            .finish_non_exhaustive()
    }
}
