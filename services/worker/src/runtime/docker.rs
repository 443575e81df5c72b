//! Containers, by way of the Docker engine's socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StatsOptionsBuilder,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use muster_events::id::{AttemptRef, Installation};
use muster_events::subject::Cell;
use muster_events::worker::TaskMetrics;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::agent::Assignment;
use crate::environment::Environment;
use crate::runtime::{Instance, NotStarted, Runtime};

mod adopt;
mod find;
mod handed;
mod inside;
mod instance;
mod kernel_log;
mod labels;
mod logs;

use instance::Container;

pub(crate) use adopt::Found;
pub(crate) use find::find;

/// Where the engine listens unless said otherwise.
const SOCKET_DEFAULT: &str = "/var/run/docker.sock";
/// Seconds the engine may take to begin an answer.
const ANSWER_WITHIN_S: u64 = 120;
/// How long the engine may take to say that it is there.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// How long measuring all containers may take.
const MEASURE_WITHIN: Duration = Duration::from_secs(3);
/// Containers measured at a time.
const MEASURE_AT_A_TIME: usize = 8;
/// How long a pull may go on without a word of progress.
const PULL_SILENCE_MAX: Duration = Duration::from_mins(5);
/// How often a container's removal is tried.
const REMOVE_TRIES: u32 = 5;
/// The pause after the first failed removal; it doubles.
const REMOVE_PAUSE: Duration = Duration::from_millis(200);

/// Held by who pulls an image. Holds why, if that pull went silent: whoever has waited meanwhile does not wait as long
/// once more.
type Gate = tokio::sync::Mutex<Option<NotStarted>>;

/// The Docker runtime. One client, shared by all.
pub(crate) struct Docker {
    client: bollard::Docker,
    handle: Handle,
    cell: Cell,
    installation: Installation,
    environment: Environment,
    /// Pulls under way, so that a hundred tasks with the same missing image pull it once.
    pulls: Mutex<HashMap<String, Weak<Gate>>>,
    /// Processor time of each container when it was measured last.
    measured: Mutex<HashMap<String, (Instant, u64)>>,
}

/// The socket's path, from the configuration, the environment, or by default.
fn socket(configured: Option<&str>) -> String {
    let from_environment = || std::env::var("DOCKER_HOST").ok().filter(|host| host.starts_with("unix://"));
    configured.map(str::to_owned).or_else(from_environment).unwrap_or_else(|| SOCKET_DEFAULT.to_owned())
}

impl Docker {
    /// Connects and asks the engine for its version. The error is in words.
    pub(crate) async fn connect(
        socket: &str,
        cell: &Cell,
        installation: Installation,
        environment: Environment,
    ) -> Result<Self, String> {
        let client =
            bollard::Docker::connect_with_unix(socket, ANSWER_WITHIN_S, bollard::API_DEFAULT_VERSION)
                .map_err(|e| format!("the Docker engine at {socket} cannot be reached: {}", words(&e)))?;
        let client = match timeout(PROBE_WITHIN, client.negotiate_version()).await {
            Ok(Ok(client)) => client,
            Ok(Err(e)) => {
                return Err(format!("the Docker engine at {socket} does not answer: {}", words(&e)));
            }
            Err(_) => {
                let s = PROBE_WITHIN.as_secs();
                return Err(format!("the Docker engine at {socket} does not answer within {s} s"));
            }
        };
        Ok(Self {
            client,
            handle: Handle::current(),
            cell: cell.clone(),
            installation,
            environment,
            pulls: Mutex::default(),
            measured: Mutex::default(),
        })
    }

    /// What each of these containers uses. Those that do not answer in time are left out.
    pub(crate) async fn measure(&self, containers: Vec<(AttemptRef, String)>) -> Vec<TaskMetrics> {
        let mut before = std::mem::take(&mut *self.measured());
        let samples: Vec<_> = futures_util::stream::iter(containers)
            .map(|(attempt, id)| async move {
                let stats = self.stats(&id).await?;
                Some((attempt, id, stats))
            })
            .buffer_unordered(MEASURE_AT_A_TIME)
            .filter_map(std::future::ready)
            .take_until(tokio::time::sleep(MEASURE_WITHIN))
            .collect()
            .await;
        let mut after = HashMap::new();
        let mut metrics = Vec::with_capacity(samples.len());
        for (attempt, id, (at, cpu_ns, memory)) in samples {
            let cpu_percent = before.remove(&id).map_or(0.0, |(then, before_ns)| {
                let wall = at.duration_since(then).as_secs_f64();
                let busy = Duration::from_nanos(cpu_ns.saturating_sub(before_ns)).as_secs_f64();
                if wall > 0.0 { busy / wall * 100.0 } else { 0.0 }
            });
            after.insert(id, (at, cpu_ns));
            metrics.push(TaskMetrics { task: attempt.task, number: attempt.number, cpu_percent, memory });
        }
        *self.measured() = after;
        metrics
    }

    /// When, processor nanoseconds so far, bytes of memory (without what is only cache).
    async fn stats(&self, id: &str) -> Option<(Instant, u64, u64)> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let stats = self.client.stats(id, Some(options)).next().await?.ok()?;
        let cpu = stats.cpu_stats.and_then(|c| c.cpu_usage).and_then(|u| u.total_usage).unwrap_or(0);
        let memory = stats.memory_stats.unwrap_or_default();
        let cache = memory.stats.as_ref().and_then(|s| s.get("inactive_file")).copied().unwrap_or(0);
        Some((Instant::now(), cpu, memory.usage.unwrap_or(0).saturating_sub(cache)))
    }

    fn measured(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, u64)>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pulls the image unless it is there. Whoever wants the same one meanwhile waits for it.
    async fn fetch(&self, image: &str) -> Result<(), NotStarted> {
        if self.has(image).await? {
            return Ok(());
        }
        let gate = self.gate(image);
        let mut silent = gate.lock().await;
        if self.has(image).await? {
            return Ok(());
        }
        if let Some(reason) = &*silent {
            return Err(reason.clone());
        }
        tracing::info!(image, "pulling an image");
        let options = CreateImageOptionsBuilder::new().from_image(&tagged(image)).build();
        let progress = self.client.create_image(Some(options), None, None);
        match pulled(progress, PULL_SILENCE_MAX).await {
            Some(Ok(())) => Ok(()),
            Some(Err(e)) => Err(NotStarted(format!("image `{image}` cannot be pulled: {}", words(&e)))),
            None => Err(silent.insert(went_silent(image)).clone()),
        }
    }

    async fn has(&self, image: &str) -> Result<bool, NotStarted> {
        match self.client.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(e) => Err(NotStarted(format!("image `{image}` cannot be looked up: {}", words(&e)))),
        }
    }

    fn gate(&self, image: &str) -> Arc<Gate> {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = pulls.get(image).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::new(Gate::default());
        pulls.insert(image.to_owned(), Arc::downgrade(&gate));
        gate
    }

    async fn create_and_start(&self, assignment: &Assignment) -> Result<Container, NotStarted> {
        let image = assignment.spec.image.as_deref().unwrap_or_default();
        let AttemptRef { task, number, fence } = assignment.attempt;
        let name = format!("{}-{task}-{number}-{fence}", self.cell);
        let failed = |what: &str, e: &Error| NotStarted(format!("image `{image}`: {what}: {}", words(e)));
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let created = match self.client.create_container(Some(options), self.body(assignment)).await {
            Ok(created) => created,
            Err(e) => {
                // The engine may have made it although we have not heard so.
                remove(&self.client, &name).await;
                return Err(failed("the container cannot be created", &e));
            }
        };
        if let Err(e) = handed::hand(&self.client, &created.id, assignment).await {
            remove(&self.client, &created.id).await;
            return Err(failed("what its program is handed cannot be put into the container", &e));
        }
        if let Err(e) = self.client.start_container(&created.id, None::<StartContainerOptions>).await {
            remove(&self.client, &created.id).await;
            return Err(failed("the container cannot be started", &e));
        }
        Ok(Container::new(self.client.clone(), created.id, None))
    }

    /// The task in Docker's terms. The command takes the place of the image's own command; an entry point of the
    /// image stays, as with `docker run`.
    fn body(&self, assignment: &Assignment) -> ContainerCreateBody {
        let spec = &assignment.spec;
        let own = spec.env.iter().map(|(name, value)| format!("{name}={value}"));
        let told = self.environment.of(assignment).map(|(name, value)| format!("{name}={value}"));
        let handed =
            handed::environment(assignment).into_iter().map(|(name, value)| format!("{name}={value}"));
        let env = own.chain(told).chain(handed);
        let limit = |value: u64| i64::try_from(value).ok().filter(|value| *value > 0);
        let memory = limit(spec.resources.memory);
        ContainerCreateBody {
            image: spec.image.clone(),
            cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
            env: Some(env.collect()),
            exposed_ports: published(assignment).map(|ports| ports.into_keys().collect()),
            working_dir: spec.workdir.clone(),
            labels: Some(labels::of(&self.cell, self.installation, &self.environment, assignment)),
            host_config: Some(HostConfig {
                memory,
                // The same as memory: no swap beyond it.
                memory_swap: memory,
                nano_cpus: limit(spec.resources.cpu_milli.saturating_mul(1_000_000)),
                pids_limit: spec.pids.and_then(limit),
                port_bindings: published(assignment),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("json-file".to_owned()),
                    // Read while it is written; the engine's own copy need not grow without end.
                    config: Some(HashMap::from([
                        ("max-size".to_owned(), "32m".to_owned()),
                        ("max-file".to_owned(), "2".to_owned()),
                    ])),
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }
}

/// The container's ports with those of the host that lead to them: a port is a task's for TCP and UDP alike.
fn published(assignment: &Assignment) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
    let mut all = HashMap::new();
    for ask in &assignment.spec.ports {
        let Some(port) = assignment.ports.get(&ask.name) else { continue };
        for protocol in ["tcp", "udp"] {
            let binding = PortBinding { host_ip: None, host_port: Some(port.to_string()) };
            all.entry(format!("{}/{protocol}", ask.to.unwrap_or(*port)))
                .or_insert_with(|| Some(Vec::new()))
                .get_or_insert_default()
                .push(binding);
        }
    }
    (!all.is_empty()).then_some(all)
}

impl Runtime for Docker {
    fn executor(&self) -> &Handle {
        &self.handle
    }

    /// An image may have to be fetched, and the engine takes its time.
    fn starts_at_once(&self) -> bool {
        false
    }

    fn prepare<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<(), NotStarted>> {
        async move {
            match &assignment.spec.image {
                Some(image) => self.fetch(image).await,
                None => Err(NotStarted("the task names no image".to_owned())),
            }
        }
        .boxed()
    }

    fn start<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
    ) -> BoxFuture<'a, Result<Box<dyn Instance>, NotStarted>> {
        async move {
            let container = self.create_and_start(assignment).await?;
            Ok(Box::new(container) as Box<dyn Instance>)
        }
        .boxed()
    }
}

/// Removes a container, by name or id, running or not; one that is not there is removed already.
async fn remove(client: &bollard::Docker, id: &str) {
    let mut pause = REMOVE_PAUSE;
    for left in (0..REMOVE_TRIES).rev() {
        let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
        match client.remove_container(id, Some(options)).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => return,
            // Its removal is under way already.
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => {}
            Err(e) if left == 0 => {
                tracing::warn!(container = id, error = %words(&e), "a container cannot be removed; the next start of this worker tries again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Waits for the end of a pull; nothing when `silence` passes without progress. Dropping the progress ends the pull.
async fn pulled<T, E>(
    progress: impl Stream<Item = Result<T, E>>,
    silence: Duration,
) -> Option<Result<(), E>> {
    let mut progress = std::pin::pin!(progress);
    loop {
        match timeout(silence, progress.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(e))) => return Some(Err(e)),
            Ok(None) => return Some(Ok(())),
            Err(_) => return None,
        }
    }
}

fn went_silent(image: &str) -> NotStarted {
    let s = PULL_SILENCE_MAX.as_secs();
    NotStarted(format!(
        "image `{image}` cannot be pulled: no progress within {s} s; look whether its registry can be reached from this machine"
    ))
}

/// An image's name with a tag; without one the engine would pull all there are.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Docker's own words, without the library's around them.
fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::{StatusCode, Uri};
    use futures_util::stream;
    use tokio::net::UnixListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// An engine at `socket` that says what `answer` says to each path, as long as what comes back is kept.
    pub(super) fn answering(
        socket: &Path,
        answer: impl Fn(&str) -> (StatusCode, String) + Send + Sync + 'static,
    ) -> AbortOnDropHandle<()> {
        drop(std::fs::remove_file(socket));
        let listener = UnixListener::bind(socket).unwrap();
        let answer = Arc::new(answer);
        let router = axum::Router::new().fallback(move |uri: Uri| {
            let (status, body) = answer(uri.path());
            std::future::ready((status, [("content-type", "application/json")], body))
        });
        AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
    }

    /// What an engine says that is there.
    pub(super) fn version() -> (StatusCode, String) {
        (StatusCode::OK, r#"{"ApiVersion":"1.44"}"#.to_owned())
    }

    #[tokio::test]
    async fn a_pull_ends_with_its_stream_or_with_silence() {
        let long = Duration::from_secs(600);
        assert_eq!(pulled(stream::iter([Ok::<_, ()>(1), Ok(2)]), long).await, Some(Ok(())));
        assert_eq!(pulled(stream::iter([Ok(1), Err("no")]), long).await, Some(Err("no")));
        let stuck = stream::iter([Ok::<_, ()>(1)]).chain(stream::pending());
        assert_eq!(pulled(stuck, Duration::ZERO).await, None);
        let NotStarted(words) = went_silent("a/b");
        assert!(words.contains("a/b") && words.contains("300 s"), "{words}");
    }

    #[test]
    fn a_name_without_a_tag_means_latest() {
        for (given, meant) in [
            ("busybox", "busybox:latest"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("a/b:1", "a/b:1"),
            ("a@sha256:00", "a@sha256:00"),
        ] {
            assert_eq!(tagged(given), meant);
        }
    }
}
