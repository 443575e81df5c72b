//! Ids as people type them: whole, or their first characters.

use muster_client::{Error, ManagerClient, TaskFilter, TaskId};

use crate::exit::{Failure, NOT_FOUND, USAGE};

/// The fewest characters of an id that are looked up.
const PREFIX_CHARS_MIN: usize = 4;
/// The most pages looked through: a million tasks.
const PAGES_MAX: usize = 1000;
/// Tasks a page: the most the API gives.
const PAGE: u64 = 1000;
/// How many ids an ambiguity names.
const SHOWN: usize = 5;

/// The id of the one task whose id is or begins with `text`.
pub(crate) async fn task(manager: &ManagerClient, text: &str) -> Result<String, Failure> {
    let wanted = text.trim().to_ascii_lowercase();
    if wanted.parse::<TaskId>().is_ok() {
        return Ok(wanted);
    }
    if wanted.len() < PREFIX_CHARS_MIN || !wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Err(Failure::new(
            USAGE,
            format!(
                "`{text}` is no task id: give the UUID or its first {PREFIX_CHARS_MIN} or more characters"
            ),
        )
        .hint("`muster ps --all` lists them."));
    }
    let mut found: Vec<String> = Vec::new();
    let mut filter = TaskFilter { limit: Some(PAGE), newest_first: true, ..TaskFilter::default() };
    for _ in 0..PAGES_MAX {
        let page = manager.tasks(&filter).await?;
        found.extend(page.tasks.iter().map(|t| t.id.to_string()).filter(|id| id.starts_with(&wanted)));
        filter.cursor = page.next;
        if filter.cursor.is_none() || found.len() > SHOWN {
            break;
        }
    }
    match found.as_slice() {
        [] => Err(Failure::new(NOT_FOUND, format!("no task's id begins with `{text}`"))
            .hint("`muster ps --all` lists them.")),
        [one] => Ok(one.clone()),
        many => {
            let shown = many.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n  ");
            Err(Failure::new(
                USAGE,
                format!("`{text}` could be several tasks; give more of the id:\n  {shown}"),
            ))
        }
    }
}

/// What it means that the cluster refused a selection by `job`: that there is none of this name, unless there is.
pub(crate) async fn refused_by_job(manager: &ManagerClient, job: Option<&str>, error: Error) -> Failure {
    let Some(job) = job.filter(|_| matches!(&error, Error::Api(api) if api.status == 400)) else {
        return error.into();
    };
    match manager.job(job).await {
        Err(gone) if matches!(&gone, Error::Api(api) if api.status == 404) => {
            Failure::from(gone).hint("`muster job ls --all` lists them.")
        }
        _ => error.into(),
    }
}

/// As many characters of an id as tables show.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}
