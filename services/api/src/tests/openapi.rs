//! The document and what is served agree, since they are made from one table; this looks at what each adds to it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::{Harness, done};
use crate::openapi::openapi;
use crate::routes::table;

/// Every `$ref` in `value`.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_operation_is_described_once_and_every_reference_leads_somewhere() {
    let document = openapi();
    let mut ids = BTreeSet::new();
    for op in table() {
        let described = &document["paths"][op.path][op.method];
        assert!(!described["summary"].as_str().unwrap().is_empty(), "{} {}", op.method, op.path);
        assert!(
            ids.insert(described["operationId"].as_str().unwrap().to_owned()),
            "{}",
            described["operationId"]
        );
        assert!(described["responses"].as_object().unwrap().len() >= 2, "{} {}", op.method, op.path);
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_operation_is_served() {
    let harness = Harness::new().await;
    assert_eq!(harness.ok("/api/v1/openapi.json").await, openapi());
    for op in table() {
        let method: Method = op.method.to_uppercase().parse().unwrap();
        let path = op.path.replace("{id}", "nobody");
        let (status, body, _) = done(harness.ask(method, &path)).await;
        assert!(!matches!(status, 405 | 500..), "{} {}: {status} {body}", op.method, op.path);
        let elsewhere = body["message"].as_str().unwrap_or("").contains("nothing is served");
        assert!(!elsewhere, "{} {}", op.method, op.path);
    }
    harness.end().await;
}
