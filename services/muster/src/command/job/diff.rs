//! `muster job diff`: what differs between two versions of a job, or between a file and the job.

use std::path::Path;

use muster_client::ManagerClient;
use muster_client::types::JobVersion;
use muster_events::job::diff::{Change, changes};
use serde_json::{Value, json};

use super::run::read;
use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::{Output, one_line};

/// Arguments of `job diff`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "muster job diff FILE\n       muster job diff JOB [VERSION [VERSION]]")]
pub(super) struct Args {
    /// A file with jobs, to be compared with what is there; or a job, by its name or its id
    #[arg(value_name = "FILE|JOB")]
    what: String,
    /// The older version [default: the one before the present]
    #[arg(value_name = "VERSION")]
    from: Option<u32>,
    /// The newer version [default: the present]
    #[arg(value_name = "VERSION")]
    to: Option<u32>,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let file = Path::new(&args.what);
    let differences = if args.from.is_none() && (args.what == "-" || file.is_file()) {
        with_file(&manager, file).await?
    } else {
        vec![between(&manager, &args).await?]
    };
    let differ = differences.iter().any(|d| !d.changes.is_empty());
    if context.out.json {
        let all: Vec<_> = differences.iter().map(Difference::json).collect();
        context.out.json(&all)?;
    } else {
        for difference in &differences {
            difference.print(context)?;
        }
    }
    Ok(if differ { exit::FAILED } else { exit::OK })
}

/// What two sides differ in.
struct Difference {
    job: String,
    from: String,
    to: String,
    changes: Vec<Change>,
}

impl Difference {
    fn json(&self) -> Value {
        json!({ "job": self.job, "from": self.from, "to": self.to, "changes": self.changes })
    }

    fn print(&self, context: &Context) -> Result<(), Failure> {
        let Self { job, from, to, .. } = self;
        if self.changes.is_empty() {
            context.out.line(format!("job {job}: {from} and {to} are the same"))?;
            return Ok(());
        }
        context.out.line(format!("job {job}: {from} → {to}"))?;
        print(context.out, &self.changes)?;
        Ok(())
    }
}

/// Changes as people read them.
pub(crate) fn print(out: Output, changes: &[Change]) -> std::io::Result<()> {
    for Change { path, before, after } in changes {
        for (sign, value) in [('-', before), ('+', after)] {
            if let Some(value) = value {
                out.line(format!("{sign} {path}: {}", one_line(value, 1000)))?;
            }
        }
    }
    Ok(())
}

async fn with_file(manager: &ManagerClient, file: &Path) -> Result<Vec<Difference>, Failure> {
    let mut all = Vec::new();
    for definition in read(file)? {
        let wrong = |faults| Failure::usage(muster_events::outcome::Problem::invalid(faults).message);
        let spec = definition.check().map_err(wrong)?;
        let name = match &definition.namespace {
            Some(namespace) => format!("{namespace}/{}", definition.name),
            None => definition.name.to_string(),
        };
        let (before, from) = match manager.job(&name).await {
            Ok(job) => (value(&job.spec)?, format!("version {}", job.version)),
            Err(error) if error.status() == Some(404) => (Value::Null, "nothing".to_owned()),
            Err(error) => return Err(error.into()),
        };
        let changes = changes(&before, &value(&spec)?);
        all.push(Difference { job: name, from, to: file.display().to_string(), changes });
    }
    Ok(all)
}

fn value(spec: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(spec).map_err(|e| Failure::failed(e.to_string()))
}

async fn between(manager: &ManagerClient, args: &Args) -> Result<Difference, Failure> {
    let job = &args.what;
    let newer = match args.to {
        Some(number) => one(manager, job, number).await?,
        None => {
            manager.job_versions(job, None).await?.versions.into_iter().next().ok_or_else(|| gone(job))?
        }
    };
    let number = args.from.unwrap_or(newer.version.saturating_sub(1));
    if number == 0 {
        return Err(Failure::usage(format!("job {job} has one version only; there is nothing to compare")));
    }
    let older = one(manager, job, number).await?;
    let changes = changes(&older.spec, &newer.spec);
    let (from, to) = (format!("version {number}"), format!("version {}", newer.version));
    Ok(Difference { job: job.clone(), from, to, changes })
}

pub(super) async fn one(manager: &ManagerClient, job: &str, number: u32) -> Result<JobVersion, Failure> {
    let found = manager.job_version(job, number).await?;
    found.versions.into_iter().next().ok_or_else(|| gone(job))
}

fn gone(job: &str) -> Failure {
    Failure::new(exit::NOT_FOUND, format!("job {job} has no such version"))
}

/// What differs, in one line.
pub(super) fn short(before: &Value, after: &Value) -> String {
    let changes = changes(before, after);
    let parts = changes.iter().map(|Change { path, before, after }| match (before, after) {
        (Some(before), Some(after)) => format!("{path}: {before} → {after}"),
        (None, Some(after)) => format!("+{path}: {after}"),
        (_, None) => format!("-{path}"),
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_in_the_words_of_job_files() {
        let spec = |text: &str| {
            let definition: muster_events::job::JobDefinition = serde_json::from_str(text).unwrap();
            serde_json::to_value(definition.check().unwrap()).unwrap()
        };
        let before = spec(r#"{"kind":"service","name":"s","task":{"command":["a","b"],"memory":"1MiB"}}"#);
        let after =
            spec(r#"{"kind":"service","name":"s","count":2,"task":{"command":["a"],"memory":"1MiB"}}"#);
        assert_eq!(short(&before, &after), "count: 1 → 2, -task.command[1]");
        assert!(short(&Value::Null, &after).contains("+task.memory: 1048576"));
    }

    /// A newer muster may say more of a job than this one knows.
    #[test]
    fn what_cannot_be_said_in_our_words_is_told_as_it_is() {
        let before =
            json!({ "work": { "service": { "count": 1, "task": { "command": ["a", "b"], "image": "x" } } } });
        let after = json!({ "work": { "service": { "count": 2, "task": { "command": ["a"], "env": { "K": "v" } } } } });
        let found: Vec<_> = changes(&before, &after)
            .into_iter()
            .map(|c| {
                format!("{} {:?} {:?}", c.path, c.before.unwrap_or_default(), c.after.unwrap_or_default())
            })
            .collect();
        assert_eq!(
            found,
            [
                r#"work.service.count "1" "2""#,
                r#"work.service.task.command[1] "b" """#,
                r#"work.service.task.env.K "" "v""#,
                r#"work.service.task.image "x" """#,
            ]
        );
        assert_eq!(
            short(&before, &after),
            "work.service.count: 1 → 2, -work.service.task.command[1], +work.service.task.env.K: v, -work.service.task.image"
        );
        assert_eq!(changes(&after, &after), []);
    }
}
