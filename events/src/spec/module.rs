//! Modules: pieces of work that a program elsewhere knows by their type, with the data they are made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Runtime, limit};
use crate::outcome::FieldError;

/// What an HTTP worker is asked to execute; or, for a process or container, what its program finds in files.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// The type's name: `MyApp.Modules.BuildModule, MyApp`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The module itself, in whatever form its type is written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serialized: String,
    /// Results of modules it depends on, by their names, where whoever submits it has them already. Those of a
    /// pipeline's earlier steps are added when it starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

impl Module {
    /// About how many bytes it takes in a message.
    pub fn size(&self) -> usize {
        let inputs = self.inputs.iter().map(|(k, v)| k.len() + v.len() + 10).sum::<usize>();
        self.kind.len() + self.serialized.len() + inputs + 30
    }
}

/// Checks that a module is there where the runtime needs one, and its sizes.
pub(super) fn check(module: Option<&Module>, runtime: Runtime) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let Some(module) = module else {
        if runtime == Runtime::Remote {
            let message = "the remote runtime needs one: what the HTTP worker shall execute";
            wrong.push(FieldError::new("module", "", message));
        }
        return wrong;
    };
    let kind = &module.kind;
    if kind.is_empty() || kind.len() > limit::MODULE_TYPE_BYTES || kind.contains(char::is_control) {
        let message = "must have 1 to 1024 bytes, none of them a control character";
        wrong.push(FieldError::new("module.type", kind, message));
    }
    if module.size() > limit::MODULE_BYTES {
        let message = "may have 1 MiB at most, inputs included";
        wrong.push(FieldError::new("module", &format!("{} bytes", module.size()), message));
    }
    if module.inputs.len() > limit::ENTRIES {
        let message = "may have 1024 entries at most";
        wrong.push(FieldError::new("module.inputs", &module.inputs.len().to_string(), message));
    }
    for name in module.inputs.keys().filter(|name| !is_input_name(name)) {
        let message = "a name has 1 to 255 bytes, no `/`, no control character, and does not begin with a dot: it names a file";
        wrong.push(FieldError::new(format!("module.inputs.{name}"), name, message));
    }
    wrong
}

/// Whether a dependency's result may bear this name: it becomes the name of a file.
pub fn is_input_name(name: &str) -> bool {
    (1..=limit::LABEL_CHARS).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> Module {
        Module { kind: "Build, App".into(), serialized: "{}".into(), inputs: BTreeMap::new() }
    }

    fn fields(module: &Module) -> Vec<String> {
        check(Some(module), Runtime::Remote).into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn only_the_remote_runtime_needs_one() {
        assert_eq!(check(None, Runtime::Process), []);
        assert_eq!(check(None, Runtime::Remote)[0].field, "module");
        assert_eq!(check(Some(&module()), Runtime::Process), []);
        assert_eq!(check(Some(&module()), Runtime::Remote), []);
    }

    #[test]
    fn what_is_too_large_or_no_name_is_told() {
        assert_eq!(fields(&Module { kind: String::new(), ..module() }), ["module.type"]);
        assert_eq!(fields(&Module { kind: "a\nb".into(), ..module() }), ["module.type"]);
        assert_eq!(fields(&Module { serialized: "x".repeat(limit::MODULE_BYTES), ..module() }), ["module"]);
        for bad in ["", "..", ".hidden", "a/b", "a\0b", &"x".repeat(256)] {
            let inputs = BTreeMap::from([(bad.to_owned(), String::new())]);
            assert_eq!(fields(&Module { inputs, ..module() }).len(), 1, "{bad:?}");
        }
        let inputs =
            BTreeMap::from([("MyApp.List`1[[System.Int32, App]], MyApp".to_owned(), "{}".to_owned())]);
        assert_eq!(fields(&Module { inputs, ..module() }), [] as [String; 0]);
    }
}
