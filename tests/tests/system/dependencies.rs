//! Which foreign code may come in: by its licence, its name and where it is from. Read from what cargo would build.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Permissive licences only: muster is `MIT OR Apache-2.0`, and whoever embeds it must not owe more than a notice.
const LICENCES: [&str; 7] = [
    "MIT",
    "Apache-2.0",
    // rustix and linux-raw-sys: Apache with fewer duties.
    "Apache-2.0 WITH LLVM-exception",
    // subtle, the dalek family (NKeys).
    "BSD-3-Clause",
    // rustls' webpki, ring.
    "ISC",
    // ICU data behind url and regex.
    "Unicode-3.0",
    // foldhash: no duty in binaries.
    "Zlib",
];

/// What stays out, and why.
const BANNED: [(&str, &str); 7] = [
    (
        "openssl-sys",
        "TLS is rustls with ring everywhere; a C library needs headers and updates of the system",
    ),
    ("native-tls", "TLS is rustls with ring everywhere"),
    ("aws-lc-sys", "a second cryptography library, and CMake, beside ring"),
    ("bincode", "positional; events are MessagePack with names"),
    ("async-std", "a second runtime beside tokio"),
    ("smol", "a second runtime beside tokio"),
    ("libsqlite3-sys", "NATS is the only place where anything is kept"),
];

/// Every package that is built for Linux on either processor.
fn packages() -> Vec<Value> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path"])
        .arg(manifest);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let built: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap()).collect();
    let all = metadata["packages"].as_array().unwrap().iter();
    all.filter(|p| built.contains(p["id"].as_str().unwrap())).cloned().collect()
}

/// Whether an SPDX expression leaves a choice that we may make. Slashes are an old way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn what_others_wrote_is_free_to_use_wanted_and_from_the_registry() {
    let packages = packages();
    assert!(packages.len() > 50, "{} packages: not all were read", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        let (name, licence) =
            (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        if !is_allowed(licence) {
            wrong.push(format!("{name} has the licence {licence}"));
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            wrong.push(format!("{name}: {why}"));
        }
        // A git dependency can vanish or change under its name; what Cargo.lock pins by checksum cannot.
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            wrong.push(format!("{name} is from {source:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_licence_needs_one_way_that_is_allowed() {
    for (expression, allowed) in [
        ("MIT", true),
        ("MIT OR GPL-3.0", true),
        ("Unlicense OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 AND GPL-2.0", false),
        ("MPL-2.0", false),
        ("none", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
}
