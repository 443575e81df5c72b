//! The signal that asks a program to end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signal, by its name: `SIGINT`, or `INT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StopSignal {
    /// The terminal is gone; many services read their configuration anew.
    #[serde(rename = "SIGHUP", alias = "HUP")]
    Hup,
    /// As Ctrl-C does.
    #[serde(rename = "SIGINT", alias = "INT")]
    Int,
    /// Some services end in peace upon it (nginx), others leave a core dump.
    #[serde(rename = "SIGQUIT", alias = "QUIT")]
    Quit,
    /// At once; nothing can be done about it.
    #[serde(rename = "SIGKILL", alias = "KILL")]
    Kill,
    /// What the program takes it for.
    #[serde(rename = "SIGUSR1", alias = "USR1")]
    Usr1,
    /// What the program takes it for.
    #[serde(rename = "SIGUSR2", alias = "USR2")]
    Usr2,
    /// What the program takes it for.
    #[serde(rename = "SIGALRM", alias = "ALRM")]
    Alrm,
    /// End, please.
    #[serde(rename = "SIGTERM", alias = "TERM")]
    Term,
    /// Some services end in peace upon it (httpd).
    #[serde(rename = "SIGWINCH", alias = "WINCH")]
    Winch,
}

impl StopSignal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Hup,
        Self::Int,
        Self::Quit,
        Self::Kill,
        Self::Usr1,
        Self::Usr2,
        Self::Alrm,
        Self::Term,
        Self::Winch,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Kill => "SIGKILL",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Alrm => "SIGALRM",
            Self::Term => "SIGTERM",
            Self::Winch => "SIGWINCH",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_read_and_the_whole_one_is_written() {
        for signal in StopSignal::ALL {
            let whole = format!("\"{}\"", signal.as_str());
            assert_eq!(serde_json::to_string(&signal).unwrap(), whole);
            for text in [whole.clone(), whole.replace("SIG", "")] {
                assert_eq!(serde_json::from_str::<StopSignal>(&text).unwrap(), signal, "{text}");
            }
        }
    }
}
