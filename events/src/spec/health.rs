//! How to tell whether a running task is well.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::check::{Wrong, thousandths, whole, within};
use super::{PortAsk, limit};

/// Seconds from the end of a check to the next, where a definition says nothing.
const INTERVAL_S_DEFAULT: f64 = 10.0;
/// Seconds a check may take, likewise.
const TIMEOUT_S_DEFAULT: f64 = 5.0;
/// Checks in a row that have to fail, likewise.
const RETRIES_DEFAULT: u32 = 3;
/// Seconds a task has to come up, likewise.
const START_PERIOD_S_DEFAULT: f64 = 30.0;

/// A health check as users write it: one of `command`, `http` and `tcp`. A task that is not well is ended, which is a
/// failure for its restart policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthDefinition {
    /// A program and its arguments, run beside the process or inside the container; exit code 0 means well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A GET that has to be answered with a status from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// A port that has to take a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// Seconds from the end of a check to the next; 10 when absent. Until the first good one within `start_period_s`, a
    /// second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<f64>,
    /// Seconds a check may take; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// So many checks in a row have to fail for the task to be unwell; 3 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Seconds after the start in which a failed check counts nothing, until the first good one; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period_s: Option<f64>,
}

/// A GET on a port of the task: a process's on loopback, a container's on its own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// Which port.
    pub port: HealthPort,
    /// Which path; `/` when absent.
    #[serde(default = "root")]
    pub path: String,
}

/// A port of the task: a process's on loopback, a container's on its own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// Which port.
    pub port: HealthPort,
}

/// A port by its number, or by the name under which the task asks for it in `ports`: then the one it is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum HealthPort {
    /// This one.
    Number(u16),
    /// The one on which the task listens for this name: what `MUSTER_PORT_<NAME>` tells it.
    Name(String),
}

/// By hand, as what serde reads untagged it refuses without the value.
impl<'de> Deserialize<'de> for HealthPort {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Port;
        impl de::Visitor<'_> for Port {
            type Value = HealthPort;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, 1 to 65535, or the name of one of the task's ports")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<HealthPort, E> {
                let port = u16::try_from(value);
                port.map(HealthPort::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<HealthPort, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(value), &self);
                u64::try_from(value).map_err(|_| wrong()).and_then(|port| self.visit_u64(port))
            }

            fn visit_str<E>(self, name: &str) -> Result<HealthPort, E> {
                Ok(HealthPort::Name(name.to_owned()))
            }
        }
        d.deserialize_any(Port)
    }
}

impl From<u16> for HealthPort {
    fn from(port: u16) -> Self {
        Self::Number(port)
    }
}

impl fmt::Display for HealthPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => port.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for HealthPort {
    type Err = String;

    /// A number is a port; what begins with a letter is a name.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(port) => Ok(Self::Number(port)),
            Err(_) if text.starts_with(|c: char| c.is_ascii_lowercase()) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(format!("`{text}` is neither a port nor the name of one")),
        }
    }
}

fn root() -> String {
    "/".to_owned()
}

/// A health check as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// What is looked at.
    pub check: Check,
    /// Milliseconds from the end of a check to the next.
    pub interval_ms: u64,
    /// Milliseconds a check may take.
    pub timeout_ms: u64,
    /// So many checks in a row have to fail.
    pub retries: u32,
    /// Milliseconds after the start in which a failed check counts nothing, until the first good one.
    pub start_period_ms: u64,
}

/// What a health check looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Whether a program ends with exit code 0.
    Command(Vec<String>),
    /// Whether a GET is answered with a status from 200 to 399.
    Http(HttpCheck),
    /// Whether a port takes a connection.
    Tcp(TcpCheck),
}

impl HealthDefinition {
    /// The canonical form; nothing when something is wrong.
    pub(super) fn check(&self, ports: &[PortAsk], wrong: &mut Wrong) -> Option<Health> {
        let before = wrong.count();
        let check = self.check_what(ports, wrong);
        let interval_s = self.interval_s.unwrap_or(INTERVAL_S_DEFAULT);
        let timeout_s = self.timeout_s.unwrap_or(TIMEOUT_S_DEFAULT);
        let start_period_s = self.start_period_s.unwrap_or(START_PERIOD_S_DEFAULT);
        for (field, value) in [("health.interval_s", interval_s), ("health.timeout_s", timeout_s)] {
            if !within(value, limit::HEALTH_S) || value < limit::HEALTH_S_LEAST {
                wrong.add(field, value, "must be seconds from 0.1 to a day (86400)");
            }
        }
        if !within(start_period_s, limit::HEALTH_S) {
            wrong.add("health.start_period_s", start_period_s, "must be seconds from 0 to a day (86400)");
        }
        let retries = self.retries.unwrap_or(RETRIES_DEFAULT);
        if !(1..=limit::HEALTH_RETRIES).contains(&retries) {
            wrong.add("health.retries", retries, "must be 1 to 1000");
        }
        check.filter(|_| wrong.count() == before).map(|check| Health {
            check,
            interval_ms: thousandths(interval_s),
            timeout_ms: thousandths(timeout_s),
            retries,
            start_period_ms: thousandths(start_period_s),
        })
    }

    fn check_what(&self, ports: &[PortAsk], wrong: &mut Wrong) -> Option<Check> {
        let given = [!self.command.is_empty(), self.http.is_some(), self.tcp.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            wrong.add("health", "", "needs one of command, http and tcp, and no more than one");
            return None;
        }
        match (&self.http, &self.tcp) {
            (Some(http), _) => check_http(http, ports, wrong),
            (None, Some(tcp)) => {
                check_port("health.tcp.port", &tcp.port, ports, wrong).then(|| Check::Tcp(tcp.clone()))
            }
            (None, None) => self.check_command(wrong),
        }
    }

    fn check_command(&self, wrong: &mut Wrong) -> Option<Check> {
        let bytes = self.command.iter().map(String::len).sum::<usize>();
        if bytes > limit::HEALTH_COMMAND_BYTES || self.command.len() > limit::COMMAND_WORDS {
            wrong.add("health.command", format!("{bytes} bytes"), "may have 64 KiB and 4096 words at most");
            return None;
        }
        let broken = self.command.iter().any(|word| word.contains('\0'));
        if broken || self.command.first().is_some_and(String::is_empty) {
            let message = "must name a program, and no word of it may contain a NUL character";
            wrong.add("health.command", self.command.join(" "), message);
            return None;
        }
        Some(Check::Command(self.command.clone()))
    }
}

fn check_http(http: &HttpCheck, ports: &[PortAsk], wrong: &mut Wrong) -> Option<Check> {
    let proper = http.path.starts_with('/') && http.path.bytes().all(|b| b.is_ascii_graphic());
    if !proper || http.path.len() > limit::HEALTH_PATH_BYTES {
        let message = "must begin with `/` and have 2048 visible ASCII characters at most, no space";
        wrong.add("health.http.path", &http.path, message);
        return None;
    }
    check_port("health.http.port", &http.port, ports, wrong).then(|| Check::Http(http.clone()))
}

fn check_port(field: &str, port: &HealthPort, ports: &[PortAsk], wrong: &mut Wrong) -> bool {
    let message = match port {
        HealthPort::Number(0) => "must be a port, 1 to 65535",
        HealthPort::Name(name) if ports.iter().all(|ask| ask.name != *name) => {
            "must be the name of one of the task's `ports`"
        }
        _ => return true,
    };
    wrong.add(field, port, message);
    false
}

/// In the words of users again: what readers are shown. Checking it gives the same.
impl From<&Health> for HealthDefinition {
    fn from(health: &Health) -> Self {
        let mut definition = Self {
            interval_s: Some(whole(health.interval_ms)),
            timeout_s: Some(whole(health.timeout_ms)),
            retries: Some(health.retries),
            start_period_s: Some(whole(health.start_period_ms)),
            ..Self::default()
        };
        match &health.check {
            Check::Command(command) => definition.command.clone_from(command),
            Check::Http(http) => definition.http = Some(http.clone()),
            Check::Tcp(tcp) => definition.tcp = Some(tcp.clone()),
        }
        definition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TaskDefinition;

    fn task(health: HealthDefinition) -> TaskDefinition {
        let command = vec!["true".into()];
        TaskDefinition { name: "x".into(), command, health: Some(health), ..TaskDefinition::default() }
    }

    fn tcp(port: u16) -> HealthDefinition {
        HealthDefinition { tcp: Some(TcpCheck { port: port.into() }), ..HealthDefinition::default() }
    }

    fn http(path: &str) -> HealthDefinition {
        let http = Some(HttpCheck { port: 80.into(), path: path.into() });
        HealthDefinition { http, ..HealthDefinition::default() }
    }

    #[test]
    fn a_check_becomes_whole_and_is_shown_as_it_was_meant() {
        let health = task(tcp(80)).check().unwrap().health.unwrap();
        let expected = Health {
            check: Check::Tcp(TcpCheck { port: 80.into() }),
            interval_ms: 10_000,
            timeout_ms: 5000,
            retries: 3,
            start_period_ms: 30_000,
        };
        assert_eq!(health, expected);
        let command = HealthDefinition { command: vec!["true".into()], ..HealthDefinition::default() };
        for definition in [tcp(80), http("/well?a=b"), command] {
            let health = task(definition).check().unwrap().health.unwrap();
            assert_eq!(task(HealthDefinition::from(&health)).check().unwrap().health, Some(health));
        }
    }

    #[test]
    fn the_path_is_the_root_unless_it_is_said() {
        let definition: HealthDefinition = serde_json::from_str(r#"{"http":{"port":80}}"#).unwrap();
        assert_eq!(definition, http("/"));
    }

    #[test]
    fn a_port_may_be_named_if_the_task_has_it() {
        let named: HealthDefinition = serde_json::from_str(r#"{"tcp":{"port":"web"}}"#).unwrap();
        let web = PortAsk { name: "web".into(), port: None, to: None };
        let spec = TaskDefinition { ports: vec![web], ..task(named.clone()) }.check().unwrap();
        assert_eq!(spec.health.unwrap().check, Check::Tcp(TcpCheck { port: HealthPort::Name("web".into()) }));
        assert_eq!(task(named).check().unwrap_err()[0].field, "health.tcp.port");
        let wrong = serde_json::from_str::<HealthDefinition>(r#"{"tcp":{"port":70000}}"#).unwrap_err();
        assert!(wrong.to_string().contains("or the name of one of the task's ports"), "{wrong}");
    }

    #[test]
    fn every_fault_is_named() {
        let field = |health| {
            let faults = task(health).check().unwrap_err();
            faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        };
        assert_eq!(field(HealthDefinition::default()), ["health"]);
        assert_eq!(
            field(HealthDefinition { tcp: Some(TcpCheck { port: 1.into() }), ..http("/") }),
            ["health"]
        );
        assert_eq!(field(tcp(0)), ["health.tcp.port"]);
        for path in ["", "well", "/a b", "/a\r\nHost: x", "/ä"] {
            assert_eq!(field(http(path)), ["health.http.path"], "{path:?}");
        }
        let empty = HealthDefinition { command: vec![String::new()], ..HealthDefinition::default() };
        assert_eq!(field(empty), ["health.command"]);
        let numbers = HealthDefinition {
            interval_s: Some(0.0),
            timeout_s: Some(f64::NAN),
            retries: Some(0),
            start_period_s: Some(-1.0),
            ..tcp(1)
        };
        let expected = ["health.interval_s", "health.timeout_s", "health.start_period_s", "health.retries"];
        assert_eq!(field(numbers), expected);
    }
}
