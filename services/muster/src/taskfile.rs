//! Files of tasks: YAML or JSON, in any of the forms people write them.
//!
//! A document is a task, a list of tasks, or `{job?, tasks: […]}`; a YAML file may have several documents. The fields
//! are those of `POST /api/v1/manager/tasks`.

use muster_client::Submission;
use muster_events::spec::TaskDefinition;
use serde::Deserialize as _;

/// The tasks a text names. `name` is the file's, for errors, which tell line and column.
pub(crate) fn parse(name: &str, text: &str) -> Result<Submission, String> {
    let json = name.ends_with(".json") || text.trim_start().starts_with(['{', '[']);
    let submission = if json { parse_json(name, text)? } else { parse_yaml(name, text)? };
    if submission.tasks.is_empty() {
        return Err(format!("{name}: there is no task in it"));
    }
    Ok(submission)
}

/// What a document looks like from afar; which form it is decides how it is read, so that errors name the field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Task,
    List,
    Submission,
    Empty,
    Other,
}

fn parse_json(name: &str, text: &str) -> Result<Submission, String> {
    let wrong = |e: serde_json::Error| format!("{name}: {e}");
    let form = match serde_json::from_str::<serde_json::Value>(text).map_err(wrong)? {
        serde_json::Value::Array(_) => Form::List,
        serde_json::Value::Object(map) if map.contains_key("tasks") => Form::Submission,
        serde_json::Value::Object(_) => Form::Task,
        _ => Form::Other,
    };
    match form {
        Form::List => Ok(Submission { job: None, tasks: serde_json::from_str(text).map_err(wrong)? }),
        Form::Submission => serde_json::from_str(text).map_err(wrong),
        Form::Task => Ok(Submission { job: None, tasks: vec![serde_json::from_str(text).map_err(wrong)?] }),
        Form::Empty | Form::Other => Err(format!("{name}: {FORMS}")),
    }
}

const FORMS: &str = "a file of tasks holds a task, a list of tasks, or `tasks:` with a list";

fn parse_yaml(name: &str, text: &str) -> Result<Submission, String> {
    let wrong = |e: serde_norway::Error| format!("{name}: {e}");
    let mut all = Submission::default();
    for (document, again) in
        serde_norway::Deserializer::from_str(text).zip(serde_norway::Deserializer::from_str(text))
    {
        let value = serde_norway::Value::deserialize(document).map_err(wrong)?;
        match form(&value) {
            Form::Task => all.tasks.push(TaskDefinition::deserialize(again).map_err(wrong)?),
            Form::List => all.tasks.extend(Vec::<TaskDefinition>::deserialize(again).map_err(wrong)?),
            Form::Submission => {
                let part = Submission::deserialize(again).map_err(wrong)?;
                if part.job.is_some() && all.job.is_some_and(|job| Some(job) != part.job) {
                    return Err(format!("{name}: its documents name different jobs; submit them apart"));
                }
                all.job = all.job.or(part.job);
                all.tasks.extend(part.tasks);
            }
            Form::Empty => {}
            Form::Other => return Err(format!("{name}: {FORMS}")),
        }
    }
    Ok(all)
}

fn form(value: &serde_norway::Value) -> Form {
    match value {
        serde_norway::Value::Null => Form::Empty,
        serde_norway::Value::Sequence(_) => Form::List,
        serde_norway::Value::Mapping(map) if map.contains_key("tasks") => Form::Submission,
        serde_norway::Value::Mapping(_) => Form::Task,
        _ => Form::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse("x.yaml", text).unwrap().tasks.into_iter().map(|t| t.name).collect()
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(names("name: a\ncommand: [echo, hi]\n"), ["a"]);
        assert_eq!(names("- name: a\n- name: b\n"), ["a", "b"]);
        assert_eq!(names("tasks:\n- name: a\n- name: b\n"), ["a", "b"]);
        assert_eq!(names("name: a\n---\n- name: b\n---\n---\ntasks: [{name: c}]\n"), ["a", "b", "c"]);
        assert_eq!(names(r#"{"name":"a","command":["true"]}"#), ["a"]);
        assert_eq!(names(r#"[{"name":"a"},{"name":"b"}]"#), ["a", "b"]);
        assert_eq!(names(r#"{"tasks":[{"name":"a"}]}"#), ["a"]);
    }

    #[test]
    fn faults_are_told_with_line_and_column() {
        for (text, parts) in [
            ("name: a\ncpu: much\n", vec!["cpu", "line 2 column 6"]),
            ("- name: a\n- name: b\n  memroy: 1\n", vec!["memroy", "line 3 column 3"]),
            ("tasks:\n- name: a\n  command: ls\n", vec!["tasks[0].command", "line 3 column 12"]),
            ("name: [a\n", vec!["line 2"]),
            ("name: a\n---\nname: b\nimage: {}\n", vec!["image", "line 4 column 8"]),
            (r#"{"name": "a", "cpu": "x"}"#, vec!["line 1 column"]),
            ("{\"name\": \"a\",\n", vec!["line 2 column"]),
        ] {
            let error = parse("tasks.yaml", text).unwrap_err();
            assert!(error.starts_with("tasks.yaml: "), "{error}");
            for part in parts {
                assert!(error.contains(part), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn what_holds_no_task_is_refused() {
        for text in ["", "# nothing\n", "tasks: []\n", "just words", "[]"] {
            assert!(parse("x.yaml", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_the_manual_shows_is_a_task() {
        let manual = include_str!("../../../docs/cli.md");
        let shown: Vec<_> =
            manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(shown.len() >= 3, "{shown:?}");
        for text in shown {
            // Parts of a task are shown without what every task has.
            let whole = text.lines().any(|line| line.starts_with("name:"));
            let rest = if whole { "" } else { "name: x\ncommand: [x]\n" };
            let submission = parse("cli.md", &format!("{rest}{text}")).unwrap();
            assert!(submission.check().is_ok(), "{text}: {:?}", submission.check());
        }
    }
}
