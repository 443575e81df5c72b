//! Metrics: JSON for people's programs, text for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::{ACCEPT, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_events::id::NodeName;
use muster_events::outcome::Problem;
use muster_events::resources::Resources;
use muster_http::ApiResult;
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::NoParams;
use super::{json, respond};
use crate::answers::cluster::{Amount, Counts, LogPlace, task_counts, totals, worker_counts};
use crate::answers::servers::{NatsServers, ServerState};
use crate::app::{Api, now};

use crate::openapi::Op;

const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/manager/metrics", aggregated)
            .about("manager", "Aggregated metrics; with `Accept: text/plain` as Prometheus text")
            .gives::<Metrics>(200)
            .gives_text(200, "text/plain"),
        Op::get("/metrics", prometheus).about("manager", "Prometheus text").gives_text(200, "text/plain"),
    ]
}

/// Aggregated metrics.
#[derive(Serialize, JsonSchema)]
struct Metrics {
    /// Workers by status, and `total`.
    workers: Counts,
    /// Tasks by state, and `total`.
    tasks: Counts,
    /// Pending tasks that wait for the time of their next try.
    waiting_for_retry: u64,
    /// What the workers that are heard offer.
    capacity: Amount,
    /// What is promised of it.
    used: Amount,
    /// What their hosts measure.
    hosts: HostSums,
    log: LogPlace,
    manager: ManagerMetrics,
    nats: NatsServers,
    api: ApiMetrics,
}

/// What hosts measure, each host once however many workers it has, over all workers that are heard.
#[derive(Default, Serialize, JsonSchema)]
struct HostSums {
    /// Mean percent of all processors.
    cpu_percent: f64,
    /// Bytes.
    memory_used: u64,
    memory_total: u64,
    disk_used: u64,
    disk_total: u64,
}

/// The managers.
#[derive(Serialize, JsonSchema)]
struct ManagerMetrics {
    /// Whether one leads and answers.
    answers: bool,
    /// Managers that stand by and have folded the log.
    standbys_ready: u64,
    /// How many commits the leader was ahead of each standby when it last heard of it, by its name.
    standbys_behind: BTreeMap<NodeName, u64>,
}

impl ManagerMetrics {
    async fn of(api: &Api) -> Self {
        let status = super::leader::ask(api).await.ok();
        let standbys = || status.iter().flat_map(|s| &s.standbys);
        Self {
            answers: status.is_some(),
            standbys_ready: standbys().filter(|heard| heard.standby.ready).count() as u64,
            standbys_behind: standbys().map(|heard| (heard.standby.node.clone(), heard.behind)).collect(),
        }
    }
}

/// This API itself, since it started.
#[derive(Serialize, JsonSchema)]
struct ApiMetrics {
    commands_accepted: u64,
    commands_refused: u64,
    /// Commands whose outcome was not heard.
    commands_failed: u64,
    /// Live feeds that are open.
    feeds: u64,
    nats_up: bool,
    /// How often the connection to NATS was made.
    nats_connects: u64,
}

async fn aggregated(State(api): State<Api>, headers: HeaderMap, _: NoParams) -> ApiResult<Response> {
    let accept = headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or("");
    let (manager, nats) = asked(&api).await;
    if accept.contains("text/plain") {
        text(&api, manager, nats)
    } else {
        json(StatusCode::OK, &collect(&api, manager, nats))
    }
}

async fn prometheus(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let (manager, nats) = asked(&api).await;
    text(&api, manager, nats)
}

/// What others have to be asked for.
async fn asked(api: &Api) -> (ManagerMetrics, NatsServers) {
    tokio::join!(ManagerMetrics::of(api), NatsServers::of(&*api.bus))
}

fn collect(api: &Api, manager: ManagerMetrics, nats: NatsServers) -> Metrics {
    let model = api.model.read();
    let (capacity, used) = totals(&model.state);
    let link = *api.bus.link().borrow();
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let counters = &api.commands.counters;
    Metrics {
        workers: worker_counts(&model.state),
        tasks: task_counts(&model.state),
        waiting_for_retry: model.state.delayed.len() as u64,
        capacity: capacity.into(),
        used: used.into(),
        hosts: hosts(api, &model.state),
        log: api.model.applied().into(),
        manager,
        nats,
        api: ApiMetrics {
            commands_accepted: count(&counters.accepted),
            commands_refused: count(&counters.refused),
            commands_failed: count(&counters.failed),
            feeds: count(&api.feeds),
            nats_up: link.up,
            nats_connects: link.connects,
        },
    }
}

fn hosts(api: &Api, state: &muster_domain::state::State) -> HostSums {
    let mut sums = HostSums::default();
    let mut heard = 0_u32;
    let mut seen = BTreeSet::new();
    for (id, worker) in state.workers.iter().filter(|(_, w)| w.online) {
        let m = api.hosts.of(id, worker).metrics;
        let host = Some(worker.info.hostname.as_str()).filter(|name| !name.is_empty()).unwrap_or(id.as_str());
        // A worker that has not told anything yet leaves its host to the next.
        if m.memory_total == 0 || !seen.insert(host) {
            continue;
        }
        heard += 1;
        sums.cpu_percent += m.cpu_percent;
        sums.memory_used += m.memory_used;
        sums.memory_total += m.memory_total;
        sums.disk_used += m.disk_used;
        sums.disk_total += m.disk_total;
    }
    sums.cpu_percent /= f64::from(heard.max(1));
    sums
}

fn text(api: &Api, manager: ManagerMetrics, nats: NatsServers) -> ApiResult<Response> {
    let mut page = Page(String::with_capacity(4096));
    write_page(api, manager, nats, &mut page)
        .map_err(|_| Problem::new(500, "the metrics cannot be written"))?;
    respond(StatusCode::OK, PROMETHEUS, page.0)
}

/// Text in the exposition format.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}")
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) -> fmt::Result {
        self.head(name, kind, help)?;
        writeln!(self.0, "{name} {value}")
    }

    /// One sample; `value` of label `label` needs no escaping, as ids and fixed words do not.
    fn sample(&mut self, name: &str, label: &str, value: &str, n: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "{name}{{{label}=\"{value}\"}} {n}")
    }

    fn by_word(&mut self, name: &str, help: &str, label: &str, counts: &Counts) -> fmt::Result {
        self.head(name, "gauge", help)?;
        for (word, n) in counts.iter().filter(|(word, _)| **word != "total") {
            self.sample(name, label, word, n)?;
        }
        Ok(())
    }

    fn resources(&mut self, name: &str, help: &str, amount: &Resources) -> fmt::Result {
        self.head(name, "gauge", help)?;
        self.sample(name, "resource", "cpu_cores", amount.cpu_cores())?;
        self.sample(name, "resource", "memory_bytes", amount.memory)?;
        self.sample(name, "resource", "disk_bytes", amount.disk)?;
        self.sample(name, "resource", "slots", amount.slots)
    }
}

fn write_page(api: &Api, manager: ManagerMetrics, nats: NatsServers, page: &mut Page) -> fmt::Result {
    let metrics = collect(api, manager, nats);
    let model = api.model.read();
    let (capacity, used) = totals(&model.state);
    page.by_word("muster_tasks", "Tasks by state.", "state", &metrics.tasks)?;
    let delayed = "muster_tasks_waiting_for_retry";
    let help = "Pending tasks that wait for the time of their next try.";
    page.single(delayed, "gauge", help, metrics.waiting_for_retry)?;
    page.by_word("muster_workers", "Workers by status.", "status", &metrics.workers)?;
    page.resources("muster_capacity", "What the workers that are heard offer.", &capacity)?;
    page.resources("muster_promised", "What of it is promised to tasks.", &used)?;
    let applied = api.model.applied();
    page.single("muster_events_total", "counter", "Events in the log, as far as applied here.", applied.seq)?;
    page.single(
        "muster_commits_total",
        "counter",
        "Commits in the log, as far as applied here.",
        applied.position,
    )?;
    let epoch = model.state.leader.as_ref().map_or(0, |l| l.epoch);
    page.single("muster_leader_epoch", "gauge", "How many leaders there have been.", epoch)?;
    let of_managers = &metrics.manager;
    page.single(
        "muster_manager_up",
        "gauge",
        "Whether a manager leads and answers.",
        u8::from(of_managers.answers),
    )?;
    let help = "Managers that stand by and have folded the log.";
    page.single("muster_manager_standbys", "gauge", help, of_managers.standbys_ready)?;
    let behind = "muster_manager_standby_behind_commits";
    page.head(behind, "gauge", "Commits the leader is ahead of a standby.")?;
    for (node, commits) in &of_managers.standbys_behind {
        page.sample(behind, "node", node.as_str(), commits)?;
    }
    let of_api = &metrics.api;
    let commands = "muster_api_commands_total";
    page.head(commands, "counter", "Commands through this API by what became of them.")?;
    page.sample(commands, "outcome", "accepted", of_api.commands_accepted)?;
    page.sample(commands, "outcome", "refused", of_api.commands_refused)?;
    page.sample(commands, "outcome", "failed", of_api.commands_failed)?;
    let history = &model.state.history;
    let help = "Tasks that have left the state since they ended long ago.";
    page.single("muster_tasks_forgotten_total", "counter", help, history.tasks_left)?;
    let help = "Jobs that have.";
    page.single("muster_jobs_forgotten_total", "counter", help, history.jobs_left)?;
    let help = "Memory in which it stands where the events of those tasks are.";
    page.single("muster_api_forgotten_index_bytes", "gauge", help, model.tasks.left().bytes())?;
    page.single("muster_api_feeds", "gauge", "Live feeds that are open.", of_api.feeds)?;
    page.single("muster_nats_up", "gauge", "Whether NATS can be reached.", u8::from(of_api.nats_up))?;
    page.single("muster_nats_connects_total", "counter", "Connections made to NATS.", of_api.nats_connects)?;
    write_servers(&metrics.nats, page)?;
    write_hosts(api, &model.state, page)
}

fn write_servers(nats: &NatsServers, page: &mut Page) -> fmt::Result {
    let (up, current) = ("muster_nats_server_up", "muster_nats_server_current");
    page.head(up, "gauge", "Whether a NATS server is reached by the others, or stands alone.")?;
    for server in &nats.servers {
        page.sample(up, "server", &server.name, u8::from(server.state != ServerState::Offline))?;
    }
    page.head(current, "gauge", "Whether a NATS server has all that the others have.")?;
    for server in &nats.servers {
        page.sample(current, "server", &server.name, u8::from(server.state == ServerState::Current))?;
    }
    let (led, behind) = ("muster_nats_stream_led", "muster_nats_stream_behind");
    page.head(led, "gauge", "Whether a stream of several copies takes writes.")?;
    for stream in &nats.streams {
        page.sample(led, "stream", &stream.name, u8::from(stream.leader.is_some()))?;
    }
    page.head(behind, "gauge", "Writes that the copies of a stream lack, in all.")?;
    for stream in &nats.streams {
        let lacking: u64 = stream.copies.iter().map(|copy| copy.behind).sum();
        page.sample(behind, "stream", &stream.name, lacking)?;
    }
    Ok(())
}

fn write_hosts(api: &Api, state: &muster_domain::state::State, page: &mut Page) -> fmt::Result {
    let now = now();
    let rows: Vec<_> = state.workers.iter().map(|(id, w)| (id.as_str(), w, api.hosts.of(id, w))).collect();
    type Column = (&'static str, &'static str, &'static str, fn(&muster_events::worker::HostMetrics) -> f64);
    #[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing but f64")]
    let columns: [Column; 7] = [
        ("muster_host_cpu_percent", "gauge", "Percent of all processors in use.", |m| m.cpu_percent),
        ("muster_host_memory_used_bytes", "gauge", "Memory in use.", |m| m.memory_used as f64),
        ("muster_host_memory_total_bytes", "gauge", "Memory there is.", |m| m.memory_total as f64),
        ("muster_host_disk_used_bytes", "gauge", "Disk in use.", |m| m.disk_used as f64),
        ("muster_host_disk_total_bytes", "gauge", "Disk there is.", |m| m.disk_total as f64),
        ("muster_host_network_received_bytes_total", "counter", "Received since boot.", |m| {
            m.network_received as f64
        }),
        ("muster_host_network_sent_bytes_total", "counter", "Sent since boot.", |m| m.network_sent as f64),
    ];
    for (name, kind, help, value) in columns {
        page.head(name, kind, help)?;
        for (id, _, host) in &rows {
            page.sample(name, "worker", id, value(&host.metrics))?;
        }
    }
    page.head("muster_worker_up", "gauge", "Whether the worker was heard within the last minute.")?;
    for (id, worker, host) in &rows {
        page.sample("muster_worker_up", "worker", id, u8::from(host.is_healthy(worker, now)))?;
    }
    page.head("muster_worker_tasks", "gauge", "Tasks placed on the worker.")?;
    for (id, worker, _) in &rows {
        page.sample("muster_worker_tasks", "worker", id, worker.tasks.len())?;
    }
    Ok(())
}
