//! One message of COMMANDS through the domain.

use muster_domain::decide::{Request as DomainRequest, decide};
use muster_events::command::Command;
use muster_events::commit::{Cause, CommandCause, Cursor, Entry};
use muster_events::event::{CommandRejected, Event};
use muster_events::id::CommandId;
use muster_events::outcome::{Outcome, Problem};
use muster_log::bus::Incoming;
use tokio::time::Instant;

use super::Leader;
use crate::draft::{Piece, split};
use crate::effects::{Effects, Reply};
use crate::error::StepDown;
use crate::intake::{self, Message, Request};

/// Bytes of a message left for headers and for what frames an entry in a commit, or a spec in an order.
const FRAME_BYTES: usize = 16 << 10;

impl Leader {
    /// Decides what waits in the backlog, as far as the drafts have room.
    pub(super) async fn work_off(&mut self) -> Result<(), StepDown> {
        while !self.is_pausing() && !self.drafts.is_full() {
            let Some(incoming) = self.backlog.pop_front() else { break };
            self.decide_message(&incoming).await?;
        }
        Ok(())
    }

    /// Decides all commands of a message, and has its publisher answered once they are in the log.
    async fn decide_message(&mut self, incoming: &Incoming) -> Result<(), StepDown> {
        // Decided by the leader before us, after we had begun to listen.
        if incoming.position < self.state.cursor.seq {
            return Ok(());
        }
        let Message { position, reply, group, trace, requests } =
            intake::open(incoming, &self.config.gateways);
        let count = requests.len();
        let mut outcomes = Vec::new();
        for (index, request) in (0_u32..).zip(requests) {
            // A message that was decided in part before the last leader ended, which may have told nobody yet.
            if (Cursor { seq: position, index }) < self.state.cursor {
                outcomes.extend(self.earlier(&request).map(|earlier| {
                    earlier.unwrap_or_else(|problem| self.refused(request.id.clone(), problem))
                }));
                continue;
            }
            let place = Place { seq: position, index, more: (index as usize) + 1 < count };
            let outcome = self.decide_request(request, place, trace.as_deref())?;
            outcomes.push(outcome);
        }
        if let Some((subject, encoding)) = reply.filter(|_| !outcomes.is_empty()) {
            let reply = Reply { subject, encoding, outcomes, group };
            if self.drafts.is_empty() {
                // Nothing was recorded (a heartbeat): the answer need not wait for the log.
                self.courier.send(Effects { orders: Vec::new(), replies: vec![reply], commit: None }).await;
            } else {
                self.drafts.reply(reply);
            }
        }
        Ok(())
    }

    /// What a command's id stands for already: its first outcome, or the refusal where that was another command's.
    fn earlier(&self, request: &Request) -> Option<Result<Outcome, Problem>> {
        let repeatable = request.named && request.body.as_ref().map_or(true, Command::is_remembered);
        let first = self.state.outcomes.get(&request.id).filter(|_| repeatable)?;
        Some(
            first.other_than(&request.id, request.digest).map_or_else(|| Ok(first.outcome(&request.id)), Err),
        )
    }

    fn refused(&self, id: CommandId, problem: Problem) -> Outcome {
        Outcome { id, accepted: false, seq: self.state.last_seq(), error: Some(problem) }
    }

    fn decide_request(
        &mut self,
        request: Request,
        place: Place,
        trace: Option<&str>,
    ) -> Result<Outcome, StepDown> {
        let decision = match self.earlier(&request) {
            Some(Ok(first)) => {
                self.record(split(cause(request, place, trace), Vec::new())?)?;
                return Ok(first);
            }
            Some(Err(problem)) => Err((problem, None)),
            None => self.decision(&request, place),
        };
        let (events, error) = match decision {
            Ok(events) => {
                if self.is_sign_of_life(&request) && events.is_empty() {
                    return Ok(Outcome {
                        id: request.id,
                        accepted: true,
                        seq: self.state.last_seq(),
                        error: None,
                    });
                }
                (events, None)
            }
            Err((problem, payload)) => {
                let verb = request.verb.clone();
                let rejected = CommandRejected { verb, problem: problem.clone(), payload };
                (vec![Event::CommandRejected(rejected)], Some(problem))
            }
        };
        let id = request.id.clone();
        let entries = split(cause(request, place, trace), events)?;
        let (entries, error) = match self.too_large(&entries) {
            None => (entries, error),
            Some(problem) => (refuse(entries, problem.clone())?, Some(problem)),
        };
        for event in entries.iter().flat_map(|piece| &piece.entry.events) {
            match event {
                Event::WorkerUnregistered(e) => self.liveness.forget(&e.worker),
                Event::LeaderSteppingDown(_) => self.stepping_down = true,
                _ => {}
            }
        }
        self.record(entries)?;
        Ok(Outcome { id, accepted: error.is_none(), seq: self.state.last_seq(), error })
    }

    /// The refusal of a command that led to an entry larger than the server takes in a message: such a commit could
    /// never be appended, nor could the order that carries the same spec.
    fn too_large(&self, entries: &[Piece]) -> Option<Problem> {
        let room = self.bus.fitness().max_payload.saturating_sub(FRAME_BYTES);
        let bytes = entries.iter().map(|piece| piece.encoded.len()).find(|bytes| *bytes > room)?;
        let text = format!(
            "what this command leads to has {bytes} bytes in one piece; NATS takes {room} here. Make its command, \
             environment or labels smaller, or raise the server's max_payload"
        );
        Some(Problem::new(413, text))
    }

    /// Takes note of what an accepted command says of a worker's life. True of a heartbeat: without news it is not for
    /// the record.
    fn is_sign_of_life(&mut self, request: &Request) -> bool {
        match &request.body {
            Ok(Command::WorkerHeartbeat(heartbeat)) => {
                self.liveness.heard(&heartbeat.worker_id, self.bus.machine().now());
                true
            }
            Ok(Command::WorkerRegister(register)) => {
                self.liveness.heard(&register.worker_id, self.bus.machine().now());
                false
            }
            _ => false,
        }
    }

    fn decision(&self, request: &Request, place: Place) -> Result<Vec<Event>, (Problem, Option<String>)> {
        let command = request.body.as_ref().map_err(|u| (u.problem.clone(), u.excerpt.clone()))?;
        if self.poisoned.contains(&(place.seq, place.index)) {
            let text = "muster could not carry this command out: its events do not fit the state; this is a fault of muster";
            return Err((Problem::new(500, text), None));
        }
        let asked =
            DomainRequest { id: &request.id, actor: &request.actor, trusted: request.trusted, command };
        let events = decide(&self.state, &asked, self.now()).map_err(|problem| (problem, None))?;
        match command {
            Command::LeaderStepDown(step_down) if !step_down.force => self.has_successor()?,
            _ => {}
        }
        Ok(events)
    }

    /// Whether somebody is there to take the lead over. Who stands by is not in the log, so this is not the domain's to
    /// say.
    fn has_successor(&self) -> Result<(), (Problem, Option<String>)> {
        if self.roll.has_successor(Instant::now()) {
            return Ok(());
        }
        let text = "no standby is there that has folded the log, so nobody could take over: start another manager, or wait \
                    until it has caught up (`muster leader` shows them); with `force` it steps down all the same";
        Err((Problem::conflict(text), None))
    }
}

/// Where a command stands in COMMANDS.
#[derive(Clone, Copy)]
struct Place {
    seq: u64,
    index: u32,
    more: bool,
}

/// The refusal in the place of `entries`.
fn refuse(entries: Vec<Piece>, problem: Problem) -> Result<Vec<Piece>, StepDown> {
    // The last is of the whole command.
    let Some(Piece { entry: Entry { cause, .. }, .. }) = entries.into_iter().next_back() else {
        return Ok(Vec::new());
    };
    let verb = cause.command.as_ref().map(|c| c.verb.clone()).unwrap_or_default();
    let rejected = CommandRejected { verb, problem, payload: None };
    Ok(split(cause, vec![Event::CommandRejected(rejected)])?)
}

fn cause(request: Request, place: Place, trace: Option<&str>) -> Cause {
    Cause {
        command: Some(CommandCause {
            seq: place.seq,
            index: place.index,
            more: place.more,
            partial: false,
            id: request.id,
            verb: request.verb,
            digest: request.digest,
        }),
        actor: request.actor,
        trace: trace.map(str::to_owned),
    }
}
