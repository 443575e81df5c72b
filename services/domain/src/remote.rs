//! HTTP workers through all of the core: who calls them, who speaks for what runs there, and what happens when one of
//! the two is lost.

use muster_events::command::Command;
use muster_events::endpoint::Target;
use muster_events::event::{Event, ReportRefused, TaskEnded, TaskRescheduled, WorkerOccupied};
use muster_events::id::WorkerId;
use muster_events::order::{Order, Orders};
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::spec::{Constraint, Operator, TaskDefinition};

use crate::deadline::{self, Liveness};
use crate::placement::{Cause, explain};
use crate::state::TaskState;
use crate::testing::{
    START, World, activate, cancel, drain, exited, given, http_registration, id, incarnation, job_submit,
    lost, register, register_agent, register_http, remote_definition, reports, started, stopped, submit,
    submit_all, submit_remote, system, unregister, worker_id,
};
use crate::{orders, placement};

const MINUTE: i64 = 60_000_000;

/// `a` runs on HTTP worker h1, carried by w1; w2 could carry too.
fn carried() -> World {
    let world = given([register_agent("w1"), register_http("h1", 2), submit_remote("a")]).placed();
    let a = world.attempt("a");
    world.and(reports("w1", [(a, started())])).and(register_agent("w2"))
}

fn carrier(world: &World, task: &str) -> Option<WorkerId> {
    world.task(task).live_attempt().unwrap().carrier.clone()
}

/// Everybody but these is silent for a minute.
fn silent_but(world: World, heard: &[&str]) -> World {
    let world = world.later(61.0);
    let mut liveness = Liveness::new(MINUTE);
    heard.iter().for_each(|worker| liveness.heard(&worker_id(worker), world.now));
    let due = deadline::due(&world.state, &liveness, world.now);
    let world = world.happened(&due);
    assert_eq!(deadline::due(&world.state, &liveness, world.now), []);
    world
}

fn rescheduled(world: &World, reason: &str) -> Event {
    Event::TaskRescheduled(TaskRescheduled {
        attempt: world.attempt("a"),
        worker: worker_id("h1"),
        carrier: Some(worker_id("w1")),
        reason: reason.into(),
    })
}

/// What follows from events that happened, as `worker: order`.
fn ordered(world: &World, events: &[Event]) -> Vec<(String, Vec<Order>)> {
    let first = world.state.next_seq;
    let after = world.clone().happened(events);
    let all = orders::of(&after.state, (first..).zip(events));
    all.into_iter().map(|Orders { worker, orders, .. }| (worker.to_string(), orders)).collect()
}

fn at_h1() -> Option<Target> {
    Some(Target { worker: worker_id("h1"), endpoint: "http://h1:9000".parse().unwrap() })
}

#[test]
fn modules_go_to_http_workers_and_programs_to_the_others() {
    let world =
        given([register_agent("w1"), register_http("h1", 2), submit("p"), submit_remote("a")]).placed();
    assert_eq!(world.task("p").attempt.as_ref().unwrap().worker, worker_id("w1"));
    assert_eq!(world.task("p").attempt.as_ref().unwrap().carrier, None);
    assert_eq!(world.task("a").attempt.as_ref().unwrap().worker, worker_id("h1"));
    assert_eq!(carrier(&world, "a"), Some(worker_id("w1")));
    assert_eq!(world.worker("w1").burden(), 2);
    assert_eq!(world.worker("w1").used.slots, 1, "what it carries takes none of its room");
}

#[test]
fn who_carries_fewest_carries_next_and_of_equals_the_first_by_name() {
    let world = given([register_agent("w2"), register_agent("w1"), register("w0"), register_http("h1", 9)]);
    let names = ["a", "b", "c", "d"];
    let world = names.iter().fold(world, |world, name| world.and(submit_remote(name))).placed();
    let by = names.map(|name| carrier(&world, name).unwrap().to_string());
    assert_eq!(by, ["w1", "w2", "w1", "w2"], "w0 does not call HTTP workers");
    // One that drains takes no more.
    let world = world.and(drain("w1", None)).and(submit_remote("e")).placed();
    assert_eq!(carrier(&world, "e"), Some(worker_id("w2")));
}

#[test]
fn without_a_carrier_modules_wait_and_say_so() {
    let world = given([register("w1"), submit_remote("a")]).placed();
    let reason = |world: &World| world.state.blocked.values().next().unwrap().reason.to_string();
    assert_eq!(reason(&world), "no HTTP worker is registered");
    let world = world.and(register_http("h1", 2)).placed();
    assert_eq!(reason(&world), "no active worker has the remote runtime, which calls HTTP workers");
    let world = world.and(register_agent("w2")).placed();
    assert_eq!(world.task("a").state, TaskState::Scheduled);
    // A program never goes to an HTTP worker.
    let world = given([register_http("h1", 2), submit("p")]).placed();
    assert_eq!(reason(&world), "no worker has the process runtime");
}

#[test]
fn tags_tools_and_system_are_matched() {
    let with = |name: &str, attribute: &str, operator: Operator, value: &str| {
        let (attribute, value) = (attribute.to_owned(), value.into());
        let constraints = vec![Constraint { attribute, operator, value }];
        submit_all([TaskDefinition { constraints, ..remote_definition(name) }])
    };
    let mut h1 = http_registration("h1", 9);
    h1.info.tags = ["gpu-enabled".to_owned()].into();
    h1.info.tools = ["dotnet".to_owned()].into();
    h1.info.os = "linux".into();
    let world = given([
        register_agent("w1"),
        Command::WorkerRegister(h1),
        register_http("h0", 9),
        with("a", "tags", Operator::Contains, "gpu-enabled"),
        with("b", "tools", Operator::Contains, "dotnet"),
        with("c", "tags", Operator::Contains, "gpu"),
        with("d", "os", Operator::Equal, "linux"),
        with("e", "os", Operator::Equal, "windows"),
        with("f", "worker", Operator::Contains, "1"),
    ])
    .placed();
    for (task, worker) in
        [("a", Some("h1")), ("b", Some("h1")), ("c", None), ("d", Some("h1")), ("e", None), ("f", Some("h1"))]
    {
        let placed = world.task(task).live_attempt().map(|a| a.worker.to_string());
        assert_eq!(placed.as_deref(), worker, "{task}");
    }
}

#[test]
fn only_the_carrier_reports() {
    let world = carried();
    let a = world.attempt("a");
    for other in ["h1", "w2"] {
        let refused = Event::ReportRefused(ReportRefused {
            attempt: a,
            worker: worker_id(other),
            reason: "worker w1 carries the attempt".into(),
            stop: false,
        });
        world.clone().when(reports(other, [(a, exited(0))])).then([refused]);
    }
    let result = Report { attempt: a, at: START, what: exited(0), result: Some("{}".into()) };
    let report =
        Reports { worker_id: worker_id("w1"), incarnation: incarnation("first life"), reports: vec![result] };
    let ending = Ending::Exited { code: 0 };
    let ended = TaskEnded { attempt: a, at: START, ending, result: Some("{}".into()) };
    let world = world.when(Command::AttemptReport(report)).then([Event::TaskCompleted(ended)]);
    assert_eq!(world.task("a").attempt.as_ref().unwrap().result.as_deref(), Some("{}"));
    assert_eq!((world.worker("h1").burden(), world.worker("w1").burden()), (0, 0));
}

#[test]
fn an_error_of_the_http_worker_fails_the_task_in_its_words() {
    let world = carried();
    let a = world.attempt("a");
    let ending = Ending::Failed { message: "System.InvalidOperationException: no".into() };
    let world = world.when(reports("w1", [(a, What::Ended(ending))])).then_kinds(["task.failed"]);
    assert_eq!(world.task("a").reason.as_deref(), Some("System.InvalidOperationException: no"));
}

#[test]
fn a_lost_carrier_loses_what_it_carries_and_another_tells_the_http_worker() {
    let world = carried().later(61.0);
    let mut liveness = Liveness::new(MINUTE);
    ["h1", "w2"].iter().for_each(|worker| liveness.heard(&worker_id(worker), world.now));
    let due = deadline::due(&world.state, &liveness, world.now);
    let reason = format!("worker w1 is offline, last heard at {START}");
    assert_eq!(due[1..], [rescheduled(&world, &reason)]);
    let stop = Order::Stop { attempt: world.attempt("a"), stale: true, target: at_h1() };
    assert_eq!(ordered(&world, &due), [("w2".to_owned(), vec![stop])]);
    let world = world.happened(&due).placed();
    assert_eq!(carrier(&world, "a"), Some(worker_id("w2")));
    assert_eq!(world.worker("w1").burden(), 0);
}

#[test]
fn a_carrier_that_started_anew_no_longer_carries_and_tells_the_http_worker_itself() {
    let world = carried();
    let mut again = http_registration("w1", 1);
    again.info = crate::testing::registration("w1").info;
    again.info.runtimes.insert(muster_events::spec::Runtime::Remote);
    again.incarnation = incarnation("second life");
    let command = Command::WorkerRegister(again);
    let events = world.clone().when_asked("w1", false, &command).events();
    assert_eq!(events[0], rescheduled(&world, "worker w1 started anew and does not hold it"));
    let stop = Order::Stop { attempt: world.attempt("a"), stale: true, target: at_h1() };
    assert_eq!(ordered(&world, &events), [("w1".to_owned(), vec![stop])]);
}

#[test]
fn a_carrier_that_still_holds_it_goes_on() {
    let world = carried();
    let Command::WorkerRegister(mut again) = register_agent("w1") else { unreachable!() };
    again.incarnation = incarnation("second life");
    again.holding = vec![world.attempt("a")];
    let world = world.when(Command::WorkerRegister(again)).then_kinds(["worker.registered"]);
    assert_eq!(carrier(&world, "a"), Some(worker_id("w1")));
}

#[test]
fn a_lost_http_worker_loses_what_runs_there_and_its_carrier_stops_calling() {
    let world = carried().and(register_http("h2", 2)).later(61.0);
    let mut liveness = Liveness::new(MINUTE);
    ["w1", "w2", "h2"].iter().for_each(|worker| liveness.heard(&worker_id(worker), world.now));
    let due = deadline::due(&world.state, &liveness, world.now);
    let reason = format!("worker h1 is offline, last heard at {START}");
    assert_eq!(due[1..], [rescheduled(&world, &reason)]);
    let stop = Order::Stop { attempt: world.attempt("a"), stale: true, target: at_h1() };
    assert_eq!(ordered(&world, &due), [("w1".to_owned(), vec![stop])]);
    let world = world.happened(&due).placed();
    assert_eq!(world.task("a").live_attempt().unwrap().worker, worker_id("h2"));
}

#[test]
fn a_forgotten_http_worker_is_told_by_whoever_has_its_endpoint() {
    let world = carried();
    let events = world.clone().when_asked("alice", false, &unregister("h1")).events();
    assert_eq!(events[0], rescheduled(&world, "worker h1 was unregistered"));
    let stop = Order::Stop { attempt: world.attempt("a"), stale: true, target: None };
    assert_eq!(ordered(&world, &events), [("w1".to_owned(), vec![stop])]);
}

#[test]
fn both_lost_at_once_is_one_loss() {
    let world = silent_but(carried(), &["w2"]);
    assert_eq!(world.task("a").state, TaskState::Pending);
    let nobody = silent_but(carried(), &[]);
    assert_eq!(nobody.task("a").state, TaskState::Pending);
}

#[test]
fn an_http_worker_that_registers_again_loses_nothing() {
    let world = carried();
    let world = world.when(register_http("h1", 2)).then_nothing();
    let mut moved = http_registration("h1", 2);
    moved.info.endpoint = Some("http://elsewhere:1".parse().unwrap());
    let world = world.when(Command::WorkerRegister(moved)).then_kinds(["worker.registered"]);
    assert_eq!(world.task("a").state, TaskState::Running);
    // A worker of the other kind cannot take a living one's name; nor keeps it what an HTTP worker had.
    let mut agent = crate::testing::registration("h1");
    agent.installation = crate::testing::installation("elsewhere");
    let world = world.when(Command::WorkerRegister(agent.clone())).refused(409, "second worker");
    let world = silent_but(world, &["w1", "w2"]);
    world.when(Command::WorkerRegister(agent)).then_kinds(["worker.registered"]);
}

#[test]
fn orders_go_to_the_carrier_with_where_to_call() {
    let world = given([register_agent("w1"), register_http("h1", 2), submit_remote("a")]);
    let placed = placement::place(&world.state, 10);
    let got = ordered(&world, &placed);
    let [(worker, orders)] = &got[..] else { panic!("{got:?}") };
    assert!(matches!(&orders[..], [Order::Start { target, .. }] if *target == at_h1()), "{orders:?}");
    assert_eq!(worker, "w1");
    let world = world.happened(&placed);
    let unanswered = orders::unanswered(&world.state);
    assert_eq!(unanswered.len(), 1);
    assert_eq!((unanswered[0].worker.as_str(), unanswered[0].orders.len()), ("w1", 1));
    assert_eq!(orders::unanswered_of(&world.state, &worker_id("h1")), []);
    let stopping = world.clone().when(cancel("a")).events();
    let stop = Order::Stop { attempt: world.attempt("a"), stale: false, target: at_h1() };
    assert_eq!(ordered(&world, &stopping), [("w1".to_owned(), vec![stop])]);
}

#[test]
fn a_carrier_that_drains_waits_for_what_it_carries() {
    let world = carried().when(drain("w1", None)).then_kinds(["worker.draining"]);
    let a = world.attempt("a");
    let world = world.when(reports("w1", [(a, exited(0))])).then_kinds(["task.completed", "worker.drained"]);
    world.and(activate("w1"));
}

#[test]
fn both_that_drain_are_drained_by_one_end() {
    let world = carried().and(drain("w1", None)).and(drain("h1", None));
    let a = world.attempt("a");
    let kinds = ["task.completed", "worker.drained", "worker.drained"];
    world.clone().when(reports("w1", [(a, exited(0))])).then_kinds(kinds);
    world.when(reports("w1", [(a, lost())])).then_kinds([
        "task.rescheduled",
        "worker.drained",
        "worker.drained",
    ]);
}

#[test]
fn two_drains_past_their_deadline_stop_an_attempt_once() {
    let world = carried().and(drain("w1", Some(0.0))).and(drain("h1", Some(0.0)));
    let mut liveness = Liveness::new(MINUTE);
    liveness.heard(&worker_id("w1"), world.now);
    let due = deadline::due(&world.state, &liveness, world.now);
    assert_eq!(due.iter().map(Event::kind).collect::<Vec<_>>(), ["task.stopping"]);
    let world = world.happened(&due);
    let a = world.attempt("a");
    let world = world.clone().when(reports("w1", [(a, stopped())])).then([
        rescheduled(&world, "worker w1 drains"),
        crate::testing::drained("h1"),
        crate::testing::drained("w1"),
    ]);
    // Placed again where neither drains.
    let world = world.and(register_http("h2", 1)).placed();
    let attempt = world.task("a").live_attempt().unwrap();
    assert_eq!((attempt.worker.as_str(), attempt.carrier.as_ref().unwrap().as_str()), ("h2", "w2"));
    assert_eq!(attempt.number, 2);
    assert_eq!(id("a"), world.attempt("a").task);
}

/// h1 has one slot, on which `low` runs; w1 calls it.
fn full() -> World {
    let low = TaskDefinition { priority: 1, ..remote_definition("low") };
    let world = given([register_agent("w1"), register_http("h1", 1), submit_all([low])]).placed();
    let low = world.attempt("low");
    world.and(reports("w1", [(low, started())]))
}

#[test]
fn a_module_of_higher_priority_has_another_make_room() {
    let high = TaskDefinition { priority: 9, ..remote_definition("high") };
    let world = full().and(submit_all([high]));
    let low = world.attempt("low");
    let made = placement::place(&world.state, 10);
    assert_eq!(made.iter().map(Event::kind).collect::<Vec<_>>(), ["task.preempting", "task.stopping"]);
    let stop = Order::Stop { attempt: low, stale: false, target: at_h1() };
    assert_eq!(ordered(&world, &made), [("w1".to_owned(), vec![stop])]);
    let world = world.happened(&made).and(reports("w1", [(low, stopped())])).placed();
    assert_eq!(world.task("high").live_attempt().unwrap().worker, worker_id("h1"));
    assert_eq!(carrier(&world, "high"), Some(worker_id("w1")));
    assert_eq!(world.task("low").state, TaskState::Pending);
}

#[test]
fn room_that_is_held_waits_for_somebody_who_calls() {
    let high = TaskDefinition { priority: 9, ..remote_definition("high") };
    let world = full().and(submit_all([high])).placed().and(drain("w1", None));
    let low = world.attempt("low");
    let world = world.and(reports("w1", [(low, stopped())])).placed();
    assert_eq!(world.task("high").state, TaskState::Pending);
    let explanation = explain(&world.state, id("high"), 10).unwrap();
    assert_eq!(explanation.cause, Some(Cause::Carrier), "{}", explanation.text);
    let world = world.and(register_agent("w2")).placed();
    assert_eq!(carrier(&world, "high"), Some(worker_id("w2")));
}

#[test]
fn what_others_give_an_http_worker_makes_no_room() {
    // Both slots are taken, one of them by others: to stop the task would be enough for one more, not for two.
    let low = TaskDefinition { priority: 1, ..remote_definition("low") };
    let world = given([register_agent("w1"), register_http("h1", 2), submit_all([low])]).placed();
    let occupied = Event::WorkerOccupied(WorkerOccupied { worker: worker_id("h1"), slots: 1 });
    let high = |name: &str| TaskDefinition { priority: 9, ..remote_definition(name) };
    let world = world.happened(&[occupied]).and(submit_all([high("a"), high("b")]));
    let made = placement::place(&world.state, 10);
    assert_eq!(
        made.iter().map(Event::kind).collect::<Vec<_>>(),
        ["task.preempting", "task.stopping", "task.waiting"]
    );
}

#[test]
fn a_system_job_of_modules_has_one_on_each_http_worker() {
    let mut job = system("s");
    job.task = Some(TaskDefinition { id: None, ..remote_definition("s") });
    let world = given([register_agent("w1"), register_http("h1", 2), job_submit(job)]).reconciled().placed();
    let on = |world: &World| -> Vec<String> {
        let live = world.tasks_of("s").filter_map(|(_, t)| t.live_attempt());
        live.map(|a| a.worker.to_string()).collect()
    };
    assert_eq!(on(&world), ["h1"]);
    let world = world.and(register_http("h2", 1)).reconciled().placed();
    assert_eq!(on(&world), ["h1", "h2"]);
}

#[test]
fn where_a_module_is_and_who_calls_is_explained() {
    let explanation = explain(&carried().state, id("a"), 10).unwrap();
    assert_eq!(explanation.text, format!("attempt 1 is on h1, called by w1, since {START}"));
    let world = given([register("w1"), register_http("h1", 2), submit_remote("a")]);
    let look = explain(&world.state, id("a"), 10).unwrap().look.unwrap();
    let verdicts: Vec<_> = look.workers.iter().map(|v| (v.worker.as_str(), v.text.as_str())).collect();
    let nobody = "no active worker with the remote runtime is there to call it";
    assert_eq!(verdicts, [("h1", nobody), ("w1", "is no HTTP worker")]);
}
