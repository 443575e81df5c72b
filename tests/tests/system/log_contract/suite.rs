//! The suite: each function is one promise of the bus.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use muster_events::codec::{self, Encoding};
use muster_events::hash::Hash;
use muster_events::leadership::Standby;
use muster_events::output::OutputStream::{Stderr, Stdout};
use muster_events::record::EventRecord;
use muster_events::time::Timestamp;
use muster_log::bus::Lease;
use muster_log::error::{AppendError, LogError};

use super::fixtures::*;

const LEASE: Duration = Duration::from_millis(900);

pub(super) async fn commits_stand_where_they_were_appended(buses: Buses) {
    let bus = buses.one;
    assert_eq!(bus.last_position().await.unwrap(), 0);
    assert_eq!(bus.get(1).await.unwrap(), None);
    for number in 1..=3 {
        let appended = bus.append(&commit(number), number - 1).await.unwrap();
        let bytes = codec::encode_commit(&commit(number)).unwrap();
        assert_eq!((appended.position, appended.hash), (number, Hash::of(&bytes)));
        let stored = bus.get(number).await.unwrap().unwrap();
        assert_eq!((stored.position, stored.hash, stored.bytes), (number, appended.hash, bytes.len()));
        assert_eq!(stored.commit, commit(number));
    }
    assert_eq!(buses.other.last_position().await.unwrap(), 3);
    assert_eq!(bus.get(0).await.unwrap(), None);
    assert_eq!(bus.get(4).await.unwrap(), None);
}

pub(super) async fn an_append_behind_a_wrong_position_is_a_conflict(buses: Buses) {
    let bus = buses.one;
    bus.append(&commit(1), 0).await.unwrap();
    for wrong in [0, 2, 100] {
        let error = bus.append(&commit(2), wrong).await.unwrap_err();
        assert!(matches!(error, AppendError::Conflict { expected } if expected == wrong), "{error}");
    }
    assert_eq!(bus.last_position().await.unwrap(), 1);
    bus.append(&commit(2), 1).await.unwrap();
}

pub(super) async fn a_lost_fence_is_noticed(buses: Buses) {
    buses.one.append(&commit(1), 0).await.unwrap();
    buses.other.append(&commit(20), 1).await.unwrap();
    let late = buses.one.append(&commit(2), 1).await.unwrap_err();
    assert!(matches!(late, AppendError::Conflict { expected: 1 }), "{late}");
    assert_eq!(buses.one.get(2).await.unwrap().unwrap().commit, commit(20));
}

pub(super) async fn of_two_who_append_at_once_one_is_refused(buses: Buses) {
    const ROUNDS: u64 = 300;
    let mut won = [0, 0];
    for position in 0..ROUNDS {
        let drafts = [commit(2 * position + 1), commit(2 * position + 2)];
        let (one, other) =
            tokio::join!(buses.one.append(&drafts[0], position), buses.other.append(&drafts[1], position));
        let winner = match (one, other) {
            (Ok(_), Err(AppendError::Conflict { expected })) if expected == position => 0,
            (Err(AppendError::Conflict { expected }), Ok(_)) if expected == position => 1,
            both => panic!("{both:?}"),
        };
        assert_eq!(buses.one.get(position + 1).await.unwrap().unwrap().commit, drafts[winner]);
        won[winner] += 1;
    }
    assert_eq!((buses.one.last_position().await.unwrap(), won[0] + won[1]), (ROUNDS, ROUNDS));
}

pub(super) async fn reading_begins_anywhere_and_goes_on_live(buses: Buses) {
    let mut early = buses.other.read(1).await.unwrap();
    assert!(early.next().now_or_never().is_none());
    for number in 1..=5 {
        buses.one.append(&commit(number), number - 1).await.unwrap();
    }
    let mut middle = buses.other.read(3).await.unwrap();
    let mut future = buses.other.read(6).await.unwrap();
    let stored = take(&mut middle, 3).await;
    assert_eq!(stored.iter().map(|s| s.position).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(stored[0].commit, commit(3));
    assert_eq!(stored[0].hash, Hash::of(&codec::encode_commit(&commit(3)).unwrap()));
    buses.one.append(&commit(6), 5).await.unwrap();
    assert_eq!(take(&mut middle, 1).await[0].commit, commit(6));
    assert_eq!(take(&mut future, 1).await[0].commit, commit(6));
    assert_eq!(take(&mut early, 6).await.iter().map(|s| s.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

pub(super) async fn every_reader_gets_everything(buses: Buses) {
    let readers = join_all((0..4).map(|_| async {
        let mut live = buses.other.read(1).await.unwrap();
        take(&mut live, 600).await.into_iter().map(|stored| stored.commit.first).collect::<Vec<_>>()
    }));
    let writer = async {
        for number in 1..=600 {
            buses.one.append(&commit(number), number - 1).await.unwrap();
        }
    };
    let (all, ()) = tokio::join!(readers, writer);
    for read in all {
        assert_eq!(read, (1..=600).collect::<Vec<_>>());
    }
}

pub(super) async fn a_command_is_stored_as_it_was_sent(buses: Buses) {
    let mut live = buses.other.read_commands(1).await.unwrap();
    let published = buses.one.publish_command(command("c-1", r#"{"name":"x"}"#)).await.unwrap();
    assert_eq!((published.position, published.duplicate), (1, false));
    let bare = muster_log::bus::Outgoing { reply: None, trace: None, ..command("c-2", "") };
    buses.one.publish_command(bare).await.unwrap();
    let [first, second] = <[_; 2]>::try_from(take(&mut live, 2).await).unwrap();
    let sent = command("c-1", "");
    let subject = format!("{}.cmd.alice.task.submit", buses.one.cell());
    assert_eq!((first.position, first.subject), (1, subject));
    assert_eq!((first.id.as_deref(), first.content_type.as_deref()), (Some("c-1"), Some(codec::JSON)));
    assert_eq!((first.reply, first.trace), (sent.reply, sent.trace));
    assert_eq!(first.payload, Bytes::from_static(br#"{"name":"x"}"#));
    assert!(first.at > Timestamp::from_micros(1_700_000_000_000_000));
    assert_eq!((second.position, second.reply, second.trace), (2, None, None));
}

pub(super) async fn a_repeated_command_is_stored_once(buses: Buses) {
    let first = buses.one.publish_command(command("c-1", "a")).await.unwrap();
    let again = buses.other.publish_command(command("c-1", "a")).await.unwrap();
    assert_eq!((again.position, again.duplicate), (first.position, true));
    buses.one.publish_command(command("c-2", "b")).await.unwrap();
    let mut live = buses.one.read_commands(1).await.unwrap();
    let ids: Vec<_> = take(&mut live, 2).await.into_iter().map(|c| (c.position, c.id.unwrap())).collect();
    assert_eq!(ids, [(1, "c-1".to_owned()), (2, "c-2".to_owned())]);
}

pub(super) async fn many_commands_at_once_are_all_stored(buses: Buses) {
    const COUNT: usize = 2_000;
    let published = join_all(
        (0..COUNT).map(|n| buses.one.publish_command(command(&format!("c-{n}"), &format!("payload {n}")))),
    )
    .await;
    let mut live = buses.other.read_commands(1).await.unwrap();
    let stored = take(&mut live, COUNT).await;
    assert_eq!(stored.iter().map(|c| c.position).collect::<Vec<_>>(), (1..=COUNT as u64).collect::<Vec<_>>());
    for (n, published) in published.into_iter().enumerate() {
        let found = &stored[usize::try_from(published.unwrap().position).unwrap() - 1];
        assert_eq!(found.id.as_deref(), Some(format!("c-{n}").as_str()));
        assert_eq!(found.payload, format!("payload {n}").into_bytes());
    }
}

pub(super) async fn orders_come_until_they_are_done(buses: Buses) {
    for (name, fence) in [("w-1", 1), ("w-2", 2), ("w-1", 3)] {
        buses.one.publish_orders(&orders(name, fence)).await.unwrap();
    }
    let mut live = buses.other.take_orders(&worker("w-1")).await.unwrap();
    let first = take(&mut live, 1).await.remove(0);
    let second = take(&mut live, 1).await.remove(0);
    assert_eq!((first.orders, fence(&second.orders)), (orders("w-1", 1), 3));
    first.done.await.unwrap();
    drop(second.done);
    let again = take(&mut live, 1).await.remove(0);
    assert_eq!(fence(&again.orders), 3);

    // A worker that ends with orders in hand gets them at once in its next life.
    let kept = again.done;
    drop(live);
    let mut live = buses.other.take_orders(&worker("w-1")).await.unwrap();
    drop(kept);
    let again = take(&mut live, 1).await.remove(0);
    assert_eq!(fence(&again.orders), 3);
    again.done.await.unwrap();
    buses.one.publish_orders(&orders("w-1", 4)).await.unwrap();
    loop {
        // The end of the earlier life and the beginning of the next may both bring number 3 again.
        let next = take(&mut live, 1).await.remove(0);
        let number = fence(&next.orders);
        next.done.await.unwrap();
        assert!(number == 3 || number == 4);
        if number == 4 {
            break;
        }
    }
    let mut others = buses.other.take_orders(&worker("w-2")).await.unwrap();
    assert_eq!(fence(&take(&mut others, 1).await[0].orders), 2);
}

pub(super) async fn heartbeats_begin_with_the_newest_of_each_worker(buses: Buses) {
    let mut all = buses.one.heartbeats().await.unwrap();
    for (name, held) in [("w-1", 1), ("w-2", 5), ("w-1", 2)] {
        buses.one.publish_heartbeat(&heartbeat(name, held)).await.unwrap();
    }
    let seen = take(&mut all, 3).await;
    assert_eq!(seen[2], heartbeat("w-1", 2));
    let mut late = buses.other.heartbeats().await.unwrap();
    assert_eq!(held(&take(&mut late, 2).await), [("w-1".to_owned(), 2), ("w-2".to_owned(), 5)].into());
    buses.one.publish_heartbeat(&heartbeat("w-2", 6)).await.unwrap();
    assert_eq!(take(&mut late, 1).await, [heartbeat("w-2", 6)]);
}

/// Prints four pieces of task 1 and one of task 2.
async fn print(buses: &Buses) {
    for (number, attempt, stream, text) in [
        (1, 1, Stdout, "a"),
        (1, 1, Stderr, "b"),
        (2, 1, Stdout, "not this"),
        (1, 2, Stdout, "c"),
        (1, 2, Stderr, "d"),
    ] {
        let topic = output(task(number), attempt, stream);
        buses.one.publish_output(topic, Timestamp::from_micros(77), None, Bytes::from(text)).await.unwrap();
    }
}

pub(super) async fn output_is_read_by_task_and_stream(buses: Buses) {
    print(&buses).await;
    let read = async |stream| {
        let chunks = buses.other.read_output(task(1), stream, false).await.unwrap();
        chunks
            .map(|chunk| chunk.unwrap())
            .map(|chunk| (chunk.attempt, chunk.stream, chunk.at.as_micros(), chunk.bytes))
            .collect::<Vec<_>>()
            .await
    };
    let (a, b) = ((1, Stdout, 77, Bytes::from("a")), (1, Stderr, 77, Bytes::from("b")));
    let (c, d) = ((2, Stdout, 77, Bytes::from("c")), (2, Stderr, 77, Bytes::from("d")));
    assert_eq!(read(None).await, [a.clone(), b.clone(), c.clone(), d.clone()]);
    assert_eq!(read(Some(Stdout)).await, [a, c]);
    assert_eq!(read(Some(Stderr)).await, [b, d]);
}

pub(super) async fn output_without_follow_ends(buses: Buses) {
    assert_eq!(buses.one.read_output(task(1), None, false).await.unwrap().count().await, 0);
    print(&buses).await;
    assert_eq!(buses.one.read_output(task(1), None, false).await.unwrap().count().await, 4);
    assert_eq!(buses.one.read_output(task(3), None, false).await.unwrap().count().await, 0);
}

pub(super) async fn output_is_followed(buses: Buses) {
    let mut early = buses.other.read_output(task(1), Some(Stdout), true).await.unwrap();
    print(&buses).await;
    let mut late = buses.other.read_output(task(1), None, true).await.unwrap();
    assert_eq!(take(&mut late, 4).await.len(), 4);
    buses
        .one
        .publish_output(output(task(1), 3, Stdout), Timestamp::from_micros(1), None, Bytes::from("live"))
        .await
        .unwrap();
    let early: Vec<_> = take(&mut early, 3).await.into_iter().map(|chunk| chunk.bytes).collect();
    assert_eq!(early, ["a", "c", "live"]);
    assert_eq!(take(&mut late, 1).await[0].bytes, "live");
}

pub(super) async fn outcomes_arrive_in_the_inbox(buses: Buses) {
    let (reply, mut outcomes) = buses.one.inbox().await.unwrap();
    let (another, mut others) = buses.one.inbox().await.unwrap();
    assert_ne!(reply, another);
    for text in ["one", "two"] {
        buses.other.publish_outcome(&reply, Encoding::Json, Bytes::from(text)).await.unwrap();
    }
    assert_eq!(take(&mut outcomes, 2).await, ["one", "two"]);
    assert!(others.next().now_or_never().is_none());
    for event in EventRecord::all(buses.other.cell(), &commit(1)) {
        buses.other.publish_feed(&event).await.unwrap();
    }
}

pub(super) async fn outcomes_go_to_no_forbidden_subject(buses: Buses) {
    let commits = format!("{}.evt", buses.one.cell());
    for bad in ["", "a b", "a.*", "a.>", "$JS.API.STREAM.DELETE.muster-EVENTS", &commits, "a..b"] {
        let error = buses.one.publish_outcome(bad, Encoding::Json, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, LogError::Refused(_)), "{bad}: {error}");
    }
}

pub(super) async fn the_manager_is_asked(buses: Buses) {
    let error = buses.one.ask_manager("status", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    let mut questions = buses.other.questions("status").await.unwrap();
    let manager = async {
        let question = take(&mut questions, 1).await.remove(0);
        assert_eq!(question.payload, "how?");
        (question.answer)(Bytes::from("well")).await.unwrap();
    };
    let (answer, ()) = tokio::join!(buses.one.ask_manager("status", Bytes::from("how?")), manager);
    assert_eq!(answer.unwrap(), "well");
}

pub(super) async fn the_lead_is_handed_over(buses: Buses) {
    assert_eq!(buses.one.leader().await.unwrap(), None);
    let Lease { lost, release, .. } = buses.one.lead(&node("m-1"), LEASE).await.unwrap();
    assert_eq!(buses.other.leader().await.unwrap(), Some(node("m-1")));
    let mut standby = buses.other.lead(&node("m-2"), LEASE);
    assert!(standby.as_mut().now_or_never().is_none());
    assert!(!lost.is_cancelled());
    let (released, next) = tokio::join!(release, standby);
    released.unwrap();
    lost.cancelled().await;
    let next = next.unwrap();
    assert!(!next.lost.is_cancelled());
    assert_eq!(buses.one.leader().await.unwrap(), Some(node("m-2")));
    next.release.await.unwrap();
    assert_eq!(buses.one.leader().await.unwrap(), None);
}

pub(super) async fn the_lead_of_a_dead_leader_runs_out(buses: Buses) {
    let dead = buses.one.lead(&node("m-1"), LEASE).await.unwrap();
    drop(dead);
    let next = buses.other.lead(&node("m-2"), LEASE).await.unwrap();
    assert_eq!(buses.one.leader().await.unwrap(), Some(node("m-2")));
    drop(next);
}

pub(super) async fn a_restarted_leader_leads_at_once(buses: Buses) {
    // With a lease of an hour, only the name can be the reason.
    let hour = Duration::from_hours(1);
    let before = buses.one.lead(&node("m-1"), hour).await.unwrap();
    let after = buses.other.lead(&node("m-1"), hour).await.unwrap();
    assert!(!after.lost.is_cancelled());
    assert_eq!(buses.one.leader().await.unwrap(), Some(node("m-1")));
    // The earlier life gives up something it does not have any more.
    before.release.await.unwrap();
    assert_eq!(buses.one.leader().await.unwrap(), Some(node("m-1")));
    after.release.await.unwrap();
    assert_eq!(buses.one.leader().await.unwrap(), None);
}

pub(super) async fn standbys_are_heard(buses: Buses) {
    let standby = |name, position| Standby {
        node: node(name),
        seq: position * 10,
        position,
        ready: position > 1,
        leaving: position > 2,
    };
    // Nobody has to listen.
    buses.other.announce(&standby("m-1", 1)).await.unwrap();
    // With this answer the server has that too.
    buses.other.last_position().await.unwrap();
    let mut heard = buses.one.standbys().await.unwrap();
    let said = [standby("m-1", 2), standby("m-2", 1), standby("m-1", 3)];
    for one in &said {
        buses.other.announce(one).await.unwrap();
    }
    assert_eq!(take(&mut heard, 3).await, said);
}

pub(super) async fn what_is_too_large_is_refused_before_it_is_sent(buses: Buses) {
    let bus = buses.one;
    let max = bus.fitness().max_payload;
    let big = "x".repeat(max + 1);
    let too_large =
        |error: &LogError| matches!(error, LogError::TooLarge { bytes, max: m } if *bytes > max && *m == max);
    match bus.append(&huge_commit(), 0).await.unwrap_err() {
        AppendError::Log(error) => assert!(too_large(&error), "{error}"),
        conflict => panic!("{conflict}"),
    }
    let error = bus.publish_command(command("c-1", &big)).await.unwrap_err();
    assert!(too_large(&error), "{error}");
    let topic = output(task(1), 1, Stdout);
    let error = bus
        .publish_output(topic, Timestamp::from_micros(1), None, Bytes::from(big.clone()))
        .await
        .unwrap_err();
    assert!(too_large(&error), "{error}");
    let (reply, _outcomes) = bus.inbox().await.unwrap();
    let error = bus.publish_outcome(&reply, Encoding::Json, Bytes::from(big)).await.unwrap_err();
    assert!(too_large(&error), "{error}");
    assert_eq!(bus.last_position().await.unwrap(), 0);
    bus.append(&commit(1), 0).await.unwrap();
}

pub(super) async fn snapshots_are_kept_newest_first_and_the_oldest_make_room(buses: Buses) {
    let positions = async || -> Vec<u64> {
        buses.other.snapshots().await.unwrap().iter().map(|kept| kept.position).collect()
    };
    assert_eq!(positions().await, [0; 0]);
    for position in [4, 8, 15, 16, 23] {
        buses.one.put_snapshot(position, position.to_string().into()).await.unwrap();
    }
    assert_eq!(positions().await, [23, 16, 15]);
    assert_eq!(buses.other.get_snapshot(8, 99).await.unwrap(), None);
    assert_eq!(buses.other.get_snapshot(16, 2).await.unwrap().as_deref(), Some(&b"16"[..]));
    let error = buses.other.get_snapshot(16, 1).await.unwrap_err();
    assert!(matches!(&error, LogError::Damaged(why) if why.contains("2 bytes, more than 1")), "{error}");
    // The same once more takes no other place, and what is ahead of a writer is of another log.
    buses.one.put_snapshot(23, "again".into()).await.unwrap();
    assert_eq!(positions().await, [23, 16, 15]);
    assert_eq!(buses.other.get_snapshot(23, 99).await.unwrap().as_deref(), Some(&b"again"[..]));
    buses.one.put_snapshot(20, "of a log made anew".into()).await.unwrap();
    assert_eq!(positions().await, [20, 16, 15]);
    assert_eq!(buses.one.snapshots().await.unwrap()[0].bytes, 18);
}

pub(super) async fn a_snapshot_of_many_chunks_comes_back_whole(buses: Buses) {
    for (position, length) in [(1, 0), (2, 131_072), (3, 131_073), (4, 3_000_000)] {
        let bytes: Bytes = (0..length).map(|at: u64| (at * at % 251) as u8).collect::<Vec<_>>().into();
        buses.one.put_snapshot(position, bytes.clone()).await.unwrap();
        let back = buses.other.get_snapshot(position, length).await.unwrap().unwrap();
        assert!(back == bytes, "{length} bytes");
    }
}
