//! Reports on the disk, for as long as NATS is away: a worker that ends meanwhile, or a machine, still tells what became of
//! its attempts. While NATS is there nothing is written.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use muster_events::codec::{self, Encoding};
use muster_events::id::AttemptRef;
use muster_events::report::{Report, What};

use crate::error::WorkerError;

/// The file's name in the worker's folder.
const FILE: &str = "reports";
/// The most bytes that are written. Beyond that no report is taken: attempts that end wait with it, and their shims and
/// the engine keep how they ended.
const BYTES_MAX: u64 = 64 << 20;

/// The file.
pub(crate) struct Journal {
    path: PathBuf,
    /// None where there is no disk.
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    /// Whether it has been said that it is full, or cannot be written.
    told: bool,
}

impl Journal {
    /// Opens the file in this folder. Gives the reports that an earlier life has not delivered, in their order, as far as they
    /// are about attempts that have ended: what still runs is told of anew.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<Report>), WorkerError> {
        let path = folder.join(FILE);
        let failed = |what| {
            let path = path.clone();
            move |source| WorkerError::Folder { what, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // What tasks hand on is for this user.
            .mode(0o600)
            .open(&path)
            .map_err(failed("cannot open"))?;
        let mut all = Vec::new();
        file.read_to_end(&mut all).map_err(failed("cannot read"))?;
        let (reports, whole) = read(&all);
        if whole < all.len() {
            let lost = all.len() - whole;
            tracing::warn!(file = %path.display(), lost, "the last report that was written down is not whole: the machine stopped meanwhile");
            file.set_len(whole as u64).map_err(failed("cannot cut"))?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed("cannot read"))?;
        let ended: HashSet<AttemptRef> =
            reports.iter().filter(|r| matches!(r.what, What::Ended(_))).map(|r| r.attempt).collect();
        let reports = reports.into_iter().filter(|report| ended.contains(&report.attempt)).collect();
        Ok((Self { path, file: Some(file), bytes: whole as u64, bytes_max: BYTES_MAX, told: false }, reports))
    }

    /// Of a worker that has no disk: what it has not delivered at its end is lost.
    pub(crate) fn without_disk() -> Self {
        Self { path: PathBuf::new(), file: None, bytes: 0, bytes_max: BYTES_MAX, told: false }
    }

    /// Whether no more may be written.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Writes reports down. That this may fail leaves them in memory, and is said.
    pub(super) fn append<'a>(&mut self, reports: impl Iterator<Item = &'a Report>) {
        let Some(file) = &mut self.file else { return };
        let mut bytes = Vec::new();
        for report in reports {
            match codec::encode(Encoding::MessagePack, report) {
                Ok(report) => {
                    bytes.extend(u32::try_from(report.len()).unwrap_or(u32::MAX).to_le_bytes());
                    bytes.extend(report);
                }
                Err(e) => tracing::error!(error = %e, "a report cannot be written down"),
            }
        }
        if bytes.is_empty() {
            return;
        }
        match file.write_all(&bytes).and_then(|()| file.sync_data()) {
            Ok(()) => self.bytes += bytes.len() as u64,
            Err(e) => {
                // What was written of it must not stand before what follows.
                let cut = self.cut(self.bytes);
                self.say(|path| tracing::error!(file = %path.display(), error = %e, ?cut, "reports cannot be written down while NATS is away; should this worker end before NATS is back, they are lost"));
            }
        }
        if self.is_full() {
            let max = self.bytes_max;
            self.say(|path| tracing::error!(file = %path.display(), max, "no more reports fit on the disk while NATS is away; what ends now waits for it"));
        }
    }

    /// All are delivered.
    pub(super) fn clear(&mut self) {
        if self.bytes == 0 {
            return;
        }
        self.told = false;
        match self.cut(0) {
            Ok(()) => self.bytes = 0,
            // They are told once more by the next life, which is no harm.
            Err(e) => {
                tracing::warn!(file = %self.path.display(), error = %e, "reports that are delivered cannot be removed from the disk")
            }
        }
    }

    fn cut(&mut self, at: u64) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(())
    }

    fn say(&mut self, say: impl FnOnce(&Path)) {
        if !std::mem::replace(&mut self.told, true) {
            say(&self.path);
        }
    }
}

/// The reports that are whole, and how many bytes they take.
fn read(bytes: &[u8]) -> (Vec<Report>, usize) {
    let (mut reports, mut whole) = (Vec::new(), 0);
    while let Some((len, rest)) = bytes[whole..].split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len) as usize;
        let Some(report) = rest.get(..len).and_then(|b| codec::decode(Encoding::MessagePack, b).ok()) else {
            break;
        };
        reports.push(report);
        whole += 4 + len;
    }
    (reports, whole)
}

#[cfg(test)]
mod tests {
    use muster_events::id::TaskId;
    use muster_events::report::Ending;
    use muster_events::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn report(task: u128, what: What) -> Report {
        let attempt = AttemptRef { task: TaskId::new(Uuid::from_u128(task)), number: 1, fence: 7 };
        Report { attempt, at: Timestamp::from_micros(5), what, result: None }
    }

    fn started(task: u128) -> Report {
        report(task, What::Started { handle: "1".into() })
    }

    fn ended(task: u128) -> Report {
        report(task, What::Ended(Ending::Exited { code: 7 }))
    }

    #[test]
    fn what_has_ended_is_told_in_order_by_the_next_life() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, none) = Journal::open(folder.path()).unwrap();
        assert!(none.is_empty());
        journal.append([&started(1), &started(2)].into_iter());
        journal.append([&ended(2)].into_iter());
        drop(journal);
        let (mut journal, left) = Journal::open(folder.path()).unwrap();
        assert_eq!(left, [started(2), ended(2)]);
        // What is told meanwhile stands behind.
        journal.append([&ended(1)].into_iter());
        assert_eq!(Journal::open(folder.path()).unwrap().1, [started(1), started(2), ended(2), ended(1)]);
        journal.clear();
        journal.append([&ended(3)].into_iter());
        assert_eq!(Journal::open(folder.path()).unwrap().1, [ended(3)]);
    }

    #[test]
    fn one_that_is_not_whole_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.append([&ended(1), &ended(2)].into_iter());
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let (mut journal, left) = Journal::open(folder.path()).unwrap();
        assert_eq!(left, [ended(1)]);
        journal.append([&ended(3)].into_iter());
        assert_eq!(Journal::open(folder.path()).unwrap().1, [ended(1), ended(3)]);
        // What a file system leaves of what it had not written.
        std::fs::write(&path, [&whole[..], &[0; 200]].concat()).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().1, [ended(1), ended(2)]);
    }

    #[test]
    fn it_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.bytes_max = 100;
        assert!(!journal.is_full());
        journal.append([&ended(1), &ended(2)].into_iter());
        assert!(journal.is_full());
        journal.clear();
        assert!(!journal.is_full());
    }
}
