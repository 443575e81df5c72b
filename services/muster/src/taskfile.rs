//! Files of tasks: YAML or JSON, in any of the forms people write them.
//!
//! A document is a task, a list of tasks, or `{job?, tasks: […]}`; a YAML file may have several documents. The fields
//! are those of `POST /api/v1/manager/tasks`.

use muster_client::Submission;
use muster_events::outcome::FieldError;
use muster_events::spec::TaskDefinition;
use serde::Deserialize as _;

use crate::locate::{self, Place};

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
    if let Some(told) = locate::twice_in_json(text) {
        return Err(format!("{name}: {told}"));
    }
    let form = match serde_json::from_str::<serde_json::Value>(text).map_err(wrong)? {
        serde_json::Value::Array(_) => Form::List,
        serde_json::Value::Object(map) if map.contains_key("tasks") => Form::Submission,
        serde_json::Value::Object(_) => Form::Task,
        _ => Form::Other,
    };
    let submission = match form {
        Form::List => Submission { job: None, tasks: serde_json::from_str(text).map_err(wrong)? },
        Form::Submission => serde_json::from_str(text).map_err(wrong)?,
        Form::Task => Submission { job: None, tasks: vec![serde_json::from_str(text).map_err(wrong)?] },
        Form::Empty | Form::Other => return Err(format!("{name}: {FORMS} at line 1 column 1")),
    };
    check(name, form, &submission.tasks, |path| locate::in_json(text, path))?;
    Ok(submission)
}

/// Refuses tasks that can be read but cannot be; `find` says where in their document a value stands.
fn check(
    name: &str,
    form: Form,
    tasks: &[TaskDefinition],
    find: impl Fn(&str) -> Option<Place>,
) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let before = match form {
            Form::List => format!("[{index}]."),
            Form::Submission => format!("tasks[{index}]."),
            Form::Task | Form::Empty | Form::Other => String::new(),
        };
        for fault in task.check().err().into_iter().flatten() {
            wrong.push(FieldError { field: format!("{before}{}", fault.field), ..fault });
        }
        if wrong.len() >= locate::FAULTS_MAX {
            break;
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(locate::faults(name, &wrong, find)) }
}

const FORMS: &str = "a file of tasks holds a task, a list of tasks, or `tasks:` with a list";

fn parse_yaml(name: &str, text: &str) -> Result<Submission, String> {
    let documents = || serde_norway::Deserializer::from_str(text);
    let mut all = Submission::default();
    for (number, (document, again)) in documents().zip(documents()).enumerate() {
        let wrong = |e: serde_norway::Error| locate::yaml_error(name, text, number, &e);
        let find = |path: &str| locate::in_yaml(documents().nth(number)?, path);
        let value = serde_norway::Value::deserialize(document).map_err(wrong)?;
        let form = form(&value);
        let part = match form {
            Form::Task => {
                Submission { job: None, tasks: vec![TaskDefinition::deserialize(again).map_err(wrong)?] }
            }
            Form::List => Submission { job: None, tasks: Vec::deserialize(again).map_err(wrong)? },
            Form::Submission => Submission::deserialize(again).map_err(wrong)?,
            Form::Empty => continue,
            Form::Other => {
                let place = find("").map_or_else(String::new, |place| format!(" at {place}"));
                return Err(format!("{name}: {FORMS}{place}"));
            }
        };
        if part.job.is_some() && all.job.is_some_and(|job| Some(job) != part.job) {
            return Err(format!("{name}: its documents name different jobs; submit them apart"));
        }
        check(name, form, &part.tasks, find)?;
        all.job = all.job.or(part.job);
        all.tasks.extend(part.tasks);
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
        assert_eq!(names("- {name: a, image: i}\n- {name: b, image: i}\n"), ["a", "b"]);
        assert_eq!(names("tasks:\n- {name: a, image: i}\n- {name: b, image: i}\n"), ["a", "b"]);
        let several =
            "name: a\nimage: i\n---\n- {name: b, image: i}\n---\n---\ntasks: [{name: c, image: i}]\n";
        assert_eq!(names(several), ["a", "b", "c"]);
        assert_eq!(names(r#"{"name":"a","command":["true"]}"#), ["a"]);
        assert_eq!(names(r#"[{"name":"a","image":"i"},{"name":"b","image":"i"}]"#), ["a", "b"]);
        assert_eq!(names(r#"{"tasks":[{"name":"a","image":"i"}]}"#), ["a"]);
    }

    #[test]
    fn faults_are_told_with_line_and_column() {
        for (text, parts) in [
            ("name: a\ncpu: much\n", vec!["cpu", "line 2 column 6"]),
            ("- name: a\n- name: b\n  memroy: 1\n", vec!["memroy", "line 3 column 3"]),
            ("tasks:\n- name: a\n  command: ls\n", vec!["tasks[0].command", "line 3 column 12"]),
            ("name: [a\n", vec!["line 2"]),
            ("name: a\nimage: i\n---\nname: b\nimage: {}\n", vec!["image", "line 5 column 8"]),
            (r#"{"name": "a", "cpu": "x"}"#, vec!["line 1 column"]),
            ("command: [x]\n", vec!["name: ", "at line 1 column 1"]),
            ("name: a\nname: b\n", vec!["name: is given a second time at line 2 column 1"]),
            ("- name: a\n  command: [x]\n  cpu: -1\n", vec!["[0].cpu `-1`: ", "at line 3 column 8"]),
            (
                "name: a\ncommand: [x]\n---\ntasks:\n- name: b\n",
                vec!["tasks[0].command", "at line 5 column 3"],
            ),
            (r#"[{"name": "a", "command": ["x"], "pids": 0}]"#, vec!["[0].pids `0`: ", "at line 1 column"]),
            (
                r#"{"name": "a", "env": {"A": "1", "A": "2"}}"#,
                vec!["env.A: is given a second time at line 1"],
            ),
            ("just words", vec!["at line 1 column 1"]),
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
