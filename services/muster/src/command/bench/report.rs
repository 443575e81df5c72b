//! What was measured, line by line for programs and as a table for people.

use serde::Serialize;

use crate::exit::Failure;
use crate::nats_server::Durability;
use crate::output::Output;

/// What a figure should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    /// Nothing is said.
    None,
    /// At least this share of the limit.
    Ratio(f64),
    /// At most this value.
    AtMost(f64),
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    /// What, with the setting: `replay.power_loss`.
    name: String,
    value: f64,
    unit: String,
    /// What the machine does without muster, where there is such a thing.
    limit: Option<f64>,
    /// `value / limit`.
    ratio: Option<f64>,
    aim: Option<String>,
    /// Whether the aim is reached.
    met: Option<bool>,
    durability: &'static str,
}

/// All figures so far.
#[derive(Debug)]
pub(super) struct Report {
    out: Output,
    durability: &'static str,
    figures: Vec<Figure>,
}

impl Report {
    pub(super) const fn new(out: Output) -> Self {
        Self { out, durability: "", figures: Vec::new() }
    }

    /// What follows is measured at this setting.
    pub(super) const fn setting(&mut self, durability: Durability) {
        self.durability = match durability {
            Durability::PowerLoss => "power_loss",
            Durability::Process => "process",
        };
    }

    /// What the machine does by itself.
    pub(super) fn limit(&mut self, name: &str, value: f64, unit: &str) -> Result<(), Failure> {
        self.figure(name, value, unit, None, Aim::None)
    }

    /// What muster does.
    pub(super) fn figure(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        limit: Option<f64>,
        aim: Aim,
    ) -> Result<(), Failure> {
        let ratio = limit.filter(|l| *l > 0.0).map(|l| value / l);
        let (aim, met) = match aim {
            Aim::None => (None, None),
            Aim::Ratio(least) => (Some(format!("ratio >= {least}")), Some(ratio.is_some_and(|r| r >= least))),
            Aim::AtMost(most) => (Some(format!("value <= {most}")), Some(value <= most)),
        };
        let figure = Figure {
            name: format!("{name}.{}", self.durability),
            value: rounded(value),
            unit: unit.to_owned(),
            limit: limit.map(rounded),
            ratio: ratio.map(rounded),
            aim,
            met,
            durability: self.durability,
        };
        if self.out.json {
            self.out.json_line(&figure)?;
        }
        self.figures.push(figure);
        Ok(())
    }

    /// The table; nothing for programs, who have had each line already.
    pub(super) fn table(&self) -> Result<(), Failure> {
        if self.out.json {
            return Ok(());
        }
        let number = |v: f64| if v >= 100.0 { format!("{v:.0}") } else { format!("{v:.2}") };
        let rows: Vec<_> = self
            .figures
            .iter()
            .map(|f| {
                let verdict = match f.met {
                    Some(true) => "reached",
                    Some(false) => "MISSED",
                    None => "",
                };
                vec![
                    f.name.clone(),
                    number(f.value),
                    f.unit.clone(),
                    f.limit.map_or_else(String::new, number),
                    f.ratio.map_or_else(String::new, |r| format!("{r:.2}")),
                    f.aim.clone().unwrap_or_default(),
                    verdict.to_owned(),
                ]
            })
            .collect();
        Ok(self.out.table(&["FIGURE", "VALUE", "UNIT", "LIMIT", "RATIO", "AIM", ""], &rows)?)
    }
}

/// To four digits behind the point: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_judged() {
        let mut report = Report::new(Output { json: false });
        report.setting(Durability::Process);
        report.figure("a", 60.0, "x/s", Some(100.0), Aim::Ratio(0.5)).unwrap();
        report.figure("b", 7.0, "ms", None, Aim::AtMost(6.0)).unwrap();
        report.limit("c", 1.0, "x/s").unwrap();
        let met: Vec<_> = report.figures.iter().map(|f| f.met).collect();
        assert_eq!(met, [Some(true), Some(false), None]);
        assert_eq!(report.figures[0].name, "a.process");
        assert_eq!(report.figures[0].ratio, Some(0.6));
    }
}
