//! What differs between two versions of a job, in the words in which users write jobs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JobDefinition, JobSpec};

/// One value that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Where: `task.command[1]`.
    pub path: String,
    /// What it was; null where there was none.
    #[serde(default)]
    pub before: Option<String>,
    /// What it is; null where there is none.
    #[serde(default)]
    pub after: Option<String>,
}

/// Every single value that is not the same between two specs written as JSON, by its path in a job file; null is a job
/// that is not there. Where one is of a newer muster and cannot be said in our words, both are compared as they are.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let (before, after) = match (in_words(before), in_words(after)) {
        (Some(before), Some(after)) => (flat(&before), flat(&after)),
        _ => (flat(before), flat(after)),
    };
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let change = |path: &String| Change {
        path: path.clone(),
        before: before.get(path).cloned(),
        after: after.get(path).cloned(),
    };
    differing.map(change).collect()
}

fn in_words(spec: &Value) -> Option<Value> {
    if spec.is_null() {
        return Some(Value::Null);
    }
    let spec = JobSpec::deserialize(spec).ok()?;
    serde_json::to_value(JobDefinition::from(&spec)).ok()
}

/// Every single value by its path.
fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![(String::new(), value)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                let dot = if path.is_empty() { "" } else { "." };
                open.extend(fields.iter().map(|(key, value)| (format!("{path}{dot}{key}"), value)));
            }
            Value::Array(items) if !items.is_empty() => {
                open.extend(items.iter().enumerate().map(|(n, value)| (format!("{path}[{n}]"), value)));
            }
            Value::Null => {}
            Value::String(text) => drop(all.insert(path, text.clone())),
            other => drop(all.insert(path, other.to_string())),
        }
    }
    all
}
