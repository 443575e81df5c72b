//! Options that say when a task has failed, and what happens then.

use std::time::Duration;

use muster_events::spec::{
    BackoffDefinition, HealthDefinition, HealthPort, HttpCheck, OnDisconnect, RestartDefinition,
    RestartPolicy, StopSignal, TcpCheck,
};

use crate::units;

/// What counts as failing, whether and when it is tried again, and how it is ended.
#[derive(Debug, clap::Args)]
#[group(id = "failing_options", multiple = true, conflicts_with = "file")]
pub(super) struct FailingArgs {
    /// Try it again so many times when it fails
    #[arg(long, value_name = "N", help_heading = "Failing")]
    retries: Option<u32>,
    /// Which ends are followed by another try [default: on_failure with one of the other options here]
    #[arg(long, value_parser = policy, value_name = "never|on_failure|always", help_heading = "Failing")]
    restart: Option<RestartPolicy>,
    /// The wait before the first retry and the longest there is, doubling in between: 1s..5m
    #[arg(long, value_parser = backoff, value_name = "FIRST..LONGEST", help_heading = "Failing")]
    backoff: Option<(Duration, Option<Duration>)>,
    /// Of the exit codes, try only this one again (may be repeated)
    #[arg(long, value_name = "CODE", help_heading = "Failing")]
    retry_on: Vec<i32>,
    /// It fails when it is not ready to start by then, with its image there: 30s, 5m
    #[arg(long, value_parser = units::duration, value_name = "TIME", help_heading = "Failing")]
    start_timeout: Option<Duration>,
    /// What asks it to end: SIGINT, QUIT, … [default: SIGTERM, or what the image names]
    #[arg(long, value_parser = stop_signal, value_name = "SIGNAL", help_heading = "Failing")]
    stop_signal: Option<StopSignal>,
    /// What becomes of it when its worker is cut off: `stop` ends it before it is started elsewhere [default: keep]
    #[arg(long, value_parser = on_disconnect, value_name = "keep|stop", help_heading = "Failing")]
    on_disconnect: Option<OnDisconnect>,
    /// With --on-disconnect stop, within how long it is dead then [default: 60s]
    #[arg(long, value_parser = units::duration, value_name = "TIME", requires = "on_disconnect", help_heading = "Failing")]
    disconnect: Option<Duration>,
    /// It is well while this shell command ends with 0, run beside the process or inside the container
    #[arg(long, value_name = "COMMAND", group = "health_check", help_heading = "Health")]
    health_cmd: Option<String>,
    /// It is well while a GET on this port of it, by number or by the name of a --port, is answered with 200 to 399:
    /// 8080/healthz, web/healthz
    #[arg(long, value_parser = http, value_name = "PORT[/PATH]", group = "health_check", help_heading = "Health")]
    health_http: Option<HttpCheck>,
    /// It is well while this port of it, by number or by the name of a --port, takes connections
    #[arg(long, value_name = "PORT", group = "health_check", help_heading = "Health")]
    health_tcp: Option<HealthPort>,
    /// From the end of a check to the next [default: 10s]
    #[arg(long, value_parser = units::duration, value_name = "TIME", requires = "health_check", help_heading = "Health")]
    health_interval: Option<Duration>,
    /// How long a check may take [default: 5s]
    #[arg(long, value_parser = units::duration, value_name = "TIME", requires = "health_check", help_heading = "Health")]
    health_timeout: Option<Duration>,
    /// So many checks in a row have to fail [default: 3]
    #[arg(long, value_name = "N", requires = "health_check", help_heading = "Health")]
    health_retries: Option<u32>,
    /// How long it may take to come up; failed checks count nothing meanwhile [default: 30s]
    #[arg(long, value_parser = units::duration, value_name = "TIME", requires = "health_check", help_heading = "Health")]
    health_start_period: Option<Duration>,
}

impl FailingArgs {
    pub(super) fn start_timeout_s(&self) -> Option<f64> {
        self.start_timeout.map(|t| t.as_secs_f64())
    }

    pub(super) const fn stop_signal(&self) -> Option<StopSignal> {
        self.stop_signal
    }

    pub(super) fn on_disconnect(&self) -> OnDisconnect {
        self.on_disconnect.unwrap_or_default()
    }

    pub(super) fn disconnect_s(&self) -> Option<f64> {
        self.disconnect.map(|t| t.as_secs_f64())
    }

    /// The health check these options describe, if they describe one.
    pub(super) fn health(&self) -> Option<HealthDefinition> {
        let seconds = |time: Option<Duration>| time.map(|t| t.as_secs_f64());
        let shell = |command: &String| ["sh", "-c", command].map(str::to_owned).to_vec();
        let said = self.health_cmd.is_some() || self.health_http.is_some() || self.health_tcp.is_some();
        said.then(|| HealthDefinition {
            command: self.health_cmd.as_ref().map(shell).unwrap_or_default(),
            http: self.health_http.clone(),
            tcp: self.health_tcp.clone().map(|port| TcpCheck { port }),
            interval_s: seconds(self.health_interval),
            timeout_s: seconds(self.health_timeout),
            retries: self.health_retries,
            start_period_s: seconds(self.health_start_period),
        })
    }

    /// The restart policy these options describe, if they describe one.
    pub(super) fn restart(&self) -> Option<RestartDefinition> {
        let said = self.retries.is_some() || self.restart.is_some() || self.backoff.is_some();
        let backoff = self.backoff.map_or_else(BackoffDefinition::default, |(first, longest)| {
            let (initial_s, max_s) = (Some(first.as_secs_f64()), longest.map(|l| l.as_secs_f64()));
            BackoffDefinition { initial_s, max_s, ..BackoffDefinition::default() }
        });
        (said || !self.retry_on.is_empty()).then(|| RestartDefinition {
            policy: self.restart,
            max: self.retries,
            backoff,
            exit_codes: self.retry_on.iter().copied().collect(),
            reset_after_s: None,
        })
    }
}

fn on_disconnect(text: &str) -> Result<OnDisconnect, String> {
    OnDisconnect::ALL
        .into_iter()
        .find(|meant| meant.as_str() == text)
        .ok_or_else(|| format!("`{text}` is none of keep, stop"))
}

fn policy(text: &str) -> Result<RestartPolicy, String> {
    [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always]
        .into_iter()
        .find(|policy| policy.as_str() == text || policy.as_str().replace('_', "-") == text)
        .ok_or_else(|| format!("`{text}` is none of never, on_failure, always"))
}

/// `1s..5m`, or `1s` alone, which is then the wait before the first.
fn backoff(text: &str) -> Result<(Duration, Option<Duration>), String> {
    match text.split_once("..") {
        Some((first, longest)) => Ok((units::duration(first)?, Some(units::duration(longest)?))),
        None => Ok((units::duration(text)?, None)),
    }
}

/// `8080/healthz`, or `8080` alone, which asks for the root.
fn http(text: &str) -> Result<HttpCheck, String> {
    let (port, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let port = port.parse().map_err(|_| {
        format!("`{text}` does not begin with a port, as in 8080/healthz, or the name of one")
    })?;
    Ok(HttpCheck { port, path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
}

fn stop_signal(text: &str) -> Result<StopSignal, String> {
    let name = text.to_ascii_uppercase();
    let meant = |s: &StopSignal| s.as_str() == name || s.as_str().strip_prefix("SIG") == Some(&name);
    StopSignal::ALL
        .into_iter()
        .find(meant)
        .ok_or_else(|| format!("`{text}` is none of {}", StopSignal::ALL.map(StopSignal::as_str).join(", ")))
}
