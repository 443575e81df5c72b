//! Programs that do nothing, many at once.

use std::time::Instant;

use futures_util::StreamExt as _;
use muster_events::event::Event;
use muster_events::spec::TaskDefinition;

use super::limits::NOOP;
use super::rig::Rig;
use super::submits::{outgoing, submit};
use crate::connect::refused;
use crate::exit::Failure;
use crate::units::to_f64;

/// The task that does nothing.
pub(super) fn noop() -> TaskDefinition {
    TaskDefinition { name: "noop".into(), command: vec![NOOP.into()], ..TaskDefinition::default() }
}

/// Tasks a second, from the publication of their submit to the last end in the log.
pub(super) async fn programs(rig: &Rig, count: u32) -> Result<f64, Failure> {
    let bus = rig.bus()?;
    let from = bus.last_position().await.map_err(|e| refused(&e))? + 1;
    let mut commits = bus.read(from).await.map_err(|e| refused(&e))?;
    let begun = Instant::now();
    let task = TaskDefinition { count: Some(count), ..noop() };
    bus.publish_command(outgoing(&submit(task), None)?).await.map_err(|e| refused(&e))?;
    let mut completed = 0;
    while completed < u64::from(count) {
        let stored = commits.next().await.ok_or_else(|| Failure::failed("the log ended"))?;
        let commit = stored.map_err(|e| refused(&e))?.commit;
        for (seq, _, event) in commit.events() {
            match event {
                Event::TaskCompleted(_) => completed += 1,
                Event::TaskFailed(e) => {
                    return Err(Failure::failed(format!(
                        "event {seq}: a task failed: {}",
                        e.ending.reason()
                    )));
                }
                _ => {}
            }
        }
    }
    Ok(to_f64(completed) / begun.elapsed().as_secs_f64())
}
