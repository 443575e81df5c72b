//! How the parts that speak NATS are told where it is and as whom.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_events::subject::Cell;
use muster_log::bus::Bus;
use muster_log::error::LogError;
use muster_log::nats::{Credentials, NatsBus, NatsConfig, Streams};
use tokio_util::sync::CancellationToken;

use crate::exit::{Failure, UNREACHABLE, USAGE};

/// Where NATS is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "NATS")]
pub(crate) struct NatsArgs {
    /// Servers of one cluster, separated by commas; user and password may stand in them
    #[arg(long, env = "MUSTER_NATS", hide_env_values = true, value_name = "URL", value_delimiter = ',')]
    #[arg(default_value = "nats://127.0.0.1:4222")]
    nats: Vec<String>,
    /// User (with --nats-password-file)
    #[arg(long, env = "MUSTER_NATS_USER", value_name = "USER", requires = "nats_password_file")]
    nats_user: Option<String>,
    /// File that holds the user's password
    #[arg(long, env = "MUSTER_NATS_PASSWORD_FILE", value_name = "FILE", requires = "nats_user")]
    nats_password_file: Option<PathBuf>,
    /// File with credentials (JWT and NKey)
    #[arg(long, env = "MUSTER_NATS_CREDS", value_name = "FILE", conflicts_with = "nats_user")]
    nats_creds: Option<PathBuf>,
    /// The servers' monitoring, separated by commas, which says whether writes are synced: http://127.0.0.1:8222
    #[arg(long, env = "MUSTER_NATS_MONITOR", value_name = "URL", value_delimiter = ',')]
    nats_monitor: Vec<String>,
    /// The cluster's name on the server
    #[arg(long, env = "MUSTER_CELL", value_name = "NAME", default_value = "muster")]
    cell: Cell,
    /// Copies of each stream, 1, 3 or 5: chosen at the cell's first start and kept [default: what is there; at the first
    /// start 3 on a server of a cluster, else 1]
    #[arg(long, value_name = "N")]
    replicas: Option<usize>,
}

impl NatsArgs {
    /// As the log wants it. `part` is what the connection is called.
    pub(crate) fn config(&self, part: &str, streams: Streams, wait: bool) -> Result<NatsConfig, Failure> {
        let credentials = match (&self.nats_user, &self.nats_password_file, &self.nats_creds) {
            (Some(user), Some(file), _) => {
                Credentials::UserPassword { user: user.clone(), password: secret(file)? }
            }
            (_, _, Some(file)) => Credentials::File(file.clone()),
            _ => self.nats.iter().find_map(|url| credentials_in(url)).unwrap_or_default(),
        };
        if let Some(wish) = self.replicas.filter(|wish| !matches!(wish, 1 | 3 | 5)) {
            return Err(Failure::usage(format!("--replicas {wish} is none of 1, 3, 5")));
        }
        Ok(NatsConfig {
            urls: self.nats.iter().map(|url| without_credentials(url)).collect(),
            cell: self.cell.clone(),
            credentials,
            name: format!("muster-{part}"),
            replicas: self.replicas,
            streams,
            monitor: self.nats_monitor.clone(),
            wait,
            ..NatsConfig::new("")
        })
    }

    /// Whether the user has said nothing about where NATS is and as whom.
    pub(crate) fn is_default(&self) -> bool {
        self.nats == ["nats://127.0.0.1:4222"] && self.nats_user.is_none() && self.nats_creds.is_none()
    }
}

/// Where in a URL its credentials stand: behind the scheme, in front of the last `@`.
fn credentials_range(url: &str) -> Option<std::ops::Range<usize>> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = start + url[start..].rfind('@')?;
    Some(start..end)
}

/// `user:password` of a URL, or its token where there is no colon. As they stand: nothing in them is escaped.
fn credentials_in(url: &str) -> Option<Credentials> {
    let text = &url[credentials_range(url)?];
    Some(match text.split_once(':') {
        Some((user, password)) => {
            Credentials::UserPassword { user: user.to_owned(), password: password.to_owned() }
        }
        None => Credentials::Token(text.to_owned()),
    })
}

fn without_credentials(url: &str) -> String {
    let mut url = url.to_owned();
    if let Some(range) = credentials_range(&url) {
        url.replace_range(range.start..=range.end, "");
    }
    url
}

/// The first line of a file that holds a secret.
pub(crate) fn secret(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::usage(format!("the secret in {} cannot be read: {e}", file.display())))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Failure::usage(format!("{} is empty; it should hold a password", file.display()))),
    }
}

/// Connects; `None` when the user wants to end before that has come about.
pub(crate) async fn open(
    config: NatsConfig,
    asked: &CancellationToken,
) -> Result<Option<Arc<dyn Bus>>, Failure> {
    tokio::select! {
        () = asked.cancelled() => Ok(None),
        bus = NatsBus::open(config) => Ok(Some(bus.map_err(|e| not_let_in(&e))?)),
    }
}

/// As [`refused`], for who brings the credentials.
fn not_let_in(error: &LogError) -> Failure {
    let failure = refused(error);
    let text = failure.message.to_lowercase();
    if !["permission", "authoriz", "authentic"].iter().any(|word| text.contains(word)) {
        return failure;
    }
    failure.hint(
        "Each part has a user of its own in nats.conf (manager, worker, api): give --nats-user and --nats-password-file, or \
         --nats-creds.",
    )
}

/// A bus that cannot be used, as a failure.
pub(crate) fn refused(error: &LogError) -> Failure {
    let code = match error {
        LogError::Unavailable(_) => UNREACHABLE,
        LogError::Refused(_) => USAGE,
        _ => crate::exit::FAILED,
    };
    Failure::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_taken_out() {
        let Some(Credentials::UserPassword { user, password }) = credentials_in("nats://me:p@ss:w@host:4222")
        else {
            panic!("user and password")
        };
        assert_eq!((user.as_str(), password.as_str()), ("me", "p@ss:w"));
        assert_eq!(without_credentials("nats://me:p@ss:w@host:4222"), "nats://host:4222");
        assert!(matches!(credentials_in("tls://t0ken@host"), Some(Credentials::Token(t)) if t == "t0ken"));
        assert!(credentials_in("nats://host:4222").is_none());
        assert_eq!(without_credentials("host:4222"), "host:4222");
    }
}
