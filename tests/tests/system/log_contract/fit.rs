//! At the start: the server is fit and the streams are as they must be, or the reason is said.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, PersistenceMode};
use async_nats::jetstream::{self, Context};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use muster_events::id::LogId;
use muster_log::bus::{Bus, Durability, EventLog};
use muster_log::error::{AppendError, LogError};
use muster_log::nats::{Known, NatsBus, NatsConfig, Streams};
use muster_tests::nats_server::{NatsServer, Options};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::fixtures::*;

async fn raw(server: &NatsServer) -> Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

fn config(server: &NatsServer) -> NatsConfig {
    NatsConfig::new(server.url())
}

/// The lines that say why the server does not fit.
async fn unfit(config: NatsConfig) -> Vec<String> {
    match NatsBus::open(config).await.map(drop).unwrap_err() {
        LogError::Unfit(lines) => lines,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_truth_is_kept_synchronously_and_what_is_derived_is_not() {
    let server = NatsServer::start().await.unwrap();
    open(&server).await;
    let raw = raw(&server).await;
    for (name, mode) in [
        ("COMMANDS", PersistenceMode::Default),
        ("EVENTS", PersistenceMode::Default),
        ("ORDERS", PersistenceMode::Async),
        ("HEARTBEATS", PersistenceMode::Async),
        ("LOGS", PersistenceMode::Async),
    ] {
        let stream = raw.get_stream(format!("muster-{name}")).await.unwrap();
        assert_eq!(stream.cached_info().config.persist_mode.unwrap_or_default(), mode, "{name}");
    }
}

/// Greets as a server of this version, and answers pings.
async fn pretend(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let info = serde_json::json!({
        "server_id": "X", "server_name": "old", "version": version, "proto": 1, "go": "go", "host": "127.0.0.1",
        "port": address.port(), "headers": true, "max_payload": 1 << 20, "jetstream": true, "client_id": 1,
    });
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            client.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
            let (read, mut write) = client.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") {
                    write.write_all(b"PONG\r\n").await.unwrap();
                }
            }
        }
    });
    format!("nats://{address}")
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_and_nothing_is_asked_of_it() {
    for version in ["2.14.2", "2.12.9"] {
        let lines = within(unfit(NatsConfig { wait: true, ..NatsConfig::new(pretend(version).await) })).await;
        let said = ["server old", version, "2.14.3 or newer"];
        assert!(lines.len() == 1 && said.iter().all(|said| lines[0].contains(said)), "{lines:?}");
    }
}

#[tokio::test]
async fn many_may_start_at_once_and_again() {
    let server = NatsServer::start().await.unwrap();
    for _ in 0..2 {
        let buses = try_join_all((0..8).map(|_| NatsBus::open(config(&server)))).await.unwrap();
        assert_eq!(buses.len(), 8);
    }
}

#[tokio::test]
async fn a_stream_with_another_configuration_is_refused_with_each_difference() {
    let server = NatsServer::start().await.unwrap();
    let raw = raw(&server).await;
    let events = Config {
        name: "muster-EVENTS".to_owned(),
        subjects: vec!["muster.evt".to_owned()],
        persist_mode: Some(PersistenceMode::Async),
        max_age: Duration::from_hours(1),
        deny_delete: true,
        num_replicas: 1,
        allow_direct: true,
        ..Config::default()
    };
    raw.create_stream(events).await.unwrap();
    let lines = unfit(config(&server)).await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, said) in lines.iter().zip([
        "stream muster-EVENTS: max_age is 3600 s, muster needs not set",
        "stream muster-EVENTS: deny_purge is not set, muster needs true",
        "stream muster-EVENTS: persist_mode is \"async\", muster needs default (synchronous)",
    ]) {
        assert!(line.starts_with(said), "{line}");
    }
    // It was left as it is, and nothing was made beside it.
    assert_eq!(raw.get_stream("muster-EVENTS").await.unwrap().cached_info().config.max_age.as_secs(), 3600);
    assert!(raw.get_stream("muster-ORDERS").await.is_err());
}

#[tokio::test]
async fn a_missing_stream_is_not_made_again() {
    let server = NatsServer::start().await.unwrap();
    open(&server).await.append(&commit(1), 0).await.unwrap();
    let raw = raw(&server).await;
    raw.delete_stream("muster-EVENTS").await.unwrap();
    let lines = unfit(config(&server)).await;
    assert!(
        matches!(lines.as_slice(), [line] if line.contains("muster-EVENTS is missing") && line.contains("backup")),
        "{lines:?}"
    );
    assert!(raw.get_stream("muster-EVENTS").await.is_err());
}

#[tokio::test]
async fn too_little_disk_is_told_with_what_is_needed_and_where() {
    let jetstream = "max_file_store: 64MB".to_owned();
    let server = NatsServer::start_with(Options { jetstream, ..Options::default() }).await.unwrap();
    let folder = server.dir().join("data").display().to_string();
    for (monitor, there) in [
        (vec![server.monitor_url()], [folder.as_str(), "64 MiB", "0 MiB of it"]),
        (vec![], ["does not tell us", "max_file_store", "start the server again"]),
    ] {
        let error = NatsBus::open(NatsConfig { monitor, ..config(&server) }).await.map(drop).unwrap_err();
        let LogError::NoRoom(text) = error else { panic!("{error}") };
        let needs = ["muster-ORDERS", "1536 MiB", "LOGS 1024 MiB", "ORDERS 256 MiB", "HEARTBEATS 256 MiB"];
        for said in needs.into_iter().chain(there) {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}

#[tokio::test]
async fn a_log_that_is_known_is_not_begun_again() {
    let mut server = NatsServer::start().await.unwrap();
    let log = open(&server).await.log_id();
    assert_eq!(open(&server).await.log_id(), log);
    let knowing = |known: &Known, server: &NatsServer| NatsConfig { known: known.clone(), ..config(server) };
    let some = Known::Some("the folder x holds a log".to_owned());
    for known in [&Known::Log(log), &some] {
        assert_eq!(NatsBus::open(knowing(known, &server)).await.unwrap().log_id(), log);
    }
    server.kill9().unwrap();
    std::fs::remove_dir_all(server.dir().join("data")).unwrap();
    server.restart().await.unwrap();
    for (known, said) in [(&Known::Log(log), log.to_string()), (&some, "the folder x".to_owned())] {
        let error = NatsBus::open(knowing(known, &server)).await.map(drop).unwrap_err();
        assert!(matches!(&error, LogError::OtherLog(text) if text.contains(&said)), "{error}");
        assert!(raw(&server).await.get_stream("muster-EVENTS").await.is_err(), "nothing was made");
    }
    // Somebody begins another, knowing of none.
    let other = open(&server).await.log_id();
    assert_ne!(other, log);
    let error = NatsBus::open(knowing(&Known::Log(log), &server)).await.map(drop).unwrap_err();
    assert!(matches!(&error, LogError::OtherLog(text) if text.contains(&other.to_string())), "{error}");
}

#[tokio::test]
async fn the_log_of_an_older_build_is_given_an_id_and_keeps_it() {
    let server = NatsServer::start().await.unwrap();
    let before = open(&server).await.log_id();
    let bucket = raw(&server).await.get_key_value("muster-cell").await.unwrap();
    let record = bucket.get("record").await.unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record.as_object_mut().unwrap().remove("log"), Some(before.to_string().into()));
    bucket.put("record", record.to_string().into()).await.unwrap();
    // Who makes nothing waits for who does.
    let expecting = |wait| NatsConfig { streams: Streams::Expect, wait, ..config(&server) };
    let error = NatsBus::open(expecting(false)).await.map(drop).unwrap_err();
    assert!(matches!(&error, LogError::Unavailable(text) if text.contains("start a manager")), "{error}");
    let waiting = tokio::spawn(NatsBus::open(expecting(true)));
    let managers = try_join_all((0..8).map(|_| NatsBus::open(config(&server)))).await.unwrap();
    let ids: std::collections::BTreeSet<LogId> = managers.iter().map(|bus| bus.log_id()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(ids.contains(&within(waiting).await.unwrap().unwrap().log_id()));
}

#[tokio::test]
async fn the_servers_sync_policy_is_found_out() {
    for (sync_always, durability) in [(true, Durability::PowerLoss), (false, Durability::Process)] {
        let server = NatsServer::start_with(Options { sync_always, ..Options::default() }).await.unwrap();
        let monitored = NatsConfig { monitor: vec![server.monitor_url()], ..config(&server) };
        assert_eq!(NatsBus::open(monitored).await.unwrap().fitness().durability, durability);
        assert_eq!(open(&server).await.fitness().durability, Durability::Unknown);
    }
}

#[tokio::test]
async fn the_sync_policy_is_found_out_over_nats() {
    let more = r#"
        system_account: SYS
        no_auth_user: anybody
        accounts {
            SYS { exports: [ { service: "$SYS.REQ.SERVER.PING.VARZ", accounts: [MUSTER] } ] }
            MUSTER {
                jetstream: enabled
                imports: [ { service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.VARZ" } } ]
                users: [ { user: anybody, password: x } ]
            }
        }"#;
    let server =
        NatsServer::start_with(Options { sync_always: true, more: more.to_owned(), ..Options::default() })
            .await
            .unwrap();
    assert_eq!(open(&server).await.fitness().durability, Durability::PowerLoss);
}

#[tokio::test]
async fn without_a_server_the_error_says_where_it_was_sought() {
    let mut server = NatsServer::start().await.unwrap();
    server.kill9().unwrap();
    let error = NatsBus::open(config(&server)).await.map(drop).unwrap_err();
    assert!(matches!(&error, LogError::Unavailable(text) if text.contains(&server.url())), "{error}");

    let mut waiting = NatsBus::open(NatsConfig { wait: true, ..config(&server) }).boxed();
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    server.restart().await.unwrap();
    within(waiting).await.unwrap();
}

#[tokio::test]
async fn who_makes_no_streams_waits_for_them() {
    let server = NatsServer::start().await.unwrap();
    let expecting = |wait| NatsConfig { streams: Streams::Expect, wait, ..config(&server) };
    let waiting = tokio::spawn(NatsBus::open(expecting(true)));
    open(&server).await;
    within(waiting).await.unwrap().unwrap();
    NatsBus::open(expecting(false)).await.unwrap();
}

#[tokio::test]
async fn a_lacking_permission_is_named() {
    let more = r#"authorization { users: [
        { user: manager, password: m },
        { user: worker, password: w, permissions: { publish: { deny: "muster.evt" }, subscribe: ">" } }
    ] }"#;
    let server =
        NatsServer::start_with(Options { more: more.to_owned(), ..Options::default() }).await.unwrap();
    let as_user = |user: &str, password: &str| NatsConfig {
        credentials: muster_log::nats::Credentials::UserPassword {
            user: user.to_owned(),
            password: password.to_owned(),
        },
        wait: true,
        ..config(&server)
    };
    NatsBus::open(as_user("manager", "m")).await.unwrap().append(&commit(1), 0).await.unwrap();
    let worker = NatsBus::open(as_user("worker", "w")).await.unwrap();
    let error = worker.append(&commit(2), 1).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Log(LogError::Refused(text)) if text.contains("\"muster.evt\"")),
        "{error}"
    );
    // Waiting would not make a wrong password right.
    let error = NatsBus::open(as_user("worker", "x")).await.map(drop).unwrap_err();
    assert!(matches!(&error, LogError::Refused(text) if text.contains("password")), "{error}");
}
