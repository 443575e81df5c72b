//! Asks the servers' monitoring: the only place where a server says whether it syncs each write, and who of a cluster is
//! behind. It answers over HTTP, and over NATS where the system account exports that question, as our nats.conf has it.

use std::time::Duration;

use async_nats::{Client, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::Refusals;
use crate::bus::Durability;

const TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes of an answer; a server's is some kilobytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// The most servers whose answers are taken.
const SERVERS_MAX: usize = 64;

/// What a server says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Varz {
    /// Its name.
    #[serde(default)]
    pub(super) server_name: String,
    /// Its version.
    #[serde(default)]
    pub(super) version: String,
    jetstream: JetStream,
}

#[derive(Clone, Debug, Deserialize)]
struct JetStream {
    config: Option<JetStreamConfig>,
    #[serde(default)]
    stats: JetStreamStats,
    meta: Option<Meta>,
}

#[derive(Clone, Debug, Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
    #[serde(default)]
    max_storage: u64,
    #[serde(default)]
    store_dir: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct JetStreamStats {
    #[serde(default)]
    reserved_storage: u64,
}

/// The group that decides which streams there are and who has their copies.
#[derive(Clone, Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    cluster_size: usize,
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

/// The question over NATS, if the account imports it. Each server answers.
const QUESTION: &str = "$SYS.REQ.SERVER.PING.VARZ";
/// How long its answers may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What comes back over NATS.
#[derive(Deserialize)]
struct Answer {
    data: Varz,
}

impl Varz {
    /// What a write that this server has acknowledged survives there.
    pub(super) fn durability(&self) -> Durability {
        match &self.jetstream.config {
            Some(config) if config.sync_always => Durability::PowerLoss,
            Some(_) => Durability::Process,
            None => Durability::Unknown,
        }
    }

    /// How many servers its cluster has, those that are away counted; 1 where there is none.
    pub(super) fn cluster_size(&self) -> usize {
        self.jetstream.meta.as_ref().map_or(1, |meta| meta.cluster_size)
    }
}

/// What the servers say that can be asked: at `addresses` if some are given, else over NATS. Nothing when none says.
pub(super) async fn ask(addresses: &[String], client: &Client, refusals: &Refusals) -> Vec<Varz> {
    if addresses.is_empty() {
        return asked(client, refusals).await;
    }
    let answers = join_all(addresses.iter().map(|address| async move {
        let reason = match timeout(TIMEOUT, varz(address)).await {
            Ok(Ok(body)) => match serde_json::from_slice(&body) {
                Ok(varz) => return Some(varz),
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within 3 s".to_owned(),
        };
        tracing::debug!("the server's monitoring at {address} does not answer: {reason}");
        None
    }));
    answers.await.into_iter().flatten().collect()
}

/// What an acknowledged write survives: what it survives on the weakest of these servers.
pub(super) fn durability(servers: &[Varz]) -> Durability {
    let all = || servers.iter().map(Varz::durability);
    [Durability::Process, Durability::Unknown]
        .into_iter()
        .find(|weak| all().any(|it| it == *weak))
        .unwrap_or(if servers.is_empty() { Durability::Unknown } else { Durability::PowerLoss })
}

/// The disk that the server may use; nothing when it does not say.
pub(super) async fn room(addresses: &[String], client: &Client, refusals: &Refusals) -> Option<Room> {
    let all = ask(addresses, client, refusals).await;
    let least = all.into_iter().filter_map(|varz| {
        let JetStream { config, stats, .. } = varz.jetstream;
        let JetStreamConfig { max_storage, store_dir, .. } = config?;
        Some(Room { folder: store_dir, bytes_max: max_storage, reserved: stats.reserved_storage })
    });
    least.min_by_key(|room| room.bytes_max.saturating_sub(room.reserved))
}

/// Those that answer in time; it is not waited for more than there are.
async fn asked(client: &Client, refusals: &Refusals) -> Vec<Varz> {
    let mut refusals = refusals.watch();
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return Vec::new() };
    if client.publish_with_reply(QUESTION, inbox, Bytes::new()).await.is_err() {
        return Vec::new();
    }
    let (deadline, mut servers) = (Instant::now() + ANSWER_TIMEOUT, Vec::<Varz>::new());
    while servers
        .iter()
        .map(Varz::cluster_size)
        .max()
        .is_none_or(|size| servers.len() < size.min(SERVERS_MAX))
    {
        let message = tokio::select! {
            answer = timeout_at(deadline, answers.next()) => match answer {
                Ok(Some(message)) if message.status != Some(StatusCode::NO_RESPONDERS) => message,
                _ => break,
            },
            _ = refusals.about(QUESTION) => break,
        };
        if let Ok(Answer { data }) = serde_json::from_slice(&message.payload) {
            servers.push(data);
        }
    }
    servers
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

    fn read(body: &str) -> Varz {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_weakest_server_counts() {
        let always = read(r#"{"jetstream":{"config":{"sync_interval":120000000000,"sync_always":true}}}"#);
        let timed = read(r#"{"jetstream":{"config":{"sync_interval":120000000000}}}"#);
        let silent = read(r#"{"jetstream":{}}"#);
        assert_eq!(durability(&[]), Durability::Unknown);
        assert_eq!(durability(&[always.clone(), always.clone()]), Durability::PowerLoss);
        assert_eq!(durability(&[always.clone(), timed, silent.clone()]), Durability::Process);
        assert_eq!(durability(&[always, silent]), Durability::Unknown);
    }

    #[test]
    fn the_size_of_the_cluster_counts_who_is_away() {
        let one = r#"{"server_name":"n1","version":"2.15.1","jetstream":{"config":{},"meta":{"name":"c","cluster_size":3,"replicas":[]}}}"#;
        assert_eq!(read(one).cluster_size(), 3);
        assert_eq!(read(r#"{"jetstream":{"config":{}}}"#).cluster_size(), 1);
    }
}
