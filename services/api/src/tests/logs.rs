//! Output of tasks.

use bytes::Bytes;
use futures_util::StreamExt;
use muster_events::output::OutputStream;
use muster_events::subject::Topic;
use muster_events::time::Timestamp;
use serde_json::Value;

use super::{Harness, done, task};
use crate::app::now;

async fn print(harness: &Harness, id: &str, stream: OutputStream, text: &'static str) {
    let topic = Topic::Output { job: "-".to_owned(), task: id.parse().unwrap(), attempt: 1, stream };
    harness.bus.publish_output(topic, now(), None, Bytes::from_static(text.as_bytes())).await.unwrap();
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

#[tokio::test]
async fn an_api_that_ends_breaks_off_what_is_followed() {
    let harness = Harness::new().await;
    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    print(&harness, &id, OutputStream::Stdout, "one\n").await;
    let mut follow = Vec::new();
    for accept in ["text/plain", "application/x-ndjson"] {
        let request = harness.get(&format!("/api/v1/manager/tasks/{id}/logs?follow=true"));
        let mut bytes = request.header("Accept", accept).send().await.unwrap().bytes_stream();
        assert!(bytes.next().await.unwrap().is_ok());
        follow.push(bytes);
    }
    harness.end().await;
    for mut bytes in follow {
        assert!(bytes.next().await.unwrap().is_err(), "taken for the end of the output");
    }
}

/// The lines of an answer in JSON: attempt, stream, text, and whether it is whole.
fn lines(text: &str) -> Vec<(u64, String, String, bool)> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|l| {
            assert!(l["at"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{l}");
            (l["attempt"].as_u64().unwrap(), word(&l, "stream"), word(&l, "text"), l["partial"] != true)
        })
        .collect()
}

#[tokio::test]
async fn by_line_each_is_an_object() {
    let harness = Harness::new().await;
    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    print(&harness, &id, OutputStream::Stdout, "one\ntw").await;
    print(&harness, &id, OutputStream::Stderr, "oops\n").await;
    print(&harness, &id, OutputStream::Stdout, "o\nthree").await;
    let one = (1, "stdout".into(), "one".into(), true);
    let oops = (1, "stderr".into(), "oops".into(), true);
    let two = (1, "stdout".into(), "two".into(), true);
    let three = (1, "stdout".into(), "three".into(), false);
    let path = format!("/api/v1/manager/tasks/{id}/logs");
    for (query, expected) in [
        ("", vec![&one, &oops, &two, &three]),
        ("?stream=stderr", vec![&oops]),
        ("?tail=2", vec![&two, &three]),
        ("?tail=0", vec![]),
    ] {
        let request = harness.get(&format!("{path}{query}")).header("Accept", "application/x-ndjson");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        assert_eq!(lines(&answer.text().await.unwrap()).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    harness.end().await;
}

#[tokio::test]
async fn by_line_a_line_that_is_followed_comes_when_it_is_whole() {
    let harness = Harness::new().await;
    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    print(&harness, &id, OutputStream::Stdout, "zero\none\ntw").await;
    let path = format!("/api/v1/manager/tasks/{id}/logs?follow=true&tail=1");
    let answer = harness.get(&path).header("Accept", "application/x-ndjson").send().await.unwrap();
    let mut bytes = answer.bytes_stream();
    let first = bytes.next().await.unwrap().unwrap();
    assert_eq!(lines(std::str::from_utf8(&first).unwrap())[0].2, "one");
    print(&harness, &id, OutputStream::Stdout, "o\nthree").await;
    harness.manager.started(&id).await;
    harness.manager.exited(&id, 0).await;
    let mut rest = String::new();
    while let Some(piece) = bytes.next().await {
        rest.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    let rest: Vec<_> = lines(&rest).into_iter().map(|(_, _, text, whole)| (text, whole)).collect();
    assert_eq!(rest, [("two".into(), true), ("three".into(), false)]);
    harness.end().await;
}
