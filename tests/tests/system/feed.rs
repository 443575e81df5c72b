//! The live feed goes on where it stopped, without a gap and without a repeat.

use futures_util::StreamExt as _;
use muster_tests::cluster::{Cluster, Setup, http_client, until};
use serde_json::json;

/// Reads ids from the feed, from after `last` on, until it has `count` of them or the connection ends.
async fn read(api: &str, last: u64, count: usize) -> Vec<u64> {
    let request = http_client().get(format!("{api}/events")).header("Accept", "text/event-stream");
    let Ok(response) = request.header("Last-Event-ID", last.to_string()).send().await else {
        return Vec::new();
    };
    assert_eq!(response.status().as_u16(), 200);
    let (mut ids, mut text) = (Vec::new(), String::new());
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            if let Some(id) = line.strip_prefix("id:") {
                ids.push(id.trim().parse().unwrap());
                if ids.len() == count {
                    return ids;
                }
            }
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_back_misses_nothing() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let job =
        cluster.post("/api/v1/manager/tasks", &muster_tests::cluster::task(json!({ "count": 100 }))).await;
    assert_eq!(job.status, 201, "{}", job.body);
    let mut seen: Vec<u64> = Vec::new();
    // In small pieces, with the API dying in between; each piece begins where the last ended.
    for round in 0..10 {
        let last = seen.last().copied().unwrap_or(0);
        seen.extend(read(cluster.api_url(), last, 20).await);
        if round % 4 == 2 {
            cluster.kill9("api").await;
            cluster.start_part("api");
            cluster.all_active().await;
        }
    }
    until("all are done", async || {
        let page = cluster.try_get("/api/v1/manager/tasks?state=completed&limit=1").await?;
        (page.body["total"] == 100).then_some(())
    })
    .await;
    let all = cluster.events("").await.len();
    while seen.len() < all {
        let last = seen.last().copied().unwrap_or(0);
        seen.extend(read(cluster.api_url(), last, all - seen.len()).await);
    }
    assert_eq!(seen, (1..=all as u64).collect::<Vec<_>>());
}
