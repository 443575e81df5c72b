//! The power goes: what the server has written and not synced is gone with it. The server stores on a file system of its own,
//! in a file; a copy of that file, taken while the server is stopped in its tracks, holds what had reached the disk, and not
//! what waited in memory to be written. With `sync_interval: always` every acknowledged write is in it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use muster_log::bus::{CommandLog as _, EventLog as _};
use muster_log::error::Result;
use muster_log::nats::{NatsBus, NatsConfig};
use muster_tests::nats_server::{NatsServer, Options};

use crate::log_contract::fixtures::{command, commit, within};

/// Commits and commands before the power goes.
const COUNT: u64 = 200;
/// Bytes of the file system.
const DISK_BYTES: u64 = 96 << 20;

/// A mounted file system in a file; unmounted with the value.
struct Disk {
    file: PathBuf,
    at: PathBuf,
}

fn run(program: &str, arguments: &[&Path]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

impl Disk {
    fn make(file: &Path) -> io::Result<()> {
        std::fs::File::create(file)?.set_len(DISK_BYTES)?;
        run("mkfs.ext4", &[Path::new("-q"), file])
    }

    fn mount(file: &Path, at: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        run("mount", &[Path::new("-o"), Path::new("loop"), file, at])?;
        Ok(Self { file: file.to_owned(), at: at.to_owned() })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing can be done about one that is held.
        drop(run("umount", &[Path::new("-l"), &self.at]));
    }
}

/// Appends and publishes on a server that stores on a disk, has the power go, and tells how many commits and commands are
/// there on what is left of the disk. Nothing where this machine lets nobody mount.
async fn left(sync_always: bool) -> Option<(u64, u64)> {
    let folder = tempfile::Builder::new().prefix("muster-power-").tempdir().unwrap();
    let file = folder.path().join("disk");
    let disk = match Disk::make(&file).and_then(|()| Disk::mount(&file, &folder.path().join("mounted"))) {
        Ok(disk) => disk,
        Err(error) => {
            let text =
                format!("the loss of power is not tested: that needs the right to mount a file: {error}");
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("{text}");
            return None;
        }
    };
    let options = |at: &Path| Options {
        sync_always,
        // More than the disk has: what is asked for is not used.
        jetstream: "max_file_store: 8GB".to_owned(),
        store: Some(at.join("store")),
        ..Options::default()
    };
    let server = NatsServer::start_with(options(&disk.at)).await.unwrap();
    let bus = NatsBus::open(NatsConfig::new(server.url())).await.unwrap();
    // What made the streams is on the disk in any case: it is not about that.
    run("sync", &[Path::new("-f"), &disk.at]).unwrap();
    for number in 1..=COUNT {
        bus.append(&commit(number), number - 1).await.unwrap();
        bus.publish_command(command(&format!("c-{number}"), "x")).await.unwrap();
    }
    server.freeze().unwrap();
    let copy = folder.path().join("copy");
    std::fs::copy(&disk.file, &copy).unwrap();
    drop((bus, server));
    let after = Disk::mount(&copy, &folder.path().join("after")).unwrap();
    let server = NatsServer::start_with(options(&after.at)).await.unwrap();
    let held = within(held(&server)).await.unwrap();
    drop(server);
    Some(held)
}

async fn held(server: &NatsServer) -> Result<(u64, u64)> {
    let client = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let count = async |name: &str| match client.get_stream(name).await {
        Ok(stream) => stream.cached_info().state.messages,
        Err(_) => 0,
    };
    Ok((count("muster-EVENTS").await, count("muster-COMMANDS").await))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sync_always_all_that_was_acknowledged_is_there_and_without_it_is_not() {
    let Some(always) = left(true).await else { return };
    assert_eq!(always, (COUNT, COUNT));
    // So the power does go in this test.
    let (commits, commands) = left(false).await.unwrap();
    assert!(commits < COUNT && commands < COUNT, "{commits} {commands}");
}
