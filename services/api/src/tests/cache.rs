//! What an API keeps of what it has folded: another start answers the same from it, and nothing that does not fit is used.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_domain::fold::{Fold, Moment};
use muster_events::subject::Cell;
use muster_log::bus::Bus;
use muster_log::memory::MemoryBus;
use serde_json::{Value, json};

use super::{Harness, config, start, task, task_with};
use crate::app::ApiConfig;
use crate::cache::{Cache, CacheConfig};
use crate::commands::Waiters;
use crate::model::Model;

fn cached(folder: &Path, events: u64) -> CacheConfig {
    CacheConfig { folder: folder.to_owned(), events }
}

/// A harness whose API keeps what it folds at its end, and whenever so many events are new; some of what it has seen has
/// left.
async fn worked(folder: &Path, events: u64) -> Harness {
    let harness = Harness::with(ApiConfig { cache: Some(cached(folder, events)), ..config() }).await;
    for n in 0..12 {
        let labels = json!({ "name": format!("n{}", n % 3), "labels": { "even": (n % 2 == 0).to_string() } });
        let created = harness.submit(&task_with(labels)).await;
        let id = created["id"].as_str().unwrap();
        if n < 8 {
            harness.manager.started(id).await;
            harness.sees(harness.manager.exited(id, n % 2).await).await;
        }
    }
    let batch = json!({ "kind": "batch", "name": "b", "count": 2, "task": task() });
    assert_eq!(super::done(harness.post("/api/v1/jobs", &batch)).await.0, 201);
    harness.sees(harness.manager.trim(3).await).await;
    harness.submit(&task_with(json!({ "name": "last", "count": 3 }))).await;
    harness
}

/// Folds the log up to its end.
async fn folded(bus: &dyn Bus) -> Model {
    let mut model = Model::default();
    for position in 1..=bus.last_position().await.unwrap() {
        model.fold(bus.get(position).await.unwrap().unwrap(), &Waiters::default()).unwrap();
    }
    model
}

/// A bus with a log, and a folder with what an API kept of it at its end.
async fn kept() -> (tempfile::TempDir, Arc<dyn Bus>) {
    let folder = tempfile::tempdir().unwrap();
    let harness = worked(folder.path(), 10).await;
    let bus = Arc::clone(&harness.bus);
    harness.end().await;
    (folder, bus)
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    found.sort();
    found
}

async fn all(url: &str, paths: &[String]) -> Vec<Value> {
    let mut answers = Vec::new();
    for path in paths {
        answers.push(reqwest::get(format!("{url}{path}")).await.unwrap().json().await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_start_from_what_was_kept_answers_as_one_from_the_log() {
    let (folder, bus) = kept().await;
    let cache = Cache::new(cached(folder.path(), 10));
    let begun = cache.newest(&*bus).await.unwrap();
    assert_eq!(begun.head().position, bus.last_position().await.unwrap(), "kept at the end");
    let whole = folded(&*bus).await;
    assert_eq!(begun.state, whole.state);
    let left: Vec<_> = (0..whole.state.next_seq)
        .filter_map(|seq| {
            let position = whole.events.position_of(seq.max(1));
            whole.events.recent(position).and_then(|commit| {
                let (_, _, event) = commit.events().find(|(at, _, _)| *at == seq)?;
                event.task().filter(|id| whole.tasks.has_left(*id))
            })
        })
        .collect();
    assert!(!left.is_empty());
    assert!(left.iter().all(|id| begun.tasks.seqs(*id) == whole.tasks.seqs(*id)));

    let mut paths: Vec<String> = [
        "/api/v1/manager/tasks?limit=4",
        "/api/v1/manager/tasks?name=n1",
        "/api/v1/manager/tasks?label=even%3Dtrue&order=desc",
        "/api/v1/manager/tasks?state=completed",
        "/api/v1/manager/tasks?worker=w-1",
        "/api/v1/manager/tasks?job=b",
        "/api/v1/jobs/b",
        "/events?limit=1000",
        "/events?type=task.submitted&order=desc&limit=4",
        "/events?worker=w-1&limit=1000",
        "/events?job=b",
        "/api/v1/manager/cluster?hash=true",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(left.iter().map(|id| format!("/api/v1/manager/tasks/{id}")));
    let (plain, stop_plain, plain_api) = start(config(), Arc::clone(&bus)).await;
    let with = ApiConfig { cache: Some(cached(folder.path(), 10)), ..config() };
    let (from_cache, stop, api) = start(with, Arc::clone(&bus)).await;
    assert_eq!(all(&from_cache, &paths).await, all(&plain, &paths).await);
    // Also of the past, which begins with the nearest state.
    let nearest = cache.before(&*bus, Moment::Seq(30)).await;
    let past: Vec<String> = [1, 7, 30, 40, whole.state.last_seq()]
        .iter()
        .map(|seq| format!("/api/v1/rebalance?at={seq}"))
        .chain(left.iter().map(|id| format!("/api/v1/tasks/{id}/explain?at=30")))
        .collect();
    assert_eq!(all(&from_cache, &past).await, all(&plain, &past).await);
    assert!(nearest.is_none_or(|Fold { state, .. }| state.last_seq() <= 30));
    for (stop, api) in [(stop, api), (stop_plain, plain_api)] {
        stop.cancel();
        api.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_is_folded_is_kept_while_the_api_works_and_the_past_begins_there() {
    let folder = tempfile::tempdir().unwrap();
    let harness = worked(folder.path(), 10).await;
    let cache = Cache::new(cached(folder.path(), 10));
    let mut seen = 0;
    while seen < 3 {
        harness.submit(&task()).await;
        seen = seen.max(files(folder.path(), "state-").len());
    }
    let bus = Arc::clone(&harness.bus);
    harness.end().await;
    let oldest = cache.before(&*bus, Moment::Seq(u64::MAX)).await.unwrap();
    assert!(oldest.head.position > 0);
    assert!(files(folder.path(), "views-").len() <= 2, "older views are of no use");
    assert_eq!(cache.newest(&*bus).await.unwrap().state, {
        let mut model = Model::default();
        for position in 1..=cache.newest(&*bus).await.unwrap().head().position {
            model.fold(bus.get(position).await.unwrap().unwrap(), &Waiters::default()).unwrap();
        }
        model.state
    });
    assert!(cache.before(&*bus, Moment::Seq(0)).await.is_none());
}

#[tokio::test]
async fn what_is_damaged_cut_off_or_of_another_build_or_log_is_passed_over() {
    let (folder, bus) = kept().await;
    let cache = Cache::new(cached(folder.path(), 10));
    let newest = files(folder.path(), "views-").pop().unwrap();
    let state = files(folder.path(), "state-").pop().unwrap();
    let (whole, its_state) = (fs::read(&newest).unwrap(), fs::read(&state).unwrap());
    let position = bus.last_position().await.unwrap();
    let older = files(folder.path(), "views-").len() > 1;
    let passed_over = async |why: &str| {
        let begun = cache.newest(&*bus).await.map(|model| model.head().position);
        assert!(
            if older { begun.is_some_and(|at| at < position) } else { begun.is_none() },
            "{why}: {begun:?}"
        );
    };
    for (path, good) in [(&newest, &whole), (&state, &its_state)] {
        let middle = good.len() / 2;
        let mut flipped = good.clone();
        flipped[middle] ^= 1;
        let mut other_build = good.clone();
        other_build[9] ^= 1;
        for (why, bytes) in [
            ("flipped", &flipped[..]),
            ("cut off", &good[..middle]),
            ("another build", &other_build),
            ("empty", &[]),
        ] {
            fs::write(path, bytes).unwrap();
            passed_over(why).await;
        }
        fs::write(path, good).unwrap();
    }
    fs::remove_file(&state).unwrap();
    passed_over("no state").await;
    fs::write(&state, &its_state).unwrap();
    assert_eq!(cache.newest(&*bus).await.unwrap().head().position, position);

    let other = Harness::new().await;
    assert!(cache.newest(&*other.bus).await.is_none(), "another log");
    let empty = MemoryBus::new(Cell::default());
    assert!(cache.newest(&empty).await.is_none(), "an empty log");
    other.end().await;

    // An API that finds nothing of use folds the log, and answers.
    for path in files(folder.path(), "views-") {
        fs::write(path, b"nothing").unwrap();
    }
    let with = ApiConfig { cache: Some(cached(folder.path(), 10)), ..config() };
    let (url, stop, api) = start(with, Arc::clone(&bus)).await;
    let tasks = all(&url, &["/api/v1/manager/tasks".to_owned()]).await;
    assert!(tasks[0]["total"].as_u64().unwrap() > 3);
    stop.cancel();
    api.await.unwrap().unwrap();
}
