//! Who this worker is: the installation its data folder holds, kept by an exclusive lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use muster_events::id::{Installation, LogId};
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use crate::error::WorkerError;

/// The file that holds the installation's id and is locked while a worker lives here.
const FILE: &str = "installation";
/// The file that holds the id of the log the folder belongs to.
const LOG_FILE: &str = "log-id";
/// The most bytes of that file that are read.
const FILE_BYTES_MAX: u64 = 256;

/// The identity of one worker. The data folder is locked as long as this lives.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The data folder's, made once.
    pub(crate) installation: Installation,
    lock: File,
}

impl Drop for Identity {
    /// Closing the file would do, were it not that a process being started at this very moment shares it until it
    /// has its new program.
    fn drop(&mut self) {
        if let Err(e) = flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(error = %e, "the data folder's lock cannot be released before its file is closed");
        }
    }
}

impl Identity {
    /// Opens (or begins) the installation in `folder`. The kernel drops the lock with the process, however it ends.
    pub(crate) fn open(folder: &Path) -> Result<Self, WorkerError> {
        let failed = |what| {
            let path = folder.to_owned();
            move |source: io::Error| WorkerError::Folder { what, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("cannot make"))?;
        let path = folder.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("cannot open the file `installation` in"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(WorkerError::InUse(folder.to_owned())),
            Err(e) => return Err(failed("cannot lock the file `installation` in")(e.into())),
        }
        let installation = read_or_begin(&mut file, &path, folder)?;
        Ok(Self { installation, lock: file })
    }

    /// Ties `folder`, which is held, to the log that is there, the first time or where `anew` is wished. What a worker
    /// finds running in a folder of another log is unknown to this one, and would be stopped.
    pub(crate) fn belong(&self, folder: &Path, there: LogId, anew: bool) -> Result<(), WorkerError> {
        let path = folder.join(LOG_FILE);
        let known = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(WorkerError::Folder { what: "cannot read", path, source }),
        };
        if let Some(text) = known.filter(|_| !anew) {
            let known = text.parse::<LogId>().map_err(|_| WorkerError::Installation {
                path: path.clone(),
                found: text.chars().take(60).collect(),
            })?;
            let folder = folder.to_owned();
            return if known == there { Ok(()) } else { Err(WorkerError::OtherLog { folder, known, there }) };
        }
        fs::write(&path, format!("{there}\n")).map_err(|source| WorkerError::Folder {
            what: "cannot write",
            path,
            source,
        })
    }
}

fn read_or_begin(file: &mut File, path: &Path, folder: &Path) -> Result<Installation, WorkerError> {
    let failed = |what| move |source| WorkerError::Folder { what, path: folder.to_owned(), source };
    let mut text = String::new();
    Read::by_ref(file)
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed("cannot read the file `installation` in"))?;
    let text = text.trim();
    if !text.is_empty() {
        return text.parse().map_err(|_| WorkerError::Installation {
            path: path.to_owned(),
            found: text.chars().take(60).collect(),
        });
    }
    let installation = Installation::new(Uuid::new_v4());
    file.rewind()
        .and_then(|()| writeln!(file, "{installation}"))
        .and_then(|()| file.sync_all())
        .map_err(failed("cannot write the file `installation` in"))?;
    Ok(installation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installation_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::open(folder.path()).unwrap();
        let installation = first.installation;
        drop(first);
        assert_eq!(Identity::open(folder.path()).unwrap().installation, installation);
    }

    #[test]
    fn a_second_worker_in_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Identity::open(folder.path()).unwrap();
        assert!(matches!(Identity::open(folder.path()), Err(WorkerError::InUse(_))));
    }

    #[test]
    fn a_folder_belongs_to_one_log_until_that_is_wished_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::open(folder.path()).unwrap();
        let [first, second] = [1, 2].map(|n| LogId::new(Uuid::from_u128(n)));
        for _ in 0..2 {
            identity.belong(folder.path(), first, false).unwrap();
        }
        let error = identity.belong(folder.path(), second, false).unwrap_err().to_string();
        for said in [&first.to_string(), &second.to_string(), "--new-log"] {
            assert!(error.contains(said), "{error}");
        }
        identity.belong(folder.path(), second, true).unwrap();
        identity.belong(folder.path(), second, false).unwrap();
    }

    #[test]
    fn a_spoiled_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        let error = Identity::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}
