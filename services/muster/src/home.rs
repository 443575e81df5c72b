//! The folder of a cluster that `muster up` started, and what it tells other commands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use muster_log::nats::{Credentials, NatsConfig, Streams};
use serde::{Deserialize, Serialize};

use crate::connect::secret;
use crate::exit::Failure;
use crate::nats_server::{User, secret_file};

/// Where it is unless said otherwise.
pub(crate) const DEFAULT: &str = ".muster";

/// Where the parts of a cluster are, as written down when it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The API's address.
    pub(crate) api: String,
    /// NATS's address.
    pub(crate) nats: String,
    /// The workers' names and the addresses of their own HTTP.
    pub(crate) workers: Vec<WorkerRecord>,
    /// The process id of `muster up`.
    pub(crate) pid: u32,
    /// The folder.
    pub(crate) data: PathBuf,
}

/// One worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    /// Its name.
    pub(crate) id: String,
    /// Its own HTTP, as a URL.
    pub(crate) http: String,
}

fn record_file(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}

/// The server's folder in a cluster's.
pub(crate) fn nats_folder(folder: &Path) -> PathBuf {
    folder.join("nats")
}

impl Record {
    /// What is written down in `folder`; nothing where no cluster has been.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let file = record_file(folder);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::usage(format!("{} cannot be read: {error}", file.display()))),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| Failure::usage(format!("{} is not what `muster up` wrote: {e}", file.display())))
    }

    /// Writes it down; readers see the old or the new one, never a part.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let (file, fresh) = (record_file(folder), folder.join("cluster.json.new"));
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        fs::rename(fresh, file)
    }

    /// How to reach its NATS as a reader of the log.
    pub(crate) fn nats(&self, folder: &Path, part: &str) -> Result<NatsConfig, Failure> {
        let user = User::Api;
        Ok(NatsConfig {
            credentials: Credentials::UserPassword {
                user: user.name().to_owned(),
                password: secret(&secret_file(&nats_folder(folder), user))?,
            },
            name: format!("muster-{part}"),
            streams: Streams::Expect,
            ..NatsConfig::new(&self.nats)
        })
    }
}
