//! Numbers and durations as the documented examples write them.

use muster_events::resources::Resources;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A number that is whole more often than not: `16`, not `16.0`, so that readers that expect an integer get one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl Number {
    /// Cores.
    pub(crate) fn cores(resources: &Resources) -> Self {
        Self(resources.cpu_cores())
    }

    /// GiB with two decimals.
    #[expect(clippy::cast_precision_loss, reason = "a share of a GiB is not a count")]
    pub(crate) fn gib(bytes: u64) -> Self {
        Self(((bytes as f64) / f64::from(1 << 30) * 100.0).round() / 100.0)
    }
}

impl Serialize for Number {
    #[expect(clippy::cast_possible_truncation, reason = "looked at before")]
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            s.serialize_i64(self.0 as i64)
        } else {
            s.serialize_f64(self.0)
        }
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// MiB, rounded down.
pub(crate) const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// `part` of `whole` in percent, with two decimals; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "a percentage")]
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

/// Microseconds as Go writes a Duration of whole seconds: `2h30m45s`, `5m0s`, `12s`.
pub(crate) fn go_duration(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m) {
        (0, 0) => format!("{s}s"),
        (0, _) => format!("{m}m{s}s"),
        _ => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_gos() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (9045, "2h30m45s"), (7205, "2h0m5s"), (-3, "0s")]
        {
            assert_eq!(go_duration(seconds * 1_000_000), text);
        }
    }

    #[test]
    fn whole_numbers_are_integers() {
        assert_eq!(serde_json::to_string(&[Number(16.0), Number(0.25)]).unwrap(), "[16,0.25]");
        assert_eq!(Number::gib(500 << 30), Number(500.0));
        assert!((percent(1, 3) - 33.33).abs() < 1e-9);
        assert!(percent(1, 0).abs() < 1e-9);
    }
}
