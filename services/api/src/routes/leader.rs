//! Who leads, who stands by, and the hand-over from one to the other.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, LeaderStepDown};
use muster_events::event::{Event, LeaderElected, LeaderSteppingDown};
use muster_events::id::NodeName;
use muster_events::leadership::{self, Heard, Status};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;
use muster_http::{ApiError, ApiResult, Payload};
use muster_log::error::LogError;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::caller::{Caller, NoParams};
use super::json;
use crate::app::{Api, App};
use crate::openapi::Op;

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/manager/leader", show)
            .about("manager", "Who leads, and which managers stand by")
            .gives::<Leadership>(200),
        Op::post("/api/v1/manager/leader/step-down", step_down)
            .about("manager", "Have the leader hand over to a standby; answers when the next one leads")
            .body::<LeaderStepDown>()
            .gives::<HandedOver>(200),
    ]
}

/// Who leads, and who would.
#[derive(Debug, Serialize, JsonSchema)]
struct Leadership {
    /// The manager that leads, or led last; none where none ever did.
    leader: Option<NodeName>,
    /// The how-manieth leader that is.
    epoch: u64,
    /// Whether it answers. If not, a standby leads as soon as its lease has run out.
    answers: bool,
    /// When its lead began; where it answers.
    since: Option<Timestamp>,
    /// Seconds its lead lasts without renewal; where it answers.
    lease_s: Option<f64>,
    /// The position of the newest commit; where it answers.
    position: Option<u64>,
    /// The `seq` of the newest event.
    seq: u64,
    /// The managers that stand by, as far as the leader has heard of them lately.
    standbys: Vec<StandbyAnswer>,
    /// Why there is no answer.
    message: Option<String>,
}

/// A manager that does not lead.
#[derive(Debug, Serialize, JsonSchema)]
struct StandbyAnswer {
    /// Its name.
    node: NodeName,
    /// Whether it has folded the log and takes the lead when that is free.
    ready: bool,
    /// The position of the newest commit it had folded when it last said so.
    position: u64,
    /// The `seq` of the newest event it had folded then.
    seq: u64,
    /// How many commits the leader was ahead of that when it heard it.
    behind: u64,
    /// Seconds since it was heard; each says so once a second.
    heard_s: f64,
}

/// The lead in other hands.
#[derive(Debug, Serialize, JsonSchema)]
struct HandedOver {
    /// Who leads now.
    leader: NodeName,
    /// The how-manieth leader that is.
    epoch: u64,
    /// Who led before; the same where nobody else took the lead.
    former: NodeName,
    /// Milliseconds from the last decision of the one to the first of the other, as this API saw them in the log; absent
    /// for a repeat of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<f64>,
}

/// What the leader says of itself.
pub(super) async fn ask(api: &App) -> Result<Status, LogError> {
    if !api.bus.link().borrow().up {
        return Err(LogError::Unavailable("NATS cannot be reached".to_owned()));
    }
    let answer = api.bus.ask_manager(leadership::QUESTION, Bytes::new()).await?;
    Ok(codec::decode(Encoding::Json, &answer)?)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds, shown in seconds")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

async fn show(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let answer = match ask(&api).await {
        Ok(status) => answering(status),
        Err(error) => {
            let model = api.model.read();
            let led = model.state.leader.as_ref();
            Leadership {
                leader: led.map(|l| l.leader.clone()),
                epoch: led.map_or(0, |l| l.epoch),
                answers: false,
                since: None,
                lease_s: None,
                position: None,
                seq: model.state.last_seq(),
                standbys: Vec::new(),
                message: Some(error.to_string()),
            }
        }
    };
    json(StatusCode::OK, &answer)
}

fn answering(status: Status) -> Leadership {
    let standby = |Heard { standby, behind, age_ms }| StandbyAnswer {
        ready: standby.ready,
        position: standby.position,
        seq: standby.seq,
        behind,
        heard_s: seconds(age_ms),
        node: standby.node,
    };
    Leadership {
        leader: Some(status.leader),
        epoch: status.epoch,
        answers: true,
        since: Some(status.since),
        lease_s: Some(seconds(status.lease_ms)),
        position: Some(status.position),
        seq: status.seq,
        standbys: status.standbys.into_iter().map(standby).collect(),
        message: None,
    }
}

async fn step_down(
    State(api): State<Api>,
    caller: Caller,
    Payload(body): Payload<LeaderStepDown>,
) -> Result<Response, Response> {
    let accepted = caller.ask(Command::LeaderStepDown(body)).await?;
    let decided = Instant::now();
    let handed = hand_over(&api, accepted.seq()).await.map(|(former, next)| HandedOver {
        leader: next.leader,
        epoch: next.epoch,
        former: former.leader,
        took_ms: (accepted.events > 0).then(|| decided.elapsed().as_secs_f64() * 1000.0),
    });
    Ok(accepted.answer(handed.map_err(ApiError).and_then(|handed| json(StatusCode::OK, &handed))))
}

/// Who stepped down with event `seq`, and who led next, as soon as somebody does.
async fn hand_over(api: &App, seq: u64) -> Result<(LeaderSteppingDown, LeaderElected), Problem> {
    let (loaded, ()) = api.history.load(&api.model, |_| (vec![seq], ())).await?;
    let former = {
        let found = loaded.find();
        found.iter().find_map(|found| match found.event() {
            Event::LeaderSteppingDown(e) => Some(e.clone()),
            _ => None,
        })
    };
    let former = former.ok_or_else(|| Problem::new(500, format!("event {seq} is not what it should be")))?;
    let mut applied = api.model.watch();
    let next = async {
        loop {
            let leads = api.model.read().state.leader.clone().filter(|leads| leads.epoch > former.epoch);
            if let Some(leads) = leads {
                return Ok(leads);
            }
            applied.changed().await.map_err(|_| Problem::new(503, "this API is ending; ask another"))?;
        }
    };
    let next = tokio::time::timeout(api.read_patience, next).await.map_err(|_| {
        let s = api.read_patience.as_secs_f64();
        Problem::new(
            504,
            format!(
                "{} has stepped down, and within {s} s nobody has taken over; commands are stored and wait",
                former.leader
            ),
        )
    })??;
    Ok((former, next))
}
