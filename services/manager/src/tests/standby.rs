//! Several managers on one log: who takes over, what is handed over, and what becomes of one that only thinks it leads.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{FutureExt as _, StreamExt as _};
use muster_events::command::LeaderStepDown;
use muster_events::event::LeaderElected;
use muster_events::leadership;

use super::*;

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn start_as(bus: &Arc<dyn Bus>, name: &str) -> World {
    let stop = CancellationToken::new();
    let manager = tokio::spawn(run(ManagerConfig::new(node(name)), Arc::clone(bus), stop.clone()));
    World { bus: Arc::clone(bus), stop, manager }
}

fn step_down(leader: Option<&str>, force: bool) -> Command {
    let reason = Some("to see whether it can".to_owned());
    Command::LeaderStepDown(LeaderStepDown { leader: leader.map(node), reason, force })
}

async fn status(bus: &Arc<dyn Bus>) -> Option<leadership::Status> {
    let answer = bus.ask_manager("status", tokio_util::bytes::Bytes::new()).await.ok()?;
    Some(codec::decode(Encoding::Json, &answer).unwrap())
}

/// Waits until the leader's answer is as wanted. Each look is a question to it, so nothing spins.
async fn until(bus: &Arc<dyn Bus>, wanted: impl Fn(&leadership::Status) -> bool) -> leadership::Status {
    let look = async {
        loop {
            match status(bus).await {
                Some(status) if wanted(&status) => return status,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(HANG, look).await.unwrap()
}

/// The leaders of a log, in their order.
fn elected(log: &[Stored]) -> Vec<(String, u64)> {
    let events = log.iter().flat_map(|s| s.commit.entries.iter().flat_map(|e| e.events.clone()));
    let elected = events.filter_map(|event| match event {
        Event::LeaderElected(LeaderElected { leader, epoch }) => Some((leader.to_string(), epoch)),
        _ => None,
    });
    elected.collect()
}

#[tokio::test]
async fn a_standby_takes_over_where_the_leader_ended() {
    let bus = memory();
    let first = start_as(&bus, "m-1");
    first.register("w-1").await;
    let second = start_as(&bus, "m-2");
    for n in 0..20 {
        first.ask("alice", &format!("c-{n}"), &submit(1)).await;
    }
    let seen = until(&bus, |s| s.standbys.iter().any(|h| h.standby.ready)).await;
    assert_eq!((seen.leader.as_str(), seen.epoch), ("m-1", 1));
    assert_eq!(seen.standbys[0].standby.node.as_str(), "m-2");
    first.end().await;
    let outcome = second.ask("alice", "after", &submit(1)).await;
    assert!(outcome.accepted);
    second.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(elected(&log), [("m-1".to_owned(), 1), ("m-2".to_owned(), 2)]);
    assert_eq!(state.tasks.len(), 21);
    assert_eq!(kinds(&log).iter().filter(|k| **k == "task.submitted").count(), 21);
}

#[tokio::test]
async fn the_lead_is_handed_over_on_the_record_and_comes_back() {
    let bus = memory();
    let first = start_as(&bus, "m-1");
    first.register("w-1").await;
    let second = start_as(&bus, "m-2");
    until(&bus, |s| s.standbys.iter().any(|h| h.standby.ready)).await;
    let other = first.ask("alice", "s-0", &step_down(Some("m-2"), false)).await;
    assert_eq!(other.error.unwrap().message, "m-1 leads, not m-2");
    assert!(first.ask("alice", "s-1", &step_down(Some("m-1"), false)).await.accepted);
    until(&bus, |s| s.leader.as_str() == "m-2" && s.standbys.iter().any(|h| h.standby.ready)).await;
    // The one that has stepped down stands by with what it has folded, and decides on when it is its turn again.
    assert!(first.ask("alice", "c-1", &submit(1)).await.accepted);
    assert!(first.ask("alice", "s-2", &step_down(None, false)).await.accepted);
    until(&bus, |s| s.leader.as_str() == "m-1").await;
    assert!(first.ask("alice", "c-2", &submit(1)).await.accepted);
    // The same command once more is answered and not done again.
    assert!(first.ask_group("again", vec![("s-1", step_down(Some("m-1"), false))]).await[0].accepted);
    assert_eq!(until(&bus, |_| true).await.leader.as_str(), "m-1");
    first.end().await;
    second.end().await;
    let (_, log) = replay(&bus).await;
    let leaders = elected(&log);
    let names: Vec<_> = leaders.iter().take(3).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["m-1", "m-2", "m-1"]);
    let stepping = log.iter().flat_map(|s| &s.commit.entries).find_map(|entry| match &entry.events[..] {
        [Event::LeaderSteppingDown(e)] => Some((entry.cause.actor.to_string(), e.clone())),
        _ => None,
    });
    let (actor, stepping) = stepping.unwrap();
    assert_eq!((actor.as_str(), stepping.leader.as_str(), stepping.epoch), ("alice", "m-1", 1));
    assert_eq!((stepping.reason.as_deref(), stepping.forced), (Some("to see whether it can"), false));
}

#[tokio::test(start_paused = true)]
async fn without_a_standby_it_is_refused_and_forced_it_leads_again() {
    let bus = memory();
    let world = start_as(&bus, "m-1");
    let refused = world.ask("alice", "s-1", &step_down(None, false)).await;
    let problem = refused.error.unwrap();
    assert_eq!(problem.code, 409);
    assert!(problem.message.contains("no standby") && problem.message.contains("force"), "{problem:?}");
    assert!(world.ask("alice", "s-2", &step_down(None, true)).await.accepted);
    assert!(world.ask("alice", "c-1", &submit(1)).await.accepted);
    world.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(elected(&log), [("m-1".to_owned(), 1), ("m-1".to_owned(), 2)]);
    assert_eq!(state.tasks.len(), 1);
    assert!(kinds(&log).contains(&"command.rejected"));
}

/// What is decided and not yet in the log when a step-down comes is not lost with it.
#[tokio::test]
async fn what_comes_beside_a_hand_over_is_decided_once() {
    let bus = memory();
    let (first, second) = (start_as(&bus, "m-1"), start_as(&bus, "m-2"));
    until(&bus, |s| s.standbys.iter().any(|h| h.standby.ready)).await;
    let (reply, outcomes) = bus.inbox().await.unwrap();
    for n in 0..400 {
        let (id, command) = match n % 100 {
            50 => (format!("s-{n}"), step_down(None, true)),
            _ => (format!("c-{n}"), submit(1)),
        };
        let payload = command.encode(Encoding::Json).unwrap();
        first.publish("alice", &id, command.verb(), payload, Some(reply.clone())).await;
    }
    let heard: Vec<Outcome> = tokio::time::timeout(
        HANG,
        outcomes.take(400).map(|o| codec::decode(Encoding::Json, &o.unwrap()).unwrap()).collect(),
    )
    .await
    .unwrap();
    let ids: BTreeSet<_> = heard.iter().map(|o| o.id.clone()).collect();
    assert_eq!((ids.len(), heard.iter().filter(|o| o.accepted).count()), (400, 400));
    first.end().await;
    second.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(state.tasks.len(), 396);
    let decided: Vec<_> =
        log.iter().flat_map(|s| &s.commit.entries).filter(|e| e.cause.command.is_some()).collect();
    assert_eq!(decided.len(), 400);
    assert_eq!(kinds(&log).iter().filter(|k| **k == "leader.stepping_down").count(), 4);
    assert!(elected(&log).len() >= 5, "{:?}", elected(&log));
}

/// Both have the lead, for all they know, and for as long as they like. So each append of the one that is wrong about the
/// log is refused, what it had drafted reaches nobody, and it begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_both_think_they_lead_decide_each_command_once() {
    const COMMANDS: usize = 300;
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::where_all_lead(Cell::default()));
    let worker = WorkerId::new("w-1").unwrap();
    let (first, second) = (start_as(&bus, "m-1"), start_as(&bus, "m-2"));
    first.register("w-1").await;
    let mut orders = bus.take_orders(&worker).await.unwrap();
    let (reply, mut outcomes) = bus.inbox().await.unwrap();
    let mut heard: BTreeMap<CommandId, Outcome> = BTreeMap::new();
    for n in 0..COMMANDS {
        let payload = submit(1).encode(Encoding::Json).unwrap();
        first.publish("alice", &format!("c-{n}"), "task.submit", payload, Some(reply.clone())).await;
        // Each command is decided by both before the next comes, so they meet at every append.
        let bytes = tokio::time::timeout(HANG, outcomes.next()).await.unwrap().unwrap().unwrap();
        let outcome: Outcome = codec::decode(Encoding::Json, &bytes).unwrap();
        assert!(outcome.accepted);
        assert!(heard.insert(outcome.id.clone(), outcome).is_none(), "an outcome is told once");
    }
    first.end().await;
    second.end().await;
    let more = outcomes.next().now_or_never();
    assert!(more.is_none(), "nobody heard of what was not in the log: {more:?}");

    let (state, log) = replay(&bus).await;
    assert_eq!(heard.len(), COMMANDS);
    assert_eq!(state.tasks.len(), COMMANDS);
    let terms = elected(&log);
    let leaders: BTreeSet<_> = terms.iter().map(|(name, _)| name).collect();
    assert!(leaders.len() == 2 && terms.len() > 2, "one has refused the other: {terms:?}");
    for (id, outcome) in heard {
        assert_eq!(
            state.outcomes.get(&id).unwrap().seq,
            outcome.seq,
            "what was told of {id} is what the log says"
        );
    }
    let assigned: BTreeMap<u64, _> = log
        .iter()
        .flat_map(|s| s.commit.events().map(|(seq, _, event)| (seq, event.clone())).collect::<Vec<_>>())
        .filter_map(|(seq, event)| match event {
            Event::TaskAssigned(e) => Some((seq, (e.task, e.number))),
            _ => None,
        })
        .collect();
    let mut ordered = 0;
    while let Some(Some(delivery)) = orders.next().now_or_never() {
        let delivery = delivery.unwrap();
        delivery.done.await.unwrap();
        for order in delivery.orders.orders {
            let Order::Start { attempt, .. } = order else { continue };
            assert_eq!(
                assigned.get(&attempt.fence),
                Some(&(attempt.task, attempt.number)),
                "an order of no event"
            );
            ordered += 1;
        }
    }
    assert!(ordered > 0);
}
