//! Real containers on the machine's own Docker, from an image made of its static busybox.

use std::path::Path;
use std::process::{Command, Stdio};

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::{Value, json};

use crate::bad_input::the_log_replays;

const IMAGE: &str = "muster-test-busybox:1";
/// What the image's programs are called.
const APPLETS: [&str; 8] = ["sh", "sleep", "echo", "cat", "dd", "true", "wc", "trap"];

/// Makes the image. False where this machine has no Docker, which only a developer's may say.
fn image() -> bool {
    let works = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    let docker = works(Command::new("docker").arg("info"));
    let (true, Some(busybox)) = (docker, busybox) else {
        let text = "containers are not tested: they need Docker and busybox-static";
        assert!(std::env::var_os("CI").is_none(), "{text}");
        eprintln!("{text}");
        return false;
    };
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(busybox, bin.join("busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    let tar = root.path().join("image.tar");
    assert!(works(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(root.path()).arg("bin")));
    assert!(works(Command::new("docker").arg("import").arg(&tar).arg(IMAGE)));
    true
}

/// One worker that offers containers.
async fn cluster() -> Option<Cluster> {
    if !image() {
        return None;
    }
    Some(
        Cluster::start(Setup { workers: 1, ..Setup::default() }.only("worker", &["--offer", "docker"])).await,
    )
}

fn container(command: &[&str]) -> Value {
    json!({ "name": "c", "image": IMAGE, "runtime": "docker", "command": command, "memory": 32 << 20 })
}

/// Docker's words about the container of a task.
fn inspect(task: &str, format: &str) -> String {
    let filter = format!("label=muster.task={task}");
    let id = output(&["ps", "-aq", "--filter", &filter]);
    output(&["inspect", "--format", format, &id])
}

fn output(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_prints_and_ends_with_its_exit_code() {
    let Some(cluster) = cluster().await else { return };
    let id = cluster.submit(container(&["sh", "-c", "echo out; echo err >&2; exit 7"])).await;
    let done = cluster.ended_task(&id).await;
    assert_eq!((done["state"].as_str(), done["exit_code"].as_i64()), (Some("failed"), Some(7)), "{done}");
    let logs = until("both lines are there", async || {
        let text = cluster.try_get(&format!("/api/v1/manager/tasks/{id}/logs")).await?.body;
        let mut words: Vec<String> = text.as_str()?.split_whitespace().map(str::to_owned).collect();
        words.sort();
        (words.len() == 2).then_some(words)
    })
    .await;
    assert_eq!(logs, ["err", "out"]);
    let errors = cluster.get(&format!("/api/v1/manager/tasks/{id}/logs?stream=stderr")).await;
    assert_eq!(errors.as_str().map(str::trim), Some("err"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let Some(cluster) = cluster().await else { return };
    let mut fields = container(&["sleep", "600"]);
    fields["cpu"] = json!(0.5);
    fields["pids"] = json!(16);
    let id = cluster.submit(fields).await;
    cluster.in_state(&id, &["running"]).await;
    let limits = inspect(&id, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}");
    assert_eq!(limits, format!("{} 500000000 16", 32 << 20));
    cluster.delete(&format!("/api/v1/manager/tasks/{id}")).await;
    assert_eq!(cluster.ended_task(&id).await["state"], "cancelled");

    // Four times what it may have, touched byte by byte.
    let greedy =
        cluster.submit(container(&["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=4"])).await;
    let done = cluster.ended_task(&greedy).await;
    assert_eq!((done["state"].as_str(), done["reason"].as_str()), (Some("failed"), Some("oom")), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_stopped_and_removed() {
    let Some(cluster) = cluster().await else { return };
    let id = cluster.submit(container(&["sleep", "600"])).await;
    cluster.in_state(&id, &["running"]).await;
    let answer = cluster.delete(&format!("/api/v1/manager/tasks/{id}")).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    assert_eq!(cluster.ended_task(&id).await["state"], "cancelled");
    until("the container is removed", async || {
        output(&["ps", "-aq", "--filter", &format!("label=muster.task={id}")]).is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_adopted_after_its_worker_was_killed() {
    let Some(mut cluster) = cluster().await else { return };
    let long = cluster.submit(container(&["sh", "-c", "echo before; while true; do sleep 1; done"])).await;
    let short = cluster.submit(container(&["sh", "-c", "sleep 2; exit 5"])).await;
    cluster.in_state(&long, &["running"]).await;
    cluster.in_state(&short, &["running"]).await;
    let container_id = inspect(&long, "{{.Id}}");
    cluster.kill9("w1").await;
    // One of them ends while nobody watches.
    until("the short one has exited", async || {
        (inspect(&short, "{{.State.Status}}") == "exited").then_some(())
    })
    .await;
    cluster.start_part("w1");
    let done = cluster.ended_task(&short).await;
    assert_eq!((done["exit_code"].as_i64(), done["attempt"].as_u64()), (Some(5), Some(1)), "{done}");
    // The other is the same container still, in its first attempt, and obeys the new life of its worker.
    cluster.all_active().await;
    let task = cluster.task(&long).await;
    assert_eq!((task["state"].as_str(), task["attempt"].as_u64()), (Some("running"), Some(1)), "{task}");
    assert_eq!(inspect(&long, "{{.Id}} {{.State.Running}}"), format!("{container_id} true"));
    cluster.delete(&format!("/api/v1/manager/tasks/{long}")).await;
    assert_eq!(cluster.ended_task(&long).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_fails_in_dockers_words() {
    let Some(cluster) = cluster().await else { return };
    let mut fields = container(&["true"]);
    fields["image"] = json!("localhost:1/no/such/image:0");
    let id = cluster.submit(fields).await;
    let done = cluster.ended_task(&id).await;
    let reason = done["reason"].as_str().unwrap_or_default();
    assert_eq!(done["state"], "failed");
    assert!(reason.contains("localhost:1") && reason.len() > 40, "{reason}");
    // The worker takes containers only.
    let id = cluster.submit(container(&["true"])).await;
    assert_eq!(cluster.ended_task(&id).await["state"], "completed");
    the_log_replays(&cluster).await;
}
