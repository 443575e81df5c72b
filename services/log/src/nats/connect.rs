//! The connection: made, watched and made again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::config::{Credentials, NatsConfig};
use super::storage::Storage;
use crate::bus::Link;
use crate::error::{LogError, Result};

/// The oldest server that will do.
pub(super) const SERVER_MIN: Version = Version { major: 2, minor: 14, patch: 3 };

/// Longest pause between two tries to reconnect.
const RECONNECT_PAUSE_MS_MAX: u64 = 1_000;
/// How long a server may take to answer a request of the JetStream API.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The same in a cluster: a question whose answerer is just gone is asked again, of the next.
pub(super) const REQUEST_TIMEOUT_CLUSTER: Duration = Duration::from_secs(3);
/// How long a server may take to greet; with several, the next one's turn comes then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which the server is asked whether it is there. Two questions without an answer mean a dead
/// connection when the third is due, so a server that hangs, or whose machine vanished, is noticed within three times
/// this: 6 s, before readers take their consumers for dead (7 s) or an acknowledgement is given up (10 s). Who asks the
/// API from then on is told at once; a command that is under way by then is sent again should the server come back, and
/// its caller hears after 15 s that nobody knows. A server that is merely slow answers in between, since pings do not
/// wait for its disk; and should it not, a connection made anew costs little, as nothing is lost with it.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Messages a subscription holds until they are taken. Flow control keeps a push consumer at 32 MiB in flight, which
/// is fewer messages than this; beyond it messages would be dropped and read again.
const SUBSCRIPTION_CAPACITY: usize = 1 << 19;
/// Messages on their way to the socket; whoever finds it full waits.
const SEND_CAPACITY: usize = 8 << 10;

/// Where everything arrives that a part has asked the server for: answers, acknowledgements, the messages of its
/// consumers. Not `_INBOX`, where outcomes are sent and publishers listen: nobody but the parts may listen here.
pub const OWN_INBOX: &str = "_MUSTER";

/// A connection and what is known about it.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) link: watch::Receiver<Link>,
    pub(super) refusals: Refusals,
    pub(super) storage: Storage,
}

/// What the server refuses outside of an answer: a permission that is lacking. It says so at once, while the request
/// itself just stays unanswered.
#[derive(Clone)]
pub(super) struct Refusals(watch::Sender<String>);

impl Refusals {
    fn new() -> Self {
        Self(watch::Sender::new(String::new()))
    }

    /// From now on.
    pub(super) fn watch(&self) -> RefusalWatch {
        RefusalWatch(self.0.subscribe())
    }

    /// The last refusal, if it was about `subject`.
    pub(super) fn about(&self, subject: &str) -> Option<String> {
        Some(self.0.borrow().clone()).filter(|text| text.contains(&format!("\"{subject}\"")))
    }
}

/// Refusals from some moment on.
pub(super) struct RefusalWatch(watch::Receiver<String>);

impl RefusalWatch {
    /// The next refusal about `subject`; never, if there is none.
    pub(super) async fn about(&mut self, subject: &str) -> String {
        while self.0.changed().await.is_ok() {
            let text = self.0.borrow_and_update();
            if text.contains(&format!("\"{subject}\"")) {
                return text.clone();
            }
        }
        std::future::pending().await
    }
}

/// Connects, with endless reconnects from then on. Without `wait` one try must do; with it an unreachable server is
/// tried again, while one that refuses us is an error.
pub(super) async fn connect(config: &NatsConfig) -> Result<Connected> {
    let addresses = addresses(config)?;
    let (sender, link) = watch::channel(Link { up: false, connects: 0 });
    let (refusals, storage) = (Refusals::new(), Storage::new());
    let options = options(config, sender, refusals.clone(), storage.clone())?;
    let mut backoff = Backoff::new();
    let client = loop {
        match options.clone().connect(addresses.clone()).await {
            Ok(client) => break client,
            Err(error) => {
                let error = unreachable(config, &error);
                if !config.wait || matches!(error, LogError::Refused(_)) {
                    return Err(error);
                }
                let pause = backoff.step();
                tracing::warn!(
                    "NATS at {} cannot be reached, trying again in {} ms: {error}",
                    config.shown(),
                    pause.as_millis()
                );
                tokio::time::sleep(pause).await;
            }
        }
    };
    let mut up = link.clone();
    // The event of the first connection is on its way through its own task.
    up.wait_for(|link| link.up)
        .await
        .map_err(|_| LogError::Unavailable("the connection was closed at once".to_owned()))?;
    Ok(Connected { client, link, refusals, storage })
}

fn addresses(config: &NatsConfig) -> Result<Vec<ServerAddr>> {
    if config.urls.is_empty() {
        return Err(LogError::Refused(
            "no address of a NATS server is given; name one with --nats".to_owned(),
        ));
    }
    config
        .urls
        .iter()
        .map(|url| {
            url.parse().map_err(|error| {
                LogError::Refused(format!("`{}` is not an address of a NATS server: {error}", config.shown()))
            })
        })
        .collect()
}

fn options(
    config: &NatsConfig,
    link: watch::Sender<Link>,
    refusals: Refusals,
    storage: Storage,
) -> Result<ConnectOptions> {
    let options = match &config.credentials {
        Credentials::None => ConnectOptions::new(),
        Credentials::UserPassword { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.clone())
        }
        Credentials::Token(token) => ConnectOptions::with_token(token.clone()),
        Credentials::NKey(seed) => ConnectOptions::with_nkey(seed.clone()),
        Credentials::File(path) => {
            let unfit = |error: std::io::Error| {
                LogError::Refused(format!("the credentials file {} cannot be used: {error}", path.display()))
            };
            ConnectOptions::with_credentials(&std::fs::read_to_string(path).map_err(unfit)?).map_err(unfit)?
        }
    };
    let observer = Arc::new(Observer { part: config.name.clone(), link, refusals, storage });
    Ok(options
        .name(&config.name)
        .custom_inbox_prefix(OWN_INBOX)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(SEND_CAPACITY)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_EVERY)
        .reconnect_delay_callback(|tries| {
            Duration::from_millis(if tries <= 1 {
                0
            } else {
                (10_u64 << tries.min(10)).min(RECONNECT_PAUSE_MS_MAX)
            })
        })
        .event_callback(move |event| {
            observer.observe(event);
            std::future::ready(())
        }))
}

/// Hears what becomes of one part's connection. Each outage is told once, and so is its end.
struct Observer {
    /// Whose connection it is: a process may have several.
    part: String,
    link: watch::Sender<Link>,
    refusals: Refusals,
    storage: Storage,
}

impl Observer {
    fn observe(&self, event: Event) {
        let Self { part, link, refusals, storage } = self;
        match event {
            Event::Connected => {
                storage.connected();
                link.send_modify(|link| *link = Link { up: true, connects: link.connects + 1 });
                let connects = link.borrow().connects;
                if connects > 1 {
                    tracing::info!(%part, connects, "NATS is reachable again");
                }
            }
            Event::Disconnected => {
                if link.send_if_modified(|link| std::mem::replace(&mut link.up, false)) {
                    tracing::warn!(%part, "NATS is away: the connection is lost; trying again until it is back");
                }
            }
            Event::Closed => link.send_modify(|link| link.up = false),
            Event::ServerError(ServerError::Other(text)) => {
                tracing::warn!(%part, "NATS says: {text}");
                refusals.0.send_replace(text);
            }
            // A subscription dropped messages; readers see the gap in the sequence and read again from there.
            Event::SlowConsumer(_) => {
                tracing::debug!(%part, "messages come faster than they are taken: {event}")
            }
            // Each try to connect anew that has failed.
            Event::ClientError(_) if !link.borrow().up => {
                tracing::debug!(%part, "NATS is still away: {event}")
            }
            Event::ServerError(_) | Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {
                tracing::warn!(%part, "NATS: {event}");
            }
        }
    }
}

fn unreachable(config: &NatsConfig, error: &ConnectError) -> LogError {
    let at = config.shown();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            LogError::Refused(format!(
                "the server at {at} does not accept {}: {error}; check user and password, token or credentials file",
                as_whom(&config.credentials)
            ))
        }
        ConnectErrorKind::ServerParse => {
            LogError::Refused(format!("{at} is no address of a NATS server: {error}"))
        }
        ConnectErrorKind::Tls => LogError::Refused(format!(
            "no TLS connection to {at}: {error}; check the certificate and whether the address should begin with nats:// or tls://"
        )),
        _ => LogError::Unavailable(format!(
            "no server at {at} ({error}); start nats-server or correct the address"
        )),
    }
}

/// In words, without a secret.
fn as_whom(credentials: &Credentials) -> String {
    match credentials {
        Credentials::None => "anybody without a user".to_owned(),
        Credentials::UserPassword { user, .. } => format!("user `{user}` with this password"),
        Credentials::Token(_) => "this token".to_owned(),
        Credentials::NKey(_) => "this NKey".to_owned(),
        Credentials::File(path) => format!("the credentials in {}", path.display()),
    }
}

/// A server's version, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// Reads `2.14.3`, `v2.14.3` and `2.15.0-RC.1`. A version before a release (`-…`) counts as the release: its
    /// streams behave alike.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let release = text.trim_start_matches('v').split(['-', '+']).next()?;
        let mut parts = release.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Some(Self { major, minor, patch }),
            _ => None,
        }
    }
}

/// What is wrong with the server of this name and version, if anything.
pub(super) fn version_problem(server: &str, text: &str) -> Option<String> {
    match Version::parse(text) {
        Some(version) if version >= SERVER_MIN => None,
        _ => Some(format!(
            "server {server} has version {text}, muster needs {SERVER_MIN} or newer; install a newer nats-server"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for fit in ["2.14.3", "2.14.10", "2.15.0-RC.1", "v2.15.1", "3.0.0"] {
            assert_eq!(version_problem("n1", fit), None);
        }
        for unfit in ["2.14.2", "2.9.99", "1.20.30", "", "2.15", "new"] {
            assert!(version_problem("n1", unfit).is_some_and(|p| p.contains("2.14.3")), "{unfit}");
        }
    }
}
