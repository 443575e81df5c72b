//! Why a class waits, in words. No word of it counts what is free at the moment: a reason changes only when what
//! there is to wait for does.

use muster_events::event::{Filter, Why};
use muster_events::resources::Resources;
use muster_events::spec::{Operator, Runtime};

use super::{View, filter};
use crate::state::{Class, WorkerStatus};

/// The filters that say that a worker could take the task, once something on it ends.
const ROOM: [(Filter, &str); 4] =
    [(Filter::Cpu, "cpu"), (Filter::Memory, "memory"), (Filter::Disk, "disk"), (Filter::Slots, "slots")];

/// The most workers that a reason names.
const NAMED_MAX: usize = 3;

/// Whether all that is missing is room on a worker that takes work. Which resource it is that lacks changes with every
/// task that ends, and would be told again each time; so it counts as one reason.
pub(super) fn is_room(why: &Why) -> bool {
    ROOM.iter().any(|(filter, _)| why.filtered.contains_key(filter))
}

/// The reason, for people.
pub(super) fn of(class: &Class, workers: &[View<'_>], why: &Why) -> String {
    if workers.is_empty() {
        return "no workers are registered".to_owned();
    }
    if is_room(why) {
        let lacking = ROOM.iter().filter(|(f, _)| why.filtered.contains_key(f)).map(|(_, name)| *name);
        let lacking = lacking.collect::<Vec<_>>().join(", ");
        return format!("waits for free {lacking}: needs {}", amounts(&class.resources));
    }
    let able: Vec<_> = workers.iter().filter(|w| filter::runs(class.runtime, w.info)).collect();
    if able.is_empty() && class.runtime == Runtime::Remote {
        return "no HTTP worker is registered".to_owned();
    }
    if able.is_empty() {
        return format!("no worker has the {} runtime", class.runtime.as_str());
    }
    let meeting: Vec<_> =
        able.into_iter().filter(|w| class.constraints.iter().all(|c| filter::meets(c, w))).collect();
    if meeting.is_empty() {
        return constraints(class);
    }
    let fitting: Vec<_> =
        meeting.iter().filter(|w| w.info.capacity.holds(&class.resources)).copied().collect();
    if fitting.is_empty() {
        return too_small(&class.resources, &meeting);
    }
    if why.filtered.contains_key(&Filter::Carrier) {
        return "no active worker has the remote runtime, which calls HTTP workers".to_owned();
    }
    away(&fitting)
}

fn constraints(class: &Class) -> String {
    let wanted = class.constraints.iter().map(|c| {
        let sign = match c.operator {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Contains => "contains",
        };
        format!("{} {sign} {}", c.attribute, c.value)
    });
    let shown: Vec<_> = wanted.take(NAMED_MAX).collect();
    let more = more(class.constraints.len());
    format!("no worker with the {} runtime is as it asks: {}{more}", class.runtime.as_str(), shown.join(", "))
}

/// Names the first resource that no worker has enough of, and what the largest has.
fn too_small(need: &Resources, workers: &[&View<'_>]) -> String {
    let most = |of: fn(&Resources) -> u64| workers.iter().map(|w| of(&w.info.capacity)).max().unwrap_or(0);
    let (cpu, memory, disk) = (most(|r| r.cpu_milli), most(|r| r.memory), most(|r| r.disk));
    if need.cpu_milli > cpu {
        let (need, cpu) = (cpu_cores(need.cpu_milli), cores(cpu));
        return format!("no worker can ever hold it: needs {need}, the largest has {cpu}");
    }
    if need.memory > memory {
        let (need, memory) = (bytes(need.memory), bytes(memory));
        return format!("no worker can ever hold it: needs {need} of memory, the largest has {memory}");
    }
    if need.disk > disk {
        let (need, disk) = (bytes(need.disk), bytes(disk));
        return format!("no worker can ever hold it: needs {need} of disk, the largest has {disk}");
    }
    format!("no worker can ever hold it: needs {}, and none has all of it together", amounts(need))
}

fn away(workers: &[&View<'_>]) -> String {
    let shown = workers.iter().take(NAMED_MAX).map(|worker| {
        let how = if worker.status == WorkerStatus::Offline { "offline" } else { "draining" };
        format!("{} is {how}", worker.id)
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    format!("the workers that could hold it take no work now: {shown}{}", more(workers.len()))
}

fn more(count: usize) -> String {
    if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() }
}

/// What a task needs, leaving out what it needs nothing of; one slot goes without saying unless it is all.
fn amounts(need: &Resources) -> String {
    let mut parts = Vec::new();
    if need.cpu_milli > 0 {
        parts.push(cpu_cores(need.cpu_milli));
    }
    if need.memory > 0 {
        parts.push(format!("{} of memory", bytes(need.memory)));
    }
    if need.disk > 0 {
        parts.push(format!("{} of disk", bytes(need.disk)));
    }
    if parts.is_empty() {
        parts.push(format!("{} slot", need.slots));
    }
    parts.join(", ")
}

fn cpu_cores(milli: u64) -> String {
    format!("{} cpu core{}", cores(milli), if milli == 1000 { "" } else { "s" })
}

/// Thousandths of a core as cores: `2`, `0.5`.
fn cores(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes in the largest unit that leaves a whole number before the point, with two digits after it: `1.5 GiB`.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(place) = (bytes.max(1).ilog2() / 10).checked_sub(1) else { return format!("{bytes} bytes") };
    let unit = 1_u64 << (10 * (place + 1));
    let hundredths = u128::from(bytes % unit) * 100 / u128::from(unit);
    let text = format!("{}.{hundredths:02}", bytes / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} {}", UNITS[(place as usize).min(UNITS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_like_people_write_them() {
        assert_eq!(cores(4_096_000), "4096");
        assert_eq!(cores(50), "0.05");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(1 << 60), "1 EiB");
        assert_eq!(bytes(u64::MAX), "15.99 EiB");
    }
}
