//! The command that moves tasks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{TaskId, WorkerId};
use crate::outcome::FieldError;

/// The most moves in one `task.move`. Each needs room for a second copy while it lasts, so few clusters could do with more.
pub const MOVES_MAX: usize = 1000;
/// The most characters of a move's reason.
const REASON_CHARS_MAX: usize = 1000;

/// Payload of `task.move`: tasks of services, each with the worker it shall run on.
///
/// Each move is looked at by itself, in the order given: one that does not fit the present state is refused and the others go
/// on. Where none goes on the command is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskMove {
    /// The moves, 1,000 at most; no task twice.
    pub moves: Vec<Move>,
}

/// One task and where it shall go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The task.
    pub task_id: TaskId,
    /// The worker it shall run on.
    pub to: WorkerId,
    /// Where it is, as far as whoever asks knows; where it is elsewhere by now the move is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<WorkerId>,
    /// Why, for the record; at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl TaskMove {
    pub(super) fn check(&self) -> Result<(), Vec<FieldError>> {
        let count = self.moves.len();
        if !(1..=MOVES_MAX).contains(&count) {
            let message = format!("must have 1 to {MOVES_MAX} entries");
            return Err(vec![FieldError::new("moves", &count.to_string(), message)]);
        }
        let mut wrong = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (index, one) in self.moves.iter().enumerate() {
            if !seen.insert(one.task_id) {
                let field = format!("moves[{index}].task_id");
                wrong.push(FieldError::new(field, &one.task_id.to_string(), "is there twice"));
            }
            if let Some(reason) = one.reason.as_ref().filter(|r| r.chars().count() > REASON_CHARS_MAX) {
                let field = format!("moves[{index}].reason");
                let message = format!("may have {REASON_CHARS_MAX} characters at most");
                wrong.push(FieldError::new(field, reason, message));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}
