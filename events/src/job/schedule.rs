//! When a cron job runs: a crontab expression on the clock of a time zone.
//!
//! Nothing here asks the machine for anything: zones are compiled in, so that the same expression means the same on every
//! host. (`docs/decisions/0012-cron.md` says why the expression is read here and not by a library.)

use std::sync::OnceLock;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::time::Timestamp;

/// The longest time between two days that an expression can mean: 29 February, over a year that is no leap year.
const DAYS_MAX: usize = 9 * 366;
/// The most hours that any clock has been set back by since 1970.
const FOLD_HOURS: i8 = 3;
const HOUR_MICROS: i64 = 3_600_000_000;
/// The bit of the last day of a month among its days.
const LAST_DAY: u32 = 1;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What an expression may be instead of its five fields.
const SHORTHANDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A crontab expression in a time zone.
///
/// Where clocks change, an expression that names its hours and minutes (neither begins with `*`) is held to once a day
/// for each of them: a time that the clock leaves out comes when the clock goes on, one that it shows twice comes the
/// first time only. One with `*` for the hour or the minute follows the clock as it runs: what is left out does not
/// come, and what is shown twice comes twice.
#[derive(Clone, Debug)]
pub struct Schedule {
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    weekdays: u8,
    /// Either of two restricted kinds of day is enough, as in every cron.
    either_day: bool,
    /// Hours and minutes are named.
    is_fixed: bool,
    zone: TimeZone,
}

/// What is wrong with an expression or a zone, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSchedule {
    /// The expression.
    #[error("{0}")]
    Expression(String),
    /// The zone.
    #[error("is no time zone of the IANA database, such as UTC or Europe/Berlin")]
    Zone,
}

fn bad(message: impl Into<String>) -> BadSchedule {
    BadSchedule::Expression(message.into())
}

/// The zones that come with the program. Those of the machine may be older, newer or missing.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

/// The name of a zone as its database writes it.
pub(super) fn zone_name(name: &str) -> Option<String> {
    zones().get(name).ok()?.iana_name().map(str::to_owned)
}

/// An expression with one space between its fields, lower case.
pub(super) fn canonical(expression: &str) -> String {
    expression.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

impl Schedule {
    /// Reads an expression: `minute hour day-of-month month day-of-week`, or `@daily` and the like.
    pub fn new(expression: &str, zone: &str) -> Result<Self, BadSchedule> {
        let schedule = Self::read(expression, zone)?;
        if schedule.next_after(Timestamp::default()).is_none() {
            return Err(bad("means no day that there is"));
        }
        Ok(schedule)
    }

    /// The same of what has been looked at before.
    pub(super) fn read(expression: &str, zone: &str) -> Result<Self, BadSchedule> {
        let zone = zones().get(zone).map_err(|_| BadSchedule::Zone)?;
        let text = canonical(expression);
        let text = match SHORTHANDS.iter().find(|(name, _)| *name == text) {
            Some((_, fields)) => fields,
            None if text.starts_with('@') => {
                let known: Vec<_> = SHORTHANDS.iter().map(|(name, _)| *name).collect();
                return Err(bad(format!("is none of {}", known.join(", "))));
            }
            None => text.as_str(),
        };
        let fields: Vec<&str> = text.split(' ').collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(bad("must have five fields: minute, hour, day of month, month, day of week"));
        };
        let last_day = |text: &str| (text == "l").then_some(0);
        let month_name = |text: &str| place(&MONTHS, text).map(|at| at + 1);
        let sunday = |mask: u64| if mask & (1 << 7) == 0 { mask } else { (mask | 1) & 0x7f };
        Ok(Self {
            minutes: field("minute", minute, 0, 59, |_| None)?,
            hours: narrow(field("hour", hour, 0, 23, |_| None)?),
            days: narrow(field("day of month", day, 1, 31, last_day)?),
            months: narrow(field("month", month, 1, 12, month_name)?),
            weekdays: narrow(sunday(field("day of week", weekday, 0, 7, |text| place(&WEEKDAYS, text))?)),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            is_fixed: !minute.starts_with('*') && !hour.starts_with('*'),
            zone,
        })
    }

    /// The first time after `moment`.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        // What the clock shows a second time it has shown before.
        let from = self.clock(moment.plus_micros(-i64::from(FOLD_HOURS) * HOUR_MICROS))?;
        let (mut day, mut hour) = (from.date(), from.hour());
        for _ in 0..DAYS_MAX {
            let next = self.has_day(day).then(|| self.next_of_day(day, hour, moment)).flatten();
            if next.is_some() {
                return next;
            }
            (day, hour) = (day.tomorrow().ok()?, 0);
        }
        None
    }

    /// The first time after `moment` in the hours of a day from `hour` on.
    fn next_of_day(&self, day: Date, hour: i8, moment: Timestamp) -> Option<Timestamp> {
        let mut found: Option<(i8, Timestamp)> = None;
        for hour in (hour..24).filter(|hour| self.hours & (1 << hour) != 0) {
            if found.is_some_and(|(at, _)| hour > at + FOLD_HOURS) {
                break;
            }
            let next = self.of_hour(day, hour).filter(|time| *time > moment).min();
            let earlier = next.filter(|next| found.is_none_or(|(_, time)| *next < time));
            found = earlier.map(|time| (hour, time)).or(found);
        }
        found.map(|(_, time)| time)
    }

    /// The times up to `moment`, the newest first.
    pub fn back_from(&self, moment: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = self.clock(moment).and_then(|clock| clock.date().tomorrow().ok());
        let days = std::iter::successors(first, |day| day.yesterday().ok()).take(DAYS_MAX);
        days.flat_map(|day| self.of_day(day).into_iter().rev()).filter(move |time| *time <= moment)
    }

    /// What the clock shows.
    fn clock(&self, moment: Timestamp) -> Option<DateTime> {
        let moment = jiff::Timestamp::from_microsecond(moment.as_micros()).ok()?;
        Some(self.zone.to_datetime(moment))
    }

    /// The times on a day of the zone's calendar, rising.
    fn of_day(&self, day: Date) -> Vec<Timestamp> {
        if !self.has_day(day) {
            return Vec::new();
        }
        let hours = (0..24_i8).filter(|hour| self.hours & (1 << hour) != 0);
        let mut times: Vec<Timestamp> = hours.flat_map(|hour| self.of_hour(day, hour)).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    fn of_hour(&self, day: Date, hour: i8) -> impl Iterator<Item = Timestamp> {
        let minutes = (0..60_i8).filter(|minute| self.minutes & (1 << minute) != 0);
        minutes.flat_map(move |minute| self.moments(day.at(hour, minute, 0, 0))).flatten()
    }

    fn has_day(&self, day: Date) -> bool {
        let is_last = day.day() == day.days_in_month();
        let of_month = self.days & (1 << day.day()) != 0 || (is_last && self.days & LAST_DAY != 0);
        let of_week = self.weekdays & (1 << day.weekday().to_sunday_zero_offset()) != 0;
        let fits = if self.either_day { of_month || of_week } else { of_month && of_week };
        fits && self.months & (1 << day.month()) != 0
    }

    /// When the clock shows this, as far as that counts.
    fn moments(&self, clock: DateTime) -> [Option<Timestamp>; 2] {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(clock).ok();
        let ours =
            |moment: Option<jiff::Timestamp>| moment.map(|m| Timestamp::from_micros(m.as_microsecond()));
        match self.zone.to_ambiguous_timestamp(clock).offset() {
            AmbiguousOffset::Unambiguous { offset } => [ours(at(offset)), None],
            AmbiguousOffset::Fold { before, .. } if self.is_fixed => [ours(at(before)), None],
            AmbiguousOffset::Fold { before, after } => [ours(at(before)), ours(at(after))],
            // By the clock as it is afterwards, what is left out lies just before the change.
            AmbiguousOffset::Gap { after, .. } if self.is_fixed => {
                let before = at(after).and_then(|moment| moment.checked_sub(1.nanosecond()).ok());
                let change = before.and_then(|m| Some(self.zone.following(m).next()?.timestamp()));
                [ours(change), None]
            }
            AmbiguousOffset::Gap { .. } => [None, None],
        }
    }
}

fn place(names: &[&str], text: &str) -> Option<u32> {
    names.iter().position(|name| *name == text).and_then(|at| u32::try_from(at).ok())
}

/// A mask in the size of its field, which holds all its bits.
fn narrow<T: TryFrom<u64> + Default>(mask: u64) -> T {
    T::try_from(mask).unwrap_or_default()
}

/// Reads one field: `*`, `5`, `1-5`, `*/15`, `10-40/5`, and lists of those.
fn field(
    name: &str,
    text: &str,
    least: u32,
    most: u32,
    word: impl Fn(&str) -> Option<u32>,
) -> Result<u64, BadSchedule> {
    let mut mask = 0_u64;
    for part in text.split(',') {
        let wrong = |why: &str| bad(format!("has `{part}` as {name}, {why}"));
        let value = |text: &str| -> Result<u32, BadSchedule> {
            if let Some(value) = word(text) {
                return Ok(value);
            }
            let number: Option<u32> = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            let number = number.filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| wrong(&format!("which is nothing from {least} to {most}")))
        };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: Option<u32> = step.parse().ok().filter(|step| (1..=most).contains(step));
                (range, step.ok_or_else(|| wrong("whose step is no number of that field"))?)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (value(from)?, value(to)?),
            // `5/15` means from 5 on, every 15.
            None if step > 1 => (value(range)?, most),
            None => (value(range)?, value(range)?),
        };
        if from > to {
            return Err(wrong("which ends before it begins"));
        }
        (from..=to).step_by(step as usize).for_each(|value| mask |= 1 << value);
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The next few times after a moment.
    fn times(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::new(expression, zone).unwrap();
        let next = |moment: &Timestamp| schedule.next_after(*moment);
        let times = std::iter::successors(next(&at(after)), next);
        let times: Vec<_> = times.take(count).collect();
        // Looking back finds the same.
        let mut back: Vec<_> = schedule.back_from(times[count - 1]).take(count).collect();
        back.reverse();
        assert_eq!(back, times);
        times.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_form_of_a_field_means_what_cron_means_by_it() {
        let after = "2026-01-01T00:00:00Z";
        for (expression, expected) in [
            ("*/20 * * * *", ["2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z", "2026-01-01T01:00:00Z"]),
            ("5/25 3 * * *", ["2026-01-01T03:05:00Z", "2026-01-01T03:30:00Z", "2026-01-01T03:55:00Z"]),
            ("0 9-17/4 * * *", ["2026-01-01T09:00:00Z", "2026-01-01T13:00:00Z", "2026-01-01T17:00:00Z"]),
            ("30 2 1,15 * *", ["2026-01-01T02:30:00Z", "2026-01-15T02:30:00Z", "2026-02-01T02:30:00Z"]),
            ("0 0 L * *", ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]),
            ("0 0 * FEB-mar 7", ["2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z", "2026-02-15T00:00:00Z"]),
            // Both kinds of day named: either is enough.
            ("0 0 13 * fri", ["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"]),
            // One of them free: the other decides.
            ("0 0 */10 * *", ["2026-01-11T00:00:00Z", "2026-01-21T00:00:00Z", "2026-01-31T00:00:00Z"]),
            ("@weekly", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z", "2026-01-18T00:00:00Z"]),
            ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z", "2036-02-29T00:00:00Z"]),
        ] {
            assert_eq!(times(expression, "UTC", after, 3), expected, "{expression}");
        }
        // A year that could be a leap year and is none lies between.
        assert_eq!(times("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_comes_when_it_goes_on() {
        // Berlin, 29 March 2026: from 02:00 to 03:00, which is 01:00 UTC.
        let after = "2026-03-28T12:00:00Z";
        let expected = ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        assert_eq!(times("30 2 * * *", "Europe/Berlin", after, 2), expected);
        // Several of them come together, once.
        let expected = ["2026-03-29T01:00:00Z", "2026-03-30T00:15:00Z", "2026-03-30T00:45:00Z"];
        assert_eq!(times("15,45 2 * * *", "Europe/Berlin", after, 3), expected);
        // What follows the clock goes on with it.
        let expected = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
        assert_eq!(times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3), expected);
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_comes_the_first_time() {
        // Berlin, 25 October 2026: from 03:00 back to 02:00, which is 01:00 UTC.
        let after = "2026-10-24T12:00:00Z";
        let expected = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        assert_eq!(times("30 2 * * *", "Europe/Berlin", after, 2), expected);
        // What follows the clock comes each time.
        let expected = ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"];
        assert_eq!(times("*/30 2 * * *", "Europe/Berlin", after, 3), expected);
        assert_eq!(times("*/30 2 * * *", "Europe/Berlin", expected[2], 1), ["2026-10-25T01:30:00Z"]);
        // Half an hour back, on Lord Howe Island: 5 April 2026, 15:00 UTC the day before.
        let expected = ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"];
        assert_eq!(times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2), expected);
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_no_stumbling_block() {
        // Samoa went from 29 to 31 December 2011.
        let expected = ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"];
        assert_eq!(times("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3), expected);
    }

    #[test]
    fn what_means_nothing_is_told() {
        for (expression, words) in [
            ("* * * *", "five fields"),
            ("60 * * * *", "`60` as minute"),
            ("* 24 * * *", "`24` as hour"),
            ("* * 0 * *", "`0` as day of month"),
            ("* * * jun-feb *", "ends before it begins"),
            ("*/0 * * * *", "whose step is no number"),
            ("+5 * * * *", "`+5` as minute"),
            ("@noon", "is none of @hourly"),
            ("0 0 31 2 *", "no day that there is"),
            ("", "five fields"),
        ] {
            let message = Schedule::new(expression, "UTC").unwrap_err().to_string();
            assert!(message.contains(words), "{expression}: {message}");
        }
        assert_eq!(Schedule::new("@daily", "Mars/Olympus").unwrap_err(), BadSchedule::Zone);
    }
}
