//! The lead in other hands: after the leader was killed, and after it was asked to hand over.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use muster_events::command::{Command, LeaderStepDown};
use muster_events::commit::Commit;
use muster_events::event::Event;
use muster_log::bus::{Bus, Live, Stored};

use super::latency::Percentiles;
use super::rig::Rig;
use super::running::noop;
use super::submits::{outgoing, submit};
use crate::connect::refused;
use crate::exit::Failure;

/// How long a new leader may need to hear who stands by.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Milliseconds.
pub(super) struct Times {
    /// From `kill -9` to the first decision of the next leader.
    pub(super) kills: Percentiles,
    /// From the last decision of one to the first of the next.
    pub(super) hand_overs: Percentiles,
}

/// Kills the leader so often, each time with a command on its way, and has the lead handed over as often.
pub(super) async fn measure(rig: &mut Rig, count: u32) -> Result<Times, Failure> {
    let mut names = ["manager", "standby"];
    let bus = rig.bus()?;
    let from = bus.last_position().await.map_err(|e| refused(&e))? + 1;
    let mut commits = bus.read(from).await.map_err(|e| refused(&e))?;
    rig.start_managers_part(names[1]).await?;
    let (mut kills, mut hand_overs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        ready(&*bus).await?;
        let killed = Instant::now();
        rig.kill(names[0]).await?;
        bus.publish_command(outgoing(&submit(noop()), None)?).await.map_err(|e| refused(&e))?;
        until(&mut commits, |commit| has(commit, |e| matches!(e, Event::TaskSubmitted(_)))).await?;
        kills.push(killed.elapsed().as_secs_f64() * 1000.0);
        rig.start_managers_part(names[0]).await?;
        names.swap(0, 1);
    }
    for _ in 0..count {
        ready(&*bus).await?;
        let command = Command::LeaderStepDown(LeaderStepDown::default());
        bus.publish_command(outgoing(&command, None)?).await.map_err(|e| refused(&e))?;
        until(&mut commits, |commit| has(commit, |e| matches!(e, Event::LeaderSteppingDown(_)))).await?;
        let last = Instant::now();
        bus.publish_command(outgoing(&submit(noop()), None)?).await.map_err(|e| refused(&e))?;
        until(&mut commits, |commit| has(commit, |e| matches!(e, Event::TaskSubmitted(_)))).await?;
        hand_overs.push(last.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(Times { kills: Percentiles::of(kills), hand_overs: Percentiles::of(hand_overs) })
}

fn has(commit: &Commit, wanted: impl Fn(&Event) -> bool) -> bool {
    commit.events().any(|(_, _, event)| wanted(event))
}

async fn until(commits: &mut Live<Stored>, wanted: impl Fn(&Commit) -> bool) -> Result<(), Failure> {
    loop {
        let stored = commits.next().await.ok_or_else(|| Failure::failed("the log ended"))?;
        if wanted(&stored.map_err(|e| refused(&e))?.commit) {
            return Ok(());
        }
    }
}

/// Waits until the leader knows of one that can take over.
async fn ready(bus: &dyn Bus) -> Result<(), Failure> {
    let asked = Instant::now();
    loop {
        let answer = bus.ask_manager(muster_events::leadership::QUESTION, bytes::Bytes::new()).await;
        let status = answer.ok().and_then(|a| serde_json::from_slice::<muster_manager::Status>(&a).ok());
        if status.is_some_and(|s| s.standbys.iter().any(|heard| heard.standby.ready)) {
            return Ok(());
        }
        if asked.elapsed() > READY_WITHIN {
            return Err(Failure::failed("no manager stands by within a minute"));
        }
        // Each look costs the leader a pause until all that it has decided is in the log.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
