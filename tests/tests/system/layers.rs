//! The table of layers (`docs/architecture.md`), kept over what cargo says the crates depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// A crate of ours, the crates of ours it may use, and what it must never reach, however many crates lie between.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

const LAYERS: [Layer; 8] = [
    Layer {
        name: "muster-events",
        may_use: &[],
        never: &["tokio", "async-nats", "tracing", "axum", "bollard"],
    },
    Layer {
        name: "muster-domain",
        may_use: &["muster-events"],
        never: &["tokio", "async-nats", "tracing", "axum"],
    },
    Layer { name: "muster-log", may_use: &["muster-events"], never: &["axum", "bollard"] },
    Layer { name: "muster-http", may_use: &["muster-events"], never: &["async-nats", "bollard"] },
    Layer {
        name: "muster-manager",
        may_use: &["muster-events", "muster-domain", "muster-log"],
        never: &["axum", "bollard"],
    },
    Layer {
        name: "muster-api",
        may_use: &["muster-events", "muster-domain", "muster-log", "muster-http"],
        never: &["bollard"],
    },
    Layer { name: "muster-worker", may_use: &["muster-events", "muster-log", "muster-http"], never: &[] },
    Layer { name: "muster-client", may_use: &["muster-events"], never: &["async-nats", "axum", "bollard"] },
];

/// These may use every crate of ours.
const TOP: [&str; 2] = ["muster", "muster-tests"];

/// Crates that open doors to the outside, and who alone may name them in its Cargo.toml.
const DOORS: [(&str, &[&str]); 5] = [
    ("async-nats", &["muster-log", "muster-tests"]),
    ("bollard", &["muster-worker"]),
    ("sysinfo", &["muster-worker", "muster"]),
    ("axum-server", &["muster-http"]),
    ("axum", &["muster-http", "muster-api", "muster-worker"]),
];

/// What the domain's own Cargo.toml must not name: each would be a clock or a source of chance. That its sources use
/// none of the standard library's is a test of its own (`services/domain/src/purity.rs`).
const NOT_IN_DOMAIN: [&str; 5] = ["time", "chrono", "rand", "getrandom", "uuid"];

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned))
        .exec()
        .expect("cargo metadata")
}

/// What each crate needs to be built, tests apart: names by name.
fn direct(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let needed = |p: &cargo_metadata::Package| {
        p.dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development)
            .map(|d| d.name.to_string())
            .collect()
    };
    metadata.workspace_packages().iter().map(|p| (p.name.to_string(), needed(p))).collect()
}

/// The names of all that `root` reaches, tests apart.
fn reached(metadata: &Metadata, root: &PackageId) -> BTreeSet<String> {
    let nodes = &metadata.resolve.as_ref().expect("a resolved graph").nodes;
    let by_id: BTreeMap<&PackageId, _> = nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        for dep in &by_id[id].deps {
            let built = dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development);
            if built && seen.insert(&dep.pkg) {
                open.push(&dep.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn every_crate_keeps_to_its_layer() {
    let metadata = metadata();
    let direct = direct(&metadata);
    let ours: BTreeSet<&str> = direct.keys().map(String::as_str).collect();
    for layer in LAYERS {
        let used = direct[layer.name].iter().map(String::as_str);
        let wrong: Vec<_> =
            used.filter(|name| ours.contains(name) && !layer.may_use.contains(name)).collect();
        assert!(wrong.is_empty(), "{} may not use {wrong:?}; it may use {:?}", layer.name, layer.may_use);
        let package = metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == layer.name);
        let reached = reached(&metadata, &package.expect("the crate is there").id);
        let wrong: Vec<_> = layer.never.iter().filter(|name| reached.contains(**name)).collect();
        assert!(wrong.is_empty(), "{} must not reach {wrong:?}", layer.name);
    }
    let known: BTreeSet<&str> = LAYERS.iter().map(|l| l.name).chain(TOP).chain(["xtask"]).collect();
    assert_eq!(ours, known, "a crate is in the workspace and not in this table, or the other way round");
    assert!(direct["xtask"].is_empty(), "xtask is what a fresh machine builds first");
}

#[test]
fn each_door_to_the_outside_has_one_keeper() {
    for (name, needs) in direct(&metadata()) {
        for (door, keepers) in DOORS {
            assert!(
                !needs.contains(door) || keepers.contains(&name.as_str()),
                "{name} depends on {door}; only {keepers:?} may"
            );
        }
    }
}

#[test]
fn the_domain_depends_on_neither_clock_nor_chance() {
    let needs = &direct(&metadata())["muster-domain"];
    for name in NOT_IN_DOMAIN {
        assert!(!needs.contains(name), "muster-domain depends on {name}");
    }
}
