//! The table of operations, and the OpenAPI document made from it.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::app::Api;

/// Where the document is.
pub(crate) const PATH: &str = "/api/v1/openapi.json";

type Describe = fn(&mut SchemaGenerator) -> Schema;

/// One operation: what serves it and what the document says of it, in one place, so that neither can be without the
/// other.
pub(crate) struct Op {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    tag: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Describe>,
    answers: Vec<(u16, Content)>,
    pub(crate) handler: MethodRouter<Api>,
}

/// A query parameter.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    name: &'static str,
    kind: &'static str,
    about: &'static str,
}

/// A query parameter that is a text, a number or a flag (`string`, `integer`, `boolean`).
pub(crate) const fn parameter(name: &'static str, kind: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind, about }
}

/// What an answer holds.
#[derive(Clone, Copy)]
enum Content {
    Json(Describe),
    Lines(&'static str, Describe),
    Text(&'static str),
}

impl Op {
    fn new<H, T>(method: (&'static str, MethodFilter), path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        Self {
            method: method.0,
            path,
            tag: "manager",
            summary: "",
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            handler: on(method.1, handler),
        }
    }

    pub(crate) fn get<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(("get", MethodFilter::GET), path, handler)
    }

    pub(crate) fn post<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(("post", MethodFilter::POST), path, handler)
    }

    pub(crate) fn delete<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(("delete", MethodFilter::DELETE), path, handler)
    }

    /// Its group and a line about it.
    pub(crate) fn about(mut self, tag: &'static str, summary: &'static str) -> Self {
        (self.tag, self.summary) = (tag, summary);
        self
    }

    pub(crate) fn takes(mut self, parameters: &[Parameter]) -> Self {
        self.parameters.extend_from_slice(parameters);
        self
    }

    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    pub(crate) fn gives<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answers.push((status, Content::Json(SchemaGenerator::subschema_for::<T>)));
        self
    }

    pub(crate) fn gives_text(mut self, status: u16, media: &'static str) -> Self {
        self.answers.push((status, Content::Text(media)));
        self
    }

    /// One object of this kind a line.
    pub(crate) fn gives_lines<T: JsonSchema>(mut self, status: u16, media: &'static str) -> Self {
        self.answers.push((status, Content::Lines(media, SchemaGenerator::subschema_for::<T>)));
        self
    }

    fn document(&self, generator: &mut SchemaGenerator) -> Value {
        let mut parameters: Vec<Value> = path_parameters(self.path)
            .map(|name| {
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
            })
            .collect();
        parameters.extend(self.parameters.iter().map(|p| {
            json!({ "name": p.name, "in": "query", "description": p.about, "schema": { "type": p.kind } })
        }));
        if self.method == "get" {
            let about = "wait until the event with this number has been applied";
            parameters.push(
                json!({ "name": "min_seq", "in": "query", "description": about, "schema": { "type": "integer" } }),
            );
        }
        let mut responses = Map::new();
        for (status, content) in &self.answers {
            let (media, schema) = match content {
                Content::Json(describe) => ("application/json", describe(generator).to_value()),
                Content::Lines(media, describe) => (*media, describe(generator).to_value()),
                Content::Text(media) => (*media, json!({ "type": "string" })),
            };
            let response = responses
                .entry(status.to_string())
                .or_insert_with(|| json!({ "description": "", "content": {} }));
            response["description"] = reason(*status).into();
            response["content"][media] = json!({ "schema": schema });
        }
        // The orchestrator's protocol has an error body of its own.
        let error = if self.path.starts_with("/api/workers") { "Failure" } else { "Error" };
        responses.insert("default".to_owned(), json!({ "$ref": format!("#/components/responses/{error}") }));
        let mut operation = json!({
            "tags": [self.tag],
            "summary": self.summary,
            "operationId": operation_id(self.method, self.path),
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(describe) = self.body {
            let schema = describe(generator).to_value();
            operation["requestBody"] = json!({ "content": {
                "application/json": { "schema": &schema },
                "application/msgpack": { "schema": &schema },
            } });
        }
        operation
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        other => muster_events::outcome::reason_phrase(other),
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

/// The OpenAPI 3.1 document of this API.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for op in crate::routes::table() {
        let item = paths.entry(op.path).or_insert_with(|| json!({}));
        item[op.method] = op.document(&mut generator);
    }
    let problem = generator.subschema_for::<muster_events::outcome::Problem>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "muster",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A GET reads the read model and says of which position in the log it is (Muster-Seq). Everything else becomes a command, waits for its outcome and answers with it.",
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {
                "Error": {
                    "description": "What was wrong, with which value, and what to do",
                    "content": { "application/json": { "schema": problem } },
                },
                "Failure": {
                    "description": "What was wrong, in the orchestrator's protocol",
                    "content": { "application/json": { "schema": {
                        "type": "object",
                        "properties": { "success": { "const": false }, "errorMessage": { "type": "string" } },
                        "required": ["success", "errorMessage"],
                    } } },
                },
            },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}
