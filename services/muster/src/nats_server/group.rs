//! One server, or several on this machine that are a cluster.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use futures_util::future::{join_all, select_all, try_join_all};
use tokio::sync::watch;

use super::secrets::Secrets;
use super::{Access, Place, Server, Setup, make_folder, unusable};
use crate::exit::Failure;

/// How many servers a cluster has, if one is wished for: the fewest of which one may be lost.
const SEVERAL: u16 = 3;

/// Servers that start and end together.
#[derive(Debug)]
pub(crate) struct Group {
    servers: Vec<Server>,
    secrets: Secrets,
}

/// The folder of the server `index` of those whose first has `folder`.
fn folder_of(folder: &Path, index: usize) -> PathBuf {
    match index {
        0 => folder.to_owned(),
        _ => folder.with_file_name(format!(
            "{}-{}",
            folder.file_name().unwrap_or_default().to_string_lossy(),
            index + 1
        )),
    }
}

/// How many servers to start in `folder`: as many as there have been, else as wished, else one. What one server has stored
/// several cannot take over, nor the other way.
pub(crate) fn count(folder: &Path, wish: Option<u16>) -> Result<u16, Failure> {
    let there = match (folder_of(folder, 1).join("data").exists(), folder.join("data").exists()) {
        (true, _) => Some(SEVERAL),
        (false, true) => Some(1),
        (false, false) => None,
    };
    match (there, wish) {
        (Some(there), Some(wish)) if there != wish => Err(Failure::usage(format!(
            "{} holds the data of {there} NATS server{}, and --nats-servers {wish} is wished for; a log does not change its servers",
            folder.display(),
            if there == 1 { "" } else { "s" }
        ))
        .hint("Leave --nats-servers away, or choose another folder with --data.")),
        (Some(there), _) => Ok(there),
        (None, wish) => Ok(wish.unwrap_or(1)),
    }
}

impl Group {
    /// Starts `count` servers as `setup` says, the others in folders and on ports that follow, and waits until all listen.
    pub(crate) async fn start(setup: Setup, count: u16) -> Result<Self, Failure> {
        if count == 1 {
            let server = Server::start(setup).await?;
            return Ok(Self { secrets: server.access.secrets.clone(), servers: vec![server] });
        }
        let first = make_folder(&setup.folder).map_err(|e| unusable(&setup.folder, &e))?;
        let secrets = Secrets::of(&first).map_err(|e| unusable(&first, &e))?;
        let ports = free_ports(count).map_err(|e| unusable(&first, &e))?;
        let setups = (0..count).map(|index| {
            let following = match setup.port {
                0 => Some(0),
                port => port.checked_add(index),
            };
            let port = following.ok_or_else(|| {
                Failure::usage(format!("--nats-port {} leaves no port for each server", setup.port))
            })?;
            let place = Place { index: index.into(), ports: ports.clone(), secrets: secrets.clone() };
            let folder = folder_of(&first, index.into());
            Ok(Setup { folder, port, place: Some(place), ..setup.clone() })
        });
        let setups = setups.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Self { servers: try_join_all(setups.into_iter().map(Server::start)).await?, secrets })
    }

    /// How to reach them.
    pub(crate) fn access(&self) -> Access {
        let at = self.servers.iter().flat_map(|server| server.access.at.iter().copied()).collect();
        Access { at, secrets: self.secrets.clone() }
    }

    /// Waits until one has ended by itself, and says why.
    pub(crate) async fn ended(&mut self) -> Failure {
        select_all(self.servers.iter_mut().map(|server| Box::pin(server.ended()))).await.0
    }

    /// Watches them, see [`Server::keep`]. Comes back when starting one again does not help. `troubles` do not tell which of
    /// several it is, and to start all anew would cost the majority, so there nobody acts on them.
    pub(crate) async fn keep(&mut self, troubles: Vec<watch::Receiver<Option<String>>>) -> Failure {
        let troubles = if self.servers.len() == 1 { troubles } else { Vec::new() };
        select_all(self.servers.iter_mut().map(|server| Box::pin(server.keep(troubles.clone())))).await.0
    }

    /// Asks them to end and waits for that.
    pub(crate) async fn stop(self) {
        join_all(self.servers.into_iter().map(Server::stop)).await;
    }

    /// Ends them at once.
    pub(crate) async fn kill(self) {
        join_all(self.servers.into_iter().map(Server::kill)).await;
    }
}

/// Ports that were free a moment ago, all different.
fn free_ports(count: u16) -> io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| listener.local_addr().map(|at| at.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_number_of_servers() {
        let folder = tempfile::tempdir().unwrap();
        let nats = folder.path().join("nats");
        assert_eq!((count(&nats, None).unwrap(), count(&nats, Some(3)).unwrap()), (1, 3));
        std::fs::create_dir_all(nats.join("data")).unwrap();
        assert_eq!((count(&nats, None).unwrap(), count(&nats, Some(1)).unwrap()), (1, 1));
        let refused = count(&nats, Some(3)).unwrap_err();
        assert!(refused.message.contains("the data of 1 NATS server,"), "{refused}");
        std::fs::create_dir_all(folder.path().join("nats-2/data")).unwrap();
        assert_eq!(count(&nats, None).unwrap(), 3);
        assert!(count(&nats, Some(1)).unwrap_err().message.contains("the data of 3 NATS servers,"));
    }
}
