//! Which nats-server to start.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exit::Failure;

/// The oldest version that will do.
const OLDEST: [u32; 3] = [2, 14, 3];
const NAME: &str = "nats-server";

/// The binary to start: the one that was named, else one on PATH, else one in a folder `.tools` here, above, or above
/// our own binary (where the project's own set-up puts it). The first that is fit.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return match version(path) {
            Some(found) if found >= OLDEST => Ok(path.to_owned()),
            Some(found) => Err(too_old(path, found)),
            None => Err(Failure::usage(format!("{} is no nats-server that runs here", path.display())).hint(
                "It was named by --nats-server or MUSTER_NATS_SERVER; leave that out to look on PATH.",
            )),
        };
    }
    let mut old = None;
    for path in candidates() {
        match version(&path) {
            Some(found) if found >= OLDEST => return Ok(path),
            Some(found) => old = old.or(Some((path, found))),
            None => {}
        }
    }
    Err(old.map_or_else(
        || {
            Failure::failed("there is no nats-server on PATH").hint(format!(
                "Install nats-server {} or later from https://nats.io/download, name one with --nats-server, or run \
                 `cargo xtask tools` in a checkout of muster.",
                dotted(OLDEST)
            ))
        },
        |(path, found)| too_old(&path, found),
    ))
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(NAME));
    let above = |start: Option<PathBuf>| {
        start
            .map(|s| s.ancestors().map(|dir| dir.join(".tools").join(NAME)).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let tools = above(std::env::current_dir().ok()).into_iter().chain(above(std::env::current_exe().ok()));
    on_path.chain(tools).filter(|p| p.is_file()).collect()
}

fn too_old(path: &Path, found: [u32; 3]) -> Failure {
    Failure::failed(format!(
        "{} has version {}; muster needs {} or later",
        path.display(),
        dotted(found),
        dotted(OLDEST)
    ))
    .hint("Install a later one, or name one with --nats-server.")
}

/// The version a binary says it has; nothing if it does not run or says something else.
fn version(path: &Path) -> Option<[u32; 3]> {
    let output = Command::new(path).arg("--version").output().ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `nats-server: v2.15.1` and `nats-server: v2.15.0-RC.1`.
fn parse(text: &str) -> Option<[u32; 3]> {
    let number = text.trim().strip_prefix("nats-server: v")?;
    let mut parts = number.split(['.', '-']).map(str::parse);
    let mut next = || parts.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn dotted([major, minor, patch]: [u32; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    fn fake(folder: &Path, version: &str) -> PathBuf {
        let path = folder.join(version);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(&path)
            .unwrap();
        write!(file, "#!/bin/sh\necho 'nats-server: v{version}'\n").unwrap();
        path
    }

    #[test]
    fn a_server_that_is_too_old_or_none_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let old = fake(folder.path(), "2.10.7");
        let text = find(Some(&old)).unwrap_err().to_string();
        assert!(text.contains("2.10.7") && text.contains("2.14.3"), "{text}");
        let fit = fake(folder.path(), "2.14.3");
        assert_eq!(find(Some(&fit)).unwrap(), fit);
        let none = find(Some(Path::new("/no/such/nats-server"))).unwrap_err();
        assert!(none.to_string().contains("/no/such/nats-server"), "{none}");
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("nats-server: v2.15.1\n"), Some([2, 15, 1]));
        assert_eq!(parse("nats-server: v2.16.0-RC.1"), Some([2, 16, 0]));
        assert_eq!(parse("something else"), None);
    }
}
