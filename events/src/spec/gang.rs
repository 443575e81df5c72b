//! Tasks that are placed together or not at all.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TaskDefinition, limit};
use crate::outcome::FieldError;

/// The gang a task belongs to: tasks of one submission that are placed all in one go, or wait all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gang {
    /// Its name, within the job.
    pub name: String,
    /// How many tasks it has, 2 to 256: as many as the submission gives it.
    pub size: u32,
}

impl Gang {
    /// What is wrong with it by itself.
    pub(super) fn check(&self) -> Option<FieldError> {
        let chars = self.name.chars().count();
        if chars == 0 || chars > limit::NAME_CHARS || self.name.contains(char::is_control) {
            let message = "must have 1 to 255 characters, none of them a control character";
            return Some(FieldError::new("gang.name", &self.name, message));
        }
        let fits = (2..=limit::GANG).contains(&self.size);
        (!fits).then(|| FieldError::new("gang.size", &self.size.to_string(), "must be 2 to 256"))
    }

    /// What is wrong with the gangs of tasks that are submitted together: each must be whole, and of one priority.
    /// Fields are named alone where the submission is `single`: one definition and no job.
    pub(crate) fn check_all(tasks: &[TaskDefinition], single: bool) -> Vec<FieldError> {
        let named = |place: usize, field: &str| {
            if single { field.to_owned() } else { format!("tasks[{place}].{field}") }
        };
        let mut gangs: BTreeMap<&str, (usize, &Self, i32, u64)> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (place, task) in tasks.iter().enumerate() {
            let Some(gang) = &task.gang else { continue };
            let (first, known, priority, count) =
                gangs.entry(&gang.name).or_insert((place, gang, task.priority, 0));
            *count += u64::from(task.count.unwrap_or(1));
            if known.size != gang.size || *priority != task.priority {
                let message = format!(
                    "differs from tasks[{first}] of the same gang; all of a gang give the same size and priority"
                );
                wrong.push(FieldError::new(named(place, "gang"), &gang.name, message));
            }
        }
        for (name, (place, gang, _, count)) in gangs {
            if u64::from(gang.size) != count {
                let message =
                    format!("is the size of gang `{name}`, but {count} tasks are submitted as its own");
                wrong.push(FieldError::new(named(place, "gang.size"), &gang.size.to_string(), message));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Submission;
    use crate::outcome::Details;

    fn task(gang: (&str, u32), count: u32, priority: i32) -> TaskDefinition {
        TaskDefinition {
            name: "x".into(),
            command: vec!["true".into()],
            gang: Some(Gang { name: gang.0.into(), size: gang.1 }),
            count: Some(count),
            priority,
            ..TaskDefinition::default()
        }
    }

    fn fields(tasks: Vec<TaskDefinition>) -> Vec<String> {
        let problem = Submission { job: None, tasks }.check().unwrap_err();
        let Some(Details::Fields(faults)) = problem.details else { panic!("{problem:?}") };
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn a_gang_comes_whole_and_of_one_mind() {
        let whole = vec![task(("a", 4), 1, 5), task(("b", 2), 2, 0), task(("a", 4), 3, 5)];
        assert!(Submission { job: None, tasks: whole }.check().is_ok());
        assert_eq!(fields(vec![task(("a", 4), 3, 0)]), ["gang.size"]);
        assert_eq!(fields(vec![task(("a", 2), 1, 0), task(("a", 2), 1, 1)]), ["tasks[1].gang"]);
        let sizes = vec![task(("a", 2), 1, 0), task(("a", 3), 1, 0)];
        assert_eq!(fields(sizes), ["tasks[1].gang"]);
        assert_eq!(fields(vec![task(("a", 3), 1, 0), task(("a", 3), 1, 0)]), ["tasks[0].gang.size"]);
        assert_eq!(fields(vec![task(("a", 1), 1, 0)]), ["gang.size"]);
        assert_eq!(fields(vec![task(("a", 257), 257, 0)]), ["gang.size"]);
        assert_eq!(fields(vec![task(("", 2), 2, 0)]), ["gang.name"]);
    }
}
