//! The worker's own HTTP, as far as it needs no manager. The contract suite asks the rest of a whole cluster.

use std::net::SocketAddr;

use muster_http::ListenConfig;
use muster_worker::WorkerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::driver::{Driver, sh, within};

/// Status line and body of an answer.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    // HTTP/1.0: an answer that streams is not cut into chunks, it ends with the connection.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(connection.read_to_string(&mut answer)).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn it_tells_what_it_is_and_what_it_runs() {
    let mut driver = Driver::new(None).await;
    let http = Some(ListenConfig::plain("127.0.0.1:0".parse().unwrap()));
    let life = driver.start(WorkerConfig { http, ..driver.config() }).await;
    let address = life.ready.http.unwrap();
    assert_eq!(driver.register().await.info.address, address.to_string());

    let (attempt, _) = driver.run(&sh("echo one; echo two; echo three; exit 3")).await;
    let task = format!("/api/v1/worker/tasks/{}", attempt.task);
    let (status, body) = ask(address, "GET", &task).await;
    assert_eq!(status, 200);
    for part in [r#""state":"failed""#, r#""exit_code":3"#, r#""reason":"exit code 3""#] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    let (_, logs) = ask(address, "GET", &format!("{task}/logs?follow=true")).await;
    assert_eq!(logs, "one\ntwo\nthree\n");
    let (_, logs) = ask(address, "GET", &format!("{task}/logs?tail=1")).await;
    assert_eq!(logs, "three\n");
    assert_eq!(ask(address, "GET", &format!("{task}/logs?tail=x")).await.0, 400);
    assert_eq!(ask(address, "GET", "/api/v1/worker/tasks?state=failed").await.0, 200);
    assert_eq!(ask(address, "GET", "/api/v1/worker/tasks?state=odd").await.0, 400);
    let (status, body) = ask(address, "GET", "/api/v1/worker/tasks/nonsense").await;
    assert!(status == 404 && body.contains(r#""code":404"#), "{body}");
    let (_, status) = ask(address, "GET", "/api/v1/worker/status").await;
    assert!(status.contains(r#""status":"idle""#), "{status}");
    let (_, health) = ask(address, "GET", "/api/health").await;
    assert!(health.contains(r#""maxLoad":100"#), "{health}");
    life.end().await;
}
