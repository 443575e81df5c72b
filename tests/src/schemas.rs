//! `schemas/`, generated from the types: a JSON Schema of every command and event, `asyncapi.json`, which says what
//! travels on which subject, `openapi.json`, the API's own description, and `job.json`, by which editors complete files
//! of jobs. The test `schemas` compares them with what
//! is in the folder, or writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use muster_events::codec::{JSON, MESSAGE_PACK};
use muster_events::command::{Command, GROUP_VERB, Group, Submission};
use muster_events::commit::Commit;
use muster_events::event::Event;
use muster_events::job::JobDefinition;
use muster_events::order::Orders;
use muster_events::outcome::{GroupOutcome, Outcome, Problem};
use muster_events::record::EventRecord;
use muster_events::spec::TaskDefinition;
use muster_events::subject::header;
use muster_events::worker::Heartbeat;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The folder in the repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// Whether this run shall write the folder rather than compare with it (`MUSTER_SCHEMAS=write`).
pub fn may_write() -> bool {
    std::env::var("MUSTER_SCHEMAS").is_ok_and(|value| value == "write")
}

/// Every generated file, by its path in the folder.
pub fn files() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for (verb, schema) in commands() {
        files.insert(format!("commands/{verb}.json"), schema);
    }
    for (kind, schema) in variants::<Event>() {
        files.insert(format!("events/{kind}.json"), schema);
    }
    for (name, schema) in messages() {
        files.insert(format!("messages/{name}.json"), schema);
    }
    files.insert("job.json".to_owned(), whole::<JobDefinition>("A file of `muster job run`"));
    files.insert("asyncapi.json".to_owned(), asyncapi());
    files.insert("openapi.json".to_owned(), muster_api::openapi());
    files
}

/// The type of every event there is.
pub fn event_kinds() -> BTreeSet<String> {
    variants::<Event>().into_keys().collect()
}

/// The payload of each command, by its verb.
fn commands() -> BTreeMap<String, Value> {
    let mut commands = variants::<Command>();
    // The one payload with two forms: tasks, or a bare task.
    let submit = with_definitions("task.submit", |generator| {
        json!({
            "description": "Run tasks: one task, or several with the job they form.",
            "anyOf": [generator.subschema_for::<TaskDefinition>(), generator.subschema_for::<Submission>()],
        })
    });
    commands.insert("task.submit".to_owned(), submit);
    commands.insert(GROUP_VERB.to_owned(), whole::<Group>(GROUP_VERB));
    commands
}

/// What else travels.
fn messages() -> [(&'static str, Value); 7] {
    [
        ("commit", whole::<Commit>("commit")),
        ("event", whole::<EventRecord<'_>>("event")),
        ("outcome", whole::<Outcome>("outcome")),
        ("group-outcome", whole::<GroupOutcome>("group-outcome")),
        ("problem", whole::<Problem>("problem")),
        ("heartbeat", whole::<Heartbeat>("heartbeat")),
        ("orders", whole::<Orders>("orders")),
    ]
}

/// The schema of a type, in a file of its own.
fn whole<T: JsonSchema>(title: &str) -> Value {
    with_definitions(title, |generator| T::json_schema(generator).to_value())
}

/// Finishes a schema with its title and the definitions it refers to.
fn with_definitions(title: &str, make: impl FnOnce(&mut SchemaGenerator) -> Value) -> Value {
    let mut generator = SchemaGenerator::default();
    let schema = make(&mut generator);
    finish(title, schema, &generator.take_definitions(true))
}

/// An enum that is written as `{"<tag>": payload}`: its payloads by tag, each with the definitions it refers to.
fn variants<T: JsonSchema>() -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    let schema = T::json_schema(&mut generator).to_value();
    let definitions = generator.take_definitions(true);
    let alternatives = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let finished = alternatives.iter().filter_map(|alternative| {
        let (tag, payload) = alternative["properties"].as_object()?.iter().next()?;
        let mut payload = resolve(payload, &definitions);
        // The variant's own words say more about this payload than those of a type it may share.
        if let (Some(fields), Some(words)) = (payload.as_object_mut(), alternative.get("description")) {
            fields.insert("description".to_owned(), words.clone());
        }
        Some((tag.clone(), finish(tag, payload, &definitions)))
    });
    finished.collect()
}

/// The definition a lone `$ref` names.
fn resolve(schema: &Value, definitions: &Map<String, Value>) -> Value {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    name.and_then(|name| definitions.get(name)).unwrap_or(schema).clone()
}

fn finish(title: &str, schema: Value, definitions: &Map<String, Value>) -> Value {
    let mut file = Map::new();
    file.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    file.insert("title".to_owned(), json!(title));
    if let Value::Object(fields) = schema {
        file.extend(fields.into_iter().filter(|(name, _)| name != "title"));
    }
    let needed = needed(&file, definitions);
    if !needed.is_empty() {
        file.insert("$defs".to_owned(), Value::Object(needed));
    }
    Value::Object(file)
}

/// The definitions that `file` refers to, directly or by way of others.
fn needed(file: &Map<String, Value>, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut names = BTreeSet::new();
    let mut open: Vec<&Value> = file.values().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => open.extend(fields.values()),
            Value::Array(items) => open.extend(items),
            Value::String(text) => {
                let name = text.strip_prefix("#/$defs/");
                if let Some((name, schema)) = name.and_then(|name| definitions.get_key_value(name))
                    && names.insert(name)
                {
                    open.push(schema);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    names.into_iter().map(|name| (name.clone(), definitions[name].clone())).collect()
}

/// What travels on which subject.
fn asyncapi() -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    for verb in commands().keys() {
        let address = format!("muster.cmd.{{actor}}.{verb}");
        let message = message(&format!("commands/{verb}.json"));
        channels.insert(verb.clone(), channel(&address, &["actor"], verb, &message));
        operations.insert(verb.clone(), json!({ "action": "receive", "channel": channel_ref(verb) }));
    }
    for kind in event_kinds() {
        let (entity, rest) = kind.split_once('.').unwrap_or(("event", &kind));
        let name = format!("feed.{kind}");
        let address = format!("muster.feed.{entity}.{{id}}.{rest}");
        let words = format!(
            "`{kind}`, once more and singly, on core NATS. Its `data` is described by the file named here."
        );
        let message = json!({ "summary": words, "contentType": JSON, "payload": feed_payload(&kind) });
        channels.insert(name.clone(), channel(&address, &["id"], &kind, &message));
        operations.insert(name.clone(), json!({ "action": "send", "channel": channel_ref(&name) }));
    }
    let others = [
        ("commits", "muster.evt", &[][..], "commit", "send"),
        ("orders", "muster.ord.{worker}", &["worker"][..], "orders", "send"),
        ("heartbeats", "muster.hb.{worker}", &["worker"][..], "heartbeat", "receive"),
        ("outcomes", "{reply}", &["reply"][..], "outcome", "send"),
    ];
    for (name, address, parameters, file, action) in others {
        let message = message(&format!("messages/{file}.json"));
        channels.insert(name.to_owned(), channel(address, parameters, file, &message));
        operations.insert(name.to_owned(), json!({ "action": action, "channel": channel_ref(name) }));
    }
    // The same subject: the answer to a group is a list, and may come in parts.
    channels["outcomes"]["messages"]["group-outcome"] = message("messages/group-outcome.json");
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "muster on NATS",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What any client may publish and hear. `muster` in the addresses is the cell's name. Operations are the cell's: it receives commands and sends the rest.",
        },
        "defaultContentType": MESSAGE_PACK,
        "channels": channels,
        "operations": operations,
    })
}

/// One event in the feed: the common form, with this type and its data.
fn feed_payload(kind: &str) -> Value {
    json!({
        "allOf": [{ "$ref": "messages/event.json" }],
        "properties": { "type": { "const": kind }, "data": { "$ref": format!("events/{kind}.json") } },
    })
}

fn channel_ref(name: &str) -> Value {
    json!({ "$ref": format!("#/channels/{name}") })
}

fn channel(address: &str, parameters: &[&str], message_name: &str, message: &Value) -> Value {
    let mut channel = json!({ "address": address, "messages": { message_name: message } });
    if !parameters.is_empty() {
        channel["parameters"] = parameters.iter().map(|name| ((*name).to_owned(), parameter(name))).collect();
    }
    channel
}

fn parameter(name: &str) -> Value {
    json!({ "description": match name {
        "actor" => "Who asks; NATS permissions tie a user to its name.",
        "worker" => "The worker's id.",
        "reply" => "The subject that the command's header `Muster-Reply` names.",
        _ => "The task's, job's, worker's, leader's or actor's name.",
    } })
}

/// A message in either encoding, with the headers that mean something.
fn message(file: &str) -> Value {
    json!({
        "payload": { "$ref": file },
        "headers": {
            "type": "object",
            "properties": {
                header::ID: { "type": "string", "description": "The command's id." },
                header::REPLY: { "type": "string", "description": "Where the outcome goes." },
                header::CONTENT_TYPE: { "enum": [MESSAGE_PACK, JSON] },
                header::TRACE: { "type": "string", "description": "W3C trace context." },
            },
        },
    })
}
