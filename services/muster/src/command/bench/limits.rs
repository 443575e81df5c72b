//! What the machine does without muster.

use std::process::{Command, Stdio};
use std::time::Instant;

use muster_events::subject::{Cell, Stream};
use muster_log::bus::Outgoing;
use muster_log::raw::Raw;

use super::rig::{Rig, USER};
use crate::command::replay::fold::Replay;
use crate::connect::refused;
use crate::exit::Failure;
use crate::nats_server::User;
use crate::output::{Output, Progress};
use crate::units::to_f64;

/// The program that does nothing.
pub(super) const NOOP: &str = "true";

/// A bare connection to the rig's server.
pub(super) async fn raw(rig: &Rig) -> Result<Raw, Failure> {
    Raw::connect(&rig.url(), USER, &rig.password).await.map_err(|e| refused(&e))
}

/// As whoever may read the log.
async fn reader(rig: &Rig) -> Result<Raw, Failure> {
    let password = rig.password_of(User::Api);
    Raw::connect(&rig.url(), User::Api.name(), &password).await.map_err(|e| refused(&e))
}

/// Messages like `message` a second that the server stores, many in flight.
pub(super) async fn publishes(rig: &Rig, count: u64, message: &Outgoing) -> Result<f64, Failure> {
    let took = raw(rig).await?.publish("raw", count, message).await.map_err(|e| refused(&e))?;
    Ok(to_f64(count) / took.as_secs_f64())
}

/// Programs a second that end one after the other on every core at once, started as barely as can be.
pub(super) async fn spawns(count: u32) -> Result<f64, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let each = (count as usize).div_ceil(threads);
    let begun = Instant::now();
    let runs: Vec<_> = (0..threads)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                (0..each).try_for_each(|_| {
                    let mut command = Command::new(NOOP);
                    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                    command.status().map(|_| ())
                })
            })
        })
        .collect();
    for run in runs {
        run.await
            .map_err(|e| Failure::failed(e.to_string()))?
            .map_err(|e| Failure::failed(format!("`{NOOP}` cannot be started: {e}")))?;
    }
    Ok(to_f64((each * threads) as u64) / begun.elapsed().as_secs_f64())
}

/// How many events the log holds, and how many a second a raw read of it comes to.
pub(super) async fn read(rig: &Rig) -> Result<(u64, f64), Failure> {
    let read =
        reader(rig).await?.read(&Cell::default().stream(Stream::Events)).await.map_err(|e| refused(&e))?;
    let bus = rig.bus()?;
    let last = bus.get(read.messages).await.map_err(|e| refused(&e))?;
    let events = last.map_or(0, |stored| stored.commit.next() - 1);
    Ok((events, to_f64(events) / read.took.as_secs_f64()))
}

/// Events a second of a replay of the whole log.
pub(super) async fn replay(rig: &Rig) -> Result<f64, Failure> {
    let bus = rig.bus()?;
    let last = bus.last_position().await.map_err(|e| refused(&e))?;
    let mut replay = Replay::open(&bus).await?;
    replay.read_to(last, None, &mut Progress::new(Output { json: true })).await?;
    Ok(to_f64(replay.fold.state.last_seq()) / replay.took.as_secs_f64())
}
