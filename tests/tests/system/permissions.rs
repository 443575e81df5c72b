//! What nats.conf promises, proven by attack: everything that the users of it may try is tried, on a server that runs
//! with it and nothing else. Each attack is first shown to land on a server where everybody may do everything.

#[path = "permissions/attacks.rs"]
mod attacks;
#[path = "permissions/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use muster_events::codec::Encoding;
use muster_events::id::{NodeName, TaskId, WorkerId};
use muster_events::leadership::Standby;
use muster_events::output::OutputStream;
use muster_events::subject::{Cell, Topic};
use muster_events::time::Timestamp;
use muster_log::bus::{
    Bus as _, CommandLog as _, EventLog as _, Leadership as _, OrderLog as _, OutputLog as _, Signals as _,
    SnapshotStore as _,
};
use muster_tests::cluster::until;
use tokio::sync::Mutex;
use uuid::Uuid;

use self::attacks::{Harm, all};
use self::stage::{Snapshot, Stage, User, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_attacks_land_where_everybody_may_do_everything() {
    let stage = Stage::set(false).await;
    let example = Cell::default();
    let (mut manager, mut worker) = (stage.client(User::Manager).await, stage.client(User::Worker).await);
    stage.furnish(&example, &mut manager, &mut worker).await;
    let there = Snapshot::take(&mut manager, &example).await;
    let attacks = all(&example, &there);
    let manager = Mutex::new(manager);
    for (number, example) in attacks.iter().enumerate() {
        // Here it does not matter who.
        if attacks[..number].iter().any(|earlier| earlier.is_like(example)) {
            continue;
        }
        // Each destroys something of its own.
        let cell = Cell::new(&format!("c{number}")).unwrap();
        stage.furnish(&cell, &mut *manager.lock().await, &mut worker).await;
        let before = Snapshot::take(&mut *manager.lock().await, &cell).await;
        let attack = all(&cell, &before).swap_remove(number);
        let heard = within(&attack, attack.carry_out(&mut stage.client(attack.by).await)).await;
        let changes = async || {
            let after = Snapshot::take(&mut *manager.lock().await, &cell).await;
            before.changes(&after, &attack.carriers)
        };
        match attack.harm {
            Harm::Answer => assert!(heard.is_done(), "{attack}: {heard:?}"),
            Harm::System => assert!(!heard.is_done(), "{attack}: {heard:?}"),
            Harm::Change => {
                let what = format!("landed: {attack} ({heard:?})");
                until(&what, async || (!changes().await.is_empty()).then_some(())).await;
            }
            Harm::None => {
                let changes = changes().await;
                assert!(changes.is_empty(), "{attack}: {heard:?} {changes:?}");
            }
        }
        stage.clear(&mut *manager.lock().await, &cell).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_them_lands_with_our_configuration() {
    let stage = Stage::set(true).await;
    let cell = Cell::default();
    let (mut manager, mut worker) = (stage.client(User::Manager).await, stage.client(User::Worker).await);
    stage.furnish(&cell, &mut manager, &mut worker).await;
    let first = Snapshot::take(&mut manager, &cell).await;
    let attacks = all(&cell, &first);
    let mut attackers = BTreeMap::new();
    for by in User::ATTACKERS.into_iter().chain([User::Manager]) {
        attackers.insert(by, stage.client(by).await);
    }
    let mut landed = Vec::new();
    for attack in &attacks {
        let before = Snapshot::take(&mut manager, &cell).await;
        let heard = within(attack, attack.carry_out(attackers.get_mut(&attack.by).unwrap())).await;
        let after = Snapshot::take(&mut manager, &cell).await;
        let changes = before.changes(&after, &attack.carriers);
        let done = matches!(attack.harm, Harm::Answer | Harm::System) && heard.is_done();
        if done || !changes.is_empty() {
            landed.push(format!("{attack}: {heard:?} {changes:?}"));
        }
    }
    // Nothing has come later either.
    let last = Snapshot::take(&mut manager, &cell).await;
    let carriers = attacks.iter().flat_map(|attack| attack.carriers.clone()).collect();
    landed.extend(first.changes(&last, &carriers));
    assert!(landed.is_empty(), "{} of {}:\n{}", landed.len(), attacks.len(), landed.join("\n"));
}

/// In a cluster the same configuration speaks on each server, and what one lets pass is heard by all.
#[tokio::test(flavor = "multi_thread")]
async fn each_server_of_a_cluster_says_no_and_lets_the_parts_work() {
    let servers = Stage::cluster().await;
    let cell = Cell::default();
    let [first, second, third] = &servers;
    let manager = first.bus(User::Manager, &cell).await;
    let (worker, api) = (second.bus(User::Worker, &cell).await, third.bus(User::Api, &cell).await);
    // Each server has answered, and nobody was asked twice.
    for bus in [&manager, &worker, &api] {
        let now = bus.servers().await;
        let names: Vec<_> = now.servers.iter().map(|s| (s.name.as_str(), s.version.is_some())).collect();
        assert_eq!(names, [("n1", true), ("n2", true), ("n3", true)]);
        assert_eq!((bus.fitness().replicas, now.streams.len()), (3, 6));
    }
    manager.append_encoded("not forged".into(), 0).await.unwrap();
    for bus in [&manager, &api] {
        assert_eq!(bus.last_position().await.unwrap(), 1);
        // It is no commit, and that is said of it: so it has been read.
        assert!(bus.get(1).await.is_err());
        assert!(bus.read(1).await.unwrap().next().await.unwrap().is_err());
    }
    worker.publish_output(output(), Timestamp::from_micros(1), None, "hello".into()).await.unwrap();
    let orders = worker.take_orders(&WorkerId::new("w2").unwrap()).await.unwrap();
    let subjects = [
        "muster.evt",
        "muster.ord.w2",
        "$KV.muster-cell.leader",
        "$O.muster-snapshots.C.snapshot-0",
        "muster.cmd.manager.task.submit",
        "$JS.API.STREAM.DELETE.muster-EVENTS",
        "$JS.API.STREAM.UPDATE.muster-EVENTS",
        "$JS.API.STREAM.LEADER.STEPDOWN.muster-EVENTS",
        "$JS.API.STREAM.PEER.REMOVE.muster-EVENTS",
        "$JS.API.META.LEADER.STEPDOWN",
        "$JS.API.SERVER.REMOVE",
    ];
    for stage in &servers {
        for by in User::ATTACKERS {
            let mut attacker = stage.client(by).await;
            for subject in subjects {
                let heard = within(subject, attacker.ask_with(subject, &[], "{}", 1)).await;
                assert!(!heard.is_done(), "{by:?} {subject}: {heard:?}");
            }
        }
    }
    drop(orders);
    assert_eq!(manager.last_position().await.unwrap(), 1);
    assert_eq!(manager.leader().await.unwrap(), None);
}

fn output() -> Topic {
    Topic::Output {
        job: "-".to_owned(),
        task: TaskId::new(Uuid::from_u128(1)),
        attempt: 1,
        stream: OutputStream::Stdout,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_listen_where_it_is_not_meant_for_him() {
    let stage = Stage::set(true).await;
    for by in User::ATTACKERS {
        let mut attacker = stage.client(by).await;
        for subject in [
            ">",
            "*",
            "muster.>",
            "muster.*",
            "muster.cmd.>",
            "muster.ord.*",
            "muster.ord.w2",
            "muster.hb.*",
            "muster.out.>",
            "muster.ask.>",
            "muster.ask.manager.status",
            "muster.standby.*",
            "$JS.>",
            "$JS.EVENT.>",
            "$KV.>",
            "$O.>",
            "$SYS.>",
            "_R_.>",
        ] {
            assert!(!attacker.may_listen(subject).await, "{by:?} {subject}");
        }
        let own = by != User::Nameless;
        assert!(attacker.may_listen("_INBOX.>").await, "{by:?}");
        let feed = by != User::Api;
        for (subject, may) in [("_MUSTER.>", own), ("muster.feed.>", feed), ("muster.evt", !own)] {
            assert_eq!(attacker.may_listen(subject).await, may, "{by:?} {subject}");
        }
    }
}

/// A snapshot is believed: whoever writes one writes the state.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_manager_keeps_and_reads_snapshots() {
    let stage = Stage::set(true).await;
    let manager = stage.bus(User::Manager, &Cell::default()).await;
    for position in 1..=5 {
        manager.put_snapshot(position, vec![7; 300_000].into()).await.unwrap();
    }
    for by in [User::Worker, User::Api] {
        let mut attacker = stage.client(by).await;
        for subject in ["$O.muster-snapshots.C.snapshot-0", "$JS.API.STREAM.PURGE.OBJ_muster-snapshots"] {
            assert!(!attacker.ask(subject, "").await.is_done(), "{by:?} {subject}");
        }
    }
    let kept = manager.snapshots().await.unwrap();
    assert_eq!(kept.iter().map(|kept| kept.position).collect::<Vec<_>>(), [5, 4, 3]);
    assert_eq!(manager.get_snapshot(5, u64::MAX).await.unwrap().map(|bytes| bytes.len()), Some(300_000));
}

/// The leader counts on those who say that they stand by.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_manager_can_say_that_it_stands_by() {
    let stage = Stage::set(true).await;
    let bus = stage.bus(User::Manager, &Cell::default()).await;
    let mut heard = bus.standbys().await.unwrap();
    let standby = |name: &str| Standby {
        node: NodeName::new(name).unwrap(),
        seq: 1,
        position: 1,
        ready: true,
        leaving: false,
    };
    for by in User::ATTACKERS {
        let mut attacker = stage.client(by).await;
        let payload = serde_json::to_vec(&standby("nobody")).unwrap();
        attacker.client.publish("muster.standby.nobody", payload.into()).await.unwrap();
        // The server reads a connection in order: its answer to this is proof that it has had that.
        assert!(attacker.may_listen("_INBOX.>").await, "{by:?}");
    }
    bus.announce(&standby("m-2")).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap(), standby("m-2"));
}

/// Whoever listens to all inboxes hears outcomes, and nothing of what the manager asks, reads and writes.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_all_that_is_heard_of_the_manager() {
    let stage = Stage::set(true).await;
    let cell = Cell::default();
    let (mut manager, mut worker) = (stage.client(User::Manager).await, stage.client(User::Worker).await);
    stage.furnish(&cell, &mut manager, &mut worker).await;
    let bus = stage.bus(User::Manager, &cell).await;
    let mut nameless = stage.client(User::Nameless).await;
    let mut outcomes = [nameless.listen("_INBOX.>").await, worker.listen("_INBOX.>").await];
    let mut parts = worker.listen("_MUSTER.>").await;
    nameless.settle().await;
    worker.settle().await;

    assert!(manager.ask("muster.evt", "another commit").await.is_done());
    let mut commands = bus.read_commands(1).await.unwrap();
    assert_eq!(within("a command", commands.next()).await.unwrap().unwrap().payload, "a command");
    let lease = bus.lead(&NodeName::new("m-1").unwrap(), Duration::from_secs(60)).await.unwrap();
    bus.publish_outcome("_INBOX.alice.1", Encoding::Json, "{}".into()).await.unwrap();
    for outcome in &mut outcomes {
        let first = within("the outcome", outcome.next()).await.unwrap();
        assert_eq!(first.subject.as_str(), "_INBOX.alice.1", "{first:?}");
    }
    let more = parts.next().now_or_never();
    assert!(more.is_none(), "{more:?}");
    lease.release.await.unwrap();
}

/// As nats.conf advises for publishers that do not trust each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_with_a_user_of_its_own_is_tied_to_its_name() {
    let stage = Stage::set(true).await;
    let cell = Cell::default();
    let (mut manager, mut worker) = (stage.client(User::Manager).await, stage.client(User::Worker).await);
    stage.furnish(&cell, &mut manager, &mut worker).await;
    let before = Snapshot::take(&mut manager, &cell).await;
    let mut alice = stage.client(User::Alice).await;
    for subject in [
        "muster.cmd.bob.task.submit",
        "muster.cmd.bob.job.stop",
        "muster.cmd.api.group.apply",
        "muster.feed.task.x.done",
        "_INBOX.bob.1",
    ] {
        let heard = alice.ask(subject, "forged").await;
        assert!(!heard.is_done(), "{subject}: {heard:?}");
    }
    for subject in ["_INBOX.>", "_INBOX.bob.>", "_INBOX.*.1", "muster.evt", "muster.cmd.>"] {
        assert!(!alice.may_listen(subject).await, "{subject}");
    }
    let verbs =
        ["task.submit", "job.submit", "job.stop", "job.scale", "job.start", "job.retry", "job.update"];
    let carriers: BTreeSet<String> = verbs.iter().map(|verb| format!("muster.cmd.alice.{verb}")).collect();
    for subject in &carriers {
        assert!(alice.ask(subject, "{}").await.is_done(), "{subject}");
    }
    let after = Snapshot::take(&mut manager, &cell).await;
    assert_eq!(before.changes(&after, &carriers), Vec::<String>::new());

    // Its own outcomes, and what happens live.
    let mut heard = [alice.listen("_INBOX.alice.>").await, alice.listen("muster.feed.>").await];
    assert_eq!(alice.settle().await, Vec::<String>::new());
    let bus = stage.bus(User::Manager, &cell).await;
    for reply in ["_INBOX.bob.1", "_INBOX.alice.1"] {
        bus.publish_outcome(reply, Encoding::Json, "{}".into()).await.unwrap();
    }
    manager.publish("muster.feed.task.x.done", "_MUSTER.x", &[], "{}".into()).await;
    for (messages, subject) in heard.iter_mut().zip(["_INBOX.alice.1", "muster.feed.task.x.done"]) {
        assert_eq!(within(subject, messages.next()).await.unwrap().subject.as_str(), subject);
    }
}
