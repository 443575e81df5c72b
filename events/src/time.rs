//! A moment, as data. Nothing here reads a clock: `now` is always an argument.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z. RFC 3339 in JSON (`2026-11-21T03:41:26.000123Z`), an integer in MessagePack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time, or lies outside the years 0 to 9999.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 time such as 2026-11-21T03:41:26Z")]
pub struct BadTimestamp(String);

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment `micros` later, held at the end of time rather than wrapping.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// The moment `seconds` later; fractions count, nonsense (NaN) counts as zero.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "`as` from f64 saturates, which is what is wanted")]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        self.plus_micros((seconds * 1e6) as i64)
    }

    /// Microseconds from `earlier` until this moment; negative when `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;
/// 0000-01-01 and 10000-01-01: outside of these years RFC 3339 has no form.
const YEAR_0: i64 = -719_528 * DAY;
const YEAR_10000: i64 = 2_932_897 * DAY;

/// Written by hand: every event of the feed and of a page bears a time, and the general formatter takes longer for it
/// than all the rest of such an event does.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !(YEAR_0..YEAR_10000).contains(&self.0) {
            return write!(f, "{}us", self.0);
        }
        let (year, month, day) = date(self.0.div_euclid(DAY));
        let micros = self.0.rem_euclid(DAY);
        let (seconds, mut fraction) = (micros / 1_000_000, micros % 1_000_000);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, digits: usize, mut value: i64| {
            for place in (at..at + digits).rev() {
                text[place] = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, seconds / 3600);
        put(14, 2, seconds / 60 % 60);
        put(17, 2, seconds % 60);
        put(20, 6, fraction);
        // Zeros at the end of the fraction are left out, and the point with the last of them.
        let mut end = 26;
        while end > 20 && fraction % 10 == 0 {
            fraction /= 10;
            end -= 1;
        }
        if end == 20 {
            end = 19;
        }
        text[end] = b'Z';
        f.write_str(std::str::from_utf8(&text[..=end]).unwrap_or_default())
    }
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the calendar that RFC 3339 uses for all times.
/// Counted in years that begin with March, so that the leap day is the last; 400 of them have 146,097 days.
const fn date(days: i64) -> (i64, i64, i64) {
    let from_march_0 = days + 719_468;
    let era = from_march_0.div_euclid(146_097);
    let day_of_era = from_march_0.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| BadTimestamp(text.to_owned()))?;
        i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1000))
            .map(Self)
            .map_err(|_| BadTimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
    }
}

/// Both forms are understood whatever the encoding, since foreign MessagePack publishers write text.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time or microseconds since the Unix epoch")
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Timestamp, E> {
                Ok(Timestamp(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Timestamp, E> {
                i64::try_from(v).map(Timestamp).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Timestamp, E> {
                v.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "description": "RFC 3339, UTC, microseconds" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let t = Timestamp::from_micros(1_795_232_486_000_123);
        assert_eq!(t.to_string().parse::<Timestamp>().unwrap(), t);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn every_moment_is_written_as_the_general_formatter_does() {
        let by_formatter = |t: Timestamp| {
            let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(t.0) * 1000).unwrap();
            moment.format(&Rfc3339).unwrap()
        };
        // Each day of 800 years, at times of day and with fractions that differ.
        for day in (0..800 * 365).map(|n| n - 146_097) {
            let t = Timestamp(day * DAY + (day * 86_399_999_989).rem_euclid(DAY));
            assert_eq!(t.to_string(), by_formatter(t));
        }
        for micros in [0, 1, -1, 10, 100_000, 999_999, 1_000_000, 1_500_000, YEAR_0, YEAR_10000 - 1] {
            assert_eq!(Timestamp(micros).to_string(), by_formatter(Timestamp(micros)));
        }
        for beyond in [YEAR_0 - 1, YEAR_10000, i64::MIN, i64::MAX] {
            assert_eq!(Timestamp(beyond).to_string(), format!("{beyond}us"));
        }
    }

    #[test]
    fn offsets_are_brought_to_utc() {
        let t: Timestamp = "1970-01-01T01:00:00+01:00".parse().unwrap();
        assert_eq!(t, Timestamp::from_micros(0));
    }
}
