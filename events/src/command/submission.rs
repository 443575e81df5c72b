//! A submission as it stands in a group: like the payload of `task.submit` a bare task, or `{job?, tasks}`.
//!
//! The two have no field in common, so the first one tells which it is, and nothing has to be kept until that is known.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};

use super::Submission;
use crate::spec::TaskDefinition;

/// The two forms, for the schema.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "TaskSubmit")]
#[expect(dead_code, reason = "its schema alone is used")]
pub(super) enum Form {
    Many(Submission),
    One(Box<TaskDefinition>),
}

pub(super) fn read<'de, D: Deserializer<'de>>(d: D) -> Result<Submission, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Submission;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a task, or an object with `tasks`")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Submission, A::Error> {
            let first = map.next_key::<String>()?;
            let is_many = matches!(first.as_deref(), Some("job" | "tasks"));
            let all = MapAccessDeserializer::new(Again { first, map });
            if is_many {
                return Submission::deserialize(all);
            }
            Ok(Submission { job: None, tasks: vec![TaskDefinition::deserialize(all)?] })
        }
    }
    d.deserialize_any(Either)
}

/// A map whose first key has been read already.
struct Again<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Again<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => {
                let key: StrDeserializer<'_, A::Error> = key.as_str().into_deserializer();
                seed.deserialize(key).map(Some)
            }
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint().map(|left| left + usize::from(self.first.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::Encoding;
    use crate::command::{Command, GROUP_VERB, Opened};
    use crate::id::TaskId;

    fn open(encoding: Encoding, payload: &[u8]) -> Command {
        match Opened::decode(GROUP_VERB, encoding, payload).unwrap() {
            Opened::Group(group) => group.commands.into_iter().next().unwrap().command,
            Opened::One(_) => panic!("a group"),
        }
    }

    #[test]
    fn a_group_takes_what_a_submit_takes() {
        let id: TaskId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        let task = format!(r#"{{"name":"x","command":["true"],"id":"{id}","env":{{"A":"1"}},"cpu":0.5}}"#);
        for payload in [
            task.clone(),
            format!(r#"{{"tasks":[{task}]}}"#),
            format!(r#"{{"job":"{id}","tasks":[{task}]}}"#),
        ] {
            let alone = Command::decode("task.submit", Encoding::Json, payload.as_bytes()).unwrap();
            let group = format!(r#"{{"commands":[{{"id":"a","command":{{"task.submit":{payload}}}}}]}}"#);
            assert_eq!(open(Encoding::Json, group.as_bytes()), alone);
            let value: serde_json::Value = serde_json::from_str(&group).unwrap();
            assert_eq!(open(Encoding::MessagePack, &rmp_serde::to_vec_named(&value).unwrap()), alone);
        }
        let wrong = r#"{"commands":[{"id":"a","command":{"task.submit":{"name":"x","cpu":"much"}}}]}"#;
        let problem = Opened::decode(GROUP_VERB, Encoding::Json, wrong.as_bytes()).unwrap_err();
        assert!(problem.message.contains("cpu `much`: "), "{problem}");
    }
}
