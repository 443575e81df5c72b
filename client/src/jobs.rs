//! The manager's API: jobs. A job is meant by its id, its name, or `namespace/name`.

use muster_events::job::{JobDefinition, UpdateAction};
use reqwest::Method;

use crate::error::Result;
use crate::http::Written;
use crate::manager::{ManagerClient, NO_BODY};
use crate::types::{Job, JobExplanation, JobPage, JobVersions, Plan};

const JOBS: [&str; 3] = ["api", "v1", "jobs"];

/// Which jobs. An empty filter is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of this kind: `service`.
    pub kind: Option<String>,
    /// Only in this state: `running`.
    pub state: Option<String>,
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only with all these labels, each `key=value`.
    pub labels: Vec<String>,
    /// At most so many (100 when absent, 1000 at most).
    pub limit: Option<u64>,
    /// Newest first instead of oldest first.
    pub newest_first: bool,
    /// Where the page before ended: [`JobPage::next`].
    pub cursor: Option<String>,
}

impl JobFilter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("kind", &self.kind),
            ("state", &self.state),
            ("namespace", &self.namespace),
            ("cursor", &self.cursor),
        ];
        let given = texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let labels = self.labels.iter().map(|label| ("label", label.clone()));
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        let order = self.newest_first.then(|| ("order", "desc".to_owned()));
        given.chain(labels).chain(limit).chain(order).collect()
    }
}

impl ManagerClient {
    /// Submits a job: a new one (status 201), or a new version of the one that has its name (200, as when nothing is
    /// new).
    pub async fn submit_job(&self, job: &JobDefinition) -> Result<Written<Job>> {
        self.http.command(Method::POST, &JOBS, &[], Some(job)).await
    }

    /// What would follow if a job were submitted: now, or `at` a moment of the past (a `seq`, or a time in RFC 3339).
    pub async fn plan(&self, job: &JobDefinition, at: Option<&str>) -> Result<Plan> {
        let query: Vec<_> = at.map(|at| ("at", at.to_owned())).into_iter().collect();
        Ok(self.http.write(Method::POST, &["api", "v1", "jobs", "plan"], &query, Some(job)).await?.value)
    }

    /// Where a job's tasks are, and what those wait for that are nowhere; now, or `at` a moment of the past.
    pub async fn explain_job(&self, job: &str, at: Option<&str>) -> Result<JobExplanation> {
        let query: Vec<_> = at.map(|at| ("at", at.to_owned())).into_iter().collect();
        self.http.get(&path(job, Some("explain")), &query).await
    }

    /// A page of jobs.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage> {
        self.http.get(&JOBS, &filter.query()).await
    }

    /// One job, with what it shall be and its runs.
    pub async fn job(&self, job: &str) -> Result<Job> {
        self.http.get(&path(job, None), &[]).await
    }

    /// Stops a job: at once where nothing of it runs (status 200), else it is stopping (202).
    pub async fn stop_job(&self, job: &str) -> Result<Written<Job>> {
        self.http.command(Method::DELETE, &path(job, None), &[], NO_BODY).await
    }

    /// Gives a service another count.
    pub async fn scale_job(&self, job: &str, count: u32) -> Result<Written<Job>> {
        #[derive(serde::Serialize)]
        struct Body {
            count: u32,
        }
        self.http.command(Method::POST, &path(job, Some("scale")), &[], Some(&Body { count })).await
    }

    /// Runs a job again that has ended or was stopped.
    pub async fn start_job(&self, job: &str) -> Result<Written<Job>> {
        self.http.command(Method::POST, &path(job, Some("start")), &[], NO_BODY).await
    }

    /// Runs those tasks of a job's newest run again that failed or were cancelled.
    pub async fn retry_job(&self, job: &str) -> Result<Written<Job>> {
        self.http.command(Method::POST, &path(job, Some("retry")), &[], NO_BODY).await
    }

    /// Has the update of a service go on, wait, or go back: to this version, or to the one that was good before.
    pub async fn update_job(
        &self,
        job: &str,
        action: UpdateAction,
        version: Option<u32>,
    ) -> Result<Written<Job>> {
        #[derive(serde::Serialize)]
        struct Body {
            action: UpdateAction,
            #[serde(skip_serializing_if = "Option::is_none")]
            version: Option<u32>,
        }
        let body = Body { action, version };
        self.http.command(Method::POST, &path(job, Some("update")), &[], Some(&body)).await
    }

    /// The versions of a job before version `before` (all, where absent), the newest first.
    pub async fn job_versions(&self, job: &str, before: Option<u32>) -> Result<JobVersions> {
        let query: Vec<_> = before.map(|number| ("before", number.to_string())).into_iter().collect();
        self.http.get(&path(job, Some("versions")), &query).await
    }

    /// One version of a job.
    pub async fn job_version(&self, job: &str, version: u32) -> Result<JobVersions> {
        self.http.get(&path(job, Some("versions")), &[("version", version.to_string())]).await
    }
}

fn path<'a>(job: &'a str, verb: Option<&'a str>) -> Vec<&'a str> {
    JOBS.into_iter().chain([job]).chain(verb).collect()
}
