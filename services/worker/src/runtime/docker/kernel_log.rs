//! What the kernel itself says of a container's end.
//!
//! The engine hears that a container ran out of memory from a counter in the container's control group, which is
//! removed with the container: under load the engine comes too late and never learns of it. The kernel has written the
//! reason into its log before the program was gone. Who may read that log (root, or CAP_SYSLOG) need not guess.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the kernel's log is read: each read gives one record.
const LOG: &str = "/dev/kmsg";
/// The longest record (`CONSOLE_EXT_LOG_MAX` in the kernel's `include/linux/printk.h`).
const RECORD_BYTES_MAX: usize = 8192;
/// The most records looked at: more than the largest usual buffer holds, so that a log which is written faster than
/// it is read cannot hold us.
const RECORDS_MAX: usize = 1 << 18;

/// Whether the kernel says that it killed something in this container for its memory. False also when the log may not
/// be read. Blocks for as long as reading the kernel's buffer takes: milliseconds.
pub(super) fn tells_of_oom(container: &str) -> bool {
    search(Path::new(LOG), |record| is_oom_of(record, container))
}

/// `oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/docker/<container>,task=…` (`mm/oom_kill.c`, `dump_oom_victim`).
fn is_oom_of(record: &[u8], container: &str) -> bool {
    let record = String::from_utf8_lossy(record);
    record.split_once("oom-kill:").is_some_and(|(_, said)| said.contains(container))
}

fn search(log: &Path, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let Ok(mut log) = OpenOptions::new().read(true).custom_flags(nonblocking).open(log) else { return false };
    let mut record = [0; RECORD_BYTES_MAX];
    for _ in 0..RECORDS_MAX {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(bytes) if wanted(&record[..bytes]) => return true,
            Ok(_) => {}
            // The record was overwritten while we read: the next read goes on behind it.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            // Nothing more, for now.
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let record = b"3,1234,561658864,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ac8f,\
                       mems_allowed=0,oom_memcg=/docker/ac8f,task_memcg=/docker/ac8f,task=dd,pid=467,uid=0\n";
        assert!(is_oom_of(record, "ac8f"));
        assert!(!is_oom_of(record, "beef"));
        assert!(!is_oom_of(b"6,1,2,-;container ac8f says hello", "ac8f"));
    }

    #[test]
    fn a_log_that_is_not_there_or_says_nothing_is_no_oom() {
        assert!(!search(Path::new("/nowhere/kmsg"), |_| true));
        assert!(!search(Path::new("/dev/null"), |_| true));
    }
}
