//! Ports of the host a task runs on.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port of the host that a task is to have for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortAsk {
    /// Its name: the task finds the port's number in `MUSTER_PORT_<NAME>`.
    pub name: String,
    /// Which port; absent: one of those the worker has to allot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port inside the container that it leads to (docker); the same number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u16>,
}

impl PortAsk {
    /// Its name as part of an environment variable's.
    pub fn variable(&self) -> String {
        self.name.to_ascii_uppercase().replace('-', "_")
    }
}

/// Ports that a worker has to allot, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// What a worker allots unless told otherwise: below the ports that systems give to outgoing connections.
pub const PORTS_DEFAULT: PortRange = PortRange { from: 20_000, to: 31_999 };

impl PortRange {
    /// Whether it is one: its end not before its beginning, and no port 0.
    pub const fn is_sound(self) -> bool {
        self.from > 0 && self.from <= self.to
    }

    /// How many ports.
    pub fn size(self) -> u32 {
        u32::from(self.to) + 1 - u32::from(self.from).min(u32::from(self.to) + 1)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(from, to)| {
            Some(Self { from: from.trim().parse().ok()?, to: to.trim().parse().ok()? })
        });
        parsed
            .filter(|range| range.is_sound())
            .ok_or_else(|| format!("`{text}` is no range of ports such as {PORTS_DEFAULT}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_written() {
        let range: PortRange = "100-199".parse().unwrap();
        assert_eq!(
            (range.from, range.to, range.size(), range.to_string().as_str()),
            (100, 199, 100, "100-199")
        );
        assert_eq!(PortRange { from: 1, to: u16::MAX }.size(), 65_535);
        for bad in ["", "1", "0-5", "9-3", "a-b", "1-70000"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
