//! Messages of every shipped version, kept for ever: `schemas/golden/commit-vN.msgpack` as it was written, and beside
//! it `commit-vN.json`, what it means. Every later build must read the first as the second.
//!
//! A new version gets a new pair, and so does what is added within a version (`commit-vN-<what>`): write the JSON by hand,
//! then `cargo xtask schemas`. A pair that has shipped is never changed or deleted.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use muster_events::codec::{Encoding, decode, decode_commit, encode_commit};
use muster_events::commit::{Commit, VERSION};
use muster_events::event::Event;
use muster_tests::schemas;

fn folder() -> PathBuf {
    schemas::folder().join("golden")
}

/// The pairs of a version, by the names of their files without the ending.
fn pairs(version: u16) -> Vec<String> {
    let first = format!("commit-v{version}");
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap_or_else(|error| panic!("{}: {error}", folder().display()))
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .filter(|name| *name == first || name.starts_with(&format!("{first}-")))
        .collect();
    names.sort();
    assert!(names.contains(&first), "there is no {first}.json");
    names
}

fn meaning(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.json"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_shipped_version_is_read_as_it_was_meant() {
    for name in (1..=VERSION).flat_map(pairs) {
        let meant: Commit = decode(Encoding::Json, &meaning(&name)).unwrap();
        let path = folder().join(format!("{name}.msgpack"));
        if !path.exists() && schemas::may_write() {
            fs::write(&path, encode_commit(&meant).unwrap()).unwrap();
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; a new pair's file is written by `cargo xtask schemas`", path.display())
        });
        assert_eq!(decode_commit(&bytes).unwrap(), meant, "{}", path.display());
    }
}

#[test]
fn the_present_version_has_every_event_and_no_field_gets_lost() {
    let mut there = BTreeSet::new();
    for name in pairs(VERSION) {
        let commit: Commit = decode(Encoding::Json, &meaning(&name)).unwrap();
        there.extend(commit.events().map(|(_, _, event)| Event::kind(event)));
        let written: serde_json::Value = serde_json::from_slice(&meaning(&name)).unwrap();
        assert_eq!(
            without_defaults(serde_json::to_value(&commit).unwrap()),
            without_defaults(written),
            "{name}"
        );
    }
    let all = schemas::event_kinds();
    let missing: Vec<_> = all.iter().filter(|kind| !there.contains(kind.as_str())).collect();
    assert!(missing.is_empty(), "no pair of version {VERSION} has {missing:?}");
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
