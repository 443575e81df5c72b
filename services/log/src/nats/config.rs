//! How to reach NATS and what to expect there.

use std::fmt;
use std::path::PathBuf;

use muster_events::id::LogId;
use muster_events::subject::Cell;

/// How to reach NATS and what to expect there.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// Where: `nats://host:port` or `tls://host:port`, each a server of one cluster.
    pub urls: Vec<String>,
    /// Which cell.
    pub cell: Cell,
    /// As whom.
    pub credentials: Credentials,
    /// What the connection is called in the server's lists.
    pub name: String,
    /// Copies of each stream: 1, 3 or 5. They are chosen with the cell and kept; another wish than what is there is
    /// refused. Without one: what is there; at the beginning three on a server of a cluster, else one.
    pub replicas: Option<usize>,
    /// What is done about streams that are not there yet.
    pub streams: Streams,
    /// What is known from before of the log that is to be found there.
    pub known: Known,
    /// Bytes that LOGS may hold.
    pub log_bytes_max: i64,
    /// Where the monitoring of each server is reached over plain HTTP, such as `http://127.0.0.1:8222`. Only the
    /// monitoring says whether a server syncs each write; without an address they are asked over NATS, which works where
    /// the system account exports `$SYS.REQ.SERVER.PING.VARZ`.
    pub monitor: Vec<String>,
    /// Whether [`super::NatsBus::open`] waits for a server that cannot be reached, and for streams another part is to
    /// make; else it fails with the reason.
    pub wait: bool,
}

/// As whom to connect.
#[derive(Clone, Default)]
pub enum Credentials {
    /// As the server's default user.
    #[default]
    None,
    /// By name and password.
    UserPassword {
        /// The user's name.
        user: String,
        /// Its password.
        password: String,
    },
    /// By token.
    Token(String),
    /// By NKey seed.
    NKey(String),
    /// By a `.creds` file (JWT and NKey).
    File(PathBuf),
}

/// Never shows a secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::UserPassword { user, .. } => write!(f, "UserPassword({user})"),
            Self::Token(_) => f.write_str("Token"),
            Self::NKey(_) => f.write_str("NKey"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// What is done about streams that are not there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// They are made. For whoever has the permission: the manager.
    #[default]
    Make,
    /// Somebody else makes them.
    Expect,
}

/// What is known from before of the log that is to be found. What is not there then is not begun anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nothing: a log that is not there is begun.
    #[default]
    Nothing,
    /// It is this one.
    Log(LogId),
    /// There is one; in words, what says so. To be had where a folder is looked at that the server may read differently.
    Some(String),
}

impl NatsConfig {
    /// One server, or several with commas between their addresses, the default cell and user; streams are made.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: url.into().split(',').map(str::to_owned).collect(),
            cell: Cell::default(),
            credentials: Credentials::None,
            name: "muster".to_owned(),
            replicas: None,
            streams: Streams::Make,
            known: Known::Nothing,
            log_bytes_max: 1 << 30,
            monitor: Vec::new(),
            wait: false,
        }
    }

    /// The addresses as one text, without credentials that may stand in them.
    pub(super) fn shown(&self) -> String {
        let bare = |url: &String| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => url.clone(),
        };
        self.urls.iter().map(bare).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let mut config = NatsConfig::new("nats://me:secret@host:4222");
        config.credentials =
            Credentials::UserPassword { user: "me".to_owned(), password: "secret".to_owned() };
        assert_eq!(config.shown(), "nats://host:4222");
        assert!(!format!("{:?}", config.credentials).contains("secret"));
    }
}
