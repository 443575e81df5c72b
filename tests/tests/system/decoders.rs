//! What fuzzers have found worth keeping, and seeded changes of it, through every decoder.

use std::fs;
use std::path::{Path, PathBuf};

use muster_tests::decoders::{DECODERS, Decoder};
use muster_tests::schemas;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Changed inputs for each decoder.
const CHANGED: u32 = 4096;

fn folder(decoder: &Decoder) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(decoder.name)
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What a decoder begins with: its corpus, and for commits every one that has shipped.
fn corpus(decoder: &Decoder) -> Vec<Vec<u8>> {
    let mut all = files(&folder(decoder));
    if decoder.name == "commit" {
        all.extend(files(&schemas::folder().join("golden")));
    }
    assert!(all.len() >= 4, "{}: {} inputs are no corpus", decoder.name, all.len());
    all
}

#[test]
fn every_input_of_the_corpora_is_read_or_refused() {
    for decoder in &DECODERS {
        corpus(decoder).iter().for_each(|bytes| (decoder.read)(bytes));
    }
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Put(prop::sample::Index, Vec<u8>),
    Join(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => place().prop_map(Change::Cut),
        1 => (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Change::Put(at, new)),
        1 => (place(), place()).prop_map(|(with, at)| Change::Join(with, at)),
    ]
}

fn changed(all: &[Vec<u8>], mut bytes: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for change in changes {
        let end = bytes.len() + 1;
        match change {
            Change::Flip(at, bits) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Change::Flip(..) => {}
            Change::Cut(at) => bytes.truncate(at.index(end)),
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(end), to.index(end));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend(part);
            }
            Change::Put(at, new) => {
                let at = at.index(end);
                bytes.splice(at..at, new);
            }
            Change::Join(with, at) => {
                bytes.truncate(at.index(end));
                let other = with.get(all);
                bytes.extend_from_slice(&other[at.index(other.len() + 1)..]);
            }
        }
    }
    bytes
}

#[test]
fn what_is_like_the_corpora_is_read_or_refused() {
    for decoder in &DECODERS {
        let all = corpus(decoder);
        let config = Config { cases: CHANGED, failure_persistence: None, ..Config::default() };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let inputs = (any::<prop::sample::Index>(), prop::collection::vec(change(), 1..6));
        let ran = TestRunner::new_with_rng(config, rng).run(&inputs, |(which, changes)| {
            (decoder.read)(&changed(&all, which.get(&all).clone(), changes));
            Ok(())
        });
        assert!(ran.is_ok(), "{}: {}", decoder.name, ran.unwrap_err());
    }
}
