//! Several managers: the leader is killed, stopped in its tracks, deposed, ended and asked to go, under load.
//!
//! `MUSTER_KILLS=100 MUSTER_LEASE=3s` has the first test kill that often, and say how long it took.

#[path = "takeover/load.rs"]
pub(crate) mod load;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use load::Load;
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, Submission};
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::Outcome;
use muster_events::spec::TaskDefinition;
use muster_log::bus::{Bus, Outgoing};
use muster_tests::cluster::{Cluster, Setup, answer, http_client, task, until};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Kills of the leader in the first test.
const KILLS: usize = 5;
/// Submits in flight meanwhile.
const IN_FLIGHT: usize = 32;

/// Two managers and no workers: what is submitted waits. The first leads once there is an answer.
async fn two(lease: &str, sync_always: bool) -> Cluster {
    let setup = Setup { managers: 2, workers: 0, sync_always, ..Setup::default() };
    let cluster = Cluster::start(setup.with("manager", &["--lease", lease])).await;
    stands_by(&cluster).await;
    cluster
}

/// Waits until one leads and the other is ready to take over; their names.
async fn stands_by(cluster: &Cluster) -> (String, String) {
    until("one leads and one stands by", async || {
        let answer = cluster.try_get("/api/v1/manager/leader").await?.body;
        let standby = answer["standbys"].as_array()?.iter().find(|s| s["ready"] == true)?;
        Some((answer["leader"].as_str()?.to_owned(), standby["node"].as_str()?.to_owned()))
    })
    .await
}

/// Prints the distribution of some times.
fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    println!(
        "{what}: n {}, min {:.1} ms, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        times.len(),
        at(0),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_under_load_and_no_command_is_lost_or_doubled() {
    let kills = std::env::var("MUSTER_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let lease = std::env::var("MUSTER_LEASE").unwrap_or_else(|_| "500ms".to_owned());
    let mut cluster = two(&lease, true).await;
    let load = Load::start(&cluster, IN_FLIGHT).await;
    let (mut elected, mut decided) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        let (leader, _) = stands_by(&cluster).await;
        // Not always at the same moment between two renewals.
        load.decides(40 * (kill % 7 + 1)).await;
        let before = load.newest(&leader).await;
        let killed = Instant::now();
        cluster.kill9(&leader).await;
        let next = load.term(|term| term.epoch == before.epoch + 1 && term.decided.is_some()).await;
        assert_ne!(next.leader, leader);
        elected.push(next.elected - killed);
        decided.push(next.decided.unwrap() - killed);
        cluster.start_part(&leader);
    }
    let sent = load.end().await;
    println!("{kills} kills with a lease of {lease}, {sent} commands decided, each once");
    say("from the kill to the next leader's election in the log", elected);
    say("from the kill to its first decision in the log", decided);
    cluster.replay_agrees().await;
}

/// The old leader comes back long after its lease, with commands before it that another has decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_beyond_its_lease_decides_nothing_more() {
    let cluster = two("500ms", false).await;
    let load = Load::start(&cluster, IN_FLIGHT).await;
    for _ in 0..2 {
        let (leader, _) = stands_by(&cluster).await;
        let before = load.newest(&leader).await;
        cluster.freeze(&before.leader);
        let next = load.term(|term| term.epoch > before.epoch && term.decided.is_some()).await;
        assert_ne!(next.leader, before.leader);
        cluster.thaw(&before.leader);
        until("the old leader stands by", async || {
            let answer = cluster.try_get("/api/v1/manager/leader").await?.body;
            let ready = |s: &Value| s["node"] == before.leader.as_str() && s["ready"] == true;
            answer["standbys"].as_array()?.iter().any(ready).then_some(())
        })
        .await;
        let said = cluster.printed(&before.leader);
        assert!(
            said.contains("the lead may have been lost") || said.contains("another manager has appended"),
            "{said}"
        );
    }
    // Each commit of the load is by the one that led at its position: the witness has looked.
    load.end().await;
    cluster.replay_agrees().await;
}

/// Somebody takes the key away from a leader whose lease lasts an hour: it goes on in good faith, and so does the next.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_at_a_time_cannot_both_append_and_only_the_right_one_is_heard() {
    const COMMANDS: usize = 20;
    let cluster = two("1h", false).await;
    let (old, new) = stands_by(&cluster).await;
    let bus = load::open(&cluster).await;
    let raw = async_nats::connect(cluster.nats.url()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("KV-Operation", "DEL");
    raw.publish_with_headers("$KV.muster-cell.leader", headers, "".into()).await.unwrap();
    raw.flush().await.unwrap();
    until("the other leads too", async || {
        let events = cluster.events("type=leader.elected").await;
        (events.last()?["data"]["leader"] == new.as_str()).then_some(())
    })
    .await;
    let position = bus.last_position().await.unwrap();
    assert!(!cluster.printed(&old).contains("another manager has appended"), "nobody has told it");

    // Both read these, and both decide.
    let (reply, mut outcomes) = bus.inbox().await.unwrap();
    let ids: Vec<_> = (0..COMMANDS).map(|n| CommandId::new(&format!("both-{n}")).unwrap()).collect();
    for id in &ids {
        publish(&bus, id, &reply).await;
    }
    let mut heard = BTreeSet::new();
    while heard.len() < COMMANDS {
        let outcome: Outcome =
            codec::decode(Encoding::Json, &outcomes.next().await.unwrap().unwrap()).unwrap();
        assert!(outcome.accepted, "{outcome:?}");
        assert!(heard.insert(outcome.id.clone()), "{} was answered twice", outcome.id);
    }
    until("the old leader is refused by the log", async || {
        cluster.printed(&old).contains("another manager has appended").then_some(())
    })
    .await;
    // It follows the log again, so whatever it had to say before, it has said.
    assert_eq!(stands_by(&cluster).await, (new.clone(), old));
    assert!(outcomes.next().now_or_never().is_none(), "what was drafted and refused reached somebody");

    let last = bus.last_position().await.unwrap();
    let mut commits = bus.read(position + 1).await.unwrap();
    let mut decided = Vec::new();
    for _ in position..last {
        let commit = commits.next().await.unwrap().unwrap().commit;
        assert_eq!(commit.leader.as_str(), new, "the old one has appended something");
        decided.extend(commit.entries.into_iter().filter_map(|e| e.cause.command).map(|c| c.id));
    }
    assert_eq!(decided, ids);
    cluster.replay_agrees().await;
}

async fn publish(bus: &Arc<dyn Bus>, id: &CommandId, reply: &str) {
    let task = TaskDefinition { name: "t".into(), command: vec!["true".into()], ..TaskDefinition::default() };
    let command = Command::TaskSubmit(Submission { job: None, tasks: vec![task] });
    let outgoing = Outgoing {
        actor: Actor::new("alice").unwrap(),
        verb: command.verb().to_owned(),
        id: id.clone(),
        reply: Some(reply.to_owned()),
        encoding: Encoding::Json,
        trace: None,
        payload: command.encode(Encoding::Json).unwrap().into(),
    };
    bus.publish_command(outgoing).await.unwrap();
}

/// With a lease of an hour, only what the one that ends says can be the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_hands_over_at_once() {
    let mut cluster = two("1h", true).await;
    let load = Load::start(&cluster, IN_FLIGHT).await;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let (leader, standby) = stands_by(&cluster).await;
        let before = load.newest(&leader).await;
        let asked = Instant::now();
        assert_eq!(cluster.stop(&leader).await, Some(0));
        let next = load.term(|term| term.epoch == before.epoch + 1 && term.decided.is_some()).await;
        assert_eq!(next.leader, standby);
        pauses.push(next.decided.unwrap() - asked);
        cluster.start_part(&leader);
    }
    load.end().await;
    say("from SIGTERM to the next leader's first decision", pauses);
    cluster.replay_agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_over_and_whoever_submits_meanwhile_notices_nothing() {
    const HAND_OVERS: usize = 6;
    let cluster = two("1h", true).await;
    let (first, standby) = stands_by(&cluster).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let submitting: Vec<_> =
        (0..16).map(|_| tokio::spawn(submit_on(cluster.api_url().to_owned(), stop.clone()))).collect();
    let mut over = Vec::new();
    let mut took = Vec::new();
    for round in 0..HAND_OVERS {
        let (leader, standby) = stands_by(&cluster).await;
        // Some submits with nothing in their way, to compare with.
        let total = async || cluster.get("/api/v1/manager/tasks?limit=1").await["total"].as_u64().unwrap();
        let before = total().await;
        until("submits go on", async || (total().await >= before + 64).then_some(())).await;
        let began = Instant::now();
        let handed = if round == 0 {
            let (code, out, errors) =
                cluster.cli(&["leader", "step-down", "--reason", "an update", "--json"]).await;
            assert_eq!(code, 0, "{errors}");
            serde_json::from_str(&out).unwrap()
        } else {
            let body = json!({ "leader": leader, "reason": "an update" });
            cluster.post("/api/v1/manager/leader/step-down", &body).await.expect(200)
        };
        over.push((began, Instant::now()));
        assert_eq!((&handed["former"], &handed["leader"]), (&json!(leader), &json!(standby)), "{handed}");
        took.push(Duration::from_secs_f64(handed["took_ms"].as_f64().unwrap() / 1000.0));
    }
    stop.cancel();
    let mut all = Vec::new();
    for submits in submitting {
        all.extend(submits.await.unwrap());
    }
    let ids: BTreeSet<_> = all.iter().map(|(id, ..)| id.clone()).collect();
    assert_eq!(ids.len(), all.len());
    let submitted = cluster.events("type=task.submitted").await;
    let once: BTreeSet<_> =
        submitted.iter().map(|event| event["data"]["task"].as_str().unwrap().to_owned()).collect();
    assert_eq!((once.len(), submitted.len()), (ids.len(), ids.len()), "each submit made one task");
    assert_eq!(once, ids);
    let during = |from: &Instant, to: &Instant| over.iter().any(|(b, e)| from <= e && to >= b);
    let times = |wanted: bool| {
        let chosen = all.iter().filter(|(_, from, to)| during(from, to) == wanted);
        chosen.map(|(_, from, to)| *to - *from).collect::<Vec<_>>()
    };
    say("hand-overs, as the API saw them", took);
    say("submits beside a hand-over", times(true));
    say("submits otherwise", times(false));

    let stepping = cluster.events("type=leader.stepping_down").await;
    assert_eq!(stepping.len(), HAND_OVERS);
    assert_eq!(
        (&stepping[0]["data"]["leader"], &stepping[0]["data"]["reason"]),
        (&json!(first), &json!("an update"))
    );
    assert_eq!(stepping[0]["actor"], "anonymous", "{}", stepping[0]);
    let (code, out, _) = cluster.cli(&["leader"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("STANDBY") && out.contains("ready") && out.contains(&standby), "{out}");
    cluster.replay_agrees().await;
}

/// Submits one task after the other; when each began and was answered.
async fn submit_on(
    api: String,
    stop: tokio_util::sync::CancellationToken,
) -> Vec<(String, Instant, Instant)> {
    let http = http_client();
    let mut done = Vec::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let body = task(json!({}));
        let answer = answer(http.post(format!("{api}/api/v1/manager/tasks")).json(&body)).await.unwrap();
        let task = answer.expect(201);
        done.push((task["id"].as_str().unwrap().to_owned(), began, Instant::now()));
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_leader_does_not_step_down_unless_it_must() {
    let mut cluster = two("500ms", false).await;
    let (leader, standby) = stands_by(&cluster).await;
    assert_eq!(cluster.stop(&standby).await, Some(0));
    // Its last words were that it leaves.
    until("the standby is not listed any more", async || {
        let answer = cluster.try_get("/api/v1/manager/leader").await?.body;
        answer["standbys"].as_array()?.is_empty().then_some(())
    })
    .await;
    let (code, _, errors) = cluster.cli(&["leader", "step-down"]).await;
    assert!(code != 0 && errors.contains("no standby"), "{code}: {errors}");
    let (_, out, _) = cluster.cli(&["leader"]).await;
    assert!(out.contains("none: should the leader end"), "{out}");
    let (code, out, errors) = cluster.cli(&["leader", "step-down", "--force"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(out.contains(&format!("{leader} leads again")), "{out}");
    cluster.submit(json!({})).await;
    let events = cluster.events("type=leader.stepping_down").await;
    assert_eq!((events.len(), &events[0]["data"]["forced"]), (1, &json!(true)));
    let metrics = cluster.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("muster_manager_up 1") && metrics.contains("muster_manager_standbys 0"),
        "{metrics}"
    );
    cluster.kill9(&leader).await;
    let (_, out, _) = cluster.cli(&["leader"]).await;
    assert!(out.contains(&format!("{leader} led last and does not answer")), "{out}");
}
