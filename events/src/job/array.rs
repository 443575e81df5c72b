//! The values of an array of tasks, as users write them: a list, or a range of numbers.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};

/// `[eu, us]`, or `{from: 1, to: 100, step: 1}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Array {
    /// One task for each value. Numbers and truth values count as their text.
    List(Vec<String>),
    /// One task for each number.
    Range(Range),
}

/// Numbers from the first to the last, both counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first.
    pub from: i64,
    /// The last there may be.
    pub to: i64,
    /// From one to the next; negative where they fall. 1 when absent.
    #[serde(default = "one")]
    pub step: i64,
}

const fn one() -> i64 {
    1
}

impl Range {
    /// How many numbers there are; as many as a `u32` can say at most, and none where the step leads away from `to`.
    pub fn total(&self) -> u32 {
        let (from, to, step) = (i128::from(self.from), i128::from(self.to), i128::from(self.step));
        if step == 0 || (to - from).signum() * step.signum() < 0 {
            return 0;
        }
        u32::try_from((to - from) / step + 1).unwrap_or(u32::MAX)
    }

    /// The number at `index`.
    pub fn value(&self, index: u32) -> Option<i64> {
        if index >= self.total() {
            return None;
        }
        self.step.checked_mul(i64::from(index)).and_then(|d| self.from.checked_add(d))
    }
}

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Array;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of values, or a range such as {from: 1, to: 100}")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut values: A) -> Result<Array, A::Error> {
                let mut list = Vec::new();
                while let Some(Value(value)) = values.next_element()? {
                    list.push(value);
                }
                Ok(Array::List(list))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Array, A::Error> {
                Range::deserialize(MapAccessDeserializer::new(map)).map(Array::Range)
            }
        }
        d.deserialize_any(Visitor)
    }
}

/// One value of a list, as a text.
struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a truth value")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
                Ok(Value(v.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
                Ok(Value(v.to_string()))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
                Ok(Value(v.to_string()))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
                Ok(Value(v.to_string()))
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
                Ok(Value(v.to_string()))
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Array {
    fn schema_name() -> Cow<'static, str> {
        "Array".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A list of values, or a range of numbers.",
            "anyOf": [
                { "type": "array", "items": { "type": ["string", "number", "boolean"] } },
                generator.subschema_for::<Range>(),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: i64, to: i64, step: i64) -> Vec<i64> {
        let range = Range { from, to, step };
        (0..range.total()).filter_map(|n| range.value(n)).collect()
    }

    #[test]
    fn a_range_holds_its_ends() {
        assert_eq!(range(1, 3, 1), [1, 2, 3]);
        assert_eq!(range(0, 10, 4), [0, 4, 8]);
        assert_eq!(range(3, 1, -1), [3, 2, 1]);
        assert_eq!(range(5, 5, 1), [5]);
        assert_eq!(range(i64::MAX, i64::MAX, 9), [i64::MAX]);
    }

    #[test]
    fn a_range_that_leads_nowhere_is_empty() {
        assert_eq!((range(1, 3, -1), range(1, 3, 0)), (vec![], vec![]));
        assert_eq!(Range { from: i64::MIN, to: i64::MAX, step: 1 }.total(), u32::MAX);
    }

    #[test]
    fn both_forms_are_read() {
        let read = |text: &str| serde_json::from_str::<Array>(text);
        assert_eq!(
            read(r#"["a",1,-2,0.5,true]"#).unwrap(),
            Array::List(["a", "1", "-2", "0.5", "true"].map(str::to_owned).to_vec())
        );
        assert_eq!(read(r#"{"from":1,"to":9}"#).unwrap(), Array::Range(Range { from: 1, to: 9, step: 1 }));
        assert!(read(r#"[[]]"#).unwrap_err().to_string().contains("a text, a number"));
        assert!(read(r#""x""#).unwrap_err().to_string().contains("a list of values, or a range"));
        assert!(read(r#"{"from":1,"till":9}"#).unwrap_err().to_string().contains("till"));
    }
}
