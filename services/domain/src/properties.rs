//! Random histories: whatever is asked, reported, missed and repeated, in whatever order, the state stays sound.
//!
//! `sim` plays a manager over the core; here are the steps it is given and what must hold after each and at the end.

mod sim;

use muster_events::job::UpdateAction;
use muster_events::report::Ending;
use proptest::prelude::*;
use proptest::sample::Index;

use sim::{Claim, Sim};

/// One thing that happens. Workers are meant by 0 to 5, tasks and attempts by an index into all there are.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        id: u8,
        count: u32,
        shape: Shape,
    },
    Cancel(Index),
    Start(Index),
    Retry(Index, Index),
    RetryFailed,
    Register {
        worker: u8,
        new_life: bool,
        elsewhere: bool,
        holds: u8,
        cores: u64,
        claim: Option<Index>,
        seen: Option<Index>,
    },
    Unregister(u8),
    Drain(u8, Option<u8>),
    Activate(u8),
    /// About any attempt there ever was, by any worker.
    Report(u8, Index, Claim),
    /// About a live attempt, by its own worker.
    ReportLive(Index, Claim),
    /// Every live attempt of a worker at once, in one message with its beginning.
    ReportAll(u8, Claim),
    /// The newest report once more.
    Repeat,
    Beat(u8),
    /// How many modules an HTTP worker says it executes.
    Load(u8, u8),
    Forgive,
    Later(u8),
    Place(u8),
    /// Two tasks to two workers, whatever they are.
    Move([(Index, u8); 2]),
    /// A rebalance is planned and carried out.
    Rebalance(u8, u32),
    /// Jobs 0 and 1 are batches, 2 and 3 services, 4 is a system job, 5 a pipeline, 6 one by the clock.
    JobSubmit {
        job: u8,
        count: u32,
        wish: JobWish,
    },
    JobStop(u8),
    JobScale(u8, u32),
    JobStart(u8),
    JobRetry(u8),
    JobUpdate(u8, UpdateAction),
    /// So many minutes pass without a leader.
    NobodyLeads(u8),
    /// Jobs are brought to what is wanted, in so many turns with so much room.
    Reconcile {
        turns: u8,
        room: u8,
    },
    /// No more than so many that have ended stay, nor longer than so many seconds.
    Limit(u8, u8),
    /// The group ends: orders are derived.
    Flush,
}

#[derive(Clone, Debug)]
struct Shape {
    tenths: u8,
    gib: u64,
    priority: i32,
    zone: Option<bool>,
    spread: bool,
    restart: Option<Again>,
    gang: bool,
    remote: bool,
}

/// A restart policy.
#[derive(Clone, Debug)]
struct Again {
    always: bool,
    max: u32,
    initial_s: u8,
    reset_after_s: u8,
    only_code_1: bool,
}

#[derive(Clone, Debug)]
struct JobWish {
    array: bool,
    max_parallel: Option<u32>,
    stops_at_failure: bool,
    heavy: bool,
    /// Its tasks are tried again once.
    retried: bool,
}

fn job_wish() -> impl Strategy<Value = JobWish> {
    let rarely = || proptest::bool::weighted(0.3);
    (any::<bool>(), rarely(), rarely(), any::<bool>(), proptest::option::of(1..4_u32)).prop_map(
        |(array, stops_at_failure, heavy, retried, max_parallel)| JobWish {
            array,
            max_parallel,
            stops_at_failure,
            heavy,
            retried,
        },
    )
}

fn update_action() -> impl Strategy<Value = UpdateAction> {
    use UpdateAction::{Pause, Promote, Resume, Revert};
    proptest::sample::select(&[Promote, Promote, Pause, Resume, Revert][..])
}

fn job_step() -> impl Strategy<Value = Step> {
    let job = || 0..7_u8;
    prop_oneof![
        4 => (job(), 0..5_u32, job_wish()).prop_map(|(job, count, wish)| Step::JobSubmit { job, count, wish }),
        1 => job().prop_map(Step::JobStop),
        1 => (job(), 0..5_u32).prop_map(|(job, count)| Step::JobScale(job, count)),
        1 => job().prop_map(Step::JobStart),
        1 => job().prop_map(Step::JobRetry),
        2 => (2..4_u8, update_action()).prop_map(|(job, action)| Step::JobUpdate(job, action)),
        1 => (1..9_u8).prop_map(Step::NobodyLeads),
        6 => (1..20_u8, 1..5_u8).prop_map(|(turns, room)| Step::Reconcile { turns, room }),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let zone = proptest::option::weighted(0.2, any::<bool>());
    let restart = proptest::option::weighted(0.6, again());
    let remote = proptest::bool::weighted(0.3);
    (0..30_u8, 0..4_u64, -1..=1, zone, any::<bool>(), restart, any::<bool>(), remote).prop_map(
        |(tenths, gib, priority, zone, spread, restart, gang, remote)| Shape {
            tenths,
            gib,
            priority,
            zone,
            spread,
            restart,
            gang,
            remote,
        },
    )
}

fn again() -> impl Strategy<Value = Again> {
    (proptest::bool::weighted(0.2), 0..4_u32, 1..20_u8, 1..40_u8, proptest::bool::weighted(0.3)).prop_map(
        |(always, max, initial_s, reset_after_s, only_code_1)| Again {
            always,
            max,
            initial_s,
            reset_after_s,
            only_code_1,
        },
    )
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![
        4 => Just(Claim::Started),
        3 => Just(Claim::Ended(Ending::Exited { code: 0 })),
        2 => Just(Claim::Ended(Ending::Exited { code: 1 })),
        1 => Just(Claim::Ended(Ending::Exited { code: 2 })),
        1 => Just(Claim::Ended(Ending::Oom)),
        1 => Just(Claim::Ended(Ending::NotStarted { message: "no".into() })),
        1 => Just(Claim::Ended(Ending::Unhealthy { message: "no".into() })),
        2 => any::<bool>().prop_map(Claim::Health),
        2 => Just(Claim::Ended(Ending::Stopped { code: None })),
        1 => Just(Claim::Ended(Ending::Lost { message: "gone".into() })),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0..6_u8;
    prop_oneof![
        6 => (0..12_u8, 1..5_u32, shape()).prop_map(|(id, count, shape)| Step::Submit { id, count, shape }),
        3 => any::<Index>().prop_map(Step::Cancel),
        2 => any::<Index>().prop_map(Step::Start),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Step::Retry(a, b)),
        1 => Just(Step::RetryFailed),
        5 => register(),
        1 => worker().prop_map(Step::Unregister),
        2 => (worker(), proptest::option::of(0..20_u8)).prop_map(|(w, s)| Step::Drain(w, s)),
        2 => worker().prop_map(Step::Activate),
        3 => (worker(), any::<Index>(), claim()).prop_map(|(w, a, c)| Step::Report(w, a, c)),
        8 => (any::<Index>(), claim()).prop_map(|(a, c)| Step::ReportLive(a, c)),
        2 => (worker(), claim()).prop_map(|(w, c)| Step::ReportAll(w, c)),
        1 => Just(Step::Repeat),
        4 => worker().prop_map(Step::Beat),
        1 => (4..6_u8, 0..6_u8).prop_map(|(w, held)| Step::Load(w, held)),
        1 => Just(Step::Forgive),
        4 => (0..50_u8).prop_map(Step::Later),
        8 => (1..9_u8).prop_map(Step::Place),
        2 => (any::<[Index; 2]>(), worker(), worker()).prop_map(|([a, b], v, w)| Step::Move([(a, v), (b, w)])),
        3 => (1..6_u8, 1..2000_u32).prop_map(|(max, gain)| Step::Rebalance(max, gain)),
        14 => job_step(),
        1 => (0..8_u8, 0..90_u8).prop_map(|(finished, seconds)| Step::Limit(finished, seconds)),
        4 => Just(Step::Flush),
    ]
}

fn register() -> impl Strategy<Value = Step> {
    let claim = proptest::option::weighted(0.2, any::<Index>());
    let seen = proptest::option::weighted(0.7, any::<Index>());
    let flags = (proptest::bool::weighted(0.4), proptest::bool::weighted(0.1));
    (0..6_u8, flags, any::<u8>(), 1..5_u64, claim, seen).prop_map(
        |(worker, (new_life, elsewhere), holds, cores, claim, seen)| Step::Register {
            worker,
            new_life,
            elsewhere,
            holds,
            cores,
            claim,
            seen,
        },
    )
}

fn play(sim: &mut Sim, step: &Step) {
    match step {
        Step::Submit { id, count, shape } => sim.submit(*id, *count, shape),
        Step::Cancel(index) => sim.cancel(index),
        Step::Start(index) => sim.start(index),
        Step::Retry(one, other) => sim.retry([one, other]),
        Step::RetryFailed => sim.retry_failed(),
        Step::Register { worker, new_life, elsewhere, holds, cores, claim, seen } => {
            sim.register(*worker, *new_life, *elsewhere, *holds, *cores, claim.as_ref(), seen.as_ref());
        }
        Step::Unregister(worker) => sim.unregister(*worker),
        Step::Drain(worker, seconds) => sim.drain(*worker, *seconds),
        Step::Activate(worker) => sim.activate(*worker),
        Step::Report(worker, index, claim) => sim.report(*worker, index, claim),
        Step::ReportLive(index, claim) => sim.report_live(index, claim),
        Step::ReportAll(worker, claim) => sim.report_all(*worker, claim),
        Step::Repeat => sim.repeat(),
        Step::Beat(worker) => sim.beat(*worker),
        Step::Load(worker, held) => sim.load(*worker, *held),
        Step::Forgive => sim.forgive(),
        Step::Later(seconds) => sim.later(*seconds),
        Step::Place(limit) => sim.place(usize::from(*limit)),
        Step::Move(moves) => sim.move_tasks(moves),
        Step::Rebalance(max, min_gain) => sim.rebalance(usize::from(*max), *min_gain),
        Step::JobSubmit { job, count, wish } => sim.job_submit(*job, *count, wish),
        Step::JobStop(job) => sim.job_stop(*job),
        Step::JobScale(job, count) => sim.job_scale(*job, *count),
        Step::JobStart(job) => sim.job_start(*job),
        Step::JobRetry(job) => sim.job_retry(*job),
        Step::JobUpdate(job, action) => sim.job_update(*job, *action),
        Step::NobodyLeads(minutes) => sim.nobody_leads(*minutes),
        Step::Reconcile { turns, room } => sim.reconcile(usize::from(*turns), usize::from(*room)),
        Step::Limit(finished, seconds) => sim.limit(*finished, *seconds),
        Step::Flush => sim.flush(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// After every step: the events are legal, the state is sound, nothing goes where nothing may go, deciding twice
    /// gives the same bytes. At the end: orders tell each worker what it must know, the log replays to the same state,
    /// a snapshot is the same state, every task can still be brought to an end, and what has left the state is all that
    /// it lacks.
    #[test]
    fn every_history_is_sound(steps in proptest::collection::vec(step(), 1..150)) {
        let mut sim = Sim::new();
        for step in &steps {
            play(&mut sim, step);
        }
        sim.reconcile_all();
        sim.flush();
        sim.check_replay();
        sim.settle();
        sim.check_replay();
        sim.check_forgetting();
    }
}
