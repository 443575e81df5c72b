//! The core names no clock, no randomness, no hash order and nothing of the outside world.

use std::fs;
use std::path::{Path, PathBuf};

/// What no source of this crate may say. Written in halves, so that this file does not say it either.
const BANNED: [(&str, &str); 13] = [
    ("System", "Time"),
    ("Inst", "ant::"),
    ("Offset", "DateTime"),
    ("now_", "utc"),
    ("Hash", "Map"),
    ("Hash", "Set"),
    ("Random", "State"),
    ("new_", "v4"),
    ("std::", "env"),
    ("std::", "net"),
    ("std::", "thread"),
    ("tok", "io"),
    ("std::pro", "cess"),
];

/// Where hashes are made, and made sure that their order shows nowhere.
const HASHES: &str = "lookup.rs";

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    files
}

#[test]
fn no_source_names_the_outside_world() {
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let hashes = file.file_name().is_some_and(|name| name == HASHES);
        for (a, b) in BANNED.into_iter().filter(|(a, _)| !(hashes && *a == "Hash")) {
            assert!(!text.contains(&format!("{a}{b}")), "{} names {a}{b}", file.display());
        }
    }
}
