//! Amounts as people write and read them.

use std::ops::RangeInclusive;
use std::time::Duration;

use muster_events::time::Timestamp;

/// Reads a number of cores: 0.5, 2.
pub(crate) fn cores(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(cores) if cores.is_finite() && cores >= 0.0 => Ok(cores),
        _ => Err(format!("`{text}` is no number of cores such as 0.5 or 2")),
    }
}

pub(crate) use muster_events::amount::bytes;

#[expect(clippy::cast_precision_loss, reason = "at most 2^40 or shown rounded")]
pub(crate) const fn to_f64(value: u64) -> f64 {
    value as f64
}

/// A length of time: `90` (seconds), `250ms`, `30s`, `5m`, `1h30m`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no length of time such as 30s, 250ms, 5m, 1h30m or 2d");
    let trimmed = text.trim();
    if let Ok(seconds) = trimmed.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| bad());
    }
    let mut total = 0.0;
    let mut rest = trimmed;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * scale;
        rest = tail;
    }
    if trimmed.is_empty() {
        return Err(bad());
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

/// A length of time that lies within `bounds`, which are `words` for people.
pub(crate) fn duration_within(
    text: &str,
    bounds: &RangeInclusive<Duration>,
    words: &str,
) -> Result<Duration, String> {
    let value = duration(text)?;
    if bounds.contains(&value) { Ok(value) } else { Err(format!("must be {words}")) }
}

/// Bytes for people: `64 MiB`, `1.5 GiB`.
pub(crate) fn show_bytes(value: u64) -> String {
    let mut amount = to_f64(value);
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return show(amount, unit);
        }
        amount /= 1024.0;
    }
    show(amount, "TiB")
}

/// Bytes as a definition says them, `64MiB`; none where that would not be exactly so many.
pub(crate) fn exact_bytes(value: u64) -> Option<String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let whole = |(_, bits): &&(&str, u32)| value > 0 && value.trailing_zeros() >= *bits;
    units.iter().rev().find(whole).map(|(unit, bits)| format!("{}{unit}", value >> bits))
}

fn show(amount: f64, unit: &str) -> String {
    let whole = (amount - amount.round()).abs() < 0.05;
    if whole { format!("{amount:.0} {unit}") } else { format!("{amount:.1} {unit}") }
}

/// A length of time for people, in its largest unit but one: `3s`, `2m5s`, `4h10m`, `3d2h`.
pub(crate) fn show_micros(micros: i64) -> String {
    let ms = micros.max(0) / 1000;
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..10 => format!("{s}.{}s", ms % 1000 / 100),
        10..60 => format!("{s}s"),
        60..3600 => format!("{}m{}s", s / 60, s % 60),
        3600..86400 => format!("{}h{}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86400, s % 86400 / 3600),
    }
}

/// How long ago `then` was, at `now`.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    show_micros(now.micros_since(then))
}

/// The present moment.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A number with its thousands set apart: `12,345`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_a_unit_only_where_that_is_exact() {
        for (value, text) in
            [(64 << 20, "64MiB"), (1536 << 20, "1536MiB"), (3 << 40, "3TiB"), (1 << 10, "1KiB")]
        {
            assert_eq!(exact_bytes(value).as_deref(), Some(text));
            assert_eq!(bytes(text), Ok(value));
        }
        assert_eq!([0, 1, 1023, (1 << 20) + 1].map(exact_bytes), [None, None, None, None]);
    }

    #[test]
    fn bytes_in_every_spelling() {
        for (text, value) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1g", 1 << 30),
            ("512k", 512 << 10),
            ("1.5GiB", 3 << 29),
            ("10MB", 10_000_000),
            ("2T", 2 << 40),
        ] {
            assert_eq!(bytes(text).unwrap(), value, "{text}");
        }
        for bad in ["", "MiB", "-1", "1x", "1e3", "99999999999999999999", "16777216T", "1.5.2m"] {
            assert!(bytes(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn lengths_of_time_in_every_spelling() {
        for (text, ms) in [
            ("90", 90_000),
            ("0.5", 500),
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "s", "-5", "5 minutes", "1y", "10m5", "nan", "inf"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_for_people() {
        assert_eq!(show_bytes(0), "0 B");
        assert_eq!(show_bytes(64 << 20), "64 MiB");
        assert_eq!(show_bytes(3 << 29), "1.5 GiB");
        assert_eq!(show_micros(1_500), "1ms");
        assert_eq!(show_micros(125_000_000), "2m5s");
        assert_eq!(show_micros(-5), "0ms");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
