//! The processor time of each part, from the kernel's books.
//!
//! What a part takes for one piece of work says where the time goes, and says it on a busy machine too, where a rate
//! does not.

use std::fs;

use super::rig::Rig;
use crate::exit::Failure;
use crate::units::to_f64;

/// The processor time each part has spent so far, in microseconds.
pub(super) struct Costs(Vec<(&'static str, f64)>);

impl Costs {
    /// What each part has spent since `before`; a part that was not there then has begun with nothing.
    pub(super) fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'static str, f64)> + 'a {
        let earlier =
            |part| before.0.iter().find(|(name, _)| *name == part).map_or(0.0, |(_, micros)| *micros);
        self.0.iter().map(move |(part, micros)| (*part, micros - earlier(*part)))
    }
}

/// Of every part that runs, of the measuring process, and of the programs that have ended.
pub(super) fn all(rig: &Rig) -> Result<Costs, Failure> {
    let mut costs = Vec::new();
    let mut programs = 0.0;
    for (name, pid) in rig.processes().into_iter().chain([("bench", std::process::id())]) {
        let (own, children) = of(pid)?;
        costs.push((name, own));
        programs += children;
    }
    costs.push(("programs", programs));
    Ok(Costs(costs))
}

/// What a process has spent itself, and what those of its children that have been waited for.
fn of(pid: u32) -> Result<(f64, f64), Failure> {
    let file = format!("/proc/{pid}/stat");
    let text =
        fs::read_to_string(&file).map_err(|e| Failure::failed(format!("{file} cannot be read: {e}")))?;
    let ticks = ticks(&text).ok_or_else(|| Failure::failed(format!("{file} does not say what was spent")))?;
    let micros = 1_000_000.0 / to_f64(rustix::param::clock_ticks_per_second());
    let [own, children] = ticks.map(|n| to_f64(n) * micros);
    Ok((own, children))
}

/// User and system time together, in clock ticks: of the process, of its children.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    // The name in parentheses may hold anything, even parentheses; what follows the last one are numbers, of which the
    // state is the third of all (see proc_pid_stat(5)).
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(14 - 3).map_while(|n| n.parse::<u64>().ok());
    let mut pair = || Some(times.next()? + times.next()?);
    Some([pair()?, pair()?])
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 10 20 0 0 7 3 100 50 20 0 9 0 1000 0 0";
        assert_eq!(ticks(stat), Some([10, 150]));
        assert_eq!(ticks("42 (a) S 1 42"), None);
    }
}
