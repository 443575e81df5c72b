//! Who is let in, and what is not opened to a network by accident.

use muster_tests::cluster::{Cluster, Setup, answer, http_client};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_beyond_this_machine_needs_a_token_and_tls() {
    let cluster = Cluster::start_without_waiting(Setup { workers: 0, ..Setup::default() }).await;
    let tokens = cluster.dir().join("tokens");
    std::fs::write(&tokens, "secret-enough-for-a-test\n").unwrap();
    let tokens = tokens.display().to_string();
    let nats = cluster.nats.url();
    for (arguments, word) in [
        (vec!["api", "--listen", "0.0.0.0:0", "--nats", &nats], "--insecure"),
        (vec!["api", "--listen", "0.0.0.0:0", "--nats", &nats, "--token-file", &tokens], "--tls-cert"),
        (vec!["worker", "--id", "x", "--http", "0.0.0.0:0", "--nats", &nats], "--insecure"),
        (vec!["up", "--listen", "0.0.0.0:0"], "--insecure"),
    ] {
        let (code, out, errors) = cluster.cli(&arguments).await;
        assert_ne!(code, 0, "{arguments:?}");
        assert!(
            errors.contains("refusing to listen on 0.0.0.0") && errors.contains(word),
            "{arguments:?}: {out}{errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_every_path_but_health_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "alice:the-token-of-alice-0123456789\nthe-token-of-the-admin-0123456789\n")
        .unwrap();
    let setup =
        Setup { workers: 1, ..Setup::default() }.with("api", &["--token-file", tokens.to_str().unwrap()]);
    let cluster = Cluster::start_without_waiting(setup).await;
    let http = http_client();
    let health = format!("{}/health", cluster.api_url());
    muster_tests::cluster::until("the API answers", async || {
        answer(http.get(&health)).await.filter(|a| a.status == 200)
    })
    .await;

    for path in ["/api/v1/manager/tasks", "/api/v1/workers", "/events", "/metrics", "/api/v1/no/such/path"] {
        for header in [None, Some("Bearer wrong"), Some("Basic YTpi"), Some("the-token-of-alice-0123456789")]
        {
            let mut request = http.get(format!("{}{path}", cluster.api_url()));
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            let answer = answer(request).await.unwrap();
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (401, &json!(401)),
                "{path} {header:?}: {}",
                answer.body
            );
        }
    }
    let submit = http
        .post(format!("{}/api/v1/manager/tasks", cluster.api_url()))
        .bearer_auth("the-token-of-alice-0123456789")
        .json(&muster_tests::cluster::task(json!({})));
    let id = answer(submit).await.unwrap().expect(201)["id"].as_str().unwrap().to_owned();
    let events = http
        .get(format!("{}/events?task={id}&limit=1", cluster.api_url()))
        .bearer_auth("the-token-of-the-admin-0123456789");
    let page = answer(events).await.unwrap().expect(200);
    assert_eq!(page["events"][0]["actor"], "alice", "{page}");
}
