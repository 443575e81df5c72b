//! The disk of NATS is full: everybody is told so, and there being space again is enough to go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use muster_tests::cluster::{answer, end_now, http_client, muster, until};
use muster_tests::nats_server;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Mounts a small file system, which nobody else sees and which ends with it, and becomes `muster up` on it.
const ON_SMALL_DISK: &str = r#"mount -t tmpfs -o size=112m tmpfs "$0" && exec "$@""#;

/// `muster up` on a disk of its own.
struct Up {
    dir: TempDir,
    child: Child,
    api: String,
}

/// Whether this machine lets us mount; only a developer's may say no.
async fn may_mount(folder: &Path) -> bool {
    let done = Command::new("unshare")
        .args(["--mount", "sh", "-c", ON_SMALL_DISK])
        .arg(folder)
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .await;
    let may = done.is_ok_and(|status| status.success());
    if !may {
        let text = "a full disk is not tested: that needs the right to mount";
        assert!(std::env::var_os("CI").is_none(), "{text}");
        eprintln!("{text}");
    }
    may
}

impl Up {
    async fn start() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("muster-full-").tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        if !may_mount(&data).await {
            return None;
        }
        // Without this the server promises its streams no more than the disk has, and they ask for more.
        let conf = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats.conf")).unwrap();
        let promising = conf.replacen("jetstream {\n", "jetstream {\n  max_file_store: 8GB\n", 1);
        assert_ne!(conf, promising);
        let conf = dir.path().join("nats.conf");
        fs::write(&conf, promising).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", ON_SMALL_DISK])
            .arg(&data)
            .arg(muster())
            .args(["up", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--nats-port", "0"])
            .args(["--offer", "process", "--workers", "1", "--data"])
            .arg(&data)
            .arg("--nats-server")
            .arg(nats_server::binary().unwrap())
            .arg("--nats-conf")
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap();
        let line = line
            .unwrap_or_else(|| panic!("it ended: {}", fs::read_to_string(dir.path().join("log")).unwrap()));
        let record: Value = serde_json::from_str(&line).unwrap();
        let api = record["api"].as_str().unwrap().to_owned();
        Some(Self { dir, child, api })
    }

    /// The small disk, seen from outside.
    fn disk(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id().unwrap()));
        root.join(self.dir.path().join("data").strip_prefix("/").unwrap())
    }

    async fn submit(&self, name: &str, padding: usize) -> (u16, Value) {
        let task = json!({ "name": name, "command": ["true"], "env": { "PADDING": "x".repeat(padding) } });
        let request = http_client().post(format!("{}/api/v1/manager/tasks", self.api)).json(&task);
        let answer = answer(request).await.unwrap();
        (answer.status, answer.body)
    }

    async fn get(&self, path: &str) -> Value {
        answer(http_client().get(format!("{}{path}", self.api))).await.unwrap().body
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- muster up\n{}", self.log());
        }
        end_now(&mut self.child);
    }
}

/// Writes until the disk takes no more.
fn fill(file: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(file).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let piece = vec![0_u8; size];
        while file.write_all(&piece).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_from_the_start_is_told() {
    let dir = tempfile::Builder::new().prefix("muster-small-").tempdir().unwrap();
    if !may_mount(dir.path()).await {
        return;
    }
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", ON_SMALL_DISK])
        .arg(dir.path())
        .arg(muster())
        .args(["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--nats-port", "0", "--data"])
        .arg(dir.path())
        .arg("--nats-server")
        .arg(nats_server::binary().unwrap())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let nats = dir.path().join("nats").display().to_string();
    for word in ["too little disk", "needs 1536 MiB", "the server may use", "are free in", &nats, "--data"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_outlived() {
    let Some(up) = Up::start().await else { return };
    let (status, first) = up.submit("before", 0).await;
    assert_eq!(status, 201, "{first}");
    let ballast = up.disk().join("ballast");
    fill(&ballast);
    until("somebody is told that the disk is full", async || {
        let (status, body) = up.submit("full", 90_000).await;
        // What is in the file system's blocks already may still take a write or two.
        (status == 503 && body.to_string().contains("disk is probably full")).then_some(())
    })
    .await;
    let status = up.get("/api/v1/status").await;
    assert_eq!(status["status"], "unhealthy", "{status}");
    assert_eq!(status["components"]["nats"]["status"], "unhealthy", "{status}");
    assert!(status["components"]["nats"]["message"].as_str().unwrap().contains("disk"), "{status}");
    assert!(up.log().contains("WARN NATS answers but does not store"), "{}", up.log());

    fs::remove_file(&ballast).unwrap();
    let id = until("tasks are taken again", async || {
        let (status, body) = up.submit("after", 0).await;
        (status == 201).then(|| body["id"].as_str().unwrap().to_owned())
    })
    .await;
    until("a task runs again", async || {
        let task = up.get(&format!("/api/v1/manager/tasks/{id}")).await;
        (task["state"] == "completed").then_some(())
    })
    .await;
    until("all is well again", async || {
        (up.get("/api/v1/status").await["status"] == "healthy").then_some(())
    })
    .await;
    let before = format!("/api/v1/manager/tasks/{}", first["id"].as_str().unwrap());
    until("what was taken before has been done", async || {
        (up.get(&before).await["state"] == "completed").then_some(())
    })
    .await;
}
