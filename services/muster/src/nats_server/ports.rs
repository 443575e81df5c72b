//! On which ports a server listens, in its own words.
//!
//! A port that was free a moment ago may be somebody else's by the time the server binds it. So the server is told to
//! take any, and writes down which it took once it listens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// The pauses between looks whether it listens yet: each twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest of them.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) clients: u16,
    pub(super) monitor: u16,
}

/// As `--ports_file_dir` writes them.
#[derive(Deserialize)]
struct Written {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

/// Waits until the process `pid`, which writes its ports into `folder`, listens.
pub(super) async fn of(folder: &Path, pid: u32) -> io::Result<Ports> {
    let ending = format!("_{pid}.ports");
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(file) = find(folder, &ending)?
            && let Some(ports) = read(&fs::read_to_string(file)?)
        {
            return Ok(ports);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Removes what servers have left that were killed: one of their process ids may come again.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    while let Some(file) = find(folder, ".ports")? {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// `<name of the program>_<pid>.ports`.
fn find(folder: &Path, ending: &str) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ending)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The ports in the file; none while it is not written to its end.
fn read(text: &str) -> Option<Ports> {
    let written: Written = serde_json::from_str(text).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
    Some(Ports { clients: port(&written.nats)?, monitor: port(&written.monitoring)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_writes_is_read() {
        let text = r#"{"nats":["nats://127.0.0.1:42785"],"monitoring":["http://127.0.0.1:45759"]}"#;
        assert_eq!(read(text), Some(Ports { clients: 42785, monitor: 45759 }));
        assert_eq!(read(&text[..40]), None);
        assert_eq!(read(r#"{"nats":[],"monitoring":[]}"#), None);
    }
}
