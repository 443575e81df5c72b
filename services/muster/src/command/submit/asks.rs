//! From words on the command line to what a task asks of its worker.

use muster_events::spec::{Affinity, Constraint, Operator, PortAsk, Spread, Strategy, Value, WEIGHT_MAX};

/// The operators that are words, and those that are signs, longer signs before those they begin with.
const WORDS: [Operator; 4] = [Operator::In, Operator::Contains, Operator::Regex, Operator::Distinct];
const SIGNS: [(&str, Operator); 7] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// `zone=a`, `version>=1.2`, `tags contains gpu`, `zone in a,b`, `label.host regex ^db`, `worker distinct`.
pub(super) fn constraint(text: &str) -> Result<Constraint, String> {
    let (attribute, operator, value) = comparison(text)?;
    Ok(Constraint { attribute, operator, value })
}

/// A comparison, with a weight before it or 100: `50:zone=a`, `-100:label.disk=hdd`.
pub(super) fn affinity(text: &str) -> Result<Affinity, String> {
    let (weight, rest) = weighted(text);
    let (attribute, operator, value) = comparison(rest)?;
    Ok(Affinity { attribute, operator, value, weight })
}

/// An attribute, with a weight before it or 100: `zone`, `50:label.rack`.
pub(super) fn spread(text: &str) -> Result<Spread, String> {
    let (weight, attribute) = weighted(text);
    Ok(Spread { attribute: attribute.trim().to_owned(), weight })
}

/// `NAME=COUNT`.
pub(crate) fn device(text: &str) -> Result<(String, u64), String> {
    let parsed = text.split_once('=').and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` has no form NAME=COUNT"))
}

/// `NAME[=PORT][:TO]`.
pub(super) fn port(text: &str) -> Result<PortAsk, String> {
    let bad = || format!("`{text}` has no form NAME[=PORT][:TO] with ports from 1 to 65535");
    let number = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or_else(bad);
    let (rest, to) = text.split_once(':').map_or((text, None), |(rest, to)| (rest, Some(to)));
    let (name, port) = rest.split_once('=').map_or((rest, None), |(name, port)| (name, Some(port)));
    Ok(PortAsk {
        name: name.to_owned(),
        port: port.map(number).transpose()?,
        to: to.map(number).transpose()?,
    })
}

/// A strategy by its name.
pub(super) fn strategy(text: &str) -> Result<Strategy, String> {
    match text {
        "best-fit" => Ok(Strategy::BestFit),
        "spread" => Ok(Strategy::Spread),
        _ => Err(format!("`{text}` is neither best-fit nor spread")),
    }
}

/// Attributes begin with a letter, so a number before a colon is a weight.
fn weighted(text: &str) -> (i32, &str) {
    let given = text.split_once(':').and_then(|(weight, rest)| Some((weight.trim().parse().ok()?, rest)));
    given.unwrap_or((WEIGHT_MAX, text))
}

fn comparison(text: &str) -> Result<(String, Operator, Value), String> {
    let text = text.trim();
    if let Some((attribute, rest)) = text.split_once(char::is_whitespace) {
        let (word, value) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        if let Some(operator) = WORDS.into_iter().find(|o| o.as_str() == word) {
            return Ok((attribute.to_owned(), operator, values(operator, value.trim())));
        }
    }
    // The sign that comes first; of those that begin there the longest.
    let found = text.char_indices().find_map(|(at, _)| {
        let (sign, operator) = SIGNS.iter().find(|(sign, _)| text[at..].starts_with(sign))?;
        Some((text[..at].trim(), *operator, text[at + sign.len()..].trim()))
    });
    match found {
        Some((attribute, operator, value)) if !attribute.is_empty() => {
            Ok((attribute.to_owned(), operator, value.into()))
        }
        _ => Err(format!(
            "`{text}` compares nothing; write ATTRIBUTE, an operator (= != < <= > >= in contains regex distinct) and a \
             value"
        )),
    }
}

fn values(operator: Operator, text: &str) -> Value {
    if operator != Operator::In {
        return text.into();
    }
    Value::List(text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_can_be_written() {
        let list = |texts: &[&str]| Value::List(texts.iter().map(|t| (*t).to_owned()).collect());
        for (text, attribute, operator, value) in [
            ("zone=a", "zone", Operator::Equal, "a".into()),
            ("zone == a", "zone", Operator::Equal, "a".into()),
            ("zone!=b", "zone", Operator::NotEqual, "b".into()),
            ("label.x=a=b<c", "label.x", Operator::Equal, "a=b<c".into()),
            ("label.x=", "label.x", Operator::Equal, "".into()),
            ("version>=1.2", "version", Operator::AtLeast, "1.2".into()),
            ("version > 1.2", "version", Operator::Greater, "1.2".into()),
            ("version<=1.2", "version", Operator::AtMost, "1.2".into()),
            ("device.gpu < 3", "device.gpu", Operator::Less, "3".into()),
            ("tags contains gpu", "tags", Operator::Contains, "gpu".into()),
            ("zone in a, b", "zone", Operator::In, list(&["a", "b"])),
            ("label.host  regex  ^db[0-9]+ =$", "label.host", Operator::Regex, "^db[0-9]+ =$".into()),
            ("worker distinct", "worker", Operator::Distinct, Value::default()),
        ] {
            let c = constraint(text).unwrap();
            assert_eq!((c.attribute.as_str(), c.operator, c.value), (attribute, operator, value), "{text}");
        }
        for text in ["", "zone", "=a", "zone is a", "tags holds gpu"] {
            assert!(constraint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_and_ports() {
        assert_eq!(device("gpu=2").unwrap(), ("gpu".to_owned(), 2));
        assert!(device("gpu").is_err() && device("gpu=many").is_err());
        let ask = |name: &str, port, to| PortAsk { name: name.into(), port, to };
        for (text, expected) in [
            ("http", ask("http", None, None)),
            ("http=8080", ask("http", Some(8080), None)),
            ("http:80", ask("http", None, Some(80))),
            ("http=8080:80", ask("http", Some(8080), Some(80))),
        ] {
            assert_eq!(port(text).unwrap(), expected, "{text}");
        }
        assert!(port("http=0").is_err() && port("http=70000").is_err() && port("http:x").is_err());
    }

    #[test]
    fn a_weight_comes_first() {
        let a = affinity("-50:zone=a:b").unwrap();
        assert_eq!((a.attribute.as_str(), a.value, a.weight), ("zone", "a:b".into(), -50));
        assert_eq!(affinity("hostname=a:80").unwrap().weight, 100);
        let s = spread("30:label.rack").unwrap();
        assert_eq!((s.attribute.as_str(), s.weight), ("label.rack", 30));
        assert_eq!(spread("zone").unwrap().weight, 100);
    }
}
