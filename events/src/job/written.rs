//! From a spec back to a definition: a version of a job in the words of users, to be read, changed and sent again.

use super::{
    Array, Batch, Copies, Cron, CronDefinition, Each, JobDefinition, JobSpec, Pipeline, UpdateDefinition,
    UpdateSpec, Work,
};
use crate::id::Namespace;
use crate::spec::{TaskDefinition, TaskSpec, whole};

/// In the words of users again; checking it gives the same spec. What defaults filled in is spelled out.
impl From<&JobSpec> for JobDefinition {
    fn from(spec: &JobSpec) -> Self {
        let mut job = Self::new(spec.work.kind(), spec.name.clone());
        job.namespace = Some(spec.namespace.clone()).filter(|name| *name != Namespace::default());
        job.labels.clone_from(&spec.labels);
        match &spec.work {
            Work::Batch(batch) => job.say_batch(batch),
            Work::Pipeline(pipeline) => job.say_pipeline(pipeline),
            Work::System(system) => job.task = Some(template(&system.task)),
            Work::Service(service) => {
                job.task = Some(template(&service.task));
                job.count = Some(service.count);
                job.update = service.update.as_ref().map(Into::into);
            }
            Work::Cron(cron) => {
                job.cron = Some(cron.into());
                match &cron.each {
                    Each::Batch(batch) => job.say_batch(batch),
                    Each::Pipeline(pipeline) => job.say_pipeline(pipeline),
                }
            }
        }
        job
    }
}

impl JobDefinition {
    fn say_batch(&mut self, batch: &Batch) {
        match &batch.copies {
            Copies::Count(count) => self.count = Some(*count),
            Copies::List(values) => self.array = Some(Array::List(values.clone())),
            Copies::Range(range) => self.array = Some(Array::Range(*range)),
        }
        self.task = Some(template(&batch.task));
        self.max_parallel = batch.max_parallel;
        self.on_failure = Some(batch.on_failure);
    }

    fn say_pipeline(&mut self, pipeline: &Pipeline) {
        let steps = pipeline.steps.iter().map(|step| TaskDefinition {
            needs: pipeline.needs(step).map(|(_, needed)| needed.task.name.clone()).collect(),
            ..template(&step.task)
        });
        self.tasks = steps.collect();
        self.max_parallel = pipeline.max_parallel;
        self.on_failure = Some(pipeline.on_failure);
    }
}

/// A task of a job: its namespace is the job's to say.
fn template(spec: &TaskSpec) -> TaskDefinition {
    TaskDefinition { namespace: None, ..spec.into() }
}

impl From<&Cron> for CronDefinition {
    fn from(cron: &Cron) -> Self {
        Self {
            schedule: cron.schedule.clone(),
            time_zone: Some(cron.time_zone.clone()),
            concurrency: cron.concurrency,
            start_within_s: cron.start_within_ms.map(whole),
        }
    }
}

impl From<&UpdateSpec> for UpdateDefinition {
    fn from(update: &UpdateSpec) -> Self {
        Self {
            max_parallel: Some(update.max_parallel),
            min_healthy: update.min_healthy,
            canary: update.canary,
            auto_promote: update.auto_promote,
            auto_revert: update.auto_revert,
            max_failures: update.max_failures,
            healthy_after_s: Some(whole(update.healthy_after_ms)),
            deadline_s: Some(whole(update.deadline_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> JobSpec {
        serde_json::from_str::<JobDefinition>(text)
            .unwrap()
            .check()
            .unwrap_or_else(|wrong| panic!("{wrong:?}"))
    }

    const TASK: &str = r#"{"command":["serve","x"],"args":["y"],"cpu":0.25,"memory":"64MiB","disk":7,"env":{"A":"b"},
        "workdir":"/tmp","timeout_s":1.5,"grace_s":0,"limits":{"open_files":64},"labels":{"l":"m"},"priority":-3,
        "constraints":[{"attribute":"zone","operator":"in","value":["a","b"]}],"strategy":"spread","preemption":"never",
        "affinities":[{"attribute":"zone","operator":"=","value":"a","weight":-5}],"spread":[{"attribute":"zone"}],
        "devices":{"gpu":2},"ports":[{"name":"http"}],"restart":{"policy":"on_failure","max":7,"exit_codes":[3]},
        "start_timeout_s":9,"stop_signal":"INT","on_disconnect":"stop","disconnect_s":45.5,"health":{"http":{"port":"http","path":"/up"},"retries":2}}"#;

    #[test]
    fn a_job_of_each_kind_comes_back_as_it_was() {
        let steps = r#""tasks":[{"name":"b","command":["x"],"needs":["a"]},{"name":"a","command":["y"]}]"#;
        for text in [
            format!(
                r#"{{"kind":"batch","name":"j","count":3,"max_parallel":2,"labels":{{"a":"b"}},"task":{TASK}}}"#
            ),
            format!(r#"{{"kind":"batch","name":"j","array":["a","b"],"on_failure":"stop","task":{TASK}}}"#),
            format!(r#"{{"kind":"batch","name":"j","array":{{"from":9,"to":1,"step":-2}},"task":{TASK}}}"#),
            format!(r#"{{"kind":"service","name":"j","namespace":"n","count":0,"task":{TASK}}}"#),
            format!(
                r#"{{"kind":"service","name":"j","count":4,"task":{TASK},"update":{{"max_parallel":2,"min_healthy":1,"canary":1,
                "auto_promote":true,"auto_revert":true,"max_failures":2,"healthy_after_s":0.5,"deadline_s":70}}}}"#
            ),
            r#"{"kind":"service","name":"j","task":{"command":["x"]}}"#.to_owned(),
            r#"{"kind":"batch","name":"j","count":2,"task":{"command":["x"],"gang":{"name":"g","size":2}}}"#
                .to_owned(),
            format!(r#"{{"kind":"system","name":"j","namespace":"n","task":{TASK}}}"#),
            format!(r#"{{"kind":"pipeline","name":"j","max_parallel":1,{steps}}}"#),
            format!(
                r#"{{"kind":"cron","name":"j","cron":{{"schedule":"@daily","time_zone":"Europe/Berlin","concurrency":"replace",
                "start_within_s":60}},{steps}}}"#
            ),
            format!(
                r#"{{"kind":"cron","name":"j","cron":{{"schedule":"1 2 * * 3"}},"count":2,"task":{TASK}}}"#
            ),
        ] {
            let spec = spec(&text);
            let written = serde_json::to_string(&JobDefinition::from(&spec)).unwrap();
            let again = serde_json::from_str::<JobDefinition>(&written).unwrap().check();
            assert_eq!(again, Ok(spec), "{written}");
        }
    }

    /// What is sent again unchanged is the same version: nothing that defaults filled in may differ.
    #[test]
    fn what_is_written_says_no_more_than_a_file_would() {
        let job = JobDefinition::from(&spec(
            r#"{"kind":"pipeline","name":"j","tasks":[{"name":"a","command":["x"]}]}"#,
        ));
        assert_eq!(job.tasks[0].needs, Vec::<String>::new());
        assert_eq!((job.count, job.task, job.namespace, job.update), (None, None, None, None));
    }
}
