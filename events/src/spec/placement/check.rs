//! What a constraint, an affinity or a spread may say.

use std::collections::BTreeMap;

use super::attribute::{ATTRIBUTES, Attribute};
use super::{Affinity, Constraint, Operator, Pattern, PortAsk, Spread, Value, WEIGHT_MAX, dotted};
use crate::id::is_token;
use crate::outcome::FieldError;
use crate::spec::{Runtime, limit};

/// What is wrong with constraints.
pub(in crate::spec) fn constraints(all: &[Constraint]) -> Vec<FieldError> {
    let mut wrong = too_many("constraints", all.len());
    for (n, c) in all.iter().enumerate() {
        wrong.extend(comparison(&format!("constraints[{n}]"), &c.attribute, c.operator, &c.value));
    }
    wrong
}

/// What is wrong with affinities.
pub(in crate::spec) fn affinities(all: &[Affinity]) -> Vec<FieldError> {
    let mut wrong = too_many("affinities", all.len());
    for (n, a) in all.iter().enumerate() {
        let field = format!("affinities[{n}]");
        if a.operator == Operator::Distinct {
            let message = "is for constraints; `spread` prefers where fewest are";
            wrong.push(FieldError::new(format!("{field}.operator"), "distinct", message));
        } else {
            wrong.extend(comparison(&field, &a.attribute, a.operator, &a.value));
        }
        if a.weight == 0 || a.weight.abs() > WEIGHT_MAX {
            let message = "must lie between -100 and 100 and not be 0";
            wrong.push(FieldError::new(format!("{field}.weight"), &a.weight.to_string(), message));
        }
    }
    wrong
}

/// What is wrong with spreads.
pub(in crate::spec) fn spreads(all: &[Spread]) -> Vec<FieldError> {
    let mut wrong = too_many("spread", all.len());
    for (n, s) in all.iter().enumerate() {
        if !Attribute::parse(&s.attribute).is_some_and(Attribute::divides)
            || s.attribute.len() > limit::LABEL_CHARS
        {
            let message = "must be `zone`, `worker`, `hostname` or `label.<key>`";
            wrong.push(FieldError::new(format!("spread[{n}].attribute"), &s.attribute, message));
        }
        if !(1..=WEIGHT_MAX).contains(&s.weight) {
            let message = "must lie between 1 and 100";
            wrong.push(FieldError::new(format!("spread[{n}].weight"), &s.weight.to_string(), message));
        }
    }
    wrong
}

/// What is wrong with devices, a task's or a worker's.
pub(crate) fn check_devices(field: &str, all: &BTreeMap<String, u64>) -> Vec<FieldError> {
    let mut wrong = too_many(field, all.len());
    for (name, count) in all {
        if !is_token(name) {
            let message = "a device's name has 1 to 64 of the characters a-z A-Z 0-9 _ -";
            wrong.push(FieldError::new(format!("{field}.{name}"), name, message));
        }
        if !(1..=limit::DEVICES).contains(count) {
            let message = "must be 1 to 1000000";
            wrong.push(FieldError::new(format!("{field}.{name}"), &count.to_string(), message));
        }
    }
    wrong
}

/// What is wrong with the ports a task asks for.
pub(in crate::spec) fn ports(all: &[PortAsk], runtime: Runtime) -> Vec<FieldError> {
    let mut wrong = too_many("ports", all.len());
    for (n, ask) in all.iter().enumerate() {
        let mut add = |part: &str, value: &str, message: &str| {
            wrong.push(FieldError::new(format!("ports[{n}].{part}"), value, message));
        };
        if !is_token(&ask.name) {
            add("name", &ask.name, "has 1 to 64 of the characters a-z A-Z 0-9 _ -");
        }
        let before = &all[..n];
        if before.iter().any(|b| b.variable() == ask.variable()) {
            add(
                "name",
                &ask.name,
                "is there twice: names that differ only in case or in - and _ are the same",
            );
        }
        if ask.port.is_some() && before.iter().any(|b| b.port == ask.port) {
            add("port", &ask.port.unwrap_or(0).to_string(), "is asked for twice");
        }
        if ask.port == Some(0) || ask.to == Some(0) {
            add("port", "0", "must be 1 to 65535");
        }
        if ask.to.is_some() && runtime != Runtime::Docker {
            add(
                "to",
                &ask.to.unwrap_or(0).to_string(),
                "is for the docker runtime: a process has the host's ports",
            );
        }
    }
    wrong
}

fn too_many(field: &str, count: usize) -> Vec<FieldError> {
    let one = || FieldError::new(field, &count.to_string(), "may have 64 entries at most");
    (count > limit::PLACEMENT_ENTRIES).then(one).into_iter().collect()
}

fn comparison(field: &str, name: &str, operator: Operator, value: &Value) -> Option<FieldError> {
    let wrong = |part: &str, text: &str, message: String| {
        Some(FieldError::new(format!("{field}.{part}"), text, message))
    };
    let known = Attribute::parse(name).filter(|_| name.len() <= limit::LABEL_CHARS);
    let Some(attribute) = known else { return wrong("attribute", name, ATTRIBUTES.to_owned()) };
    let shown = value.to_string();
    let texts = value.texts();
    if texts.iter().any(|t| t.len() > limit::LABEL_CHARS) {
        return wrong("value", &shown, "may have 255 bytes at most".to_owned());
    }
    match operator {
        Operator::In if texts.is_empty() || texts.len() > limit::PLACEMENT_ENTRIES => {
            return wrong("value", &shown, "must have 1 to 64 texts".to_owned());
        }
        Operator::In => return None,
        Operator::Distinct if !attribute.divides() => {
            let message = "distinct is for `worker`, `hostname`, `zone` and `label.<key>`";
            return wrong("attribute", name, message.to_owned());
        }
        Operator::Distinct if !value.is_empty() => {
            return wrong("value", &shown, "distinct takes none".to_owned());
        }
        _ => {}
    }
    let Some(text) = value.text() else {
        return wrong(
            "value",
            &shown,
            format!("must be one text; a list is for `in`, not `{}`", operator.as_str()),
        );
    };
    match operator {
        Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast
            if dotted(text).is_none() =>
        {
            wrong("value", text, "must be a number or a version: digits and dots".to_owned())
        }
        Operator::Regex => {
            let error = Pattern::new(text).err()?;
            wrong("value", text, format!("is no regular expression: {error}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(attribute: &str, operator: Operator, value: impl Into<Value>) -> Vec<String> {
        let c = Constraint { attribute: attribute.into(), operator, value: value.into() };
        constraints(&[c]).into_iter().map(|e| format!("{} {}", e.field, e.message)).collect()
    }

    #[test]
    fn what_a_constraint_may_say() {
        for (attribute, operator, value) in [
            ("tags", Operator::Contains, "gpu".into()),
            ("version", Operator::AtLeast, "1.2".into()),
            ("zone", Operator::In, Value::List(vec!["a".into(), "b".into()])),
            ("zone", Operator::In, "a".into()),
            ("label.x", Operator::Regex, "^a+$".into()),
            ("label.x", Operator::Distinct, Value::default()),
            ("device.gpu", Operator::Greater, "1".into()),
            ("worker", Operator::NotEqual, "".into()),
        ] {
            assert_eq!(faults(attribute, operator, value), [""; 0], "{attribute} {operator:?}");
        }
    }

    #[test]
    fn what_a_constraint_may_not_say_is_named() {
        let list = || Value::List(vec!["a".into(), "b".into()]);
        for (attribute, operator, value, words) in [
            ("colour", Operator::Equal, "red".into(), "constraints[0].attribute must be `worker`"),
            ("label.", Operator::Equal, "red".into(), "constraints[0].attribute must be"),
            ("zone", Operator::Equal, list(), "constraints[0].value must be one text"),
            ("zone", Operator::In, Value::List(vec![]), "must have 1 to 64"),
            ("version", Operator::Less, "new".into(), "must be a number or a version"),
            ("zone", Operator::Regex, "(".into(), "is no regular expression"),
            ("zone", Operator::Regex, "(a{1000}){1000}".into(), "is no regular expression"),
            ("tags", Operator::Distinct, Value::default(), "distinct is for"),
            ("zone", Operator::Distinct, "a".into(), "distinct takes none"),
        ] {
            let found = faults(attribute, operator, value);
            assert!(found.len() == 1 && found[0].contains(words), "{attribute} {operator:?}: {found:?}");
        }
    }

    #[test]
    fn ports_have_names_of_their_own() {
        let ask = |name: &str, port, to| PortAsk { name: name.into(), port, to };
        assert!(
            ports(&[ask("http", Some(80), Some(8080)), ask("b", None, None)], Runtime::Docker).is_empty()
        );
        let bad = [
            ask("a-b", Some(80), None),
            ask("A_B", Some(80), None),
            ask("", Some(0), None),
            ask("c", None, Some(1)),
        ];
        let fields: Vec<_> = ports(&bad, Runtime::Process).into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            ["ports[1].name", "ports[1].port", "ports[2].name", "ports[2].port", "ports[3].to"]
        );
    }

    #[test]
    fn weights_have_bounds() {
        let affinity = |weight| Affinity {
            attribute: "zone".into(),
            operator: Operator::Equal,
            value: "a".into(),
            weight,
        };
        let spread = |weight| Spread { attribute: "zone".into(), weight };
        assert!(affinities(&[affinity(100), affinity(-100), affinity(1)]).is_empty());
        assert_eq!(affinities(&[affinity(0), affinity(101), affinity(-101)]).len(), 3);
        assert!(spreads(&[spread(1), spread(100)]).is_empty());
        assert_eq!(spreads(&[spread(0), spread(-1), spread(101)]).len(), 3);
        assert_eq!(spreads(&[Spread { attribute: "tags".into(), weight: 1 }]).len(), 1);
    }
}
