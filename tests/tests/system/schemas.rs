//! `schemas/` is what the types say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use muster_events::command::{GROUP_VERB, VERBS};
use muster_tests::schemas;

#[test]
fn the_folder_is_what_the_types_say() {
    let folder = schemas::folder();
    let mut wrong = Vec::new();
    let files = schemas::files();
    for (name, schema) in &files {
        let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() == Some(&text) {
            continue;
        }
        if schemas::may_write() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        } else {
            wrong.push(name.clone());
        }
    }
    for name in generated(&folder).into_iter().filter(|name| !files.contains_key(name)) {
        if schemas::may_write() {
            fs::remove_file(folder.join(&name)).unwrap();
        } else {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not what the types say: {wrong:?}; run `cargo xtask schemas`");
}

#[test]
fn every_verb_has_its_schema() {
    let files = schemas::files();
    for verb in VERBS.into_iter().chain([GROUP_VERB]) {
        assert!(files.contains_key(&format!("commands/{verb}.json")), "{verb}");
    }
    assert!(schemas::event_kinds().len() >= 19, "{:?}", schemas::event_kinds());
}

/// The generated files that are in the folder: all but `golden/`.
fn generated(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for part in ["", "commands", "events", "messages"] {
        let Ok(entries) = fs::read_dir(folder.join(part)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            names.insert(path.strip_prefix(folder).unwrap().display().to_string());
        }
    }
    names
}
