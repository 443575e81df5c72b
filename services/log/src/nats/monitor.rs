//! Asks the server's monitoring whether each write is synced: the only place where it says so. It answers over HTTP,
//! and over NATS where the system account exports that question, as our nats.conf has it.

use std::time::Duration;

use async_nats::Client;
use async_nats::client::Request;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::Refusals;
use crate::bus::Durability;

const TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes of an answer; a server's is some kilobytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct Varz {
    jetstream: JetStream,
}

#[derive(Deserialize)]
struct JetStream {
    config: Option<JetStreamConfig>,
    #[serde(default)]
    stats: JetStreamStats,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
    #[serde(default)]
    max_storage: u64,
    #[serde(default)]
    store_dir: String,
}

#[derive(Default, Deserialize)]
struct JetStreamStats {
    #[serde(default)]
    reserved_storage: u64,
}

/// The disk that a server may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// The folder.
    pub(super) folder: String,
    /// Bytes it may hold in all.
    pub(super) bytes_max: u64,
    /// Bytes that are promised to streams already.
    pub(super) reserved: u64,
}

/// The question over NATS, if the account imports it.
const QUESTION: &str = "$SYS.REQ.SERVER.PING.VARZ";
/// How long its answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What comes back over NATS.
#[derive(Deserialize)]
struct Answer {
    data: Varz,
}

/// What an acknowledged write survives, according to the monitoring at `address` if one is given, else to what the
/// server answers over NATS; unknown when neither says.
pub(super) async fn durability(address: Option<&str>, client: &Client, refusals: &Refusals) -> Durability {
    match address {
        Some(address) => match timeout(TIMEOUT, varz(address)).await {
            Ok(Ok(body)) => read(&body).unwrap_or_else(|reason| unknown(address, &reason)),
            Ok(Err(error)) => unknown(address, &error.to_string()),
            Err(_) => unknown(address, "no answer within 3 s"),
        },
        None => ask(client, refusals).await.unwrap_or(Durability::Unknown),
    }
}

/// The disk that the server may use; nothing when it does not say.
pub(super) async fn room(address: Option<&str>, client: &Client, refusals: &Refusals) -> Option<Room> {
    let varz: Varz = match address {
        Some(address) => serde_json::from_slice(&timeout(TIMEOUT, varz(address)).await.ok()?.ok()?).ok()?,
        None => asked(client, refusals).await?,
    };
    let JetStream { config, stats } = varz.jetstream;
    let JetStreamConfig { max_storage, store_dir, .. } = config?;
    Some(Room { folder: store_dir, bytes_max: max_storage, reserved: stats.reserved_storage })
}

async fn ask(client: &Client, refusals: &Refusals) -> Option<Durability> {
    policy(&asked(client, refusals).await?).ok()
}

async fn asked(client: &Client, refusals: &Refusals) -> Option<Varz> {
    let mut refusals = refusals.watch();
    let request = Request::new().timeout(Some(ANSWER_TIMEOUT));
    let message = tokio::select! {
        answer = client.send_request(QUESTION, request) => answer.ok()?,
        _ = refusals.about(QUESTION) => return None,
    };
    let answer: Answer = serde_json::from_slice(&message.payload).ok()?;
    Some(answer.data)
}

fn unknown(address: &str, reason: &str) -> Durability {
    tracing::warn!(
        "the server's monitoring at {address} does not say whether writes are synced ({reason}); durability is unknown"
    );
    Durability::Unknown
}

fn read(body: &[u8]) -> Result<Durability, String> {
    policy(&serde_json::from_slice(body).map_err(|error| error.to_string())?)
}

fn policy(varz: &Varz) -> Result<Durability, String> {
    let config = varz.jetstream.config.as_ref().ok_or("JetStream is not enabled there")?;
    Ok(if config.sync_always { Durability::PowerLoss } else { Durability::Process })
}

/// The body of `GET /varz`. HTTP/1.0, so that the end of the connection is the end of the body.
async fn varz(address: &str) -> std::io::Result<Vec<u8>> {
    let unfit = |text: &str| std::io::Error::other(text.to_owned());
    let host = match address.split_once("://") {
        Some(("http", host)) => host,
        Some(_) => return Err(unfit("only http:// is spoken here")),
        None => address,
    };
    let host = host.split('/').next().unwrap_or(host);
    let mut connection = TcpStream::connect(host).await?;
    connection.write_all(format!("GET /varz HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| unfit("not an HTTP answer"))?;
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if status != b"200" {
        return Err(unfit(&format!("HTTP status {}", String::from_utf8_lossy(status))));
    }
    Ok(answer.split_off(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sync_policy_is_read() {
        let always = br#"{"jetstream":{"config":{"sync_interval":120000000000,"sync_always":true}}}"#;
        assert_eq!(read(always), Ok(Durability::PowerLoss));
        let timed = br#"{"jetstream":{"config":{"sync_interval":120000000000}}}"#;
        assert_eq!(read(timed), Ok(Durability::Process));
        assert!(read(br#"{"jetstream":{}}"#).is_err());
    }
}
