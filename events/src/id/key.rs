//! Ids of commands as they are looked for among many.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::CommandId;

/// An id as it is looked for. Nearly all are UUIDs, which compare as numbers; to compare their texts would fetch each
/// from its own place in memory, dozens for one look among tens of thousands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandKey {
    /// A UUID in its usual spelling.
    Uuid(Uuid),
    /// Any other text.
    Text(CommandId),
}

impl From<&CommandId> for CommandKey {
    fn from(id: &CommandId) -> Self {
        let text = id.as_str();
        // Only of the one spelling in which a UUID is written, so that no two ids are one key.
        let canonical = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
        match Uuid::try_parse(text) {
            Ok(uuid) if canonical => Self::Uuid(uuid),
            _ => Self::Text(id.clone()),
        }
    }
}

impl Serialize for CommandKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uuid(uuid) => {
                serializer.serialize_str(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
            Self::Text(id) => id.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CommandKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CommandId::deserialize(deserializer).map(|id| Self::from(&id))
    }
}
