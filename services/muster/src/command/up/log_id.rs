//! Which log a data folder belongs to. A folder in which there has been one never gets an empty one in its place unsaid.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use muster_events::id::LogId;
use muster_events::subject::{Cell, Stream};
use muster_log::error::LogError;
use muster_log::nats::Known;

use super::Args;
use crate::connect;
use crate::exit::Failure;
use crate::{home, nats_server, units};

/// The file with the log's id.
fn file(folder: &Path) -> PathBuf {
    folder.join("log-id")
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} cannot be used: {error}", path.display()))
}

/// What the folder knows of the log: its id; or, in one of an older build, that its server's data holds one.
pub(super) fn known(args: &Args) -> Result<Known, Failure> {
    if args.worker.new_log {
        return Ok(Known::Nothing);
    }
    let file = file(&args.data);
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse::<LogId>().map(Known::Log).map_err(|e| {
            Failure::failed(format!(
                "{} holds no log's id: {e}; put it back, or give --new-log",
                file.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(stored(&home::nats_folder(&args.data))
            .map_or(Known::Nothing, |stored| Known::Some(format!("{} holds a log", stored.display())))),
        Err(error) => Err(unusable(&file, &error)),
    }
}

/// The log among what a server keeps in `folder`, of whatever account it is: each has a folder of its own there, and
/// streams have been in others than now. What cannot be read holds none.
fn stored(folder: &Path) -> Option<PathBuf> {
    let name = Cell::default().stream(Stream::Events);
    let accounts = fs::read_dir(folder.join("data/jetstream")).ok()?;
    accounts
        .flatten()
        .map(|account| account.path().join("streams").join(&name))
        .find(|stream| stream.is_dir())
}

/// Writes down which log the folder belongs to.
pub(super) fn keep(folder: &Path, log: LogId) -> Result<(), Failure> {
    let file = file(folder);
    fs::write(&file, format!("{log}\n")).map_err(|e| unusable(&file, &e))
}

/// Why the manager's connection cannot be used.
pub(super) fn refused(error: &LogError, args: &Args) -> Failure {
    let failure = connect::refused(error);
    if matches!(error, LogError::NoRoom(_)) {
        let folder = home::nats_folder(&args.data);
        return match nats_server::free_bytes(&folder) {
            Some(free) => failure.hint(format!(
                "{} are free in {}; another place is chosen with --data.",
                units::show_bytes(free),
                folder.display()
            )),
            None => failure,
        };
    }
    if !matches!(error, LogError::OtherLog(_)) {
        return failure;
    }
    failure.hint(format!(
        "What {} held may come from an older muster, from another --nats-conf, or have been removed: start it with those, \
         restore it from a backup, or choose another --data. --new-log begins a new log there; what ran is unknown to it.",
        home::nats_folder(&args.data).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_found_in_whatever_account() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(stored(folder.path()), None);
        let stream = folder.path().join("data/jetstream/OLD/streams/muster-EVENTS");
        fs::create_dir_all(&stream).unwrap();
        assert_eq!(stored(folder.path()), Some(stream));
    }
}
