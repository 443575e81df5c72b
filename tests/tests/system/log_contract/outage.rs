//! The server goes away, comes back, and may have forgotten things: nobody loses anything that was acknowledged.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use muster_events::output::OutputStream::Stdout;
use muster_events::time::Timestamp;
use muster_log::bus::{Bus, CommandLog, EventLog, HeartbeatLog, Leadership, OrderLog, OutputLog};
use muster_log::error::{AppendError, LogError};
use muster_log::nats::NatsBus;
use muster_tests::nats_server::NatsServer;

use super::fixtures::*;

async fn raw(server: &NatsServer) -> Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

/// Waits until the bus has noticed that its server is gone.
async fn gone(bus: &NatsBus) {
    bus.link().wait_for(|link| !link.up).await.unwrap();
}

/// Appends `count` commits, each behind the one before. When nobody knows whether one was stored, the log is asked.
async fn append_all(bus: &NatsBus, count: u64) {
    for number in 1..=count {
        loop {
            match bus.append(&commit(number), number - 1).await {
                Ok(appended) => assert_eq!(appended.position, number),
                Err(AppendError::Conflict { .. }) => {
                    assert_eq!(bus.get(number).await.unwrap().unwrap().commit, commit(number));
                }
                Err(AppendError::Log(LogError::Unavailable(_))) => continue,
                Err(other) => panic!("{other}"),
            }
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_outlive_the_server() {
    const COUNT: u64 = 4_000;
    let mut server = NatsServer::start().await.unwrap();
    let (writer, reader) = (open(&server).await, open(&server).await);
    let mut commits = reader.read(1).await.unwrap();
    let mut commands = reader.read_commands(1).await.unwrap();
    let appending = tokio::spawn({
        let writer = Arc::clone(&writer);
        async move { append_all(&writer, COUNT).await }
    });
    let publishing = tokio::spawn(async move {
        let ids: Vec<u64> = (0..COUNT).collect();
        for some in ids.chunks(100) {
            let published =
                join_all(some.iter().map(|n| writer.publish_command(command(&format!("c-{n}"), "x")))).await;
            assert!(published.iter().all(Result::is_ok), "{published:?}");
        }
    });
    let reading = tokio::spawn(async move {
        for number in 1..=COUNT {
            let stored = take(&mut commits, 1).await.remove(0);
            assert_eq!((stored.position, stored.commit), (number, commit(number)));
        }
    });
    // The server is killed whenever another quarter of the commands has been read.
    let mut ids = Vec::new();
    for quarter in 1..=4 {
        while ids.len() < usize::try_from(COUNT).unwrap() * quarter / 4 {
            let incoming = within(take(&mut commands, 1)).await.remove(0);
            assert_eq!(incoming.position, ids.len() as u64 + 1);
            ids.push(incoming.id.unwrap());
        }
        server.kill9().unwrap();
        server.restart().await.unwrap();
    }
    within(async { tokio::join!(publishing, appending, reading) }).await.0.unwrap();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, COUNT, "each command is there once");
}

#[tokio::test]
async fn what_is_published_while_the_server_is_away_is_there_when_it_is_back() {
    let mut server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    server.kill9().unwrap();
    gone(&bus).await;
    let commands = bus.publish_command(command("c-1", "x"));
    let order = orders("w-1", 1);
    let ordered = bus.publish_orders(&order);
    let printed =
        bus.publish_output(output(task(1), 1, Stdout), Timestamp::from_micros(1), None, Bytes::from("x"));
    let last = bus.last_position();
    let restart = server.restart();
    let (published, ordered, printed, last, restarted) =
        within(async { tokio::join!(commands, ordered, printed, last, restart) }).await;
    restarted.unwrap();
    assert_eq!((published.unwrap().position, last.unwrap()), (1, 0));
    ordered.unwrap();
    printed.unwrap();
    assert_eq!(bus.read_output(task(1), None, false).await.unwrap().count().await, 1);
}

#[tokio::test]
async fn a_heartbeat_is_not_kept_for_a_server_that_is_away() {
    let mut server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    server.kill9().unwrap();
    gone(&bus).await;
    let error = bus.publish_heartbeat(&heartbeat("w-1", 1)).await.unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn live_streams_go_on_after_a_restart() {
    let mut server = NatsServer::start().await.unwrap();
    let (bus, other) = (open(&server).await, open(&server).await);
    let mut heartbeats = bus.heartbeats().await.unwrap();
    let mut deliveries = bus.take_orders(&worker("w-1")).await.unwrap();
    let mut chunks = bus.read_output(task(1), None, true).await.unwrap();
    for round in 1..=3_u32 {
        within(async {
            let topic = output(task(1), round, Stdout);
            other.publish_output(topic, Timestamp::from_micros(1), None, Bytes::from("x")).await.unwrap();
            other.publish_orders(&orders("w-1", u64::from(round))).await.unwrap();
            other.publish_heartbeat(&heartbeat("w-1", round)).await.unwrap();
            assert_eq!(take(&mut heartbeats, 1).await[0].held, round);
            assert_eq!(take(&mut chunks, 1).await[0].attempt, round);
            let delivery = take(&mut deliveries, 1).await.remove(0);
            assert_eq!(fence(&delivery.orders), u64::from(round));
            delivery.done.await.unwrap();
        })
        .await;
        server.kill9().unwrap();
        server.restart().await.unwrap();
        for bus in [&bus, &other] {
            let connects = u64::from(round) + 1;
            within(bus.link().wait_for(|link| link.up && link.connects == connects)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_reader_whose_consumer_is_deleted_makes_another() {
    let server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    let mut commits = bus.read(1).await.unwrap();
    let mut deliveries = bus.take_orders(&worker("w-1")).await.unwrap();
    bus.append(&commit(1), 0).await.unwrap();
    take(&mut commits, 1).await;
    let raw = raw(&server).await;
    for name in ["muster-EVENTS", "muster-ORDERS"] {
        let stream = raw.get_stream(name).await.unwrap();
        let consumers: Vec<_> = stream.consumer_names().collect().await;
        assert_eq!(consumers.len(), 1);
        stream.delete_consumer(consumers[0].as_ref().unwrap()).await.unwrap();
    }
    bus.append(&commit(2), 1).await.unwrap();
    bus.publish_orders(&orders("w-1", 1)).await.unwrap();
    assert_eq!(within(take(&mut commits, 1)).await[0].position, 2);
    assert_eq!(fence(&within(take(&mut deliveries, 1)).await[0].orders), 1);
}

#[tokio::test]
async fn consumers_of_readers_that_are_gone_are_gone() {
    let server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    bus.publish_output(output(task(1), 1, Stdout), Timestamp::from_micros(1), None, Bytes::from("x"))
        .await
        .unwrap();
    for _ in 0..50 {
        assert_eq!(bus.read_output(task(1), None, false).await.unwrap().count().await, 1);
    }
    let logs = raw(&server).await.get_stream("muster-LOGS").await.unwrap();
    within(async { while logs.get_info().await.unwrap().state.consumer_count > 0 {} }).await;
}

#[tokio::test]
async fn a_lost_message_is_never_passed_over() {
    let server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    bus.append(&commit(1), 0).await.unwrap();
    let raw = raw(&server).await;
    let broken = raw.publish("muster.evt", "not a commit".into()).await.unwrap().await.unwrap();
    assert_eq!(broken.sequence, 2);
    bus.append(&commit(3), 2).await.unwrap();
    let mut commits = bus.read(1).await.unwrap();
    take(&mut commits, 1).await;
    let error = commits.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, LogError::Unreadable { seq: 2, stream, .. } if stream == "muster-EVENTS"),
        "{error}"
    );
    assert!(commits.next().await.is_none());
    assert!(matches!(bus.get(2).await, Err(LogError::Unreadable { seq: 2, .. })));
}

#[tokio::test]
async fn the_lead_is_lost_with_the_server_and_can_be_had_again() {
    let lease = Duration::from_millis(900);
    let mut server = NatsServer::start().await.unwrap();
    let (bus, other) = (open(&server).await, open(&server).await);
    let held = bus.lead(&node("m-1"), lease).await.unwrap();
    server.kill9().unwrap();
    within(held.lost.cancelled()).await;
    let standby = other.lead(&node("m-2"), lease);
    let (next, restarted) = within(async { tokio::join!(standby, server.restart()) }).await;
    restarted.unwrap();
    let next = next.unwrap();
    assert_eq!(bus.leader().await.unwrap(), Some(node("m-2")));
    next.release.await.unwrap();
}

#[tokio::test]
async fn a_leader_that_renews_is_not_replaced() {
    let lease = Duration::from_millis(600);
    let server = NatsServer::start().await.unwrap();
    let (bus, other) = (open(&server).await, open(&server).await);
    let held = bus.lead(&node("m-1"), lease).await.unwrap();
    let standby = tokio::spawn(async move { other.lead(&node("m-2"), lease).await });
    // The key's revisions count the renewals: several leases' worth of them.
    let bucket = raw(&server).await.get_key_value("muster-cell").await.unwrap();
    let mut renewals = bucket.watch_with_history("leader").await.unwrap();
    for _ in 0..12 {
        let entry = within(renewals.next()).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&entry.value).contains("m-1"));
    }
    assert!(!held.lost.is_cancelled() && !standby.is_finished());
    held.release.await.unwrap();
    within(standby).await.unwrap().unwrap();
}

/// The newest orders may be gone with the server, and their sequences given to others; a worker's consumer that
/// remembers more than its stream must not pass over the others.
#[tokio::test]
async fn orders_after_a_crash_are_not_passed_over() {
    let mut server = NatsServer::start().await.unwrap();
    let (bus, other) = (open(&server).await, open(&server).await);
    let mut deliveries = bus.take_orders(&worker("w-1")).await.unwrap();
    for round in 1..=10_u64 {
        within(async {
            for number in 0..50 {
                other.publish_orders(&orders("w-1", round * 100 + number)).await.unwrap();
            }
            let mut missing: BTreeSet<u64> = (0..50).map(|number| round * 100 + number).collect();
            while !missing.is_empty() {
                let delivery = take(&mut deliveries, 1).await.remove(0);
                missing.remove(&fence(&delivery.orders));
                delivery.done.await.unwrap();
            }
        })
        .await;
        server.kill9().unwrap();
        server.restart().await.unwrap();
    }
}

/// A folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn another_log_in_the_place_of_the_old_one_is_told_and_the_same_one_is_not() {
    let mut server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    let mut replaced = bus.replaced();
    let (data, away) = (server.dir().join("data"), server.dir().join("away"));
    // A server without its data is an outage.
    server.kill9().unwrap();
    fs::rename(&data, &away).unwrap();
    server.restart().await.unwrap();
    within(bus.link().wait_for(|link| link.up && link.connects == 2)).await.unwrap();
    server.kill9().unwrap();
    fs::remove_dir_all(&data).ok();
    fs::rename(&away, &data).unwrap();
    server.restart().await.unwrap();
    within(bus.append(&commit(1), 0)).await.unwrap();
    assert_eq!(*replaced.borrow(), None);

    server.kill9().unwrap();
    fs::remove_dir_all(&data).unwrap();
    server.restart().await.unwrap();
    let other = open(&server).await;
    let said = within(replaced.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    for id in [bus.log_id(), other.log_id()] {
        assert!(said.contains(&id.to_string()), "{said}");
    }
    assert_eq!(*other.replaced().borrow(), None);
}

#[tokio::test]
async fn a_log_that_has_gone_back_ends_the_reading() {
    let mut server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    let (data, backup) = (server.dir().join("data"), server.dir().join("backup"));
    bus.append(&commit(1), 0).await.unwrap();
    server.kill9().unwrap();
    copy(&data, &backup);
    server.restart().await.unwrap();
    let mut commits = bus.read(1).await.unwrap();
    let mut commands = bus.read_commands(1).await.unwrap();
    within(append_all(&bus, 3)).await;
    bus.publish_command(command("c-1", "x")).await.unwrap();
    take(&mut commits, 3).await;
    take(&mut commands, 1).await;
    // As after a power loss without syncing, or an old backup.
    server.kill9().unwrap();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&backup, &data).unwrap();
    server.restart().await.unwrap();
    let said = |error: LogError| matches!(&error, LogError::Unfit(lines) if lines[0].contains("has lost"));
    assert!(said(within(commits.next()).await.unwrap().unwrap_err()));
    assert!(said(within(commands.next()).await.unwrap().map(drop).unwrap_err()));
    assert!(commits.next().await.is_none());
}
