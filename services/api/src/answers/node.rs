//! Workers in the words of the orchestrator's protocol: what they say, and how they are shown. Others' types may grow, so
//! unknown fields are let pass, and what .NET writes as null counts as left out.

use std::collections::BTreeSet;

use muster_domain::state::{Worker, WorkerStatus};
use muster_events::endpoint::Endpoint;
use muster_events::id::{Incarnation, Installation, WorkerId};
use muster_events::outcome::{FieldError, Problem};
use muster_events::resources::Resources;
use muster_events::spec::Runtime;
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::views::hosts::Host;

/// The most modules at a time that a worker may tell.
const MODULES_MAX: i64 = 1_000_000;

/// The body of a registration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registration {
    /// The worker.
    pub(crate) worker_node: Node,
}

/// A worker as it describes itself. That it also tells its last heartbeat and status is part of the protocol; muster keeps
/// its own record of both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WorkerNodeRegistration")]
pub(crate) struct Node {
    /// Its name: 1 to 64 of `a-z A-Z 0-9 _ -`.
    pub(crate) id: String,
    /// Where it is called: `http://worker1:9000`.
    endpoint: String,
    capabilities: Capabilities,
    /// How many modules it executes now, whoever asked for them.
    #[serde(default)]
    pub(crate) current_load: Option<i64>,
}

/// What a worker can do, as it says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    installed_tools: Option<BTreeSet<String>>,
    /// The most modules at a time.
    max_parallel_modules: i64,
    #[serde(default)]
    tags: Option<BTreeSet<String>>,
}

/// The answer to a registration.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registered<'a> {
    pub(crate) success: bool,
    pub(crate) worker_id: &'a WorkerId,
    /// How often it is to send heartbeats.
    pub(crate) heartbeat_interval_seconds: u64,
}

/// The body of a heartbeat.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Beat {
    pub(crate) worker_id: String,
    /// How many modules it executes now, whoever asked for them.
    #[serde(default)]
    pub(crate) current_load: Option<i64>,
}

/// The answer to a heartbeat.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Heard {
    /// False when the worker is not known, or was given up: it has to register (again).
    pub(crate) acknowledged: bool,
    /// It gets nothing new.
    pub(crate) should_drain: bool,
}

/// The answer to a heartbeat of a worker that has to register.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotHeard {
    #[serde(flatten)]
    pub(crate) heard: Heard,
    pub(crate) success: bool,
    pub(crate) error_message: String,
}

/// That something was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    pub(crate) success: bool,
}

/// A worker as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WorkerNode")]
pub(crate) struct NodeAnswer<'a> {
    id: &'a WorkerId,
    /// Where it is called; empty when it serves no HTTP.
    endpoint: String,
    capabilities: CapabilitiesAnswer<'a>,
    last_heartbeat: Timestamp,
    /// Modules and tasks on it, those that muster did not give it included.
    current_load: u64,
    /// `Available`, `Busy`, `Draining`, `Offline`.
    status: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WorkerCapabilities")]
struct CapabilitiesAnswer<'a> {
    os: &'a str,
    installed_tools: &'a BTreeSet<String>,
    max_parallel_modules: u64,
    tags: &'a BTreeSet<String>,
}

/// A load as a worker tells it; nonsense below zero counts as none.
pub(crate) fn load(told: Option<i64>) -> u32 {
    u32::try_from(told.unwrap_or(0).max(0)).unwrap_or(u32::MAX)
}

impl Node {
    /// The registration, in muster's words. `known` is the worker as it was registered before: it has been up since then.
    pub(crate) fn register(self, known: Option<&Worker>, now: Timestamp) -> Result<Register, Problem> {
        let mut wrong = Vec::new();
        let mut fault = |field: &str, value: &str, message: String| {
            wrong.push(FieldError::new(format!("workerNode.{field}"), value, message));
        };
        let id = WorkerId::new(&self.id).map_err(|e| fault("id", &self.id, e.to_string())).ok();
        let endpoint = Endpoint::new(&self.endpoint);
        let endpoint = endpoint.map_err(|e| fault("endpoint", &self.endpoint, e.to_string())).ok();
        let slots = self.capabilities.max_parallel_modules;
        if !(1..=MODULES_MAX).contains(&slots) {
            let message = "must be 1 to 1000000".to_owned();
            fault("capabilities.maxParallelModules", &slots.to_string(), message);
        }
        let (Some(worker_id), Some(endpoint), []) = (id, endpoint, &wrong[..]) else {
            return Err(Problem::invalid(wrong));
        };
        let since = known.filter(|w| w.info.endpoint.is_some()).map_or(now, |w| w.info.started_at);
        let register = Register {
            incarnation: Incarnation::of_http_worker(&worker_id),
            installation: Installation::of_http_worker(&worker_id),
            worker_id,
            info: Box::new(WorkerInfo {
                hostname: host(&endpoint),
                os: self.capabilities.os.unwrap_or_default(),
                tools: self.capabilities.installed_tools.unwrap_or_default(),
                tags: self.capabilities.tags.unwrap_or_default(),
                endpoint: Some(endpoint),
                runtimes: [Runtime::Remote].into(),
                capacity: Resources { slots: slots.unsigned_abs(), ..Resources::default() },
                started_at: since,
                ..WorkerInfo::default()
            }),
            holding: Vec::new(),
            seen: None,
        };
        register
            .check()
            .map_err(|faults| Problem::invalid(faults.into_iter().map(in_their_words).collect()))?;
        Ok(register)
    }
}

/// The fields of muster's registration, by the names they were given under.
fn in_their_words(fault: FieldError) -> FieldError {
    let field = match fault.field.as_str() {
        "info.os" => "workerNode.capabilities.os",
        "info.tools" => "workerNode.capabilities.installedTools",
        "info.tags" => "workerNode.capabilities.tags",
        "info.hostname" => "workerNode.endpoint",
        other => other,
    };
    FieldError { field: field.to_owned(), ..fault }
}

/// The host that an endpoint names.
fn host(endpoint: &Endpoint) -> String {
    let rest = endpoint.as_str().split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    authority[..port.unwrap_or(authority.len())].trim_matches(['[', ']']).to_owned()
}

impl<'a> NodeAnswer<'a> {
    pub(crate) fn new(id: &'a WorkerId, worker: &'a Worker, host: &Host) -> Self {
        let info = &worker.info;
        let endpoint = match &info.endpoint {
            Some(endpoint) => endpoint.to_string(),
            None if info.address.is_empty() => String::new(),
            None => format!("http://{}", info.address),
        };
        let current_load = worker.tasks.len() as u64 + worker.occupied;
        let status = match worker.status() {
            WorkerStatus::Offline => "Offline",
            WorkerStatus::Draining => "Draining",
            WorkerStatus::Active if current_load == 0 => "Available",
            WorkerStatus::Active => "Busy",
        };
        Self {
            id,
            endpoint,
            capabilities: CapabilitiesAnswer {
                os: &info.os,
                installed_tools: &info.tools,
                max_parallel_modules: info.capacity.slots,
                tags: &info.tags,
            },
            last_heartbeat: host.last_seen,
            current_load,
            status,
        }
    }
}

/// Why a heartbeat does not count.
pub(crate) fn not_heard(message: String) -> NotHeard {
    let heard = Heard { acknowledged: false, should_drain: false };
    NotHeard { heard, success: false, error_message: message }
}

#[cfg(test)]
mod tests {
    use muster_events::outcome::Details;

    use super::*;

    fn node(json: &str) -> Result<Register, Problem> {
        let registration: Registration = serde_json::from_str(json).unwrap();
        registration.worker_node.register(None, Timestamp::from_micros(7))
    }

    #[test]
    fn what_a_worker_says_of_itself_becomes_a_registration() {
        let register = node(
            r#"{"workerNode":{"id":"worker-1","endpoint":"http://worker1:9000","currentLoad":0,"status":"Available",
                "capabilities":{"os":"linux","installedTools":["node","docker"],"maxParallelModules":4,"tags":null},
                "novelty":{}},"timestamp":"2025-09-30T10:00:00Z"}"#,
        )
        .unwrap();
        let info = &register.info;
        assert_eq!((info.hostname.as_str(), info.os.as_str(), info.capacity.slots), ("worker1", "linux", 4));
        assert_eq!(info.tools.iter().collect::<Vec<_>>(), ["docker", "node"]);
        assert!(info.tags.is_empty() && info.runtimes == [Runtime::Remote].into());
        assert_eq!(host(&"http://[::1]:9000/x".parse().unwrap()), "::1");
        assert_eq!(host(&"https://worker1".parse().unwrap()), "worker1");
    }

    #[test]
    fn what_is_wrong_is_named_in_the_protocols_words() {
        let problem = node(
            r#"{"workerNode":{"id":"a.b","endpoint":"ftp://x","capabilities":{"maxParallelModules":-4}}}"#,
        )
        .unwrap_err();
        let Some(Details::Fields(faults)) = problem.details else { panic!() };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let wanted = ["workerNode.id", "workerNode.endpoint", "workerNode.capabilities.maxParallelModules"];
        assert_eq!(fields, wanted);
        let problem = node(
            r#"{"workerNode":{"id":"a","endpoint":"http://x","capabilities":{"maxParallelModules":1,"tags":[""]}}}"#,
        )
        .unwrap_err();
        assert!(problem.message.contains("workerNode.capabilities.tags"), "{}", problem.message);
    }

    #[test]
    fn loads_are_never_nonsense() {
        assert_eq!([load(None), load(Some(-4)), load(Some(3)), load(Some(i64::MAX))], [0, 0, 3, u32::MAX]);
    }
}
