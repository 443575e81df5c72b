//! A job by the clock: a run for each time that its schedule means, as far as one may begin.
//!
//! That a time has been dealt with stands in the log ([`Job::clock`](crate::state::job::Job::clock)), when the next one
//! comes does not: it follows from the schedule. So no run begins twice, and one that nobody could start is named.

use muster_events::event::{Event, JobMissed, JobSkipped, JobStarted, JobStopping};
use muster_events::id::JobId;
use muster_events::job::{Concurrency, Cron, Work};
use muster_events::time::Timestamp;

use crate::state::job::Job;

/// The most runs of a job that go on at a time; what is due beyond them is left out.
pub const RUNS_LIVE_MAX: usize = 100;
/// The most missed runs that are counted.
const MISSED_MAX: usize = 10_000;
/// The most that are named each by its time.
const NAMED_MAX: usize = 32;

/// The next time for which a run is meant, in the past if nobody has dealt with it yet.
pub(crate) fn next(job: &Job) -> Option<Timestamp> {
    let Work::Cron(cron) = &job.spec().work else { return None };
    let clock = job.clock.filter(|_| job.stop.is_none())?;
    cron.times()?.next_after(clock)
}

/// When something falls due: never while what is to be replaced still stops, whose end is what it waits for.
pub(super) fn due(job: &Job, cron: &Cron) -> Option<Timestamp> {
    next(job).filter(|_| !waits_for_a_stop(job, cron))
}

fn waits_for_a_stop(job: &Job, cron: &Cron) -> bool {
    cron.concurrency == Concurrency::Replace && job.live_runs().any(|(_, run)| run.stop.is_some())
}

/// What the clock brings about by `now`. Of several times that have passed the newest is the one to run.
pub(super) fn events(id: JobId, job: &Job, cron: &Cron, now: Timestamp) -> Vec<Event> {
    let (Some(clock), Some(schedule)) = (job.clock, cron.times()) else { return Vec::new() };
    if waits_for_a_stop(job, cron) || schedule.next_after(clock).is_none_or(|next| next > now) {
        return Vec::new();
    }
    let mut passed: Vec<Timestamp> =
        schedule.back_from(now).take_while(|time| *time > clock).take(MISSED_MAX + 1).collect();
    let late = |time: &Timestamp| {
        let micros = u64::try_from(now.micros_since(*time)).unwrap_or(0);
        cron.start_within_ms.is_some_and(|within| micros > within.saturating_mul(1000))
    };
    let newest = passed.first().copied().filter(|time| !late(time));
    let replaced: Vec<Event> = job.live_runs().map(|(number, _)| replace(id, number)).collect();
    if newest.is_some() && cron.concurrency == Concurrency::Replace && !replaced.is_empty() {
        return replaced;
    }
    if newest.is_some() {
        passed.remove(0);
    }
    let missed = (!passed.is_empty()).then(|| missed(id, passed, newest.is_none()));
    missed.into_iter().chain(newest.map(|due| begin(id, job, cron, due))).collect()
}

fn replace(job: JobId, run: u32) -> Event {
    let reason = Some("replaced by the next run of its job".to_owned());
    Event::JobStopping(JobStopping { job, run: Some(run), reason })
}

/// `times`: the newest first.
fn missed(job: JobId, mut times: Vec<Timestamp>, all: bool) -> Event {
    times.truncate(MISSED_MAX);
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    times.truncate(NAMED_MAX);
    times.reverse();
    let reason = if all {
        "nobody could start it in the time in which it may start"
    } else {
        "nobody could start it before the next was due"
    };
    Event::JobMissed(JobMissed { job, count, times, reason: reason.to_owned() })
}

/// The run that was meant for this time, unless those that go on are in its way.
fn begin(id: JobId, job: &Job, cron: &Cron, due: Timestamp) -> Event {
    let (live, newest) = (job.live_runs().count(), job.live_runs().last().map(|(number, _)| number));
    let skipped = |reason: String| Event::JobSkipped(JobSkipped { job: id, due, reason });
    match (cron.concurrency, newest) {
        (Concurrency::Forbid, Some(run)) => skipped(format!("run {run} still goes on")),
        _ if live >= RUNS_LIVE_MAX => skipped(format!("{live} runs go on, and more may not")),
        _ => {
            let (run, version) = (job.last_run + 1, job.current.number);
            Event::JobStarted(JobStarted { job: id, run, version, due: Some(due) })
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_events::event::{Event, JobMissed};
    use muster_events::job::{Concurrency, CronDefinition};
    use muster_events::time::Timestamp;

    use crate::jobs::{next, next_run};
    use crate::state::TaskState;
    use crate::state::job::JobState;
    use crate::testing::{
        World, cron, given, job_retry, job_start, job_stop, job_submit, pipeline, register, start_task,
    };

    fn minute(n: i64) -> Timestamp {
        Timestamp::from_micros(n * 60_000_000)
    }

    /// A second after the epoch, a job every minute.
    fn minutely(change: impl Fn(&mut CronDefinition)) -> World {
        given([register("w1"), job_submit(cron("c", "* * * * *", change))]).reconciled()
    }

    fn with(concurrency: Concurrency) -> World {
        minutely(|c| c.concurrency = concurrency)
    }

    /// The time is `n` minutes after the epoch, and what is due has happened.
    fn at(mut world: World, n: i64) -> World {
        world.now = world.now.max(minute(n));
        world.reconciled().placed()
    }

    fn state(world: &World) -> JobState {
        world.job("c").1.state()
    }

    /// The runs with the times for which they were meant.
    fn runs(world: &World) -> Vec<(u32, Option<Timestamp>)> {
        world.job("c").1.runs.iter().map(|(number, run)| (*number, run.due)).collect()
    }

    fn kinds(world: &World, before: usize) -> Vec<&'static str> {
        world.log[before..].iter().map(Event::kind).collect()
    }

    #[test]
    fn each_time_has_a_run_of_its_own_with_its_own_tasks() {
        let world = minutely(|_| {});
        assert_eq!((state(&world), world.tasks_of("c").count()), (JobState::Pending, 0));
        assert_eq!((next(&world.state), next_run(world.job("c").1)), (Some(minute(1)), Some(minute(1))));
        let world = at(world, 1);
        assert_eq!((state(&world), next(&world.state)), (JobState::Running, Some(minute(2))));
        let world = world.all_end("c", 0).reconciled();
        assert_eq!(state(&world), JobState::Pending);
        let world = at(world, 2);
        assert_eq!(runs(&world), [(1, Some(minute(1))), (2, Some(minute(2)))]);
        let tasks: Vec<_> = world.tasks_of("c").map(|(_, t)| (t.run, t.state)).collect();
        assert_eq!(tasks.len(), 2);
        assert!(tasks.contains(&(1, TaskState::Completed)) && tasks.contains(&(2, TaskState::Scheduled)));
    }

    #[test]
    fn a_run_may_be_a_pipeline() {
        let mut definition = cron("c", "* * * * *", |_| {});
        (definition.task, definition.count) = (None, None);
        definition.tasks = pipeline("p", &[("load", &["extract"]), ("extract", &[])]).tasks;
        let world = at(given([register("w1"), job_submit(definition)]), 1);
        let world = world.all_end("c", 0).reconciled().placed();
        assert_eq!(world.tasks_of("c").count(), 2);
        assert_eq!(state(&world.all_end("c", 0).reconciled()), JobState::Pending);
    }

    #[test]
    fn runs_may_go_on_beside_each_other() {
        let world = at(at(with(Concurrency::Allow), 1), 2);
        assert_eq!(world.job("c").1.live_runs().count(), 2);
        let world = world.one_ends("c", 0, 0).reconciled();
        assert_eq!((state(&world), world.job("c").1.live_runs().count()), (JobState::Running, 1));
    }

    #[test]
    fn there_is_a_most_to_what_goes_on() {
        let world = (1..=102).fold(with(Concurrency::Allow), at);
        assert_eq!(world.job("c").1.live_runs().count(), super::RUNS_LIVE_MAX);
        let last = world.log.iter().rev().find(|e| e.kind() == "job.skipped").unwrap();
        let Event::JobSkipped(skipped) = last else { panic!("{last:?}") };
        assert_eq!((skipped.due, skipped.reason.as_str()), (minute(102), "100 runs go on, and more may not"));
        world.when(job_start("c")).refused(409, "100 runs go on");
    }

    #[test]
    fn one_that_forbids_another_leaves_out_what_is_due() {
        let world = at(with(Concurrency::Forbid), 1);
        let before = world.log.len();
        let world = at(world, 2);
        assert_eq!(kinds(&world, before), ["job.skipped"]);
        assert_eq!((runs(&world).len(), next(&world.state)), (1, Some(minute(3))));
        let world = world.when(job_start("c")).refused(409, "its run 1 goes on, and only one may");
        let world = at(world.all_end("c", 0).reconciled(), 3);
        assert_eq!(runs(&world), [(1, Some(minute(1))), (2, Some(minute(3)))]);
    }

    #[test]
    fn one_that_replaces_another_waits_until_that_has_stopped() {
        let world = at(at(with(Concurrency::Replace), 1), 2);
        assert_eq!((runs(&world).len(), world.job("c").1.runs[&1].ending.len()), (1, 1));
        // Nothing is due meanwhile: the end of what stops is what it waits for.
        assert_eq!(next(&world.state), None);
        let world = world.all_stop("c").reconciled();
        assert_eq!(runs(&world), [(1, Some(minute(1))), (2, Some(minute(2)))]);
        assert_eq!(world.job("c").1.live_runs().count(), 1);
    }

    #[test]
    fn what_nobody_could_start_is_named_and_the_newest_runs() {
        let world = minutely(|_| {});
        let before = world.log.len();
        let world = at(world, 4);
        assert_eq!(kinds(&world, before)[..2], ["job.missed", "job.started"]);
        let reason = "nobody could start it before the next was due".into();
        let missed = JobMissed {
            job: world.job("c").0,
            count: 3,
            times: vec![minute(1), minute(2), minute(3)],
            reason,
        };
        assert_eq!(world.log[before], Event::JobMissed(missed));
        assert_eq!(runs(&world), [(1, Some(minute(4)))]);
        assert_eq!(next(&world.state), Some(minute(5)));
    }

    #[test]
    fn what_is_too_late_does_not_run() {
        let mut world = minutely(|c| c.start_within_s = Some(20.0));
        world.now = minute(2).plus_seconds(20.5);
        let before = world.log.len();
        let world = world.reconciled();
        assert_eq!(kinds(&world, before), ["job.missed"]);
        let mut world = at(world, 3);
        assert_eq!(runs(&world), [(1, Some(minute(3)))]);
        world.now = minute(4).plus_seconds(20.0);
        assert_eq!(runs(&world.reconciled())[1], (2, Some(minute(4))));
    }

    #[test]
    fn of_a_great_many_missed_the_newest_are_named_and_not_all_counted() {
        let world = at(minutely(|_| {}), 20_000);
        let missed = world.log.iter().find_map(|e| match e {
            Event::JobMissed(e) => Some(e),
            _ => None,
        });
        let missed = missed.unwrap();
        assert_eq!((missed.count, missed.times.len()), (10_000, 32));
        assert_eq!((missed.times[0], missed.times[31]), (minute(19_968), minute(19_999)));
    }

    #[test]
    fn a_run_by_hand_is_beside_the_times() {
        let world = minutely(|_| {});
        let world = world.when(job_start("c")).then_kinds(["job.started"]).reconciled().placed();
        assert_eq!((runs(&world), next(&world.state)), (vec![(1, None)], Some(minute(1))));
        let world = at(world, 1);
        assert_eq!(runs(&world), [(1, None), (2, Some(minute(1)))]);
    }

    #[test]
    fn one_that_is_stopped_has_no_times_until_it_is_wanted_again() {
        let world = at(minutely(|_| {}), 1).and(job_stop("c")).reconciled().all_stop("c").reconciled();
        assert_eq!((state(&world), next(&world.state)), (JobState::Stopped, None));
        assert_eq!(next_run(world.job("c").1), None);
        let world = at(world, 9);
        assert_eq!(runs(&world).len(), 1);
        // What came in the meantime was not wanted, so it is not missed.
        let before = world.log.len();
        let world = world.and(job_submit(cron("c", "* * * * *", |_| {}))).reconciled();
        assert_eq!((kinds(&world, before), next(&world.state)), (vec!["job.submitted"], Some(minute(10))));
    }

    #[test]
    fn another_version_leaves_what_goes_on_alone_and_counts_other_times_from_now_on() {
        let mut other = cron("c", "*/5 * * * *", |_| {});
        other.task.as_mut().unwrap().cpu = 0.5;
        let world = at(minutely(|_| {}), 1);
        let before = world.log.len();
        let world = world.later(30.0).and(job_submit(other)).reconciled();
        assert_eq!((kinds(&world, before), next(&world.state)), (vec!["job.submitted"], Some(minute(5))));
        let world = at(world, 5);
        assert_eq!((world.job("c").1.runs[&1].version, world.job("c").1.runs[&2].version), (1, 2));
        // The same times go on where they were.
        let world = world.later(30.0).and(job_submit(cron("c", "*/5 * * * *", |_| {}))).reconciled();
        assert_eq!(next(&world.state), Some(minute(10)));
    }

    #[test]
    fn what_failed_in_the_newest_run_is_tried_again_and_in_earlier_ones_not() {
        let world = at(minutely(|_| {}), 1).all_end("c", 1).reconciled();
        let world = world.when(job_retry("c")).then_kinds(["job.retried"]).reconciled().placed();
        assert_eq!(state(&world), JobState::Running);
        let world = at(world.all_end("c", 1).reconciled(), 2);
        let (old, _) = world.tasks_of("c").find(|(_, t)| t.run == 1).unwrap();
        world.when(start_task(old)).refused(409, "which ran again since");
    }

    #[test]
    fn where_the_clock_is_set_back_a_time_comes_once_and_where_it_is_set_forward_it_is_not_lost() {
        let definition = cron("c", "30 2 * * *", |c| c.time_zone = Some("Europe/Berlin".into()));
        for (day, due, following) in [
            ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"),
        ] {
            let mut world = given([]);
            world.now = day.parse().unwrap();
            let mut world = world.and(job_submit(definition.clone())).reconciled();
            let due: Timestamp = due.parse().unwrap();
            assert_eq!(next(&world.state), Some(due));
            world.now = due;
            let world = world.reconciled();
            assert_eq!((runs(&world), next(&world.state)), (vec![(1, Some(due))], following.parse().ok()));
        }
    }
}
