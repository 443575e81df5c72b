//! HTTP workers: registration, heartbeats, the list, unregistering. The protocol is others' (section 3 of the public
//! surface), and so are its error bodies.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::state::Worker;
use muster_events::command::{Command, WorkerName};
use muster_events::id::{Incarnation, WorkerId};
use muster_events::outcome::Problem;
use muster_events::worker::{HEARTBEAT_MISSED_S_DEFAULT, Heartbeat, HostMetrics};
use muster_http::{ApiError, ApiResult, Payload};

use super::caller::{Caller, Id, NoBody, NoParams, worker_id};
use super::json;
use crate::answers::node::{
    Beat, Done, Heard, NodeAnswer, NotHeard, Registered, Registration, load, not_heard,
};
use crate::app::{Api, now};
use crate::openapi::Op;

/// How often HTTP workers are to be heard: two heartbeats may get lost before one counts as silent.
const HEARTBEAT_S: u64 = HEARTBEAT_MISSED_S_DEFAULT / 3;

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::post("/api/workers/register", register)
            .about("orchestrator", "Register an HTTP worker: muster calls its endpoint to execute modules")
            .body::<Registration>()
            .gives::<Registered<'static>>(200),
        Op::post("/api/workers/heartbeat", heartbeat)
            .about(
                "orchestrator",
                "A sign of life of an HTTP worker; 404 or 409 when it has to register (again)",
            )
            .body::<Beat>()
            .gives::<Heard>(200)
            .gives::<NotHeard>(404)
            .gives::<NotHeard>(409),
        Op::get("/api/workers", list)
            .about("orchestrator", "Every worker, those on NATS too")
            .gives::<Vec<NodeAnswer<'static>>>(200),
        Op::delete("/api/workers/{id}", unregister)
            .about("orchestrator", "Forget a worker; what it executes is placed elsewhere")
            .gives::<Done>(200),
    ]
}

fn refuse(problem: Problem) -> Response {
    ApiError(problem).into_response()
}

async fn register(
    State(api): State<Api>,
    caller: Caller,
    Payload(body): Payload<Registration>,
) -> Result<Response, Response> {
    let held = load(body.worker_node.current_load);
    let register = {
        let model = api.model.read();
        let known = model.state.workers.get(body.worker_node.id.as_str());
        body.worker_node.register(known, now()).map_err(refuse)?
    };
    let (worker_id, incarnation) = (register.worker_id.clone(), register.incarnation);
    let accepted = caller.ask(Command::WorkerRegister(register)).await?;
    // Its load comes by its next heartbeat if this one gets lost.
    if let Err(error) = beat(&api, &worker_id, incarnation, held).await {
        tracing::debug!(worker = %worker_id, %error, "the load of a worker that registers is not told");
    }
    let (success, heartbeat_interval_seconds) = (true, HEARTBEAT_S);
    let answer = Registered { success, worker_id: &worker_id, heartbeat_interval_seconds };
    Ok(accepted.answer(json(StatusCode::OK, &answer)))
}

async fn heartbeat(State(api): State<Api>, _: NoParams, Payload(body): Payload<Beat>) -> ApiResult<Response> {
    let known = {
        let model = api.model.read();
        let found = model.state.workers.get_key_value(body.worker_id.as_str());
        found.map(|(id, worker)| (id.clone(), standing(id, worker)))
    };
    let Some((worker_id, standing)) = known else {
        let shown: String = body.worker_id.chars().take(100).collect();
        let message = format!("Worker not found: {shown}; register first");
        return json(StatusCode::NOT_FOUND, &not_heard(message));
    };
    match standing {
        Ok((incarnation, should_drain)) => {
            beat(&api, &worker_id, incarnation, load(body.current_load)).await?;
            json(StatusCode::OK, &Heard { acknowledged: true, should_drain })
        }
        Err(message) => json(StatusCode::CONFLICT, &not_heard(message)),
    }
}

/// Its life and whether it drains, if its heartbeats count.
fn standing(id: &WorkerId, worker: &Worker) -> Result<(Incarnation, bool), String> {
    if worker.info.endpoint.is_none() {
        return Err(format!("worker {id} takes its orders from NATS and sends its heartbeats there"));
    }
    if !worker.online {
        return Err(format!("worker {id} is offline since it was not heard; register again"));
    }
    Ok((worker.incarnation, worker.drain.is_some()))
}

/// Sends a heartbeat on behalf of an HTTP worker, as those on NATS send theirs: the manager hears it, and puts on record
/// only what it says that is new.
async fn beat(api: &Api, id: &WorkerId, incarnation: Incarnation, held: u32) -> Result<(), Problem> {
    let heartbeat = Heartbeat {
        worker_id: id.clone(),
        incarnation,
        at: now(),
        host: HostMetrics::default(),
        tasks: Vec::new(),
        held,
        leaving: false,
    };
    api.bus.publish_heartbeat(&heartbeat).await.map_err(|e| Problem::new(503, e.to_string()))
}

async fn list(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let model = api.model.read();
    let node = |(id, worker)| NodeAnswer::new(id, worker, &api.hosts.of(id, worker));
    json(StatusCode::OK, &model.state.workers.iter().map(node).collect::<Vec<_>>())
}

async fn unregister(Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let worker_id = worker_id(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::WorkerUnregister(WorkerName { worker_id })).await?;
    Ok(accepted.answer(json(StatusCode::OK, &Done { success: true })))
}
