//! The words in which modules are asked for over HTTP: spoken by this worker's own HTTP, and by the remote runtime when
//! it calls others. Others' types may grow, so unknown fields are let pass, and what .NET writes as null counts as
//! left out.

use std::collections::BTreeMap;

use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::timespan::TimeSpan;

/// Where a module is asked for.
pub(crate) const EXECUTE: &str = "/api/execution/execute";
/// Where an execution is called off.
pub(crate) const CANCEL: &str = "/api/execution/cancel";
/// Where a worker says that it is there.
pub(crate) const HEALTH: &str = "/api/health";

/// Execute a module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecutionRequest {
    /// Names this execution; the same again is the same execution.
    pub(crate) execution_id: String,
    /// The module.
    #[serde(default)]
    pub(crate) serialized_module: Option<String>,
    /// Its type.
    pub(crate) module_type_name: String,
    /// Results of the modules it depends on, by their types.
    #[serde(default)]
    pub(crate) dependency_results: Option<BTreeMap<String, Option<String>>>,
    /// For its program.
    #[serde(default)]
    pub(crate) environment_variables: Option<BTreeMap<String, Option<String>>>,
    /// Where its program works.
    #[serde(default)]
    pub(crate) working_directory: Option<String>,
    /// How long it may take.
    #[serde(default)]
    pub(crate) timeout: Option<TimeSpan>,
    /// When it was asked for.
    #[serde(default)]
    pub(crate) timestamp: Option<String>,
}

/// How an execution ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecutionResponse {
    /// Which.
    #[serde(default)]
    pub(crate) execution_id: Option<String>,
    /// Whether it ended well.
    pub(crate) success: bool,
    /// What it hands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serialized_result: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_message: Option<String>,
    /// The error's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exception_type: Option<String>,
    /// Where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stack_trace: Option<String>,
    /// How long it took, as a time span; not looked at when another says it.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(crate) duration: Option<TimeSpan>,
    /// When it began.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(crate) end_time: Option<Timestamp>,
    /// Where it ran.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(crate) worker_id: Option<String>,
}

/// Call an execution off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CancelRequest {
    /// Which.
    pub(crate) execution_id: String,
    /// Why.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// When.
    #[serde(default)]
    pub(crate) timestamp: Option<String>,
}
