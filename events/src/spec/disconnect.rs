//! What becomes of an attempt when its worker is cut off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{Wrong, thousandths, within};
use super::{GRACE_S_DEFAULT, Runtime, TaskDefinition, limit};
use crate::worker::{HEARTBEAT_MISSED_S_DEFAULT, HEARTBEAT_S};

/// What becomes of an attempt on a worker that is cut off from NATS, is stopped, or has died.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It runs on. Another attempt may be started elsewhere meanwhile; whichever is not the task's any more is stopped
    /// when the worker is back.
    #[default]
    Keep,
    /// It is dead before another is started.
    Stop,
}

impl OnDisconnect {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Stop];

    /// As users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Stop => "stop",
        }
    }

    /// Whether it is what is meant where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How much earlier than promised an attempt is killed: for the clocks of two machines, and for the kill itself.
pub const DISCONNECT_MARGIN_S: u64 = 2;

/// What has to fit in besides the grace: the margin, and a heartbeat that comes late and one that is lost.
const BESIDES_S: u64 = DISCONNECT_MARGIN_S + 2 * HEARTBEAT_S;

/// The milliseconds within which it is dead, where it is to be stopped.
pub(super) fn check(definition: &TaskDefinition, runtime: Runtime, wrong: &mut Wrong) -> Option<u64> {
    let asked = definition.disconnect_s;
    if definition.on_disconnect == OnDisconnect::Keep {
        if let Some(s) = asked {
            wrong.add("disconnect_s", s, "goes with on_disconnect: stop");
        }
        return None;
    }
    if runtime != Runtime::Process {
        let message =
            "is for the process runtime: nobody could end a container, or a call, once its worker is dead";
        wrong.add("on_disconnect", OnDisconnect::Stop.as_str(), message);
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let (usual, besides) = (HEARTBEAT_MISSED_S_DEFAULT as f64, BESIDES_S as f64);
    let s = asked.unwrap_or(usual);
    if !within(s, limit::TIMEOUT_S) || s < besides + definition.grace_s.unwrap_or(GRACE_S_DEFAULT) {
        let message = "must be seconds, at least 12 more than grace_s (a stop has to fit in, and a lost heartbeat), a year (31536000) at most";
        wrong.add("disconnect_s", s, message);
    }
    Some(thousandths(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(
        on_disconnect: OnDisconnect,
        disconnect_s: Option<f64>,
        grace_s: Option<f64>,
    ) -> TaskDefinition {
        let command = vec!["x".to_owned()];
        TaskDefinition {
            name: "x".into(),
            command,
            on_disconnect,
            disconnect_s,
            grace_s,
            ..TaskDefinition::default()
        }
    }

    #[test]
    fn stop_has_its_time_and_keep_has_none() {
        let ms = |definition: &TaskDefinition| definition.check().unwrap().disconnect_ms;
        assert_eq!(ms(&definition(OnDisconnect::Keep, None, None)), None);
        assert_eq!(ms(&definition(OnDisconnect::Stop, None, None)), Some(60_000));
        assert_eq!(ms(&definition(OnDisconnect::Stop, Some(13.0), Some(1.0))), Some(13_000));
    }

    #[test]
    fn what_cannot_be_promised_is_refused() {
        let field = |definition: &TaskDefinition| definition.check().unwrap_err()[0].field.clone();
        assert_eq!(field(&definition(OnDisconnect::Keep, Some(60.0), None)), "disconnect_s");
        assert_eq!(field(&definition(OnDisconnect::Stop, Some(21.0), None)), "disconnect_s");
        assert_eq!(field(&definition(OnDisconnect::Stop, Some(f64::NAN), None)), "disconnect_s");
        assert_eq!(field(&definition(OnDisconnect::Stop, None, Some(50.0))), "disconnect_s");
        let container =
            TaskDefinition { image: Some("i".into()), ..definition(OnDisconnect::Stop, None, None) };
        assert_eq!(field(&container), "on_disconnect");
    }
}
