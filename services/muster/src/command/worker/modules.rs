//! Which program executes modules of which type: from options and from a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::exit::Failure;

/// A program as the file may write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Program {
    Words(Vec<String>),
    Shell(String),
}

/// The types with their programs; those of the options stand before those of the file.
pub(super) fn of(
    options: &[(String, String)],
    file: Option<&Path>,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut modules = match file {
        Some(file) => {
            let wrong = |e: String| Failure::usage(format!("--modules {}: {e}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
            parse(&text).map_err(wrong)?
        }
        None => BTreeMap::new(),
    };
    modules.extend(options.iter().map(|(kind, command)| (kind.clone(), shell(command))));
    Ok(modules)
}

/// JSON is YAML too.
fn parse(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let programs: BTreeMap<String, Program> = serde_norway::from_str(text)
        .map_err(|e| format!("{e}; it maps types to lists of words, or to texts"))?;
    let words = |(kind, program)| match program {
        Program::Words(words) if words.is_empty() => Err(format!("`{kind}` has no program")),
        Program::Words(words) => Ok((kind, words)),
        Program::Shell(command) => Ok((kind, shell(&command))),
    };
    programs.into_iter().map(words).collect()
}

fn shell(command: &str) -> Vec<String> {
    ["sh", "-c", command].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_texts_are_programs() {
        let modules =
            parse("Build, App: [./build, --fast]\n\"Test, App, Version=1.0\": ./test | tee log\n").unwrap();
        assert_eq!(modules["Build, App"], ["./build", "--fast"]);
        assert_eq!(modules["Test, App, Version=1.0"], ["sh", "-c", "./test | tee log"]);
        assert_eq!(parse(r#"{"A":["a"]}"#).unwrap()["A"], ["a"]);
    }

    #[test]
    fn what_is_no_map_of_programs_is_told() {
        for text in ["- a\n", "A: {}\n", "A: 7\n", "A: []\n", "A: [\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_option_stands_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("modules.yaml");
        std::fs::write(&file, "A: [a]\nB: [b]\n").unwrap();
        let options = [("A".to_owned(), "other".to_owned())];
        let modules = of(&options, Some(&file)).unwrap();
        assert_eq!(
            (modules["A"].join(" "), modules["B"].join(" ")),
            ("sh -c other".to_owned(), "b".to_owned())
        );
        let missing = of(&[], Some(&folder.path().join("none"))).unwrap_err();
        assert!(missing.message.contains("none"), "{}", missing.message);
    }
}
