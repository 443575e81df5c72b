//! .NET's `TimeSpan` as text, in its constant form: `[-][d.]hh:mm:ss[.fffffff]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Ticks of a second: a tick is 100 ns.
const SECOND: i64 = 10_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A length of time; may be negative, as .NET's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeSpan {
    ticks: i64,
}

/// A text that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time span such as 01:30:00 or 1.02:03:04.5 ([-][d.]hh:mm:ss[.fffffff])")]
pub(crate) struct BadTimeSpan(String);

impl TimeSpan {
    /// What .NET calls `Timeout.InfiniteTimeSpan`: a millisecond less than nothing.
    pub(crate) const INFINITE: Self = Self { ticks: -SECOND / 1000 };

    /// As a duration, unless it is negative.
    pub(crate) fn duration(self) -> Option<Duration> {
        let ticks = u64::try_from(self.ticks).ok()?;
        let second = SECOND.unsigned_abs();
        // Less than ten million ticks are left, each of 100 ns.
        let nanos = u32::try_from(ticks % second * 100).unwrap_or(0);
        Some(Duration::new(ticks / second, nanos))
    }
}

impl From<Duration> for TimeSpan {
    /// Rounded down to ticks; held at the largest there is.
    fn from(duration: Duration) -> Self {
        Self { ticks: i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX) }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = self.ticks.unsigned_abs();
        let part = |unit: i64| ticks / unit.unsigned_abs();
        if self.ticks < 0 {
            f.write_str("-")?;
        }
        if part(DAY) > 0 {
            write!(f, "{}.", part(DAY))?;
        }
        write!(f, "{:02}:{:02}:{:02}", part(HOUR) % 24, part(MINUTE) % 60, part(SECOND) % 60)?;
        match ticks % SECOND.unsigned_abs() {
            0 => Ok(()),
            fraction => write!(f, ".{fraction:07}"),
        }
    }
}

impl FromStr for TimeSpan {
    type Err = BadTimeSpan;

    /// Takes what .NET writes and no more; a bare number, which .NET reads as days, is refused as ambiguous.
    fn from_str(text: &str) -> Result<Self, BadTimeSpan> {
        parse(text).map(|ticks| Self { ticks }).ok_or_else(|| BadTimeSpan(text.chars().take(60).collect()))
    }
}

fn parse(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (days, clock) = match rest.split_once('.') {
        // A dot before the first colon ends the days; one behind it begins the fraction.
        Some((days, clock)) if !days.contains(':') => (number(days, 8)?, clock),
        _ => (0, rest),
    };
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, fraction_ticks(fraction)?),
        None => (clock, 0),
    };
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) =
        (two(parts.next()?, 23)?, two(parts.next()?, 59)?, two(parts.next()?, 59)?);
    if parts.next().is_some() {
        return None;
    }
    let whole =
        days.checked_mul(DAY)?.checked_add(hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction)?;
    Some(sign * whole)
}

/// Digits and nothing else, `most` of them at most.
fn number(text: &str, most: usize) -> Option<i64> {
    let digits = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Two digits that make `max` at most.
fn two(text: &str, max: i64) -> Option<i64> {
    number(text, 2).filter(|n| text.len() == 2 && *n <= max)
}

fn fraction_ticks(text: &str) -> Option<i64> {
    let scale = u32::try_from(7_usize.checked_sub(text.len())?).ok()?;
    Some(number(text, 7)? * 10_i64.pow(scale))
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Option<Duration> {
        text.parse::<TimeSpan>().unwrap().duration()
    }

    #[test]
    fn what_dotnet_writes_is_read() {
        for (text, seconds, nanos) in [
            ("00:00:00", 0, 0),
            ("01:00:00", 3600, 0),
            ("00:02:30", 150, 0),
            ("23:59:59", 86_399, 0),
            ("1.02:03:04.5000000", 93_784, 500_000_000),
            ("1.02:03:04.5", 93_784, 500_000_000),
            ("365.00:00:00", 31_536_000, 0),
            ("00:00:00.0000001", 0, 100),
            ("00:00:00.1", 0, 100_000_000),
            // TimeSpan.MaxValue
            ("10675199.02:48:05.4775807", 922_337_203_685, 477_580_700),
        ] {
            assert_eq!(duration(text), Some(Duration::new(seconds, nanos)), "{text}");
        }
        assert_eq!("-00:00:00.0010000".parse(), Ok(TimeSpan::INFINITE));
        assert_eq!(TimeSpan::INFINITE.duration(), None);
        assert_eq!(duration("-1.00:00:00"), None);
    }

    #[test]
    fn what_it_does_not_write_is_refused() {
        for text in [
            "",
            "5",
            "1:00:00",
            "01:00",
            "24:00:00",
            "00:60:00",
            "00:00:60",
            "00:00:00.",
            "00:00:00.12345678",
            "1.2.03:04:05",
            "+01:00:00",
            "01:00:00 ",
            " 01:00:00",
            "1,02:03:04",
            "PT1H",
            "--01:00:00",
            "99999999.00:00:00",
            "10675199.02:48:05.4775808",
            "01:00:0é",
            "٠١:00:00",
            "00:00:00:00",
        ] {
            assert!(text.parse::<TimeSpan>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn writing_and_reading_agree() {
        for text in [
            "00:00:00",
            "00:00:05",
            "01:00:00",
            "00:00:00.1000000",
            "1.02:03:04.5000000",
            "-00:00:00.0010000",
            "10675199.02:48:05.4775807",
            "365.00:00:00",
        ] {
            assert_eq!(text.parse::<TimeSpan>().unwrap().to_string(), text);
        }
        assert_eq!(TimeSpan::from(Duration::from_micros(150_000_001)).to_string(), "00:02:30.0000010");
        assert_eq!(TimeSpan::from(Duration::MAX).to_string(), "10675199.02:48:05.4775807");
    }
}
