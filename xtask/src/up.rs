//! `cargo xtask up`: one command from a fresh clone to a cluster.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::run::{Result, cargo, program, root, run, step};
use crate::tools;

/// Which build of `muster`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As tests use it.
    Debug,
    /// As users run it.
    Release,
}

/// Builds `muster`; the path of the binary.
///
/// Cargo compiles a crate once for each set of features that it is asked for, and `--package` asks for other sets than
/// the tests do. So the debug build is that of the whole workspace with its tests, which need it next; the release
/// build is the binary alone.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked"]);
    command.args(match profile {
        Profile::Debug => ["--workspace", "--bins", "--tests"].as_slice(),
        Profile::Release => &["--package", "muster", "--bin", "muster", "--release"],
    });
    run(&mut command)?;
    Ok(target().join(if profile == Profile::Release { "release/muster" } else { "debug/muster" }))
}

/// Cargo's target folder.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |set| root().join(set))
}

/// Installs the tools, builds, and becomes `muster up` with `args`, so that signals and the exit code are its own.
pub(crate) fn up(args: &[&str]) -> Result<()> {
    let (profile, args) = match args {
        ["--debug", rest @ ..] => (Profile::Debug, rest),
        all => (Profile::Release, all),
    };
    let server = step("tools", tools::nats_server)?;
    let muster = step("build (the first time takes some minutes)", || build(profile))?;
    eprintln!(
        "to use the command line from here: export PATH=\"{}:$PATH\"",
        muster.parent().unwrap_or(&muster).display()
    );
    let error = program(&muster)
        .arg("up")
        .args(args)
        .env("MUSTER_NATS_SERVER", server)
        .stdin(Stdio::inherit())
        .exec();
    Err(format!("{} cannot be started: {error}", muster.display()))
}
