//! Output of tasks.

use bytes::Bytes;
use futures_util::StreamExt;
use muster_events::output::OutputStream;
use muster_events::subject::Topic;

use super::{Harness, done, task};
use crate::app::now;

async fn print(harness: &Harness, id: &str, stream: OutputStream, text: &'static str) {
    let topic = Topic::Output { job: "-".to_owned(), task: id.parse().unwrap(), attempt: 1, stream };
    harness.bus.publish_output(topic, now(), Bytes::from_static(text.as_bytes())).await.unwrap();
}

#[tokio::test]
async fn all_one_stream_and_the_tail() {
    let harness = Harness::new().await;
    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    print(&harness, &id, OutputStream::Stdout, "one\ntwo\n").await;
    print(&harness, &id, OutputStream::Stderr, "oops\n").await;
    print(&harness, &id, OutputStream::Stdout, "three\nfo").await;
    print(&harness, &id, OutputStream::Stdout, "ur").await;
    let path = format!("/api/v1/manager/tasks/{id}/logs");
    for (query, expected) in [
        ("", "one\ntwo\noops\nthree\nfour"),
        ("?stream=stderr", "oops\n"),
        ("?stream=stdout&tail=2", "three\nfour"),
        ("?tail=3", "oops\nthree\nfour"),
        ("?tail=4", "two\noops\nthree\nfour"),
        ("?tail=100", "one\ntwo\noops\nthree\nfour"),
        ("?tail=0", ""),
    ] {
        let answer = harness.get(&format!("{path}{query}")).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(answer.text().await.unwrap(), expected, "{query}");
    }
    for query in ["stream=both", "tail=-1", "follow=maybe", "colour=red"] {
        assert_eq!(done(harness.get(&format!("{path}?{query}"))).await.0, 400, "{query}");
    }
    harness.end().await;
}

#[tokio::test]
async fn following_ends_with_the_task_and_misses_nothing() {
    let harness = Harness::new().await;
    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    print(&harness, &id, OutputStream::Stdout, "zero\none\n").await;
    let answer =
        harness.get(&format!("/api/v1/manager/tasks/{id}/logs?follow=true&tail=1")).send().await.unwrap();
    let mut bytes = answer.bytes_stream();
    assert_eq!(bytes.next().await.unwrap().unwrap(), "one\n");
    print(&harness, &id, OutputStream::Stdout, "two\n").await;
    assert_eq!(bytes.next().await.unwrap().unwrap(), "two\n");
    print(&harness, &id, OutputStream::Stderr, "three\n").await;
    harness.manager.started(&id).await;
    harness.manager.exited(&id, 0).await;
    let mut rest = String::new();
    while let Some(piece) = bytes.next().await {
        rest.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert_eq!(rest, "three\n");
    harness.end().await;
}
