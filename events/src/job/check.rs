//! From a definition to a spec: each field checked against what the kind can have, defaults spelled out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::{JsonSchema as _, Schema, SchemaGenerator};
use serde_json::Value;

use super::{
    Array, Batch, Copies, Each, JobDefinition, JobKind, JobSpec, OnFailure, Pipeline, Service, Step, System,
    Work,
};
use crate::id::{JobId, is_token};
use crate::outcome::FieldError;
use crate::spec::{RestartPolicy, TaskDefinition, TaskSpec, limit};

impl JobDefinition {
    /// Checks every field and gives the canonical spec, or all that is wrong, each with field, value and reason.
    pub fn check(&self) -> Result<JobSpec, Vec<FieldError>> {
        let mut wrong = Wrong(Vec::new());
        if self.name.as_str().parse::<JobId>().is_ok() {
            wrong.add("name", &self.name, "looks like a UUID, and jobs are also meant by their ids");
        }
        wrong.labels(&self.labels);
        self.check_fields(&mut wrong);
        self.check_numbers(&mut wrong);
        let task = self.task.as_ref().and_then(|task| wrong.template("task", task, self));
        let work = match self.kind {
            JobKind::Batch => self.batch(task, &mut wrong).map(Work::Batch),
            JobKind::Pipeline => self.pipeline(&mut wrong).map(Work::Pipeline),
            JobKind::Cron => self.cron(task, &mut wrong).map(Work::Cron),
            JobKind::System => task.map(|task| Work::System(System { task })),
            JobKind::Service => {
                let count = self.count.unwrap_or(1);
                let update = self.update.as_ref().map(|update| update.check(count, &mut wrong.0));
                task.map(|task| Work::Service(Service { task, count, update }))
            }
        };
        match work {
            Some(work) if wrong.0.is_empty() => Ok(JobSpec {
                namespace: self.namespace.clone().unwrap_or_default(),
                name: self.name.clone(),
                labels: self.labels.clone(),
                work,
            }),
            _ => Err(wrong.0),
        }
    }

    /// Refuses what the kind cannot have and asks for what it needs.
    fn check_fields(&self, wrong: &mut Wrong) {
        use JobKind::{Batch, Cron, Pipeline, Service, System};
        let takes: [(&str, bool, &[JobKind]); 8] = [
            ("update", self.update.is_some(), &[Service]),
            ("cron", self.cron.is_some(), &[Cron]),
            ("count", self.count.is_some(), &[Batch, Service, Cron]),
            ("array", self.array.is_some(), &[Batch, Cron]),
            ("max_parallel", self.max_parallel.is_some(), &[Batch, Pipeline, Cron]),
            ("on_failure", self.on_failure.is_some(), &[Batch, Pipeline, Cron]),
            ("task", self.task.is_some(), &[Batch, Service, System, Cron]),
            ("tasks", !self.tasks.is_empty(), &[Pipeline, Cron]),
        ];
        for (field, given, kinds) in takes {
            if given && !kinds.contains(&self.kind) {
                let names = kinds.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ");
                wrong.add(
                    field,
                    "",
                    &format!("is for jobs of kind {names}, not for a {}", self.kind.as_str()),
                );
            }
        }
        if self.task.is_none() && self.kind != Pipeline && (self.kind != Cron || self.tasks.is_empty()) {
            wrong.add("task", "", "must say what to run");
        }
        if self.kind == Cron && self.cron.is_none() {
            wrong.add("cron", "", "must say when to run");
        }
        if !self.tasks.is_empty() {
            for (field, given) in [
                ("task", self.task.is_some()),
                ("count", self.count.is_some()),
                ("array", self.array.is_some()),
            ] {
                if given && self.kind == Cron {
                    wrong.add(field, "", "cannot be given together with `tasks`, the steps of a pipeline");
                }
            }
        }
        if self.count.is_some() && self.array.is_some() {
            wrong.add("count", "", "cannot be given together with `array`, which says how many there are");
        }
    }

    fn check_numbers(&self, wrong: &mut Wrong) {
        let fewest = u32::from(self.kind != JobKind::Service);
        if let Some(count) = self.count
            && !(fewest..=limit::COUNT).contains(&count)
        {
            wrong.add("count", count, &format!("must be {fewest} to 1000000"));
        }
        if let Some(max) = self.max_parallel
            && !(1..=limit::COUNT).contains(&max)
        {
            wrong.add("max_parallel", max, "must be 1 to 1000000");
        }
    }

    fn pipeline(&self, wrong: &mut Wrong) -> Option<Pipeline> {
        let count = self.tasks.len();
        if !(1..=limit::STEPS).contains(&count) {
            wrong.add("tasks", count, "a pipeline has 1 to 1024 steps");
            return None;
        }
        let before = wrong.0.len();
        let mut indexes = BTreeMap::new();
        for (index, task) in (0_u32..).zip(&self.tasks) {
            let path = format!("tasks[{index}].name");
            if !is_token(&task.name) {
                wrong.add(path, &task.name, "a step has a name of 1 to 64 of a-z A-Z 0-9 _ -");
            } else if indexes.insert(task.name.as_str(), index).is_some() {
                wrong.add(path, &task.name, "is the name of another step too");
            }
        }
        let mut steps = Vec::with_capacity(count);
        for (index, task) in self.tasks.iter().enumerate() {
            let mut needs = BTreeSet::new();
            for (place, name) in task.needs.iter().enumerate() {
                match indexes.get(name.as_str()) {
                    Some(index) => drop(needs.insert(*index)),
                    None => {
                        let known = indexes.keys().copied().collect::<Vec<_>>().join(", ");
                        let message = format!("is no step of this pipeline; there are {known}");
                        wrong.add(format!("tasks[{index}].needs[{place}]"), name, &message);
                    }
                }
            }
            let definition = TaskDefinition { needs: Vec::new(), ..task.clone() };
            let task = wrong.template(&format!("tasks[{index}]"), &definition, self);
            steps.extend(task.map(|task| Step { task, needs: needs.into_iter().collect() }));
        }
        if wrong.0.len() > before {
            return None;
        }
        if let Some(cycle) = cycle(&steps) {
            let first = cycle[0];
            let names = cycle.iter().chain([&first]).map(|n| steps[*n as usize].task.name.as_str());
            let names = names.collect::<Vec<_>>().join(" needs ");
            wrong.add(format!("tasks[{first}].needs"), "", &format!("lead in a circle: {names}"));
            return None;
        }
        let on_failure = self.on_failure.unwrap_or(OnFailure::Stop);
        Some(Pipeline { steps, max_parallel: self.max_parallel, on_failure })
    }

    fn cron(&self, task: Option<Arc<TaskSpec>>, wrong: &mut Wrong) -> Option<super::Cron> {
        let each = if self.tasks.is_empty() {
            self.batch(task, wrong).map(Each::Batch)
        } else {
            self.pipeline(wrong).map(Each::Pipeline)
        };
        self.cron.as_ref()?.check(each, &mut wrong.0)
    }

    fn batch(&self, task: Option<Arc<TaskSpec>>, wrong: &mut Wrong) -> Option<Batch> {
        let copies = match &self.array {
            None => Copies::Count(self.count.unwrap_or(1)),
            Some(array) => wrong.array(array)?,
        };
        let (max_parallel, on_failure) = (self.max_parallel, self.on_failure.unwrap_or_default());
        if let Some(gang) = task.as_ref().and_then(|task| task.gang.as_ref()) {
            let total = copies.total();
            if gang.size != total {
                let message = format!("must be {total}: all tasks of the batch are its gang");
                wrong.add("task.gang.size", gang.size, &message);
            }
            if let Some(max) = max_parallel.filter(|max| *max < total) {
                wrong.add("max_parallel", max, "must not be less than the gang, whose tasks start together");
            }
        }
        Some(Batch { task: task?, copies, max_parallel, on_failure })
    }
}

/// A circle of steps each of which needs the next, if there is one.
fn cycle(steps: &[Step]) -> Option<Vec<u32>> {
    // Take away, again and again, what needs nothing that is left: what remains at the end has a circle in it.
    let mut left: BTreeMap<u32, BTreeSet<u32>> =
        (0_u32..).zip(steps).map(|(n, step)| (n, step.needs.iter().copied().collect())).collect();
    let mut needed_by: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (step, needs) in &left {
        needs.iter().for_each(|need| needed_by.entry(*need).or_default().push(*step));
    }
    let mut free: Vec<u32> = left.iter().filter(|(_, needs)| needs.is_empty()).map(|(n, _)| *n).collect();
    while let Some(done) = free.pop() {
        left.remove(&done);
        for step in needed_by.get(&done).into_iter().flatten() {
            if let Some(needs) = left.get_mut(step) {
                needs.remove(&done);
                if needs.is_empty() {
                    free.push(*step);
                }
            }
        }
    }
    // Each that is left needs one that is left; so following them comes back to where it was.
    let mut path: Vec<u32> = vec![*left.keys().next()?];
    loop {
        let next = *left.get(path.last()?)?.first()?;
        if let Some(begin) = path.iter().position(|step| *step == next) {
            return Some(path.split_off(begin));
        }
        path.push(next);
    }
}

struct Wrong(Vec<FieldError>);

impl Wrong {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and texts alike")]
    fn add(&mut self, field: impl Into<String>, value: impl ToString, message: &str) {
        self.0.push(FieldError::new(field, &value.to_string(), message));
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) {
        if labels.len() > limit::ENTRIES {
            self.add("labels", labels.len(), "may have 1024 labels at most");
        }
        for (key, value) in labels {
            if key.is_empty() || key.len() > limit::LABEL_CHARS || value.len() > limit::LABEL_CHARS {
                self.add(format!("labels.{key}"), value, "a key has 1 to 255 bytes, a value 255 at most");
            }
        }
    }

    /// The spec of a task that a job makes, with what the job says where the task says nothing.
    fn template(&mut self, path: &str, task: &TaskDefinition, job: &JobDefinition) -> Option<Arc<TaskSpec>> {
        if let Some(id) = task.id {
            self.add(format!("{path}.id"), id, "cannot be given: the job gives each of its tasks an id");
        }
        if let Some(count) = task.count {
            self.add(format!("{path}.count"), count, "cannot be given here: the job has a `count`");
        }
        if let Some(namespace) = task.namespace.as_ref().filter(|name| job.namespace.as_ref() != Some(*name))
        {
            self.add(
                format!("{path}.namespace"),
                namespace,
                "cannot be given here: the job has a `namespace`",
            );
        }
        let is_copied = matches!(job.kind, JobKind::Batch | JobKind::Cron) && job.tasks.is_empty();
        if let Some(gang) = task.gang.as_ref().filter(|_| !is_copied) {
            let message = "is for the tasks of a batch, which start together; no others do";
            self.add(format!("{path}.gang"), &gang.name, message);
        }
        let namespace = job.namespace.clone();
        let mut task = TaskDefinition { id: None, count: None, namespace, ..task.clone() };
        if task.name.is_empty() {
            task.name = job.name.to_string();
        }
        if matches!(job.kind, JobKind::Service | JobKind::System) {
            // What is kept up is tried again after every end, unless somebody says otherwise.
            task.restart.get_or_insert_default().policy.get_or_insert(RestartPolicy::Always);
        }
        match task.check() {
            Ok(spec) => Some(Arc::new(spec)),
            Err(faults) => {
                self.0.extend(faults.into_iter().map(|mut fault| {
                    fault.field = format!("{path}.{}", fault.field);
                    fault
                }));
                None
            }
        }
    }

    fn array(&mut self, array: &Array) -> Option<Copies> {
        let before = self.0.len();
        let copies = match array {
            Array::List(values) => {
                let bytes: usize = values.iter().map(String::len).sum();
                if values.is_empty() || bytes + 2 * values.len() > limit::ARRAY_BYTES {
                    let shown = format!("{} values, {bytes} bytes", values.len());
                    self.add("array", shown, "must have at least one value, and 512 KiB in all at most");
                }
                for (index, value) in values.iter().enumerate() {
                    if value.len() > limit::ARRAY_VALUE_BYTES || value.contains('\0') {
                        self.add(format!("array[{index}]"), value, "may have 4096 bytes, none of them NUL");
                    }
                }
                Copies::List(values.clone())
            }
            Array::Range(range) => {
                if !(1..=limit::COUNT).contains(&range.total()) {
                    let shown = format!("{} to {} by {}", range.from, range.to, range.step);
                    self.add(
                        "array",
                        shown,
                        "must be 1 to 1000000 numbers: does `step` lead from `from` to `to`?",
                    );
                }
                Copies::Range(*range)
            }
        };
        (self.0.len() == before).then_some(copies)
    }
}

/// A task's form less what a job says in its place.
pub(super) fn template_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = TaskDefinition::json_schema(generator);
    schema.remove("required");
    schema.remove("title");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.remove("id");
        properties.remove("count");
        properties.remove("needs");
        properties.remove("namespace");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Encoding, decode_request};
    use crate::id::WorkerId;
    use crate::job::Range;
    use crate::outcome::Problem;

    fn read(text: &str) -> Result<JobDefinition, Problem> {
        decode_request(Encoding::Json, text.as_bytes())
    }

    fn spec(text: &str) -> JobSpec {
        read(text).unwrap().check().unwrap_or_else(|wrong| panic!("{wrong:?}"))
    }

    /// The fields that are wrong.
    fn wrong(text: &str) -> Vec<String> {
        read(text).unwrap().check().unwrap_err().into_iter().map(|e| e.field).collect()
    }

    #[test]
    fn a_batch_becomes_whole() {
        let spec = spec(r#"{"kind":"batch","name":"b","task":{"command":["true"]}}"#);
        assert_eq!((spec.namespace.as_str(), spec.name.as_str()), ("default", "b"));
        let Work::Batch(batch) = spec.work else { panic!("a batch") };
        assert_eq!((batch.copies, batch.max_parallel), (Copies::Count(1), None));
        assert_eq!((batch.on_failure, batch.task.name.as_str()), (OnFailure::Continue, "b"));
    }

    #[test]
    fn an_array_says_how_many_there_are_and_which_value_each_has() {
        let values = |array: &str| {
            let text =
                format!(r#"{{"kind":"batch","name":"b","array":{array},"task":{{"command":["true"]}}}}"#);
            let Work::Batch(batch) = spec(&text).work else { panic!("a batch") };
            (0..batch.copies.total())
                .filter_map(|n| Some(batch.copies.value(n)?.into_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(values(r#"["eu","us"]"#), ["eu", "us"]);
        assert_eq!(values(r#"{"from":3,"to":9,"step":3}"#), ["3", "6", "9"]);
    }

    #[test]
    fn a_service_may_be_scaled_to_nothing() {
        let spec =
            spec(r#"{"kind":"service","name":"web","count":0,"task":{"name":"nginx","command":["x"]}}"#);
        let Work::Service(service) = &spec.work else { panic!("a service") };
        assert_eq!((service.count, service.task.name.as_str()), (0, "nginx"));
        let more = spec.scaled(3).unwrap();
        assert!(more != spec && more.work.runs_the_same(&spec.work));
    }

    #[test]
    fn what_is_kept_up_is_tried_again_without_end_unless_it_says_otherwise() {
        let restart = |kind: &str, restart: &str| {
            let text = format!(r#"{{"kind":"{kind}","name":"s","task":{{"command":["x"]{restart}}}}}"#);
            spec(&text).work.task(0).unwrap().restart.as_ref().map(|r| (r.policy, r.max, r.backoff.max_ms))
        };
        let always = |max_ms| Some((RestartPolicy::Always, None, max_ms));
        assert_eq!(restart("service", ""), always(300_000));
        assert_eq!(restart("system", ""), always(300_000));
        assert_eq!(restart("service", r#","restart":{"backoff":{"max_s":9}}"#), always(9000));
        assert_eq!(restart("service", r#","restart":{"policy":"never"}"#), None);
        assert_eq!(restart("batch", ""), None);
    }

    #[test]
    fn a_system_job_binds_its_task_to_each_worker() {
        let text = r#"{"kind":"system","name":"s","task":{"command":["x"],"constraints":[
            {"attribute":"zone","operator":"=","value":"a"}]}}"#;
        let Work::System(system) = spec(text).work else { panic!("a system job") };
        let work = Work::System(system.clone());
        let one = system.task_on(&WorkerId::new("w1").unwrap());
        assert_eq!(one.constraints.len(), 2);
        assert!(one.constraints.is_sorted() && work.has(0, &one) && work.has(0, &system.task));
        assert!(!work.has(0, &TaskSpec { priority: 1, ..one.clone() }));
        assert!(!work.has(0, &TaskSpec { constraints: vec![], ..one }));
        // Bound already: the same once more is nothing new.
        let bound = System { task: Arc::new(system.task_on(&WorkerId::new("w1").unwrap())) };
        assert_eq!(bound.task_on(&WorkerId::new("w1").unwrap()), *bound.task);
    }

    fn pipeline(steps: &str) -> String {
        format!(r#"{{"kind":"pipeline","name":"p","tasks":[{steps}]}}"#)
    }

    fn step(name: &str, needs: &str) -> String {
        format!(r#"{{"name":"{name}","command":["x"],"needs":[{needs}]}}"#)
    }

    #[test]
    fn a_pipeline_knows_what_its_steps_need_by_their_places() {
        let text = pipeline(&[step("c", r#""b","a","b""#), step("a", ""), step("b", r#""a""#)].join(","));
        let Work::Pipeline(pipeline) = spec(&text).work else { panic!("a pipeline") };
        let needs: Vec<_> =
            pipeline.steps.iter().map(|s| (s.task.name.as_str(), s.needs.as_slice())).collect();
        assert_eq!(needs, [("c", &[1, 2][..]), ("a", &[]), ("b", &[1])]);
        assert_eq!(pipeline.on_failure, OnFailure::Stop);
    }

    #[test]
    fn a_circle_is_spelled_out() {
        let circle = |steps: &[String]| {
            let wrong = read(&pipeline(&steps.join(","))).unwrap().check().unwrap_err();
            (wrong[0].field.clone(), wrong[0].message.clone())
        };
        let steps = [
            step("in", r#""c""#),
            step("a", r#""in2","c""#),
            step("b", r#""a""#),
            step("c", r#""b""#),
            step("in2", ""),
        ];
        assert_eq!(
            circle(&steps),
            ("tasks[3].needs".into(), "lead in a circle: c needs b needs a needs c".into())
        );
        let own = circle(&[step("a", r#""a""#)]);
        assert_eq!(own, ("tasks[0].needs".into(), "lead in a circle: a needs a".into()));
    }

    #[test]
    fn steps_that_cannot_be_are_named() {
        for (steps, field, message) in [
            (String::new(), "tasks", "1 to 1024 steps"),
            (step("a b", ""), "tasks[0].name", "a step has a name"),
            ([step("a", ""), step("a", "")].join(","), "tasks[1].name", "another step"),
            ([step("a", ""), step("b", r#""a","x""#)].join(","), "tasks[1].needs[1]", "there are a, b"),
            (r#"{"name":"a","command":["x"],"count":2}"#.into(), "tasks[0].count", "cannot be given"),
            (r#"{"name":"a","command":[]}"#.into(), "tasks[0].command", "must name a program"),
        ] {
            let wrong = read(&pipeline(&steps)).unwrap().check().unwrap_err();
            assert_eq!(wrong[0].field, field, "{wrong:?}");
            assert!(wrong[0].message.contains(message), "{wrong:?}");
        }
        assert_eq!(
            wrong(r#"{"kind":"batch","name":"b","task":{"command":["x"],"needs":["a"]}}"#),
            ["task.needs"]
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (text, fields) in [
            (r#"{"kind":"batch","name":"b"}"#, vec!["task"]),
            (
                r#"{"kind":"batch","name":"b","count":0,"task":{"command":["x"],"cpu":-1}}"#,
                vec!["count", "task.cpu"],
            ),
            (
                r#"{"kind":"batch","name":"b","task":{"command":[],"count":2}}"#,
                vec!["task.count", "task.command"],
            ),
            (r#"{"kind":"batch","name":"b","array":[],"task":{"command":["x"]}}"#, vec!["array"]),
            (r#"{"kind":"batch","name":"b","array":["a\u0000"],"task":{"command":["x"]}}"#, vec!["array[0]"]),
            (
                r#"{"kind":"batch","name":"b","array":{"from":2,"to":1},"task":{"command":["x"]}}"#,
                vec!["array"],
            ),
            (r#"{"kind":"batch","name":"b","array":[1],"count":1,"task":{"command":["x"]}}"#, vec!["count"]),
            (
                r#"{"kind":"service","name":"b","array":[1],"max_parallel":1,"task":{"command":["x"]}}"#,
                vec!["array", "max_parallel"],
            ),
            (
                r#"{"kind":"batch","name":"67e55044-10b1-426f-9247-bb680e5fe0c8","task":{"command":["x"]}}"#,
                vec!["name"],
            ),
        ] {
            assert_eq!(wrong(text), fields, "{text}");
        }
        for (text, field) in [
            (r#"{"kind":"tribe","name":"b"}"#, "kind"),
            (r#"{"kind":"batch","name":"a b"}"#, "name"),
            (r#"{"kind":"batch","name":"b","task":{"cpu":"x"}}"#, "task.cpu"),
            (r#"{"kind":"batch","name":"b","array":{"from":"x"}}"#, "array.from"),
            (r#"{"kind":"batch","name":"b","tasks":1}"#, "tasks"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.message.contains(field), "{text}: {problem:?}");
        }
    }

    #[test]
    fn a_definition_is_written_as_it_is_read() {
        let text = r#"{"kind":"batch","name":"b","array":["a"],"max_parallel":2,"on_failure":"stop","task":{"command":["x"]}}"#;
        let definition = read(text).unwrap();
        let written = crate::codec::encode(Encoding::MessagePack, &definition).unwrap();
        assert_eq!(decode_request::<JobDefinition>(Encoding::MessagePack, &written).unwrap(), definition);
        assert_eq!(Range { from: 0, to: 9, step: 1 }.total(), 10);
    }
}
