//! What each stream must be like, and how one that exists differs from it.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType};
use muster_events::subject::{Cell, Stream};
use serde_json::Value;

use super::config::NatsConfig;

const DAY: Duration = Duration::from_hours(24);
/// Bytes that ORDERS may hold; orders are derived, so what falls out is made again.
const ORDER_BYTES_MAX: i64 = 256 << 20;
/// Bytes that HEARTBEATS may hold.
const HEARTBEAT_BYTES_MAX: i64 = 256 << 20;
/// Heartbeats kept of one worker: a day of one every five seconds.
const HEARTBEATS_PER_WORKER: i64 = 17_280;
/// How long the server knows the id of a piece of output. It only has to outlast the time in which a piece is sent
/// again; longer costs the server memory.
const OUTPUT_DUPLICATES: Duration = Duration::from_secs(45);
/// How long the server knows the id of a command.
const COMMAND_DUPLICATES: Duration = Duration::from_mins(2);
/// How long the bucket remembers that a key ran out.
const MARKER_TTL: Duration = Duration::from_mins(1);

/// The name of the stream behind the cell's key-value bucket.
pub(super) fn bucket_stream(cell: &Cell) -> String {
    format!("KV_{}", cell.bucket())
}

/// The subject of `key` in the cell's bucket.
pub(super) fn key_subject(cell: &Cell, key: &str) -> String {
    format!("$KV.{}.{key}", cell.bucket())
}

/// The name of the stream behind the cell's object store.
pub(super) fn object_stream(cell: &Cell) -> String {
    format!("OBJ_{}", cell.snapshots())
}

/// A subject of the cell's object store.
pub(super) fn object_subject(cell: &Cell, rest: &str) -> String {
    format!("$O.{}.{rest}", cell.snapshots())
}

/// What `stream` must be like.
pub(super) fn stream(config: &NatsConfig, replicas: usize, stream: Stream) -> Config {
    let base = Config {
        name: config.cell.stream(stream),
        subjects: config.cell.stream_subjects(stream),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        num_replicas: replicas,
        allow_direct: true,
        ..Config::default()
    };
    // The server refuses this mode for a replicated stream: there each copy is written as the server is set to.
    let derived = (replicas == 1).then_some(PersistenceMode::Async);
    match stream {
        Stream::Commands => Config {
            max_age: 7 * DAY,
            duplicate_window: COMMAND_DUPLICATES,
            deny_delete: true,
            deny_purge: true,
            ..base
        },
        Stream::Events => Config { deny_delete: true, deny_purge: true, ..base },
        Stream::Orders => Config { max_age: DAY, max_bytes: ORDER_BYTES_MAX, persist_mode: derived, ..base },
        Stream::Heartbeats => Config {
            max_age: DAY,
            max_bytes: HEARTBEAT_BYTES_MAX,
            max_messages_per_subject: HEARTBEATS_PER_WORKER,
            persist_mode: derived,
            ..base
        },
        Stream::Logs => Config {
            max_age: 7 * DAY,
            max_bytes: config.log_bytes_max,
            duplicate_window: OUTPUT_DUPLICATES,
            persist_mode: derived,
            ..base
        },
    }
}

/// What the stream behind the cell's bucket must be like: what any client's key-value bucket looks like, with a time
/// to live for each key and a marker where a key ran out.
pub(super) fn bucket(cell: &Cell, replicas: usize) -> Config {
    Config {
        name: bucket_stream(cell),
        subjects: vec![key_subject(cell, ">")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        num_replicas: replicas,
        allow_direct: true,
        allow_rollup: true,
        deny_delete: true,
        allow_message_ttl: true,
        subject_delete_marker_ttl: Some(MARKER_TTL),
        ..Config::default()
    }
}

/// What the stream behind the cell's object store must be like: what any client's looks like. Snapshots are derived, and
/// one that a power loss cuts short is passed over, so it need not be synchronous.
pub(super) fn object_store(cell: &Cell, replicas: usize) -> Config {
    Config {
        name: object_stream(cell),
        subjects: vec![object_subject(cell, "C.>"), object_subject(cell, "M.>")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        allow_direct: true,
        allow_rollup: true,
        persist_mode: (replicas == 1).then_some(PersistenceMode::Async),
        ..Config::default()
    }
}

/// The settings that are compared, by their names in the server's own configuration. The duplicate window is left out
/// where we set none: the server then chooses.
const COMPARED: [&str; 22] = [
    "subjects",
    "retention",
    "storage",
    "discard",
    "max_age",
    "max_bytes",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "num_replicas",
    "duplicate_window",
    "deny_delete",
    "deny_purge",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "persist_mode",
    "no_ack",
    "sealed",
    "mirror",
    "sources",
    "subject_transform",
];

/// How `actual` differs from `wanted`, one line a setting, each with what to do.
pub(super) fn differences(wanted: &Config, actual: &Config) -> Vec<String> {
    let (wanted_json, actual_json) = (serde_json::to_value(wanted), serde_json::to_value(actual));
    let (Ok(wanted_json), Ok(actual_json)) = (wanted_json, actual_json) else {
        return vec![format!("stream {}: its configuration cannot be read", wanted.name)];
    };
    COMPARED
        .into_iter()
        .filter(|setting| *setting != "duplicate_window" || !wanted.duplicate_window.is_zero())
        .filter_map(|setting| {
            let want = normal(&wanted_json[setting]);
            let have = normal(&actual_json[setting]);
            (want != have).then(|| {
                format!(
                    "stream {}: {setting} is {}, muster needs {}; {}",
                    wanted.name,
                    shown(setting, &have),
                    shown(setting, &want),
                    remedy(setting)
                )
            })
        })
        .collect()
}

/// The server writes "not set" in several ways: absent, false, 0, -1, empty, `default`.
fn normal(value: &Value) -> Value {
    match value {
        Value::Bool(false) => Value::Null,
        Value::Number(n) if matches!(n.as_i64(), Some(0 | -1)) => Value::Null,
        Value::String(text) if text.is_empty() || text == "default" => Value::Null,
        Value::Array(items) if items.is_empty() => Value::Null,
        other => other.clone(),
    }
}

fn shown(setting: &str, value: &Value) -> String {
    match (setting, value) {
        (_, Value::Null) if setting == "persist_mode" => "default (synchronous)".to_owned(),
        (_, Value::Null) => "not set".to_owned(),
        ("max_age" | "duplicate_window", Value::Number(nanos)) => {
            format!("{} s", nanos.as_u64().unwrap_or_default() / 1_000_000_000)
        }
        (_, other) => other.to_string(),
    }
}

/// Settings the server lets nobody change need another server or a restored stream.
fn remedy(setting: &str) -> &'static str {
    match setting {
        "num_replicas" => "start muster without --replicas: the cell keeps what it began with",
        "retention" | "storage" | "deny_delete" | "deny_purge" | "persist_mode" | "mirror" | "sealed" => {
            "it cannot be changed on an existing stream: use another cell (--cell) or restore the stream from a backup"
        }
        _ => "change it with `nats stream edit`, or start muster with the setting that made this stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_is_never_asynchronous_and_cannot_be_deleted() {
        let config = NatsConfig::new("nats://localhost");
        for kind in [Stream::Commands, Stream::Events] {
            let shape = stream(&config, 1, kind);
            assert_eq!(shape.persist_mode, None);
            assert!(shape.deny_delete && shape.deny_purge);
        }
        assert_eq!(stream(&config, 1, Stream::Orders).persist_mode, Some(PersistenceMode::Async));
        // A server refuses that mode for several copies.
        assert_eq!(stream(&config, 3, Stream::Orders).persist_mode, None);
        assert_eq!(object_store(&config.cell, 3).persist_mode, None);
    }

    #[test]
    fn each_difference_has_its_line() {
        let wanted = stream(&NatsConfig::new("nats://localhost"), 1, Stream::Events);
        assert_eq!(differences(&wanted, &wanted), Vec::<String>::new());
        let server_says = Config { max_bytes: -1, max_messages: -1, max_message_size: -1, ..wanted.clone() };
        assert_eq!(differences(&wanted, &server_says), Vec::<String>::new());
        let actual = Config {
            persist_mode: Some(PersistenceMode::Async),
            max_age: DAY,
            deny_purge: false,
            ..wanted.clone()
        };
        let lines = differences(&wanted, &actual);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("max_age is 86400 s, muster needs not set"), "{lines:?}");
        assert!(lines[2].contains("persist_mode is \"async\", muster needs default"), "{lines:?}");
    }
}
