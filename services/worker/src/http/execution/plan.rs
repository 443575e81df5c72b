//! From what is asked for to the task that does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_events::codec::{self, Encoding};
use muster_events::id::TaskId;
use muster_events::outcome::{FieldError, Problem};
use muster_events::spec::{Constraint, Module, Operator, Runtime, TaskDefinition, TaskSpec, limit};

use crate::execution::ExecutionRequest;
use crate::node::Node;
use crate::timespan::TimeSpan;

/// The label that says which execution a task is.
const LABEL: &str = "execution";

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    definition: TaskDefinition,
    /// The same, checked.
    pub(super) spec: Arc<TaskSpec>,
    /// How long the execution may take, its waiting included.
    pub(super) timeout: Option<Duration>,
}

impl Plan {
    /// The task, under this id.
    pub(super) fn definition(&self, id: TaskId) -> TaskDefinition {
        TaskDefinition { id: Some(id), ..self.definition.clone() }
    }
}

/// The plan for a request, or the 400 that says what is wrong with it.
pub(super) fn of(
    request: &ExecutionRequest,
    node: &Node,
    modules: &BTreeMap<String, Vec<String>>,
) -> Result<Plan, Problem> {
    check_id(&request.execution_id)?;
    let serialized = request.serialized_module.clone().unwrap_or_default();
    let kind = &request.module_type_name;
    let mut definition = match modules.get(kind) {
        Some(command) => {
            TaskDefinition { name: short_name(kind), command: command.clone(), ..TaskDefinition::default() }
        }
        None => unmapped(kind, &serialized, node)?,
    };
    let timeout = timeout(request.timeout)?;
    let given = request.environment_variables.clone().unwrap_or_default();
    definition.env.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = request.working_directory.clone().filter(|folder| !folder.is_empty()) {
        definition.workdir.get_or_insert(folder);
    }
    if let Some(timeout) = timeout {
        let seconds = timeout.as_secs_f64();
        definition.timeout_s = Some(definition.timeout_s.map_or(seconds, |own| own.min(seconds)));
    }
    definition.labels.insert(LABEL.to_owned(), request.execution_id.clone());
    definition.constraints.push(Constraint {
        attribute: "worker".to_owned(),
        operator: Operator::Equal,
        value: node.worker.to_string().into(),
    });
    let inputs = request.dependency_results.clone().unwrap_or_default();
    let inputs = inputs.into_iter().map(|(name, result)| (name, result.unwrap_or_default())).collect();
    definition.module = Some(Module { kind: kind.clone(), serialized, inputs });
    let spec = definition.check().map_err(Problem::invalid)?;
    if spec.runtime == Runtime::Remote || !node.info.runtimes.contains(&spec.runtime) {
        let message = format!("worker {} does not run {} tasks itself", node.worker, spec.runtime.as_str());
        return Err(Problem::new(400, message));
    }
    Ok(Plan { definition, spec: Arc::new(spec), timeout })
}

fn check_id(id: &str) -> Result<(), Problem> {
    if id.is_empty() || id.len() > limit::LABEL_CHARS || id.contains(char::is_control) {
        let message = "must have 1 to 255 bytes, none of them a control character";
        return Err(Problem::invalid(vec![FieldError::new("executionId", id, message)]));
    }
    Ok(())
}

/// A type that no program is mapped to: the module itself may be a task.
fn unmapped(kind: &str, serialized: &str, node: &Node) -> Result<TaskDefinition, Problem> {
    let definition: TaskDefinition =
        codec::decode_request(Encoding::Json, serialized.as_bytes()).map_err(|e| {
            let worker = &node.worker;
            let message = format!(
                "module type `{}` is mapped to no program on worker {worker} (--module), and serializedModule is no task \
                 itself: {}",
                kind.chars().take(200).collect::<String>(),
                e.message
            );
            Problem::new(400, message)
        })?;
    let fault = |field: &str, message: &str| {
        Err(Problem::invalid(vec![FieldError::new(format!("serializedModule.{field}"), "", message)]))
    };
    if definition.id.is_some() {
        return fault("id", "is not taken here: an execution has an id of its own");
    }
    if definition.count.is_some_and(|count| count != 1) {
        return fault("count", "must be 1 here");
    }
    if definition.module.is_some() {
        return fault("module", "is not taken here: the execution is the module");
    }
    Ok(definition)
}

/// How long it may take; nothing for as long as it likes.
fn timeout(given: Option<TimeSpan>) -> Result<Option<Duration>, Problem> {
    let Some(span) = given.filter(|span| *span != TimeSpan::INFINITE) else { return Ok(None) };
    let longest = Duration::from_secs_f64(limit::TIMEOUT_S);
    match span.duration().filter(|duration| *duration >= Duration::from_millis(1)) {
        Some(duration) => Ok(Some(duration.min(longest))),
        None => {
            let message = "must be a millisecond at least; leave it out for no limit";
            Err(Problem::invalid(vec![FieldError::new("timeout", &span.to_string(), message)]))
        }
    }
}

/// The class's own name: `BuildModule` of `MyApp.Modules.BuildModule, MyApp`.
fn short_name(kind: &str) -> String {
    let class = kind.split([',', '[', '`']).next().unwrap_or(kind);
    let class = class.rsplit(['.', '+']).next().unwrap_or(class).trim();
    let name: String = class.chars().filter(|c| !c.is_control()).take(limit::NAME_CHARS).collect();
    if name.is_empty() { "module".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use muster_events::id::{Actor, Installation, WorkerId};
    use muster_events::subject::Cell;
    use muster_events::worker::{HostMetrics, WorkerInfo};
    use muster_log::memory::MemoryBus;
    use uuid::Uuid;

    use super::*;
    use crate::config::OutputLimits;
    use crate::node::Parts;
    use crate::report;

    fn node() -> Node {
        let (reporter, _) = report::channel();
        Node::new(Parts {
            bus: Arc::new(MemoryBus::new(Cell::default())),
            worker: WorkerId::new("w1").unwrap(),
            actor: Actor::new("w1").unwrap(),
            installation: Installation::new(Uuid::nil()),
            info: WorkerInfo {
                runtimes: [Runtime::Process, Runtime::Remote].into(),
                ..WorkerInfo::default()
            },
            output: OutputLimits::default(),
            reporter,
            lease: Arc::default(),
            host: HostMetrics::default(),
        })
    }

    fn request(more: &str) -> ExecutionRequest {
        let text = format!(r#"{{"executionId":"e-1","moduleTypeName":"MyApp.Modules.Build, MyApp"{more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn mapped() -> BTreeMap<String, Vec<String>> {
        let command = ["sh", "-c", "build"].map(str::to_owned).to_vec();
        [("MyApp.Modules.Build, MyApp".to_owned(), command)].into()
    }

    fn refused(more: &str, modules: &BTreeMap<String, Vec<String>>, words: &str) {
        let problem = of(&request(more), &node(), modules).unwrap_err();
        assert_eq!(problem.code, 400);
        assert!(problem.message.contains(words), "{}", problem.message);
    }

    #[test]
    fn a_mapped_type_is_its_program_with_the_module_in_files() {
        let more = r#","serializedModule":"{\"n\":1}","dependencyResults":{"Restore, App":"{}","Other":null},
            "environmentVariables":{"CI":"true","NONE":null},"workingDirectory":"/tmp","timeout":"00:01:00","novelty":7"#;
        let plan = of(&request(more), &node(), &mapped()).unwrap();
        let spec = &plan.spec;
        assert_eq!((spec.name.as_str(), spec.command[2].as_str()), ("Build", "build"));
        assert_eq!((spec.env.len(), spec.env["CI"].as_str()), (1, "true"));
        assert_eq!((spec.workdir.as_deref(), spec.timeout_ms), (Some("/tmp"), Some(60_000)));
        assert_eq!(spec.labels["execution"], "e-1");
        assert_eq!(
            (spec.constraints[0].attribute.as_str(), &spec.constraints[0].value),
            ("worker", &"w1".into())
        );
        let module = spec.module.as_ref().unwrap();
        assert_eq!(
            (module.serialized.as_str(), module.inputs["Restore, App"].as_str()),
            (r#"{"n":1}"#, "{}")
        );
        assert_eq!(module.inputs["Other"], "");
        assert_eq!(plan.timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn null_counts_as_left_out() {
        let more = r#","serializedModule":null,"dependencyResults":null,"environmentVariables":null,"workingDirectory":null,"timeout":null,"timestamp":null"#;
        let plan = of(&request(more), &node(), &mapped()).unwrap();
        assert_eq!((plan.timeout, plan.spec.timeout_ms, plan.spec.workdir.as_deref()), (None, None, None));
        assert_eq!(
            of(&request(r#","timeout":"-00:00:00.0010000""#), &node(), &mapped()).unwrap().timeout,
            None
        );
    }

    #[test]
    fn an_unmapped_type_may_be_a_task_itself() {
        let none = BTreeMap::new();
        let task = r#","serializedModule":"{\"name\":\"m\",\"command\":[\"true\"],\"timeout_s\":5,\"workdir\":\"/\"}","workingDirectory":"/tmp","timeout":"1.02:03:04.5000000""#;
        let plan = of(&request(task), &node(), &none).unwrap();
        assert_eq!((plan.spec.name.as_str(), plan.spec.timeout_ms), ("m", Some(5000)));
        assert_eq!(plan.spec.workdir.as_deref(), Some("/"), "what the task says itself stands");
        refused(r#","serializedModule":"{\"name\":7}""#, &none, "is mapped to no program on worker w1");
        refused(r#","serializedModule":"not json""#, &none, "no task itself");
        refused("", &none, "no task itself");
        refused(r#","serializedModule":"{\"name\":\"m\"}""#, &none, "command `[]`: must name a program");
        refused(
            r#","serializedModule":"{\"name\":\"m\",\"command\":[\"a\"],\"count\":2}""#,
            &none,
            "count: must be 1",
        );
        let image = r#","serializedModule":"{\"name\":\"m\",\"image\":\"i\"}""#;
        refused(image, &none, "does not run docker tasks");
        let remote = r#","serializedModule":"{\"name\":\"m\",\"runtime\":\"remote\"}""#;
        refused(remote, &none, "does not run remote tasks");
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        refused(r#","timeout":"00:00:00""#, &mapped(), "`: must be a millisecond");
        refused(r#","timeout":"-01:00:00""#, &mapped(), "`: must be a millisecond");
        refused(
            r#","workingDirectory":"relative""#,
            &mapped(),
            "workdir `relative`: must be an absolute path",
        );
        refused(r#","dependencyResults":{"../x":"1"}"#, &mapped(), "it names a file");
        let long = format!(r#","serializedModule":"{}""#, "x".repeat(limit::MODULE_BYTES));
        refused(&long, &mapped(), "1 MiB");
        for bad in [String::new(), "x".repeat(256), "a\nb".to_owned()] {
            assert!(check_id(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_short() {
        for (kind, name) in [
            ("MyApp.Modules.BuildModule, MyApp", "BuildModule"),
            ("Outer+Inner", "Inner"),
            ("System.List`1[[X]]", "List"),
            ("plain", "plain"),
            (",", "module"),
        ] {
            assert_eq!(short_name(kind), name);
        }
    }
}
