//! Checks a whole state, apart from the logic that made it. For tests and for `muster replay --verify`: it looks at
//! everything, so it takes its time.

mod history;
mod jobs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use muster_events::id::{Namespace, TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::TaskSpec;
use muster_events::time::Timestamp;

use crate::claims::Tenants;
use crate::gangs::GangId;
use crate::jobs::is_system;
use crate::state::{Attempt, Class, State, Task, TaskState, Worker};

/// Something that must never be so, in words that name the task or worker and both sides of the contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that is wrong with the state; nothing when it is sound.
pub fn check(state: &State) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    for (id, task) in state.tasks.iter() {
        check_task(state, *id, task, &mut found);
    }
    check_workers(state, &mut found);
    check_counts(state, &mut found);
    check_queue(state, &mut found);
    check_fleet(state, &mut found);
    check_ports(state, &mut found);
    check_claims(state, &mut found);
    check_gangs(state, &mut found);
    jobs::check(state, &mut found);
    history::check(state, &mut found);
    found.0
}

struct Found(Vec<Violation>);

impl Found {
    fn unless(&mut self, holds: bool, say: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation(say()));
        }
    }
}

/// A task and its attempt fit each other and lie in the past.
fn check_task(state: &State, id: TaskId, task: &Task, found: &mut Found) {
    let name = task.state.as_str();
    found.unless(task.line_seq < state.next_seq, || {
        format!("task {id} has place {} in line, but the next event is {}", task.line_seq, state.next_seq)
    });
    let over = matches!(task.state, TaskState::Completed | TaskState::Failed | TaskState::Cancelled);
    found.unless(over == task.finished_at.is_some(), || {
        format!("task {id} is {name} and finished at {:?}", task.finished_at)
    });
    check_retries(id, task, found);
    found.unless(task.spec.resources.slots == 1, || {
        format!("task {id} takes {} slots", task.spec.resources.slots)
    });
    match &task.attempt {
        Some(attempt) => check_attempt(state, id, task, attempt, found),
        None => found.unless(matches!(task.state, TaskState::Pending | TaskState::Cancelled), || {
            format!("task {id} is {name} but was never placed")
        }),
    }
}

/// Only a task with a restart policy is tried again, no more often than that says, and after an attempt that has ended.
fn check_retries(id: TaskId, task: &Task, found: &mut Found) {
    let most = task.spec.restart.as_ref().map_or(0, |r| r.max.unwrap_or(u32::MAX));
    found.unless(task.retries <= most, || format!("task {id} is at retry {} of {most}", task.retries));
    if let Some(retry_at) = task.retry_at {
        let ended = task.attempt.as_ref().is_some_and(|a| a.ending.is_some());
        found.unless(task.state == TaskState::Pending && task.retries > 0 && ended, || {
            format!("task {id} is {} and waits for a retry at {retry_at}", task.state.as_str())
        });
    }
}

fn check_attempt(state: &State, id: TaskId, task: &Task, attempt: &Attempt, found: &mut Found) {
    let name = task.state.as_str();
    found.unless(attempt.number >= 1, || format!("task {id} has an attempt number {}", attempt.number));
    found.unless((1..state.next_seq).contains(&attempt.fence), || {
        format!("task {id} has fence {}, but the next event is {}", attempt.fence, state.next_seq)
    });
    found.unless(attempt.healthy.is_none() || attempt.started_at.is_some(), || {
        format!("task {id} has an attempt whose health is known, but it has not started")
    });
    match task.state {
        TaskState::Scheduled => found
            .unless(attempt.started_at.is_none() && attempt.ending.is_none(), || {
                format!("task {id} is {name}, but its attempt has started or ended")
            }),
        TaskState::Running => found.unless(attempt.started_at.is_some() && attempt.ending.is_none(), || {
            format!("task {id} is {name}, but its attempt has not started, or has ended")
        }),
        TaskState::Completed | TaskState::Failed => found.unless(attempt.ending.is_some(), || {
            format!("task {id} is {name}, but its attempt has no ending")
        }),
        TaskState::Pending | TaskState::Cancelled => {}
    }
    if is_live(task) {
        let is_http = state.workers.get(&attempt.worker).is_some_and(|w| w.info.endpoint.is_some());
        found.unless(is_http == attempt.carrier.is_some(), || {
            format!("task {id} is on worker {}, carried by {:?}", attempt.worker, attempt.carrier)
        });
        let held = state.workers.get(&attempt.worker).is_some_and(|w| w.tasks.contains(&id));
        found.unless(held, || {
            format!("task {id} is {name} on worker {}, which does not hold it", attempt.worker)
        });
    }
}

fn is_live(task: &Task) -> bool {
    matches!(task.state, TaskState::Scheduled | TaskState::Running)
}

/// What workers hold and have promised is what the tasks say, no more than there is, and nothing where nothing may be.
fn check_workers(state: &State, found: &mut Found) {
    let mut held: BTreeMap<&WorkerId, Held> = BTreeMap::new();
    for (id, task) in state.tasks.iter().filter(|(_, task)| is_live(task)) {
        if let Some(attempt) = &task.attempt {
            held.entry(&attempt.worker).or_default().add(*id, task, attempt);
            if let Some(carrier) = &attempt.carrier {
                held.entry(carrier).or_default().carries.insert(*id);
            }
        }
    }
    for (id, worker) in &state.workers {
        check_worker(state, id, worker, &held.remove(id).unwrap_or_default(), found);
    }
    for (id, held) in held {
        let all: Vec<_> = held.tasks.union(&held.carries).collect();
        found.unless(false, || format!("tasks {all:?} are placed on worker {id}, which is unknown"));
    }
}

/// What the tasks say a worker holds.
#[derive(Default)]
struct Held {
    tasks: BTreeSet<TaskId>,
    carries: BTreeSet<TaskId>,
    sum: [u128; 4],
    /// Of each device how many, and the fence of the newest attempt that has one.
    devices: BTreeMap<String, (u64, u64)>,
    /// Of each resource, the fence of the newest attempt that takes some of it.
    newest_fence: [u64; 4],
}

impl Held {
    fn add(&mut self, id: TaskId, task: &Task, attempt: &Attempt) {
        self.tasks.insert(id);
        for (which, part) in amounts(&task.spec.resources).into_iter().enumerate() {
            self.sum[which] += part;
            if part > 0 {
                self.newest_fence[which] = self.newest_fence[which].max(attempt.fence);
            }
        }
        for (name, count) in &task.spec.devices {
            let (sum, newest) = self.devices.entry(name.clone()).or_default();
            (*sum, *newest) = (*sum + count, attempt.fence.max(*newest));
        }
    }
}

fn amounts(r: &Resources) -> [u128; 4] {
    [r.cpu_milli.into(), r.memory.into(), r.disk.into(), r.slots.into()]
}

fn check_worker(state: &State, id: &WorkerId, worker: &Worker, held: &Held, found: &mut Found) {
    found.unless(worker.tasks == held.tasks, || {
        format!("worker {id} holds {:?}, but the tasks placed on it are {:?}", worker.tasks, held.tasks)
    });
    found.unless(worker.carries == held.carries, || {
        format!(
            "worker {id} carries {:?}, but the tasks carried by it are {:?}",
            worker.carries, held.carries
        )
    });
    found.unless(worker.occupied <= worker.info.capacity.slots, || {
        let slots = worker.info.capacity.slots;
        format!("worker {id} has {slots} slots, of which others occupy {}", worker.occupied)
    });
    let used = amounts(&worker.used);
    found.unless(used == held.sum, || {
        format!("worker {id} has promised {used:?}, but its tasks were promised {:?}", held.sum)
    });
    // A worker that came back smaller may be over-full of what it held before. But whoever took some of a resource
    // since then found it there, and from then on the sum only shrank.
    let capacity = amounts(&worker.info.capacity);
    for which in 0..4 {
        let over = held.sum[which] > capacity[which] && held.newest_fence[which] > worker.registered_seq;
        found.unless(!over, || {
            let name = ["cpu_milli", "memory", "disk", "slots"][which];
            format!("worker {id} has promised {} of {name}, but has {}", held.sum[which], capacity[which])
        });
    }
    let lent = held.devices.iter().map(|(name, (sum, _))| (name.clone(), *sum)).collect();
    found.unless(worker.devices == lent, || {
        format!("worker {id} has lent {:?}, but its tasks were lent {lent:?}", worker.devices)
    });
    for (name, (sum, newest)) in &held.devices {
        let all = worker.info.devices.get(name).copied().unwrap_or(0);
        found.unless(*sum <= all || *newest <= worker.registered_seq, || {
            format!("worker {id} has lent {sum} {name}, but has {all}")
        });
    }
    found.unless(worker.registered_seq < state.next_seq, || {
        format!("worker {id} registered with event {}, the next is {}", worker.registered_seq, state.next_seq)
    });
    let drained = worker.drain.is_some_and(|d| d.drained);
    let all: Vec<_> = held.tasks.union(&held.carries).collect();
    let may_stay = worker.drain.is_some_and(|d| d.ignore_system);
    let staying =
        all.iter().filter(|id| may_stay && state.tasks.get(id).is_some_and(|t| is_system(state, t)));
    found.unless(!drained || all.len() == staying.count(), || {
        format!("worker {id} is drained, but {all:?} are placed on it")
    });
}

fn check_counts(state: &State, found: &mut Found) {
    for which in TaskState::ALL {
        let there = state.tasks.values().filter(|task| task.state == which).count() as u64;
        let counted = state.counts.of(which);
        found.unless(there == counted, || {
            format!("{there} tasks are {}, but {counted} are counted", which.as_str())
        });
    }
}

/// The queue holds exactly the tasks that wait for a place, those that wait for their time are known by it, and reasons
/// are known only for what waits for a place.
fn check_queue(state: &State, found: &mut Found) {
    let mut waiting: BTreeMap<Class, BTreeSet<(u64, TaskId)>> = BTreeMap::new();
    let mut delayed: BTreeSet<(Timestamp, TaskId)> = BTreeSet::new();
    for (id, task) in state.tasks.iter().filter(|(_, task)| task.state == TaskState::Pending) {
        if let Some(retry_at) = task.retry_at {
            delayed.insert((retry_at, *id));
            continue;
        }
        waiting.entry(task.class()).or_default().insert((task.line_seq, *id));
    }
    let queued = state.queue.iter().map(|(class, line)| (class, &line.tasks));
    found.unless(queued.eq(&waiting), || {
        let queued = state.queue.values().map(|line| line.tasks.len()).sum::<usize>();
        let waiting = waiting.values().map(BTreeSet::len).sum::<usize>();
        format!("the queue ({queued} tasks) is not what waits ({waiting} tasks)")
    });
    found.unless(state.delayed == delayed, || {
        format!("{} tasks are known to wait for their time, but {} do", state.delayed.len(), delayed.len())
    });
    for class in state.blocked.keys() {
        found.unless(waiting.contains_key(class), || {
            format!("a reason to wait is known of {class:?}, of which none waits")
        });
    }
}

/// Placement sees exactly the workers that take work, each with what it has left.
fn check_fleet(state: &State, found: &mut Found) {
    let takes_work = |w: &Worker| w.online && w.drain.is_none();
    let there = state.workers.iter().filter(|(_, w)| takes_work(w)).map(|(id, w)| (id, w.free()));
    let seen: Vec<_> = state.fleet.rows().map(|(row, (free, _))| (&row.id, free)).collect();
    let there: Vec<_> = there.collect();
    found.unless(seen == there, || format!("placement sees the workers {seen:?}, but there are {there:?}"));
}

/// Room is held for waiting tasks alone, on workers that take work; what each worker holds is the sum of it, and what its
/// tasks would leave is what they have.
fn check_claims(state: &State, found: &mut Found) {
    let mut held: BTreeMap<&WorkerId, Held> = BTreeMap::new();
    let mut usage: Vec<&Arc<TaskSpec>> =
        state.tasks.values().filter(|t| is_live(t)).map(|t| &t.spec).collect();
    for (id, claim) in &state.claims {
        let task = state.tasks.get(id).filter(|task| task.state == TaskState::Pending);
        found.unless(task.is_some(), || format!("room is held for task {id}, which does not wait"));
        let takes_work = state.workers.get(&claim.worker).is_some_and(|w| w.online && w.drain.is_none());
        found.unless(takes_work, || format!("room is held on worker {}, which takes no work", claim.worker));
        let (sum, spec) = (held.entry(&claim.worker).or_default(), task.map(|t| &t.spec));
        usage.extend(spec);
        for (part, sum) in spec.map(|s| amounts(&s.resources)).unwrap_or_default().iter().zip(&mut sum.sum) {
            *sum += part;
        }
        for (name, count) in spec.iter().flat_map(|s| &s.devices) {
            sum.devices.entry(name.clone()).or_default().0 += count;
        }
    }
    for (id, worker) in &state.workers {
        let sum = held.remove(id).unwrap_or_default();
        let devices = sum.devices.into_iter().map(|(name, (count, _))| (name, count)).collect();
        let holds = amounts(&worker.held.resources) == sum.sum && worker.held.devices == devices;
        found.unless(holds, || format!("worker {id} holds {:?}, but {:?} is claimed", worker.held, sum.sum));
        let mut tenants = Tenants::default();
        for task in worker.tasks.iter().filter_map(|id| state.tasks.get(id)) {
            tenants.add(&task.spec, task.attempt.as_ref().is_some_and(|a| a.stop.is_some()));
        }
        found.unless(worker.tenants == tenants, || {
            format!("worker {id} is thought to be left {:?}, but it is {tenants:?}", worker.tenants)
        });
    }
    let mut by_namespace: BTreeMap<Namespace, Resources> = BTreeMap::new();
    for spec in usage {
        let sum = by_namespace.entry(spec.namespace.clone().unwrap_or_default()).or_default();
        *sum = sum.plus(&spec.resources);
    }
    found.unless(by_namespace.iter().eq(state.usage.all()), || {
        format!("namespaces are thought to use {:?}, but they use {by_namespace:?}", state.usage)
    });
}

/// A gang has no more tasks than its size, all of one priority; and none was placed before all were there.
fn check_gangs(state: &State, found: &mut Found) {
    let mut gangs: BTreeMap<GangId, (u32, BTreeMap<TaskId, &Task>)> = BTreeMap::new();
    for (id, task) in state.tasks.iter().filter(|(_, task)| task.spec.gang.is_some()) {
        let size = task.spec.gang.as_ref().map_or(0, |gang| gang.size);
        if let Some(key) = GangId::of(&task.spec, task.job, task.run) {
            gangs.entry(key).or_insert((size, BTreeMap::new())).1.insert(*id, task);
        }
    }
    found.unless(gangs.keys().eq(state.gangs.iter().map(|(id, _)| id)), || {
        format!("gangs are thought to be {:?}, but they are {:?}", state.gangs, gangs.keys())
    });
    for ((id, (size, tasks)), (_, known)) in gangs.iter().zip(state.gangs.iter()) {
        let placed = tasks.values().any(|task| task.attempt.is_some());
        let same = known.members.iter().eq(tasks.keys()) && (known.size, known.placed) == (*size, placed);
        found.unless(same, || format!("gang {id:?} is thought to be {known:?}"));
        // Of one whose run has left, the tasks follow a slice at a time.
        let all = !placed || tasks.len() == *size as usize || history::is_behind(state, id);
        let sound = tasks.len() <= *size as usize && all;
        let priorities: BTreeSet<_> = tasks.values().map(|task| task.spec.priority).collect();
        found.unless(sound && priorities.len() == 1, || format!("gang {id:?} of {size} has {tasks:?}"));
    }
}

/// The gangs of which some tasks have been placed and others never; none between two commits.
pub fn split_gangs(state: &State) -> Vec<GangId> {
    let gangs = state.gangs.iter().filter(|(_, gang)| {
        let placed = |id| state.tasks.get(id).is_some_and(|task| task.attempt.is_some());
        gang.members.iter().any(placed) && !(gang.members.iter().all(placed))
    });
    gangs.map(|(id, _)| id.clone()).collect()
}

/// No two live tasks have the same port of the same host, and every task has those it asked for. Workers that came to
/// say that their hosts are the same may each have brought one; but whoever got a port since then found it free.
fn check_ports(state: &State, found: &mut Found) {
    let mut taken: BTreeMap<(&str, u16), Vec<(u64, TaskId)>> = BTreeMap::new();
    for (id, task) in state.tasks.iter().filter(|(_, task)| is_live(task)) {
        let Some(attempt) = &task.attempt else { continue };
        let Some(worker) = state.workers.get(&attempt.worker) else { continue };
        for (name, port) in &attempt.ports {
            // Before this the worker may have been on another host.
            let since = attempt.fence.max(worker.registered_seq);
            taken.entry((&worker.info.hostname, *port)).or_default().push((since, *id));
            found.unless(state.ports.is_taken(&worker.info.hostname, *port), || {
                format!("task {id} has port {port} ({name}), which nobody has as far as placement sees")
            });
        }
        let asked = task.spec.ports.iter().map(|ask| &ask.name);
        found.unless(attempt.ports.keys().eq(asked), || {
            format!("task {id} asks for ports {:?} and has {:?}", task.spec.ports, attempt.ports)
        });
    }
    for ((host, port), tasks) in taken {
        let newest = tasks.iter().max();
        let clash = newest.is_some_and(|(since, id)| {
            tasks.len() > 1 && state.tasks[id].attempt.as_ref().is_some_and(|a| a.fence == *since)
        });
        found.unless(!clash, || format!("port {port} of {host} is had by {tasks:?}"));
    }
}

#[cfg(test)]
mod tests {
    use muster_events::time::Timestamp;

    use super::check;
    use crate::state::job::Run;
    use crate::state::{Counts, Drain, State};
    use crate::testing::{batch, given, id, job_submit, register, running, service, submit, worker_id};

    /// What `change` breaks is found, and told in these words.
    fn broken(change: impl Fn(&mut State), words: &str) {
        let mut state = running(["a", "b"]).and(submit("c")).state;
        assert_eq!(check(&state), []);
        change(&mut state);
        let found: Vec<_> = check(&state).iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|v| v.contains(words)), "{words}: {found:?}");
    }

    #[test]
    fn a_sound_state_has_no_faults() {
        assert_eq!(check(&State::default()), []);
        assert_eq!(check(&given([register("w1"), submit("a")]).state), []);
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        let (a, w) = (id("a"), worker_id("w1"));
        broken(|s| s.tasks.get_mut(&a).unwrap().line_seq = 999, "has place 999 in line");
        broken(|s| s.tasks.get_mut(&a).unwrap().finished_at = Some(Timestamp::default()), "finished at");
        broken(|s| s.tasks.get_mut(&a).unwrap().attempt = None, "was never placed");
        broken(|s| s.tasks.get_mut(&a).unwrap().attempt.as_mut().unwrap().number = 0, "attempt number 0");
        broken(|s| s.tasks.get_mut(&a).unwrap().attempt.as_mut().unwrap().fence = 999, "has fence 999");
        broken(|s| s.tasks.get_mut(&a).unwrap().attempt.as_mut().unwrap().started_at = None, "not started");
        broken(
            |s| s.tasks.get_mut(&a).unwrap().attempt.as_mut().unwrap().worker = worker_id("w9"),
            "placed on worker w9, which is unknown",
        );
        broken(|s| s.workers.get_mut(&w).unwrap().tasks.retain(|task| *task != a), "which does not hold it");
        broken(|s| s.workers.get_mut(&w).unwrap().used.memory += 1, "but its tasks were promised");
        broken(
            |s| s.workers.get_mut(&w).unwrap().info.capacity.cpu_milli = 1999,
            "promised 2000 of cpu_milli",
        );
        broken(|s| s.workers.get_mut(&w).unwrap().registered_seq = 999, "registered with event 999");
        broken(
            |s| {
                s.workers.get_mut(&w).unwrap().drain =
                    Some(Drain { deadline: None, ignore_system: false, drained: true })
            },
            "is drained, but",
        );
        broken(|s| s.counts = Counts::default(), "0 are counted");
        broken(
            |s| {
                let attempt = s.tasks.get_mut(&a).unwrap().attempt.as_mut().unwrap();
                (attempt.healthy, attempt.started_at) = (Some(true), None);
            },
            "whose health is known",
        );
        broken(|s| s.tasks.get_mut(&a).unwrap().retries = 1, "is at retry 1 of 0");
        broken(
            |s| s.tasks.get_mut(&a).unwrap().retry_at = Some(Timestamp::default()),
            "is running and waits for a retry",
        );
        broken(
            |s| s.delayed = [(Timestamp::default(), a)].into(),
            "1 tasks are known to wait for their time",
        );
        broken(|s| s.fleet.remove(&w), "placement sees the workers []");
        broken(|s| s.queue.clear(), "the queue (0 tasks) is not what waits (1 tasks)");
        let blocked = given([submit("x")]).placed().state.blocked;
        broken(
            |s| {
                s.blocked.clone_from(&blocked);
                s.queue.clear();
                s.tasks.remove(&id("c"));
            },
            "of which none waits",
        );
    }
    #[test]
    fn what_jobs_say_of_their_tasks_is_checked() {
        let world = given([register("w1"), job_submit(batch("b", 2)), job_submit(service("s", 2))]);
        let world = world.reconciled().placed();
        let (b, s) = (world.job("b").0, world.job("s").0);
        let broken = |change: &dyn Fn(&mut State), words: &str| {
            let mut state = world.state.clone();
            change(&mut state);
            let found: Vec<_> = check(&state).iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|v| v.contains(words)), "{words}: {found:?}");
        };
        let run = |state: &mut State, job, change: &dyn Fn(&mut Run)| {
            change(state.jobs.by_id.get_mut(&job).unwrap().runs.get_mut(&1).unwrap());
        };
        broken(&|state| run(state, b, &|r| r.open = [].into()), "its tasks say");
        broken(&|state| run(state, b, &|r| r.ending = r.open.clone()), "ends");
        broken(&|state| run(state, b, &|r| r.over = r.open.clone()), "as over");
        broken(&|state| run(state, b, &|r| r.counts = Counts::default()), "its tasks are");
        broken(&|state| run(state, b, &|r| r.made = 7), "has made 7");
        broken(&|state| run(state, b, &|r| r.failures = 1), "counts 1 failures");
        broken(&|state| run(state, s, &|r| r.stale = [0].into()), "as stale");
        broken(&|state| state.jobs.by_id.get_mut(&b).unwrap().ended_seq = Some(1), "but a run of it lives");
        broken(&|state| state.jobs.by_id.get_mut(&b).unwrap().last_run = 0, "has had 0 runs");
    }
}
