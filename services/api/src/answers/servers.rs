//! The NATS servers that keep the log.

use muster_log::bus::{Bus, Servers};
use schemars::JsonSchema;
use serde::Serialize;

use super::cluster::DurabilityWord;

/// The NATS servers that keep the log.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NatsServers {
    /// Copies of each stream.
    replicas: usize,
    /// The servers, as far as they say, by name.
    pub(crate) servers: Vec<NatsServer>,
    /// The streams that have several copies.
    pub(crate) streams: Vec<NatsStream>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NatsServer {
    pub(crate) name: String,
    /// Its version; null where it does not say.
    version: Option<String>,
    /// What a write that it has acknowledged survives there.
    durability: DurabilityWord,
    pub(crate) state: ServerState,
}

/// How a server, or its copy of a stream, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServerState {
    /// It has all that the others have.
    Current,
    /// It lacks some of it, and fetches that.
    Behind,
    /// The others do not reach it.
    Offline,
}

impl ServerState {
    /// The same word as in JSON.
    const fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Offline => "offline",
        }
    }
}

/// A stream and its copies.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NatsStream {
    pub(crate) name: String,
    /// The server that takes its writes; null while no majority of its servers is there.
    pub(crate) leader: Option<String>,
    pub(crate) copies: Vec<NatsCopy>,
}

/// A server's copy of a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NatsCopy {
    server: String,
    state: ServerState,
    /// How many writes it lacks, as far as known.
    pub(crate) behind: u64,
}

impl NatsServers {
    /// As they are now.
    pub(crate) async fn of(bus: &dyn Bus) -> Self {
        let Servers { servers, streams } = bus.servers().await;
        let servers = servers.into_iter().map(|server| NatsServer {
            name: server.name,
            version: server.version,
            durability: server.durability.into(),
            state: server.state.into(),
        });
        let streams = streams.into_iter().map(|stream| NatsStream {
            name: stream.stream,
            leader: stream.leader,
            copies: (stream.copies.into_iter())
                .map(|copy| NatsCopy { server: copy.server, state: copy.state.into(), behind: copy.behind })
                .collect(),
        });
        Self { replicas: bus.fitness().replicas, servers: servers.collect(), streams: streams.collect() }
    }

    /// The names of those that are not well, in words; nothing where all are.
    pub(crate) fn unwell(&self) -> Option<String> {
        let unwell = self.servers.iter().filter(|server| server.state != ServerState::Current);
        let said: Vec<_> =
            unwell.map(|server| format!("{} is {}", server.name, server.state.word())).collect();
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// The streams that nobody leads, which cannot be written; nothing where each has a leader.
    pub(crate) fn without_leader(&self) -> Option<String> {
        let names: Vec<_> =
            self.streams.iter().filter(|s| s.leader.is_none()).map(|s| s.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

impl From<muster_log::bus::ServerState> for ServerState {
    fn from(state: muster_log::bus::ServerState) -> Self {
        match state {
            muster_log::bus::ServerState::Current => Self::Current,
            muster_log::bus::ServerState::Behind => Self::Behind,
            muster_log::bus::ServerState::Offline => Self::Offline,
        }
    }
}
