//! `muster bench`: that it measures all it names. What comes out says nothing here, the machine is busy with other tests.

use std::collections::BTreeSet;
use std::process::Stdio;

use muster_tests::cluster::muster;
use muster_tests::nats_server;
use serde_json::Value;
use tokio::process::Command;

/// At each setting, and how many tasks a thousandth of the work is stands in the names of three.
const FIGURES: [&str; 25] = [
    "tasks_placed",
    "tasks_of_a_batch_placed",
    "memory_manager_at_100_tasks",
    "memory_api_at_100_tasks",
    "memory_nats_server_at_100_tasks",
    "raw_publishes_beside_submits_over_nats",
    "raw_publishes_beside_submits_over_nats_ungathered",
    "raw_publishes_beside_submits_over_rest",
    "submits_over_nats",
    "submits_over_nats_ungathered",
    "submits_over_rest",
    "bare_spawns",
    "programs_completed",
    "memory_worker_after_5_programs",
    "submit_to_running_p50",
    "submit_to_running_p99",
    "submit_to_finished_p50",
    "submit_to_finished_p99",
    "raw_push_read",
    "replay",
    "lease",
    "takeover_p50",
    "takeover_p99",
    "hand_over_p50",
    "hand_over_p99",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_is_there_with_its_limit_and_its_aim() {
    let dir = tempfile::Builder::new().prefix("muster-bench-").tempdir().unwrap();
    let output = Command::new(muster())
        .args(["bench", "--json", "--divide-by", "1000", "--dir"])
        .arg(dir.path())
        .arg("--nats-server")
        .arg(nats_server::binary().unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The kernel counts processor time in hundredths of a second: of so little work it shows only where it happened
    // to pass one.
    let (costs, figures): (Vec<Value>, Vec<Value>) =
        figures.into_iter().partition(|figure| figure["name"].as_str().unwrap().contains("_cpu_"));
    assert!(!costs.is_empty(), "starting five programs alone takes longer than that");

    let names: Vec<&str> = figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect();
    let expected: BTreeSet<String> = ["power_loss", "process"]
        .iter()
        .flat_map(|setting| FIGURES.iter().map(move |name| format!("{name}.{setting}")))
        .collect();
    assert_eq!(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), expected);
    assert_eq!(names.len(), expected.len(), "each once: {names:?}");

    let positive = |value: &Value| value.as_f64().is_some_and(|number| number.is_finite() && number > 0.0);
    for cost in &costs {
        assert!(positive(&cost["value"]), "{cost}");
        assert!(cost["unit"].as_str().unwrap().starts_with("cpu us/"), "{cost}");
        assert!(FIGURES.iter().any(|name| cost["name"].as_str().unwrap().starts_with(name)), "{cost}");
    }
    for figure in &figures {
        assert!(positive(&figure["value"]), "{figure}");
        assert!(
            ["tasks/s", "MiB", "messages/s", "submits/s", "spawns/s", "ms", "events/s"]
                .contains(&figure["unit"].as_str().unwrap())
        );
        // Without a limit there is no ratio, and both are named all the same.
        for field in ["limit", "ratio"] {
            assert!(figure.get(field).is_some_and(|value| value.is_null() || positive(value)), "{figure}");
        }
        assert_eq!(figure["limit"].is_null(), figure["ratio"].is_null(), "{figure}");
        let aim = &figure["aim"];
        assert!(aim.is_null() || aim.as_str().is_some_and(|aim| aim.contains("= ")), "{figure}");
        assert_eq!(aim.is_null(), figure["met"].is_null(), "whether it is reached: {figure}");
    }
    let aimed = figures.iter().filter(|figure| !figure["aim"].is_null()).count();
    assert_eq!(aimed, 2 * 7, "submits in three ways, programs, the time to the end, and two take-overs");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it cleans up");
}
