//! On random clusters: a plan is the same each time, is carried out as shown, overfills nothing on the way, and asked for
//! again and again there comes a time when there is nothing left to do.

use muster_events::command::{Command, Move, TaskMove};
use muster_events::job::{JobDefinition, Work};
use muster_events::spec::{Affinity, Constraint, Operator, Spread, TaskDefinition};
use proptest::prelude::*;

use super::tests::all_start;
use super::*;
use crate::testing::{World, definition, given, job_submit, registration, service};

#[derive(Clone, Debug)]
struct Job {
    count: u32,
    tenths: u8,
    gib: u64,
    spread: Option<bool>,
    likes: Option<bool>,
    distinct: bool,
}

fn job() -> impl Strategy<Value = Job> {
    let maybe = || proptest::option::weighted(0.4, any::<bool>());
    (1..9_u32, 1..20_u8, 0..4_u64, maybe(), maybe(), proptest::bool::weighted(0.2)).prop_map(
        |(count, tenths, gib, spread, likes, distinct)| Job { count, tenths, gib, spread, likes, distinct },
    )
}

/// By number: cores from 1 to 8, two zones.
fn worker(n: u8, cores: u64) -> Command {
    let mut worker = registration(&format!("w{n}"));
    worker.info.capacity.cpu_milli = cores * 1000;
    worker.info.zone = format!("z{}", n % 2);
    Command::WorkerRegister(worker)
}

fn submitted(n: usize, job: &Job) -> Command {
    let attribute = |zone: bool| if zone { "zone" } else { "worker" }.to_owned();
    let spread = job.spread.map(|zone| Spread { attribute: attribute(zone), weight: 100 });
    let likes = job.likes.map(|first| Affinity {
        attribute: "zone".into(),
        operator: Operator::Equal,
        value: if first { "z0" } else { "z1" }.into(),
        weight: 60,
    });
    let apart =
        Constraint { attribute: "worker".into(), operator: Operator::Distinct, value: Default::default() };
    let task = TaskDefinition {
        id: None,
        cpu: f64::from(job.tenths) / 10.0,
        memory: job.gib << 30,
        spread: spread.into_iter().collect(),
        affinities: likes.into_iter().collect(),
        constraints: job.distinct.then_some(apart).into_iter().collect(),
        ..definition("t")
    };
    job_submit(JobDefinition { task: Some(task), ..service(&format!("j{n}"), job.count) })
}

fn carried_out(plan: &Rebalance) -> Command {
    let one =
        |m: &Planned| Move { task_id: m.task, to: m.to.clone(), from: Some(m.from.clone()), reason: None };
    Command::TaskMove(TaskMove { moves: plan.moves.iter().map(one).collect() })
}

/// What is up of each service.
fn up(world: &World) -> Vec<usize> {
    let jobs = world.state.jobs.in_order(0).filter(|(_, job)| matches!(job.spec().work, Work::Service(_)));
    let is_up = |task: &crate::state::Task| crate::jobs::is_up(task);
    jobs.map(|(id, _)| world.state.tasks.values().filter(|t| t.job == Some(id) && is_up(t)).count()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn asked_again_and_again_it_comes_to_an_end(
        first in proptest::collection::vec(1..9_u64, 1..3),
        more in proptest::collection::vec(1..9_u64, 1..4),
        jobs in proptest::collection::vec(job(), 1..5),
        max in 1..20_usize,
        min_gain in 1..1500_u32,
    ) {
        let wish = Wish { max, min_gain };
        let workers = (0_u8..).zip(&first).map(|(n, cores)| worker(n, *cores));
        let jobs = jobs.iter().enumerate().map(|(n, job)| submitted(n, job));
        let world = given(workers.chain(jobs)).reconciled().placed();
        let mut world = all_start(world);
        for (n, cores) in (10_u8..).zip(&more) {
            world = world.and(worker(n, *cores));
        }
        world = all_start(world.placed());
        let mut rounds = 0;
        loop {
            let plan = plan(&world.state, &wish);
            prop_assert_eq!(&plan, &super::plan(&world.state, &wish));
            if plan.moves.is_empty() {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 500, "no end: {:?}", plan);
            let before = up(&world);
            let seq = world.state.next_seq;
            // With each event the world checks that nothing is overfilled.
            world = world.and(carried_out(&plan));
            prop_assert_eq!(world.state.next_seq - seq, 2 * plan.moves.len() as u64, "all of it goes");
            world = all_start(world.reconciled().placed());
            prop_assert!(up(&world).iter().zip(&before).all(|(now, before)| now >= before));
            world = world.reconciled();
            let jobs: Vec<_> = world.state.jobs.in_order(0).map(|(_, job)| job.spec().name.to_string()).collect();
            world = jobs.iter().fold(world, |world, job| world.all_stop(job)).reconciled();
            prop_assert_eq!(up(&world), before);
            // It has come out as it was shown.
            let after = super::plan(&world.state, &wish).before;
            prop_assert_eq!(after, plan.after);
            world = all_start(world.placed());
        }
    }
}
