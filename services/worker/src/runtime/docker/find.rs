//! Whether this worker has containers: the engine is looked for once, at the worker's start.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_events::spec::Runtime as RuntimeName;
use muster_events::subject::Cell;

use super::{Docker, socket};
use crate::config::WorkerConfig;
use crate::environment::Environment;
use crate::error::WorkerError;
use crate::identity::Identity;

/// The file in the data folder that says that this installation has had Docker: containers of it may be running.
const MARK: &str = "docker";
/// The pause before an engine that has to be there is asked again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The engine, or nothing where processes are enough. An installation that has had Docker waits for it (until this
/// is dropped) unless its configuration names the runtimes: without the engine its containers would count as lost and
/// be placed again while they run on.
pub(crate) async fn find(
    config: &WorkerConfig,
    cell: &Cell,
    identity: &Identity,
    environment: &Environment,
) -> Result<Option<Arc<Docker>>, WorkerError> {
    let wanted = config.runtimes.as_ref().map(|set| set.contains(&RuntimeName::Docker));
    if wanted == Some(false) {
        return Ok(None);
    }
    let mark = config.data_dir.join(MARK);
    let failed = |what| {
        let path = mark.clone();
        move |source| WorkerError::Folder { what, path, source }
    };
    let had = mark.try_exists().map_err(failed("cannot look for"))?;
    let socket = socket(config.docker_socket.as_deref());
    let mut pause = PAUSE_FIRST;
    loop {
        let connected = Docker::connect(&socket, cell, identity.installation, environment.clone()).await;
        let reason = match connected {
            Ok(docker) => {
                if !had {
                    // Before the first container is made.
                    put(&mark).map_err(failed("cannot write"))?;
                }
                return Ok(Some(Arc::new(docker)));
            }
            Err(message) if wanted == Some(true) => {
                return Err(WorkerError::Runtime { runtime: "docker", message });
            }
            Err(reason) => reason,
        };
        let worker = &config.worker_id;
        if !had {
            tracing::info!(%worker, reason, "without containers: tasks run as processes only");
            return Ok(None);
        }
        tracing::warn!(
            %worker,
            reason,
            mark = %mark.display(),
            again_in_s = pause.as_secs(),
            "this worker has had Docker and waits for it before it registers: containers of its earlier life may run on \
             unseen. Start the Docker engine; or, if it is gone for good, start the worker with `--offer process` \
             or remove the file `mark` names"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn put(mark: &Path) -> io::Result<()> {
    File::create(mark)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::http::StatusCode;
    use muster_events::id::WorkerId;

    use super::super::tests::{answering, version};
    use super::*;

    /// What a worker in `folder` finds whose engine fails `failures` times and then answers.
    async fn found(folder: &Path, runtimes: Option<RuntimeName>, failures: u32) -> Option<Arc<Docker>> {
        let asked = AtomicU32::new(0);
        let _engine = answering(&folder.join("socket"), move |_| {
            if asked.fetch_add(1, Ordering::Relaxed) < failures {
                (StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned())
            } else {
                version()
            }
        });
        let worker = WorkerId::new("w").unwrap();
        let mut config = WorkerConfig::new(worker.clone(), folder);
        config.docker_socket = Some(folder.join("socket").display().to_string());
        config.runtimes = runtimes.map(|runtime| [runtime].into());
        let identity = Identity::open(folder).unwrap();
        let cell = Cell::default();
        let environment = Environment::new(&cell, &worker, identity.installation);
        find(&config, &cell, &identity, &environment).await.unwrap()
    }

    #[tokio::test]
    async fn an_installation_that_never_had_docker_does_without() {
        let folder = tempfile::tempdir().unwrap();
        assert!(found(folder.path(), None, 1).await.is_none());
        assert!(!folder.path().join(MARK).exists());
    }

    #[tokio::test]
    async fn an_installation_that_has_had_docker_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(found(folder.path(), None, 0).await.is_some());
        assert!(folder.path().join(MARK).exists());
        assert!(found(folder.path(), None, 1).await.is_some());
    }

    #[tokio::test]
    async fn one_that_is_told_to_run_processes_only_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join(MARK)).unwrap();
        assert!(found(folder.path(), Some(RuntimeName::Process), 1).await.is_none());
    }
}
