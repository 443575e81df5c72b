//! Messages of every shipped version, kept for ever: `schemas/golden/commit-vN.msgpack` as it was written, and beside
//! it `commit-vN.json`, what it means. Every later build must read the first as the second.
//!
//! A new version gets a new pair, and so do events that come to a version later (`commit-vN-<what>`): write the JSON by
//! hand, then `cargo xtask schemas`. A pair that has shipped is never changed or deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use muster_events::codec::{Encoding, decode, decode_commit, encode_commit};
use muster_events::commit::{Commit, VERSION};
use muster_events::event::Event;
use muster_tests::schemas;

fn folder() -> PathBuf {
    schemas::folder().join("golden")
}

/// What the messages of a version mean, by their files.
fn meanings(version: u16) -> BTreeMap<PathBuf, Vec<u8>> {
    let first = format!("commit-v{version}");
    let found: BTreeMap<_, _> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter(|path| {
            let name = path.file_stem().unwrap().to_string_lossy();
            name.strip_prefix(&first).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert!(found.contains_key(&folder().join(format!("{first}.json"))), "there is no {first}.json");
    found
}

#[test]
fn every_shipped_version_is_read_as_it_was_meant() {
    for (path, meaning) in (1..=VERSION).flat_map(meanings) {
        let meant: Commit = decode(Encoding::Json, &meaning).unwrap();
        let path = path.with_extension("msgpack");
        if !path.exists() && schemas::may_write() {
            fs::write(&path, encode_commit(&meant).unwrap()).unwrap();
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; a new version's file is written by `cargo xtask schemas`", path.display())
        });
        assert_eq!(decode_commit(&bytes).unwrap(), meant, "{}", path.display());
    }
}

#[test]
fn the_present_version_has_every_event_and_no_field_gets_lost() {
    let mut there = BTreeSet::new();
    for (path, meaning) in meanings(VERSION) {
        let commit: Commit = decode(Encoding::Json, &meaning).unwrap();
        there.extend(commit.events().map(|(_, _, event)| Event::kind(event)));
        let written: serde_json::Value = serde_json::from_slice(&meaning).unwrap();
        let again = without_defaults(serde_json::to_value(&commit).unwrap());
        assert_eq!(again, without_defaults(written), "{}", path.display());
    }
    let all = schemas::event_kinds();
    let missing: Vec<_> = all.iter().filter(|kind| !there.contains(kind.as_str())).collect();
    assert!(missing.is_empty(), "the golden messages of version {VERSION} have no {missing:?}");
}

/// Drops what a writer may leave out and a reader fills in.
fn without_defaults(mut value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, value| !(name == "more" && *value == Value::Bool(false)));
        for value in fields.values_mut() {
            *value = without_defaults(value.take());
        }
    } else if let Value::Array(items) = &mut value {
        for item in items {
            *item = without_defaults(item.take());
        }
    }
    value
}
