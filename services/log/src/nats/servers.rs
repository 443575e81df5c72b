//! How the servers do that keep the log: who has a copy of what, and who lacks some of it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Info, PeerInfo};
use futures_util::future::join_all;
use muster_events::subject::Stream;
use tokio::time::timeout;

use super::core::Core;
use super::monitor::{self, Varz};
use super::shape;
use crate::bus::{Copies, Durability, Server, ServerState, Servers, StreamCopy};

/// How long they may take; who takes longer says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the servers, and the leader of each stream.
pub(super) async fn ask(core: &Core, monitor: &[String]) -> Servers {
    if !core.link.borrow().up {
        return Servers::default();
    }
    let names = Stream::ALL.into_iter().map(|stream| core.cell.stream(stream));
    let names: Vec<_> = names.chain([shape::bucket_stream(&core.cell)]).collect();
    // Of a server that stands alone there are no copies.
    let names = if core.clustered { names } else { Vec::new() };
    let infos = join_all(names.iter().map(|name| timeout(ANSWER_TIMEOUT, core.stream(name))));
    let monitored = timeout(ANSWER_TIMEOUT, monitor::ask(monitor, &core.client, &core.refusals));
    let (said, infos) = tokio::join!(monitored, infos);
    let streams = names.into_iter().zip(infos).map(|(name, info)| match info {
        Ok(Ok(Some(info))) => copies(name, info),
        // Nobody answers for it.
        _ => Copies { stream: name, leader: None, copies: Vec::new() },
    });
    together(said.unwrap_or_default(), streams.collect())
}

/// The copies of a stream.
fn copies(stream: String, info: Info) -> Copies {
    let cluster = info.cluster.unwrap_or_default();
    let leader = cluster.leader.filter(|name| !name.is_empty());
    let own =
        leader.iter().map(|name| StreamCopy { server: name.clone(), state: ServerState::Current, behind: 0 });
    let mut copies: Vec<_> = own.chain(cluster.replicas.into_iter().map(copy)).collect();
    copies.sort_by(|a, b| a.server.cmp(&b.server));
    Copies { stream, leader, copies }
}

fn copy(peer: PeerInfo) -> StreamCopy {
    let state = match (peer.offline, peer.current) {
        (true, _) => ServerState::Offline,
        (false, true) => ServerState::Current,
        (false, false) => ServerState::Behind,
    };
    StreamCopy { server: peer.name, state, behind: peer.lag.unwrap_or_default() }
}

/// A server is as well as the worst of its copies. One that lacks something and says nothing, while others do, is away: the
/// streams' leaders take long to call it that.
fn together(said: Vec<Varz>, streams: Vec<Copies>) -> Servers {
    let mut servers = BTreeMap::new();
    let unknown = |name: &str| Server {
        name: name.to_owned(),
        version: None,
        durability: Durability::Unknown,
        state: ServerState::Current,
    };
    for varz in said {
        let server = Server {
            version: Some(varz.version.clone()).filter(|version| !version.is_empty()),
            durability: varz.durability(),
            ..unknown(&varz.server_name)
        };
        servers.insert(varz.server_name, server);
    }
    for copy in streams.iter().flat_map(|stream| &stream.copies) {
        let server = servers.entry(copy.server.clone()).or_insert_with(|| unknown(&copy.server));
        server.state = server.state.max(copy.state);
    }
    let heard = servers.values().any(|server| server.version.is_some());
    for server in servers.values_mut().filter(|server| server.version.is_none() && heard) {
        if server.state == ServerState::Behind {
            server.state = ServerState::Offline;
        }
    }
    Servers { servers: servers.into_values().collect(), streams }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_as_well_as_the_worst_of_its_copies() {
        let varz = r#"{"server_name":"n1","version":"2.15.1","jetstream":{"config":{"sync_always":true}}}"#;
        let copy = |server: &str, state, behind| StreamCopy { server: server.to_owned(), state, behind };
        let stream =
            |name: &str, copies| Copies { stream: name.to_owned(), leader: Some("n1".to_owned()), copies };
        let streams = vec![
            stream("a", vec![copy("n1", ServerState::Current, 0), copy("n2", ServerState::Behind, 7)]),
            stream("b", vec![copy("n2", ServerState::Current, 0), copy("n3", ServerState::Behind, 9)]),
        ];
        let said = [varz.to_owned(), varz.replace("n1", "n2")];
        let said = said.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let servers = together(said, streams).servers;
        let seen: Vec<_> = servers.iter().map(|s| (s.name.as_str(), s.version.as_deref(), s.state)).collect();
        assert_eq!(
            seen,
            [
                ("n1", Some("2.15.1"), ServerState::Current),
                ("n2", Some("2.15.1"), ServerState::Behind),
                ("n3", None, ServerState::Offline),
            ]
        );
        assert_eq!(servers[0].durability, Durability::PowerLoss);
    }
}
