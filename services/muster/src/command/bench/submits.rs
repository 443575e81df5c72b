//! Submits of one task, many in flight.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use muster_client::{Client, Config};
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, GROUP_VERB, Group, GroupEntry};
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::{GroupOutcome, Outcome};
use muster_events::spec::{Constraint, Operator, TaskDefinition};
use muster_events::subject::Topic;
use muster_log::bus::{Bus, Live, Outgoing};
use muster_log::gather::gather;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::limits;
use super::rig::{Rig, USER};
use crate::connect::refused;
use crate::exit::Failure;
use crate::units::to_f64;

/// Submits under way over NATS.
const NATS_IN_FLIGHT: usize = 16_384;
/// The most of them in one message: many less than are under way, so that one message is on its way while another is
/// decided and the outcomes of a third are heard.
const NATS_TOGETHER: usize = 1024;
/// Requests under way over REST, each on a connection of its own.
const REST_IN_FLIGHT: usize = 128;
/// How long the next outcome may take.
const OUTCOME_WITHIN: Duration = Duration::from_secs(60);

/// A task that is decided but never placed: the measurement is of deciding.
fn definition() -> TaskDefinition {
    let nobody = Constraint { attribute: "worker".into(), operator: Operator::Equal, value: "nobody".into() };
    TaskDefinition {
        name: "bench".into(),
        command: vec!["true".into()],
        cpu: 0.1,
        memory: 16 << 20,
        constraints: vec![nobody],
        ..TaskDefinition::default()
    }
}

/// One command, ready to go.
pub(super) fn outgoing(command: &Command, reply: Option<String>) -> Result<Outgoing, Failure> {
    let encoding = Encoding::MessagePack;
    let payload = command.encode(encoding).map_err(|e| Failure::failed(format!("a command {e}")))?;
    Ok(Outgoing {
        actor: Actor::new(USER).map_err(|e| Failure::failed(e.to_string()))?,
        verb: command.verb().to_owned(),
        id: fresh_id()?,
        reply,
        encoding,
        trace: None,
        payload: Bytes::from(payload),
    })
}

/// An id nobody has used.
pub(super) fn fresh_id() -> Result<CommandId, Failure> {
    CommandId::new(&uuid::Uuid::new_v4().to_string()).map_err(|e| Failure::failed(e.to_string()))
}

/// A submit of one task.
pub(super) fn submit(task: TaskDefinition) -> Command {
    let tasks = vec![task];
    Command::TaskSubmit(muster_events::command::Submission { job: None, tasks })
}

/// The message of one submit, for the raw publishes beside which these are set.
pub(super) fn message() -> Result<Outgoing, Failure> {
    let reply = "_INBOX.0123456789012345678901.0123456789012345678901";
    outgoing(&submit(definition()), Some(reply.to_owned()))
}

/// Submits a second, each a message of its own, from the first published to the last outcome received. So does a
/// client that knows nothing of groups; it publishes just as the raw publishes beside it do.
pub(super) async fn one_by_one(rig: &Rig, count: u64) -> Result<f64, Failure> {
    let bus = rig.bus()?;
    let (reply, outcomes) = bus.inbox().await.map_err(|e| refused(&e))?;
    let command = outgoing(&submit(definition()), Some(reply))?;
    let topic = Topic::Command { actor: command.actor.clone(), verb: command.verb.clone() };
    let subject = bus.cell().subject(topic).to_string();
    let raw = limits::raw(rig).await?;
    // As random as any id, and one apart.
    let first = uuid::Uuid::new_v4().as_u128();
    let id = |n: u64| uuid::Uuid::from_u128(first.wrapping_add(n.into())).to_string();
    let begun = Instant::now();
    let publish = async { raw.pipeline(&subject, count, &command, id).await.map_err(|e| refused(&e)) };
    let hear = hear(outcomes, count, None, |bytes| decode::<Outcome>(bytes).map(|o| vec![o]));
    futures_util::future::try_join(publish, hear).await?;
    Ok(to_f64(count) / begun.elapsed().as_secs_f64())
}

/// Submits a second from a publisher that gathers while a message is on its way, as every part of muster does. Each
/// submit has an id and an outcome of its own, and at most so many are without their outcome as one by one.
pub(super) async fn gathered(rig: &Rig, count: u64) -> Result<f64, Failure> {
    let bus = rig.bus()?;
    let (reply, outcomes) = bus.inbox().await.map_err(|e| refused(&e))?;
    let command = submit(definition());
    let window = Arc::new(Semaphore::new(NATS_IN_FLIGHT));
    let (callers, waiting) = mpsc::channel(NATS_IN_FLIGHT);
    let begun = Instant::now();
    let call = async {
        for _ in 0..count {
            let permit = window.acquire().await.map_err(|e| Failure::failed(e.to_string()))?;
            // Given back when the outcome is there.
            permit.forget();
            let entry = GroupEntry { id: fresh_id()?, actor: None, command: command.clone() };
            callers.send(entry).await.map_err(|_| Failure::failed("the publisher has ended"))?;
        }
        drop(callers);
        Ok(())
    };
    let failed = Arc::new(Mutex::new(None));
    let publish = gather(waiting, NATS_TOGETHER, |commands| {
        let (bus, reply, failed) = (Arc::clone(&bus), reply.clone(), Arc::clone(&failed));
        async move {
            if let Err(failure) = publish_group(&bus, &reply, commands).await {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            }
        }
    });
    let publish = async {
        publish.await;
        failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    };
    let hear = hear(outcomes, count, Some(&window), |bytes| {
        decode::<GroupOutcome>(bytes).map(|group| group.outcomes)
    });
    futures_util::future::try_join3(call, publish, hear).await?;
    Ok(to_f64(count) / begun.elapsed().as_secs_f64())
}

async fn publish_group(bus: &Arc<dyn Bus>, reply: &str, commands: Vec<GroupEntry>) -> Result<(), Failure> {
    let encoding = Encoding::MessagePack;
    let payload = codec::encode(encoding, &Group { commands })
        .map_err(|e| Failure::failed(format!("a group of commands {e}")))?;
    let outgoing = Outgoing {
        actor: Actor::new(USER).map_err(|e| Failure::failed(e.to_string()))?,
        verb: GROUP_VERB.to_owned(),
        id: fresh_id()?,
        reply: Some(reply.to_owned()),
        encoding,
        trace: None,
        payload: Bytes::from(payload),
    };
    bus.publish_command(outgoing).await.map(|_| ()).map_err(|e| refused(&e))
}

/// Takes outcomes until `count` are there; a refusal is a failure. Each makes room in `window` for another submit.
async fn hear(
    mut messages: Live<Bytes>,
    count: u64,
    window: Option<&Semaphore>,
    open: impl Fn(&[u8]) -> Result<Vec<Outcome>, Failure>,
) -> Result<(), Failure> {
    let mut heard = 0;
    while heard < count {
        let bytes = timeout(OUTCOME_WITHIN, messages.next())
            .await
            .map_err(|_| Failure::failed("an outcome did not come within a minute"))?
            .ok_or_else(|| Failure::failed("the outcomes ended"))?
            .map_err(|e| refused(&e))?;
        let outcomes = open(&bytes)?;
        if let Some(problem) = outcomes.iter().find_map(|o| o.error.as_ref()) {
            return Err(Failure::failed(format!("a submit was refused: {problem}")));
        }
        heard += outcomes.len() as u64;
        if let Some(window) = window {
            window.add_permits(outcomes.len());
        }
    }
    Ok(())
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    codec::decode(Encoding::MessagePack, bytes).map_err(|e| Failure::failed(format!("an outcome {e}")))
}

/// Submits a second over REST, each a request of its own.
pub(super) async fn over_rest(rig: &Rig, count: u64) -> Result<f64, Failure> {
    let manager = Client::with(Config::new(&rig.api))?.manager();
    let task = definition();
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|_| manager.submit(&task))
        .buffer_unordered(REST_IN_FLIGHT)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(to_f64(count) / begun.elapsed().as_secs_f64())
}
