//! One cluster per folder.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::exit::Failure;
use crate::home::Record;

/// Takes the folder for this process, for as long as the file is held; it is made if need be.
pub(super) fn take(folder: &Path) -> Result<File, Failure> {
    let unusable = |e: &std::io::Error| {
        Failure::usage(format!("the data folder {} cannot be used: {e}", folder.display()))
            .hint("Choose another with --data.")
    };
    fs::create_dir_all(folder).map_err(|e| unusable(&e))?;
    let file = File::create(folder.join("lock")).map_err(|e| unusable(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let who = Record::read(folder)
                .ok()
                .flatten()
                .map_or_else(String::new, |r| format!(" (process {}, API at {})", r.pid, r.api));
            Err(Failure::failed(format!("a cluster already runs in {}{who}", folder.display()))
                .hint("Use that one, stop it, or choose another folder with --data and other ports."))
        }
        Err(TryLockError::Error(e)) => Err(unusable(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_for_one_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let held = take(folder.path()).unwrap();
        let failure = take(folder.path()).unwrap_err().to_string();
        assert!(failure.contains("already runs") && failure.contains("--data"), "{failure}");
        drop(held);
        take(folder.path()).unwrap();
    }
}
