//! Containers of an earlier life of this worker.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use futures_util::TryStreamExt;
use muster_events::id::AttemptRef;
use muster_events::time::Timestamp;
use muster_log::bus::Bus;
use tokio::time::timeout;

use super::instance::Container;
use super::{Docker, labels, remove, words};
use crate::agent::Assignment;
use crate::runtime::Instance;

/// How long LOGS may take to say what of a container's output is stored.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// A container that was found.
pub(crate) struct Found {
    /// What it runs.
    pub(crate) assignment: Assignment,
    /// When it was started, if the engine says so.
    pub(crate) started_at: Option<Timestamp>,
    id: String,
}

impl Docker {
    /// The containers of this installation that run or have ended unreported. One that was never started is removed:
    /// its attempt counts as lost.
    pub(crate) async fn find(&self) -> Result<Vec<Found>, String> {
        let ours = vec![
            format!("{}={}", labels::CELL, self.cell),
            format!("{}={}", labels::INSTALLATION, self.installation),
        ];
        let filters = HashMap::from([("label".to_owned(), ours)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let containers = self
            .client
            .list_containers(Some(options))
            .await
            .map_err(|e| format!("its containers cannot be listed: {}", words(&e)))?;
        let mut found = Vec::new();
        for container in containers {
            found.extend(self.examine(container).await);
        }
        Ok(found)
    }

    async fn examine(&self, container: ContainerSummary) -> Option<Found> {
        let id = container.id?;
        let assignment = labels::read(&container.labels.unwrap_or_default());
        let Some(assignment) =
            assignment.filter(|_| container.state != Some(ContainerSummaryStateEnum::CREATED))
        else {
            tracing::info!(
                container = id,
                "removing a container that an earlier life of this worker made but did not start"
            );
            remove(&self.client, &id).await;
            return None;
        };
        let state = match self.client.inspect_container(&id, None::<InspectContainerOptions>).await {
            Ok(inspected) => inspected.state,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return None,
            Err(e) => {
                // Adopted all the same: one that is left out is placed again while it runs on.
                tracing::warn!(container = id, error = %words(&e), "the Docker engine does not say when a container was started; its time limit begins anew");
                None
            }
        };
        let started_at = state.and_then(|s| s.started_at).and_then(|at| at.parse().ok());
        Some(Found { assignment, started_at, id })
    }

    /// Takes a container over: its output goes on after what LOGS has of it already.
    pub(crate) async fn take_over(&self, found: &Found, bus: &dyn Bus) -> Box<dyn Instance> {
        let stored = match timeout(STORED_WITHIN, newest_stored(found.assignment.attempt, bus)).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(e)) => unknown(&found.id, &e.to_string()),
            Err(_) => unknown(&found.id, "NATS does not answer"),
        };
        Box::new(Container::new(self.client.clone(), found.id.clone(), stored))
    }
}

/// Rather twice than not at all.
fn unknown(container: &str, error: &str) -> Option<Timestamp> {
    tracing::warn!(
        container,
        error,
        "nobody says how much of a container's output is stored; all of it is stored again"
    );
    None
}

async fn newest_stored(attempt: AttemptRef, bus: &dyn Bus) -> muster_log::error::Result<Option<Timestamp>> {
    let mut chunks = bus.read_output(attempt.task, None, false).await?;
    let mut newest = None;
    while let Some(chunk) = chunks.try_next().await? {
        if chunk.attempt == attempt.number {
            newest = newest.max(Some(chunk.at));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::StatusCode;
    use muster_events::id::{Installation, TaskId, WorkerId};
    use muster_events::spec::TaskDefinition;
    use muster_events::subject::Cell;
    use uuid::Uuid;

    use super::super::tests::{answering, version};
    use super::*;
    use crate::environment::Environment;

    /// What is found of a running container whose inspection is answered with `status`.
    async fn found(status: StatusCode) -> Option<Found> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _engine = answering(&socket, move |path| {
            if path.ends_with("/version") { version() } else { (status, "{}".to_owned()) }
        });
        let definition =
            TaskDefinition { name: "x".into(), image: Some("busybox".into()), ..TaskDefinition::default() };
        let assignment = Assignment {
            attempt: AttemptRef { task: TaskId::new(Uuid::from_u128(7)), number: 1, fence: 9 },
            spec: Arc::new(definition.check().unwrap()),
            index: 0,
            job: "-".into(),
            ports: [].into(),
            value: None,
            target: None,
            inputs: [].into(),
        };
        let (cell, installation) = (Cell::default(), Installation::new(Uuid::from_u128(1)));
        let environment = Environment::new(&cell, &WorkerId::new("w").unwrap(), installation);
        let container = ContainerSummary {
            id: Some("c".to_owned()),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            labels: Some(labels::of(&cell, installation, &environment, &assignment)),
            ..ContainerSummary::default()
        };
        let socket = socket.display().to_string();
        let docker = Docker::connect(&socket, &cell, installation, environment).await.unwrap();
        docker.examine(container).await
    }

    #[tokio::test]
    async fn a_container_that_cannot_be_inspected_is_found_all_the_same() {
        let found = found(StatusCode::INTERNAL_SERVER_ERROR).await.unwrap();
        assert_eq!((found.id.as_str(), found.started_at), ("c", None));
    }

    #[tokio::test]
    async fn a_container_that_is_gone_is_not_found() {
        assert!(found(StatusCode::NOT_FOUND).await.is_none());
    }
}
