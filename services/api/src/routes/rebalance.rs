//! Which tasks would be better off elsewhere; and their moves.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::fold::Moment;
use muster_domain::moves::successor_of;
use muster_domain::rebalance::{self, MIN_GAIN, MOVES_DEFAULT, MOVES_MAX, Wish};
use muster_events::command::{Command, Move, TaskMove};
use muster_events::event::Event;
use muster_events::id::{CommandId, TaskId, WorkerId};
use muster_events::outcome::Problem;
use muster_http::{ApiError, ApiResult, Payload};
use schemars::JsonSchema;
use serde::Deserialize;

use super::caller::{Caller, Params};
use super::json;
use crate::answers::rebalance::{MovedAnswer, RebalanceAnswer, Refused, UnderWay};
use crate::app::Api;
use crate::openapi::{Op, parameter};

const PATH: &str = "/api/v1/rebalance";

pub(super) fn table() -> Vec<Op> {
    let takes = [
        parameter("max", "integer", "the most moves, 1 to 1000; 16 when absent"),
        parameter("min_gain", "integer", "what each must gain at least, in percent, 1 to 100; 5 when absent"),
        parameter("at", "string", "at this moment of the past: a seq, or a time (RFC 3339)"),
    ];
    vec![
        Op::get(PATH, show)
            .about(
                "workers",
                "Which tasks of services would be better off on other workers; nothing is written",
            )
            .takes(&takes)
            .gives::<RebalanceAnswer>(200),
        Op::post(PATH, carry_out)
            .about("workers", "Move tasks of services: each runs elsewhere before it stops where it is")
            .body::<MovesBody>()
            .gives::<MovedAnswer>(200),
    ]
}

/// Moves as the plan shows them: fields other than these are passed over, so that what was shown may be sent as it is.
#[derive(Debug, Deserialize, JsonSchema)]
struct MovesBody {
    /// 1,000 at most; no task twice.
    moves: Vec<MoveBody>,
}

/// One of them.
#[derive(Debug, Deserialize, JsonSchema)]
struct MoveBody {
    /// The task.
    task_id: TaskId,
    /// The worker it shall run on.
    to: WorkerId,
    /// Where it is, as far as the caller knows; where it is elsewhere by now the move is refused.
    #[serde(default)]
    from: Option<WorkerId>,
    /// Why, for the record; at most 1,000 characters.
    #[serde(default)]
    reason: Option<String>,
}

async fn show(State(api): State<Api>, Params(mut query): Params) -> ApiResult<Response> {
    let max = query.number("max", 1, MOVES_MAX as u64)?;
    let max = max.map_or(MOVES_DEFAULT, |max| usize::try_from(max).unwrap_or(MOVES_MAX));
    let gain = query.number("min_gain", 1, 100)?;
    let min_gain = gain.map_or(MIN_GAIN, |percent| u32::try_from(percent).unwrap_or(100) * 100);
    let moment: Option<Moment> = query.parse("at")?;
    query.end()?;
    let (state, held) = api.past.copy(moment, &api.model).await?;
    // With many workers and tasks it takes a while.
    let answer = tokio::task::spawn_blocking(move || {
        let wish = Wish { max, min_gain };
        RebalanceAnswer::new(rebalance::plan(&state, &wish), &wish, &state)
    });
    let answer = answer.await.map_err(|e| Problem::new(500, format!("the plan came to a halt: {e}")))?;
    drop(held);
    json(StatusCode::OK, &answer)
}

async fn carry_out(
    State(api): State<Api>,
    caller: Caller,
    Payload(body): Payload<MovesBody>,
) -> Result<Response, Response> {
    let one = |MoveBody { task_id, to, from, reason }| Move { task_id, to, from, reason };
    let moves: Vec<Move> = body.moves.into_iter().map(one).collect();
    let id = caller.id.clone();
    let accepted = caller.ask(Command::TaskMove(TaskMove { moves: moves.clone() })).await?;
    let told = told(&api, &id, accepted.seq(), moves).await;
    Ok(accepted.answer(match told {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(problem) => Ok(ApiError(problem).into_response()),
    }))
}

/// What became of each move: the events that the command has led to are the last ones up to `seq`, two for each move at most.
/// A move of which they say nothing was under way before.
async fn told(api: &Api, id: &CommandId, seq: u64, moves: Vec<Move>) -> Result<MovedAnswer, Problem> {
    let first = seq.saturating_sub(2 * moves.len() as u64 - 1).max(1);
    let (events, ()) = api.history.load(&api.model, |_| ((first..=seq).collect(), ())).await?;
    let model = api.model.read();
    let found = events.find();
    let own = || found.iter().filter(|event| event.command() == Some(id)).map(|event| event.event());
    let mut answer = MovedAnswer { moved: Vec::new(), refused: Vec::new() };
    for Move { task_id, to, .. } in moves {
        let refusal = own().find_map(|event| match event {
            Event::TaskMoveRefused(e) if e.task == task_id => Some(e.reason.clone()),
            _ => None,
        });
        if let Some(reason) = refusal {
            answer.refused.push(Refused { task_id, to, reason });
            continue;
        }
        let successor = own().find_map(|event| match event {
            Event::TaskMoving(e) if e.attempt.task == task_id => Some(e.successor),
            _ => None,
        });
        let successor = successor.or_else(|| successor_of(&model.state, task_id));
        answer.moved.push(UnderWay { task_id, to, successor });
    }
    Ok(answer)
}
