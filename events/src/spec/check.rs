//! From a definition to a spec: each field checked, units made canonical, defaults spelled out.

use super::{
    GRACE_S_DEFAULT, Gang, Runtime, TaskDefinition, TaskSpec, check_devices, disconnect, limit, module,
    placement,
};
use crate::id::Namespace;
use crate::outcome::FieldError;
use crate::resources::Resources;

impl TaskDefinition {
    /// Checks every field and gives the canonical spec, or all that is wrong, each with field, value and reason.
    pub fn check(&self) -> Result<TaskSpec, Vec<FieldError>> {
        let mut wrong = Wrong(Vec::new());
        self.check_text(&mut wrong);
        self.check_numbers(&mut wrong);
        let runtime = self.check_runtime(&mut wrong);
        let disconnect_ms = disconnect::check(self, runtime, &mut wrong);
        let restart = self.restart.as_ref().and_then(|restart| restart.check(&mut wrong));
        let health = self.health.as_ref().and_then(|health| health.check(&self.ports, &mut wrong));
        wrong.0.extend(placement::ports(&self.ports, runtime));
        wrong.0.extend(self.gang.as_ref().and_then(Gang::check));
        if !wrong.0.is_empty() {
            return Err(wrong.0);
        }
        Ok(TaskSpec {
            name: self.name.clone(),
            namespace: self.namespace.clone().filter(|name| *name != Namespace::default()),
            image: self.image.clone(),
            command: self.command.iter().chain(&self.args).cloned().collect(),
            env: self.env.clone(),
            resources: self.resources(runtime),
            runtime,
            workdir: self.workdir.clone(),
            timeout_ms: self.timeout_s.map(thousandths),
            grace_ms: thousandths(self.grace_s.unwrap_or(GRACE_S_DEFAULT)),
            pids: self.pids,
            limits: self.limits,
            labels: self.labels.clone(),
            constraints: sorted(&self.constraints),
            affinities: sorted(&self.affinities),
            spread: sorted(&self.spread),
            devices: self.devices.clone(),
            ports: sorted(&self.ports),
            strategy: self.strategy,
            priority: self.priority,
            restart,
            start_timeout_ms: self.start_timeout_s.map(thousandths),
            stop_signal: self.stop_signal,
            disconnect_ms,
            health,
            preemption: self.preemption,
            gang: self.gang.clone(),
            module: self.module.clone(),
        })
    }

    /// An HTTP worker tells how many modules it takes and nothing of its processors and memory, so of those nothing
    /// can be reserved on it.
    fn resources(&self, runtime: Runtime) -> Resources {
        if runtime == Runtime::Remote {
            return Resources { slots: 1, ..Resources::default() };
        }
        Resources { cpu_milli: thousandths(self.cpu), memory: self.memory, disk: self.disk, slots: 1 }
    }

    fn check_text(&self, wrong: &mut Wrong) {
        let chars = self.name.chars().count();
        if chars == 0 || chars > limit::NAME_CHARS || self.name.contains(char::is_control) {
            wrong.add("name", &self.name, "must have 1 to 255 characters, none of them a control character");
        }
        let words = self.command.len() + self.args.len();
        let bytes = self.command.iter().chain(&self.args).map(String::len).sum::<usize>()
            + self.env.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>();
        if words > limit::COMMAND_WORDS || bytes > limit::COMMAND_BYTES {
            wrong.add(
                "command",
                format!("{words} words, {bytes} bytes with env"),
                "may have 4096 words and 1 MiB with its environment at most",
            );
        }
        if self.command.iter().chain(&self.args).any(|w| w.contains('\0')) {
            wrong.add("command", "…\\0…", "must not contain a NUL character");
        }
        if !self.needs.is_empty() {
            wrong.add("needs", self.needs.join(", "), "is for the steps of a job of kind pipeline");
        }
        if self.command.first().is_some_and(String::is_empty) {
            wrong.add("command", "", "the program's name must not be empty");
        }
        if self.env.len() > limit::ENTRIES {
            wrong.add("env", self.env.len(), "may have 1024 variables at most");
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                wrong.add(
                    format!("env.{key}"),
                    value,
                    "a name is not empty and has no `=` or NUL; a value no NUL",
                );
            }
        }
        if let Some(dir) = &self.workdir
            && (!dir.starts_with('/') || dir.contains('\0'))
        {
            wrong.add("workdir", dir, "must be an absolute path");
        }
        if self.labels.len() > limit::ENTRIES {
            wrong.add("labels", self.labels.len(), "may have 1024 labels at most");
        }
        for (key, value) in &self.labels {
            if key.is_empty() || key.len() > limit::LABEL_CHARS || value.len() > limit::LABEL_CHARS {
                wrong.add(format!("labels.{key}"), value, "a key has 1 to 255 bytes, a value 255 at most");
            }
        }
        wrong.0.extend(placement::constraints(&self.constraints));
        wrong.0.extend(placement::affinities(&self.affinities));
        wrong.0.extend(placement::spreads(&self.spread));
        wrong.0.extend(check_devices("devices", &self.devices));
    }

    fn check_numbers(&self, wrong: &mut Wrong) {
        if !within(self.cpu, limit::CPU_CORES) {
            wrong.add("cpu", self.cpu, "must be cores from 0 to 1000000");
        }
        for (field, value) in [("memory", self.memory), ("disk", self.disk)] {
            if value > limit::BYTES {
                wrong.add(field, value, "must be bytes, 1 EiB at most");
            }
        }
        for (field, value) in [("timeout_s", self.timeout_s), ("start_timeout_s", self.start_timeout_s)] {
            if let Some(s) = value.filter(|s| !within(*s, limit::TIMEOUT_S) || *s < 0.001) {
                wrong.add(field, s, "must be seconds from 0.001 to a year (31536000)");
            }
        }
        if let Some(s) = self.grace_s
            && !within(s, limit::GRACE_S)
        {
            wrong.add("grace_s", s, "must be seconds from 0 to 3600");
        }
        if !(-limit::PRIORITY..=limit::PRIORITY).contains(&self.priority) {
            wrong.add("priority", self.priority, "must lie between -1000 and 1000");
        }
        if let Some(count) = self.count
            && !(1..=limit::COUNT).contains(&count)
        {
            wrong.add("count", count, "must be 1 to 1000000");
        }
        if self.id.is_some() && self.count.is_some_and(|c| c > 1) {
            wrong.add(
                "id",
                "",
                "cannot be given together with a count above 1: each copy has an id of its own",
            );
        }
        if let Some(pids) = self.pids
            && !(1..=4_194_304).contains(&pids)
        {
            wrong.add("pids", pids, "must be 1 to 4194304");
        }
    }

    fn check_runtime(&self, wrong: &mut Wrong) -> Runtime {
        let runtime = match self.runtime {
            Runtime::Auto if self.image.is_some() => Runtime::Docker,
            Runtime::Auto => Runtime::Process,
            given => given,
        };
        match runtime {
            Runtime::Docker => {
                if self
                    .image
                    .as_deref()
                    .is_none_or(|i| i.is_empty() || i.len() > 255 || i.contains(char::is_whitespace))
                {
                    wrong.add(
                        "image",
                        self.image.as_deref().unwrap_or(""),
                        "the docker runtime needs an image's name",
                    );
                }
                if !self.limits.is_empty() {
                    wrong.add(
                        "limits",
                        "",
                        "are for the process runtime; a container is limited by memory, cpu, pids",
                    );
                }
            }
            Runtime::Process | Runtime::Auto => {
                if self.image.is_some() {
                    wrong.add(
                        "image",
                        self.image.as_deref().unwrap_or(""),
                        "the process runtime takes no image",
                    );
                }
                if self.command.is_empty() {
                    wrong.add(
                        "command",
                        "[]",
                        "must name a program (there is no image that could bring its own)",
                    );
                }
                if self.pids.is_some() {
                    wrong.add("pids", self.pids.unwrap_or(0), "is for the docker runtime");
                }
            }
            Runtime::Remote => self.check_remote(wrong),
        }
        wrong.0.extend(module::check(self.module.as_ref(), runtime));
        runtime
    }

    /// What only a program on the worker itself could be given.
    fn check_remote(&self, wrong: &mut Wrong) {
        let given = [
            ("image", self.image.is_some()),
            ("command", !self.command.is_empty() || !self.args.is_empty()),
            ("pids", self.pids.is_some()),
            ("limits", !self.limits.is_empty()),
            ("ports", !self.ports.is_empty()),
            // Whether an HTTP worker is well its own heartbeats and answers say.
            ("health", self.health.is_some()),
            ("stop_signal", self.stop_signal.is_some()),
        ];
        for (field, _) in given.iter().filter(|(_, given)| *given) {
            wrong.add(*field, "", "is not taken by the remote runtime: an HTTP worker executes the module");
        }
    }
}

/// Whether `value` is a number from 0 to `max`.
pub(super) fn within(value: f64, max: f64) -> bool {
    value.is_finite() && (0.0..=max).contains(&value)
}

/// In one order, none twice: what says the same is the same.
fn sorted<T: Ord + Clone>(all: &[T]) -> Vec<T> {
    let mut sorted = all.to_vec();
    sorted.sort();
    sorted.dedup();
    sorted
}

/// Thousandths in whole ones: milliseconds in seconds, say. The way back of [`thousandths`].
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 thousandths")]
pub fn whole(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

/// `value` in thousandths, rounded up so that a promise is never smaller than what was asked.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be finite, not negative, small"
)]
pub(crate) fn thousandths(value: f64) -> u64 {
    // 0.05 × 1000 is 50.000000000000007 in binary: what lies within a millionth of a whole number is that number.
    let scaled = value * 1000.0;
    if (scaled - scaled.round()).abs() < 1e-6 { scaled.round() as u64 } else { scaled.ceil() as u64 }
}

/// What is wrong with a definition, field by field.
pub(super) struct Wrong(Vec<FieldError>);

impl Wrong {
    /// How many there are so far.
    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and texts alike")]
    pub(super) fn add(&mut self, field: impl Into<String>, value: impl ToString, message: &str) {
        self.0.push(FieldError::new(field, &value.to_string(), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{HealthDefinition, Module, StopSignal, TcpCheck};

    fn good() -> TaskDefinition {
        TaskDefinition {
            name: "x".into(),
            command: vec!["true".into()],
            cpu: 0.05,
            ..TaskDefinition::default()
        }
    }

    #[test]
    fn a_definition_becomes_whole() {
        let spec = good().check().unwrap();
        assert_eq!(spec.runtime, Runtime::Process);
        assert_eq!(spec.resources.cpu_milli, 50);
        assert_eq!(spec.grace_ms, 10_000);
    }

    #[test]
    fn fractions_below_a_thousandth_round_up() {
        assert_eq!(TaskDefinition { cpu: 0.0001, ..good() }.check().unwrap().resources.cpu_milli, 1);
    }

    #[test]
    fn every_fault_is_named() {
        let bad = TaskDefinition { name: String::new(), cpu: f64::NAN, priority: 5000, ..good() };
        let fields: Vec<_> = bad.check().unwrap_err().into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["name", "cpu", "priority"]);
    }

    #[test]
    fn a_remote_task_is_a_module_and_reserves_a_slot() {
        let module = Some(Module { kind: "Build".into(), ..Module::default() });
        let remote = TaskDefinition { runtime: Runtime::Remote, command: vec![], module, ..good() };
        assert_eq!(remote.check().unwrap().resources, Resources { slots: 1, ..Resources::default() });
        let fields = |def: TaskDefinition| -> Vec<_> {
            def.check().unwrap_err().into_iter().map(|e| e.field).collect()
        };
        assert_eq!(fields(TaskDefinition { module: None, ..remote.clone() }), ["module"]);
        assert_eq!(fields(TaskDefinition { command: vec!["true".into()], ..remote.clone() }), ["command"]);
        assert_eq!(
            fields(TaskDefinition { image: Some("i".into()), pids: Some(1), ..remote.clone() }),
            ["image", "pids"]
        );
        let health = Some(HealthDefinition {
            tcp: Some(TcpCheck { port: crate::spec::HealthPort::Number(80) }),
            ..HealthDefinition::default()
        });
        let stop_signal = Some(StopSignal::Int);
        assert_eq!(fields(TaskDefinition { health, stop_signal, ..remote }), ["health", "stop_signal"]);
    }

    #[test]
    fn the_image_decides_what_auto_means() {
        let def = TaskDefinition { image: Some("busybox".into()), ..good() };
        assert_eq!(def.check().unwrap().runtime, Runtime::Docker);
        assert!(TaskDefinition { runtime: Runtime::Process, ..def }.check().is_err());
    }
}
