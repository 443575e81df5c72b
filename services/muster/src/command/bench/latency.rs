//! Tasks one at a time: how long until each runs and has ended, as a reader of the log sees it.

use std::time::Instant;

use futures_util::StreamExt as _;
use muster_events::event::Event;
use muster_events::id::TaskId;
use muster_log::bus::{Live, Stored};

use super::rig::Rig;
use super::running::noop;
use super::submits::{outgoing, submit};
use crate::connect::refused;
use crate::exit::Failure;

/// Runs that warm up and do not count.
const WARM_UP: u32 = 10;

/// Times in milliseconds.
pub(super) struct Times {
    pub(super) running: Percentiles,
    pub(super) finished: Percentiles,
}

/// Of all times measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Percentiles {
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(rank).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99) }
    }
}

pub(super) async fn singles(rig: &Rig, count: u32) -> Result<Times, Failure> {
    let bus = rig.bus()?;
    let from = bus.last_position().await.map_err(|e| refused(&e))? + 1;
    let mut commits = bus.read(from).await.map_err(|e| refused(&e))?;
    let (mut running, mut finished) = (Vec::new(), Vec::new());
    for turn in 0..WARM_UP + count {
        let id = TaskId::new(uuid::Uuid::new_v4());
        let mut task = noop();
        task.id = Some(id);
        let command = outgoing(&submit(task), None)?;
        let begun = Instant::now();
        bus.publish_command(command).await.map_err(|e| refused(&e))?;
        let (ran, ended) = watch(&mut commits, id, begun).await?;
        if turn >= WARM_UP {
            running.push(ran);
            finished.push(ended);
        }
    }
    Ok(Times { running: Percentiles::of(running), finished: Percentiles::of(finished) })
}

/// Milliseconds until the task ran and until it had ended.
async fn watch(commits: &mut Live<Stored>, id: TaskId, begun: Instant) -> Result<(f64, f64), Failure> {
    let mut ran = None;
    loop {
        let stored = commits.next().await.ok_or_else(|| Failure::failed("the log ended"))?;
        let commit = stored.map_err(|e| refused(&e))?.commit;
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        for (_, _, event) in commit.events().filter(|(_, _, e)| e.task() == Some(id)) {
            match event {
                Event::TaskStarted(_) => ran = Some(ms),
                Event::TaskCompleted(_) => return Ok((ran.unwrap_or(ms), ms)),
                Event::TaskFailed(e) => {
                    return Err(Failure::failed(format!("task {id} failed: {}", e.ending.reason())));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let times = (1..=200).map(f64::from).collect();
        assert_eq!(Percentiles::of(times), Percentiles { p50: 100.0, p99: 198.0 });
        assert_eq!(Percentiles::of(vec![7.0]), Percentiles { p50: 7.0, p99: 7.0 });
    }
}
