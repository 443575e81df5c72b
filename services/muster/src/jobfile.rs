//! Files of jobs: YAML or JSON, one job a document. The fields are those of `POST /api/v1/jobs`; `schemas/job.json`
//! describes them to editors.
//!
//! What is wrong is told with line and column: also what can be read but cannot be, such as a count of zero.

use muster_client::JobDefinition;
use serde::Deserialize as _;

use crate::locate::{self, Place};

/// Whether a text is about jobs rather than tasks: whether one of its documents names a kind.
pub(crate) fn is_one(name: &str, text: &str) -> bool {
    if is_json(name, text) {
        return serde_json::from_str::<serde_json::Value>(text)
            .is_ok_and(|value| value.get("kind").is_some());
    }
    documents(text)
        .any(|d| serde_norway::Value::deserialize(d).is_ok_and(|value| value.get("kind").is_some()))
}

/// The jobs that a text defines, each checked. `name` is the file's, for errors.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<JobDefinition>, String> {
    let jobs = if is_json(name, text) {
        if let Some(told) = locate::twice_in_json(text) {
            return Err(format!("{name}: {told}"));
        }
        let job: JobDefinition = serde_json::from_str(text).map_err(|e| format!("{name}: {e}"))?;
        vec![checked(name, job, |path| locate::in_json(text, path))?]
    } else {
        parse_yaml(name, text)?
    };
    if jobs.is_empty() {
        return Err(format!("{name}: there is no job in it"));
    }
    Ok(jobs)
}

fn is_json(name: &str, text: &str) -> bool {
    name.ends_with(".json") || text.trim_start().starts_with('{')
}

fn documents(text: &str) -> impl Iterator<Item = serde_norway::Deserializer<'_>> {
    serde_norway::Deserializer::from_str(text)
}

fn parse_yaml(name: &str, text: &str) -> Result<Vec<JobDefinition>, String> {
    let mut jobs = Vec::new();
    for (number, (document, again)) in documents(text).zip(documents(text)).enumerate() {
        let wrong = |e: serde_norway::Error| locate::yaml_error(name, text, number, &e);
        // Between two marks there may be nothing but a comment.
        if serde_norway::Value::deserialize(again).map_err(wrong)?.is_null() {
            continue;
        }
        let job = JobDefinition::deserialize(document).map_err(wrong)?;
        jobs.push(checked(name, job, |path| locate::in_yaml(documents(text).nth(number)?, path))?);
    }
    Ok(jobs)
}

/// The job, or what is wrong with it and where.
fn checked(
    name: &str,
    job: JobDefinition,
    find: impl Fn(&str) -> Option<Place>,
) -> Result<JobDefinition, String> {
    match job.check() {
        Ok(_) => Ok(job),
        Err(faults) => Err(locate::faults(name, &faults, find)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "\
# yaml-language-server: $schema=../schemas/job.json
kind: service
name: web
count: 2
task:
  command: [httpd]
  env:
    A.B: x
";

    #[test]
    fn a_file_may_hold_several_jobs() {
        let text = format!("{WEB}---\n# nothing\n---\nkind: batch\nname: b\ntask: {{command: [x]}}\n");
        let names: Vec<_> = parse("x.yaml", &text).unwrap().into_iter().map(|j| j.name.to_string()).collect();
        assert_eq!(names, ["web", "b"]);
        let json = r#"{"$schema": "x", "kind": "batch", "name": "b", "task": {"command": ["x"]}}"#;
        assert_eq!(parse("-", json).unwrap().len(), 1);
        assert!(parse("x.yaml", "# nothing\n").unwrap_err().contains("no job"));
    }

    #[test]
    fn a_job_is_known_by_its_kind() {
        assert!(is_one("x.yaml", WEB) && is_one("x.json", r#"{"kind": "batch"}"#));
        assert!(!is_one("x.yaml", "name: t\ncommand: [x]\n") && !is_one("x.json", "[]"));
    }

    #[test]
    fn faults_are_told_with_line_and_column() {
        for (from, to, parts) in [
            ("count: 2", "count: many", vec!["count", "line 4 column 8"]),
            ("count: 2", "cuont: 2", vec!["cuont", "line 4 column 1"]),
            ("kind: service", "kind: sevrice", vec!["kind", "sevrice", "line 2 column 7"]),
            ("count: 2", "count: 2000000", vec!["count `2000000`: must be 0 to 1000000", "line 4 column 8"]),
            ("[httpd]", "['']", vec!["task.command", "line 6 column 12"]),
            ("A.B: x", "A.B: \"\\0\"", vec!["task.env.A.B", "line 8 column 10"]),
            (
                "count: 2",
                "max_parallel: 2",
                vec!["max_parallel: is for jobs of kind batch", "line 4 column 15"],
            ),
            ("kind: service\n", "", vec!["missing field `kind`", "line 2 column 1"]),
            ("count: 2", "kind: batch", vec!["kind: is given a second time", "line 4 column 1"]),
            ("A.B: x", "A.B: x\n    A.B: y", vec!["task.env.A.B: is given a second time", "line 9 column 5"]),
            ("A.B: x", "A: x\n  health: {tcp: {}}", vec!["missing field `port`", "line 9 column 17"]),
            ("A.B: x", "A: x\n  health: {tcp: {port: true}}", vec!["`true`", "a port", "line 9 column 24"]),
            ("count: 2", "count: [", vec!["line 4 column 8"]),
        ] {
            assert!(WEB.contains(from));
            let error = parse("web.yaml", &WEB.replace(from, to)).unwrap_err();
            assert!(error.starts_with("web.yaml: "), "{error}");
            for part in parts {
                assert!(error.contains(part), "{to}: {part} is not in: {error}");
            }
        }
        let error = parse(
            "x.json",
            "{\"kind\": \"batch\", \"name\": \"b\",\n \"count\": 0, \"task\": {\"command\": []}}",
        );
        let error = error.unwrap_err();
        assert!(error.contains("count `0`: must be 1 to 1000000 at line 2 column 1"), "{error}");
        assert!(error.contains("task.command"), "{error}");
        for (text, words) in [
            (r#"{"kind": "batch", "kind": "batch"}"#, "kind: is given a second time at line 1 column 24"),
            (
                r#"{"kind": "batch", "name": "b", "task": {"env": {"A": "1", "A": "2"}}}"#,
                "task.env.A: is given a second time at line 1 column 61",
            ),
            (r#"{"kind": "batch"}"#, "missing field `name` at line 1 column 17"),
        ] {
            let error = parse("x.json", text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        // The parser keeps quiet about the first place of a file.
        let error = parse("x.yaml", "name: b\ncount: 1\n").unwrap_err();
        assert_eq!(error, "x.yaml: missing field `kind` at line 1 column 1");
        let error = parse("x.yaml", "[kind: batch]").unwrap_err();
        assert!(error.ends_with(" at line 1 column 1"), "{error}");
    }

    #[test]
    fn a_circle_is_told_where_it_begins() {
        let text = "kind: pipeline\nname: p\ntasks:\n- name: a\n  command: [x]\n- name: b\n  command: [x]\n  needs: [c]\n- name: c\n  command: [x]\n  needs: [b]\n";
        let error = parse("p.yaml", text).unwrap_err();
        assert!(error.contains("lead in a circle: b needs c needs b at line 8 column 10"), "{error}");
        let error = parse("p.yaml", &text.replace("needs: [b]", "needs: [b, d]")).unwrap_err();
        assert!(
            error.contains(
                "tasks[2].needs[1] `d`: is no step of this pipeline; there are a, b, c at line 11 column 14"
            ),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_there_is_told_where_it_should_be() {
        let error = parse("x.yaml", "kind: batch\nname: b\n").unwrap_err();
        assert!(error.contains("task: must say what to run at line 1 column 1"), "{error}");
        let second = format!("{WEB}---\nkind: batch\nname: b\n");
        let error = parse("x.yaml", &second).unwrap_err();
        assert!(error.contains("line 10 column 1"), "{error}");
    }
}
