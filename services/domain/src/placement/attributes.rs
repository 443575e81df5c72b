//! Comparisons with what a worker is like.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use muster_events::id::WorkerId;
use muster_events::spec::{Attribute, Constraint, Operator, Pattern, Runtime, Value, dotted};
use muster_events::worker::WorkerInfo;

use crate::fleet::Traits;

/// A constraint's or an affinity's comparison, made ready to be asked often.
pub(super) struct Test<'a> {
    attribute: Option<Attribute<'a>>,
    check: Check<'a>,
}

enum Check<'a> {
    Equal(&'a str),
    NotEqual(&'a str),
    Order(Vec<u64>, fn(Ordering) -> bool),
    In(&'a [String]),
    Contains(&'a str),
    Pattern(Pattern),
    /// It is there at all.
    Present,
    /// What no checked definition says.
    Never,
}

/// What is found on a worker.
enum Found<'a> {
    Nothing,
    Text(&'a str),
    Number(u64),
    Words(&'a BTreeSet<String>),
    Runtimes(&'a BTreeSet<Runtime>),
}

impl<'a> Test<'a> {
    pub(super) fn new(attribute: &'a str, operator: Operator, value: &'a Value) -> Self {
        let order = |holds: fn(Ordering) -> bool| {
            value.text().and_then(dotted).map_or(Check::Never, |parts| Check::Order(parts, holds))
        };
        let text = value.text().unwrap_or_default();
        let check = match operator {
            Operator::Equal => Check::Equal(text),
            Operator::NotEqual => Check::NotEqual(text),
            Operator::Less => order(Ordering::is_lt),
            Operator::AtMost => order(Ordering::is_le),
            Operator::Greater => order(Ordering::is_gt),
            Operator::AtLeast => order(Ordering::is_ge),
            Operator::In => Check::In(value.texts()),
            Operator::Contains => Check::Contains(text),
            Operator::Regex => Pattern::new(text).map_or(Check::Never, Check::Pattern),
            Operator::Distinct => Check::Present,
        };
        Self { attribute: Attribute::parse(attribute), check }
    }

    pub(super) fn of(constraint: &'a Constraint) -> Self {
        Self::new(&constraint.attribute, constraint.operator, &constraint.value)
    }

    /// Whether it asks for what workers need not have in common.
    pub(super) fn is_own(&self) -> bool {
        self.attribute.is_some_and(Attribute::is_own)
    }

    /// The worker's ids of which it lets pass one, where it names them.
    pub(super) fn named(&self) -> Option<Vec<&'a str>> {
        match (&self.attribute, &self.check) {
            (Some(Attribute::Worker), Check::Equal(name)) => Some(vec![name]),
            (Some(Attribute::Worker), Check::In(names)) => Some(names.iter().map(String::as_str).collect()),
            _ => None,
        }
    }

    /// Whether workers with these traits pass, if it does not ask for what is a worker's own.
    pub(super) fn on_traits(&self, traits: &Traits) -> bool {
        self.holds(&shared(self.attribute, traits))
    }

    /// Whether the worker passes, if it asks for what is a worker's own.
    pub(super) fn on_own(&self, id: &WorkerId, hostname: &str) -> bool {
        self.holds(&self.attribute.map_or(Found::Nothing, |a| own(a, id, hostname)))
    }

    /// Whether a worker passes.
    pub(super) fn on_worker(&self, id: &WorkerId, info: &WorkerInfo) -> bool {
        if self.is_own() { self.on_own(id, &info.hostname) } else { self.on_traits(&Traits::of(info)) }
    }

    fn holds(&self, found: &Found<'_>) -> bool {
        let number;
        let text = match found {
            Found::Nothing => return matches!(self.check, Check::NotEqual(_)),
            Found::Words(words) => return self.holds_on_set(words.iter().map(String::as_str)),
            Found::Runtimes(all) => return self.holds_on_set(all.iter().map(|r| r.as_str())),
            Found::Text(text) => text,
            Found::Number(n) => {
                number = n.to_string();
                number.as_str()
            }
        };
        match self.check {
            Check::Contains(part) => text.contains(part),
            _ => self.holds_on_text(text),
        }
    }

    fn holds_on_set<'b>(&self, mut members: impl Iterator<Item = &'b str>) -> bool {
        match self.check {
            Check::NotEqual(other) => members.all(|m| m != other),
            Check::Contains(word) => members.any(|m| m == word),
            _ => members.any(|m| self.holds_on_text(m)),
        }
    }

    fn holds_on_text(&self, text: &str) -> bool {
        match &self.check {
            Check::Equal(other) => text == *other,
            Check::NotEqual(other) => text != *other,
            Check::Order(parts, holds) => dotted(text).is_some_and(|found| holds(found.cmp(parts))),
            Check::In(list) => list.iter().any(|other| other == text),
            Check::Contains(part) => text.contains(part),
            Check::Pattern(pattern) => pattern.is_match(text),
            Check::Present => true,
            Check::Never => false,
        }
    }
}

/// The one value workers with these traits have of an attribute by which tasks are spread or kept apart.
pub(super) fn dividing<'a>(attribute: &str, traits: &'a Traits) -> Option<&'a str> {
    match Attribute::parse(attribute)? {
        Attribute::Zone => Some(&traits.zone),
        Attribute::Label(key) => traits.labels.get(key).map(String::as_str),
        _ => None,
    }
}

/// The value a worker has of such an attribute.
pub(super) fn dividing_of<'a>(attribute: &str, id: &'a WorkerId, info: &'a WorkerInfo) -> Option<&'a str> {
    match Attribute::parse(attribute)? {
        Attribute::Worker => Some(id.as_str()),
        Attribute::Hostname => Some(&info.hostname),
        Attribute::Zone => Some(&info.zone),
        Attribute::Label(key) => info.labels.get(key).map(String::as_str),
        _ => None,
    }
}

fn own<'a>(attribute: Attribute<'_>, id: &'a WorkerId, hostname: &'a str) -> Found<'a> {
    match attribute {
        Attribute::Worker => Found::Text(id.as_str()),
        Attribute::Hostname => Found::Text(hostname),
        _ => Found::Nothing,
    }
}

fn shared<'a>(attribute: Option<Attribute<'_>>, traits: &'a Traits) -> Found<'a> {
    let text = |text: &'a str| if text.is_empty() { Found::Nothing } else { Found::Text(text) };
    match attribute {
        Some(Attribute::Zone) => text(&traits.zone),
        Some(Attribute::Os) => text(&traits.os),
        Some(Attribute::Version) => text(&traits.version),
        Some(Attribute::Runtime) => Found::Runtimes(&traits.runtimes),
        Some(Attribute::Tools) => Found::Words(&traits.tools),
        Some(Attribute::Tags) => Found::Words(&traits.tags),
        Some(Attribute::Label(key)) => traits.labels.get(key).map_or(Found::Nothing, |v| Found::Text(v)),
        Some(Attribute::Device(name)) => {
            traits.devices.get(name).map_or(Found::Nothing, |n| Found::Number(*n))
        }
        Some(Attribute::Worker | Attribute::Hostname) | None => Found::Nothing,
    }
}
