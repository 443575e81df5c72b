//! Fuzzing of the decoders: what comes from outside, in whatever bytes.

use crate::run::{Result, program, root, run, works};

/// Where the targets lie; each reads with one decoder of `tests/src/decoders.rs`.
const FOLDER: &str = "tests/fuzz";
/// The longest input that is tried: more only costs time.
const BYTES_MAX: u32 = 16 << 10;

/// Gives a decoder to the fuzzer for so many seconds; what it finds new is added to its corpus.
pub(crate) fn fuzz(target: &str, seconds: &str) -> Result<()> {
    let seconds: u32 = seconds
        .parse()
        .map_err(|error| format!("`{seconds}` is no number of seconds to fuzz for: {error}"))?;
    let file = root().join(FOLDER).join("targets").join(format!("{target}.rs"));
    if !file.is_file() {
        return Err(format!("`{target}` is no decoder; there are {}", targets()?.join(", ")));
    }
    let nightly = || {
        let mut rustup = program("rustup");
        rustup.args(["run", "nightly", "cargo", "fuzz"]);
        rustup
    };
    if !works(nightly().arg("--version")) {
        return Err("fuzzing needs a nightly Rust and cargo-fuzz: `rustup toolchain install nightly` and \
                    `cargo install cargo-fuzz`"
            .to_owned());
    }
    let corpus = format!("tests/corpus/{target}");
    run(nightly().args(["run", "--fuzz-dir", FOLDER, target, &corpus, "--"]).args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={BYTES_MAX}"),
        // A decoder that needs more for such an input lets a sender decide about our memory.
        "-malloc_limit_mb=256".to_owned(),
        "-timeout=10".to_owned(),
    ]))
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join(FOLDER).join("targets");
    let entries = folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
