//! From options to a task's definition.

use std::collections::BTreeMap;
use std::path::Path;

use muster_events::spec::{Gang, Limits, Preemption, Runtime, TaskDefinition};

use super::Args;
use crate::exit::{self, Failure};
use crate::units;

/// The task the options describe.
pub(super) fn of(args: Args) -> Result<TaskDefinition, Failure> {
    let options = args.task;
    if args.command.is_empty() && options.image.is_none() {
        return Err(Failure::usage("there is nothing to run").hint(
            "Give a program after `--` (muster submit -- echo hello), an --image, or a file of tasks.",
        ));
    }
    let name = options.name.unwrap_or_else(|| default_name(args.command.first(), options.image.as_ref()));
    let gang = options.gang.then(|| Gang { name: name.clone(), size: options.count.unwrap_or(1) });
    let task = TaskDefinition {
        id: options.id,
        name,
        namespace: options.namespace,
        image: options.image,
        command: args.command,
        args: Vec::new(),
        env: once_each(options.env, "--env")?,
        cpu: options.cpu,
        memory: options.memory,
        disk: options.disk,
        runtime: options.runtime,
        workdir: options.workdir,
        timeout_s: options.timeout.map(|t| t.as_secs_f64()),
        grace_s: options.grace.map(|t| t.as_secs_f64()),
        pids: options.pids,
        limits: limits(options.limit)?,
        labels: once_each(options.label, "--label")?,
        constraints: options.constraint,
        affinities: options.affinity,
        spread: options.spread,
        devices: options.device.into_iter().collect(),
        ports: options.port,
        strategy: options.strategy,
        priority: options.priority,
        preemption: if options.no_preempt { Preemption::Never } else { Preemption::Lower },
        restart: args.failing.restart(),
        start_timeout_s: args.failing.start_timeout_s(),
        stop_signal: args.failing.stop_signal(),
        on_disconnect: args.failing.on_disconnect(),
        disconnect_s: args.failing.disconnect_s(),
        health: args.failing.health(),
        gang,
        module: None,
        count: options.count,
        needs: Vec::new(),
    };
    // Its options are as wrong here as they would be there, and here they are wrong usage.
    task.check().map(|_| task).map_err(|faults| Failure::usage(exit::lines(&faults)))
}

/// The program's file name, or the image's.
fn default_name(program: Option<&String>, image: Option<&String>) -> String {
    let text = program.or(image).map(String::as_str).unwrap_or_default();
    let name = Path::new(text).file_name().and_then(|n| n.to_str()).unwrap_or(text);
    let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
    if name.is_empty() { "task".to_owned() } else { name }
}

fn once_each(pairs: Vec<(String, String)>, option: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if let Some(before) = map.insert(key.clone(), value.clone()) {
            return Err(Failure::usage(format!("{option} gives `{key}` twice: `{before}` and `{value}`")));
        }
    }
    Ok(map)
}

fn limits(pairs: Vec<(String, String)>) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    for (name, text) in pairs {
        let bytes = || units::bytes(&text).map_err(|e| Failure::usage(format!("--limit {name}: {e}")));
        let count = || {
            text.parse()
                .map_err(|_| Failure::usage(format!("--limit {name}: `{text}` is not a whole number")))
        };
        match name.as_str() {
            "address_space" => limits.address_space = Some(bytes()?),
            "file_size" => limits.file_size = Some(bytes()?),
            "cpu_seconds" => limits.cpu_seconds = Some(count()?),
            "open_files" => limits.open_files = Some(count()?),
            other => {
                return Err(Failure::usage(format!(
                    "--limit `{other}` is unknown; there are address_space, cpu_seconds, file_size, open_files"
                )));
            }
        }
    }
    Ok(limits)
}

/// `KEY=VALUE`; the value may be empty and may have further `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` has no form NAME=VALUE")),
    }
}

/// A runtime by its name.
pub(crate) fn runtime(text: &str) -> Result<Runtime, String> {
    [Runtime::Auto, Runtime::Docker, Runtime::Process, Runtime::Remote]
        .into_iter()
        .find(|r| r.as_str() == text)
        .ok_or_else(|| format!("`{text}` is none of auto, docker, process, remote"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use muster_events::spec::{Check, HealthPort, HttpCheck, RestartPolicy, StopSignal, TcpCheck};
    use muster_events::spec::{Operator, Strategy};

    fn parse(line: &str) -> Result<TaskDefinition, Failure> {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Submit(args) = cli.command else { panic!("submit") };
        of(*args)
    }

    #[test]
    fn options_become_a_definition() {
        let task = parse(
            "muster submit --cpu 0.5 --memory 64MiB --timeout 1m --env A=1=2 --label k= --constraint zone!=b \
             --limit open_files=64 -n 3 --priority -5 --strategy spread --spread zone --affinity -9:zone=c -- /bin/echo a",
        )
        .unwrap();
        assert_eq!((task.name.as_str(), task.cpu, task.memory), ("echo", 0.5, 64 << 20));
        assert_eq!((task.timeout_s, task.count, task.priority), (Some(60.0), Some(3), -5));
        assert_eq!(task.env["A"], "1=2");
        assert_eq!(task.labels["k"], "");
        assert_eq!(task.limits.open_files, Some(64));
        assert_eq!(task.strategy, Strategy::Spread);
        let c = &task.constraints[0];
        assert_eq!(
            (c.attribute.as_str(), c.operator, c.value.text().unwrap()),
            ("zone", Operator::NotEqual, "b")
        );
        assert_eq!((task.spread[0].weight, task.affinities[0].weight), (100, -9));
        task.check().unwrap();
    }

    #[test]
    fn no_option_of_a_task_goes_with_a_file() {
        use clap::CommandFactory as _;
        use clap::error::ErrorKind;
        let all = Cli::command();
        let submit = all.find_subcommand("submit").unwrap();
        let options: Vec<&str> = submit.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let options: Vec<&str> = options.into_iter().filter(|name| *name != "detach").collect();
        assert!(options.len() > 30, "{options:?}");
        for option in options {
            // One of these is a value that the option takes; a flag takes none.
            let values = [
                "",
                "1",
                "a=1",
                "open_files=1",
                "zone",
                "spread",
                "docker",
                "always",
                "8080",
                "SIGINT",
                UUID,
                "stop",
            ];
            let line = |value: &str, rest: &[&str]| {
                let option =
                    if value.is_empty() { format!("--{option}") } else { format!("--{option}={value}") };
                // What an option cannot be without.
                let more = match option.as_str() {
                    "--gang" => "--count=2",
                    disconnect if disconnect.starts_with("--disconnect=") => "--on-disconnect=stop",
                    health if health.starts_with("--health-") => "--health-cmd=true",
                    _ => "--detach",
                };
                let words = ["muster", "submit", more, &option].map(str::to_owned);
                Cli::try_parse_from(words.into_iter().chain(rest.iter().map(|w| (*w).to_owned())))
            };
            let value = values.into_iter().find(|value| {
                // Two of the checks in one line are two values of one group, which is refused for that.
                line(value, &["--", "true"])
                    .map_or_else(|e| e.kind() == ErrorKind::ArgumentConflict, |_| true)
            });
            let value = value.unwrap_or_else(|| panic!("no value for --{option}"));
            let error = line(value, &["tasks.yaml"]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "--{option}={value}: {error}");
        }
    }

    const UUID: &str = "6d757374-6572-4e53-a1c4-0f5e9b7d2c31";

    #[test]
    fn what_happens_when_it_fails_becomes_a_policy() {
        assert_eq!(parse("muster submit -- true").unwrap().restart, None);
        let task = parse("muster submit --retries 5 --backoff 250ms..1m --retry-on 75 --retry-on 1 -- true")
            .unwrap();
        let restart = task.check().unwrap().restart.unwrap();
        assert_eq!((restart.policy, restart.max), (RestartPolicy::OnFailure, Some(5)));
        assert_eq!((restart.backoff.initial_ms, restart.backoff.max_ms), (250, 60_000));
        assert_eq!(restart.exit_codes, [1, 75].into());
        let task = parse("muster submit --restart on-failure --backoff 10m -- true").unwrap();
        let restart = task.check().unwrap().restart.unwrap();
        assert_eq!((restart.max, restart.backoff.initial_ms), (Some(3), 600_000));
        let task = parse("muster submit --restart always -- true").unwrap();
        assert_eq!(task.check().unwrap().restart.unwrap().max, None);
    }

    #[test]
    fn what_becomes_of_it_when_its_worker_is_cut_off() {
        let ms = |line| parse(line).unwrap().check().unwrap().disconnect_ms;
        assert_eq!(ms("muster submit -- true"), None);
        assert_eq!(ms("muster submit --on-disconnect keep -- true"), None);
        assert_eq!(ms("muster submit --on-disconnect stop -- true"), Some(60_000));
        assert_eq!(
            ms("muster submit --on-disconnect stop --disconnect 20s --grace 5s -- true"),
            Some(20_000)
        );
    }

    #[test]
    fn what_is_looked_at_becomes_a_health_check() {
        let health = |line: &str| parse(line).unwrap().check().unwrap().health;
        assert_eq!(health("muster submit -- true"), None);
        let http = HttpCheck { port: 8080.into(), path: "/well?deep=1".into() };
        let found =
            health("muster submit --health-http 8080/well?deep=1 --health-interval 500ms -- true").unwrap();
        assert_eq!((found.check, found.interval_ms, found.retries), (Check::Http(http), 500, 3));
        let root = HttpCheck { port: 80.into(), path: "/".into() };
        assert_eq!(health("muster submit --health-http 80 -- true").unwrap().check, Check::Http(root));
        let line = "muster submit --health-tcp 5432 --health-timeout 2s --health-retries 5 --health-start-period 1m -- true";
        let found = health(line).unwrap();
        assert_eq!(found.check, Check::Tcp(TcpCheck { port: 5432.into() }));
        let named = health("muster submit --port web --health-http web/well -- true").unwrap();
        let http = HttpCheck { port: HealthPort::Name("web".into()), path: "/well".into() };
        assert_eq!(named.check, Check::Http(http));
        assert_eq!((found.timeout_ms, found.retries, found.start_period_ms), (2000, 5, 60_000));
        let found = health("muster submit --health-cmd pg_isready -- true").unwrap();
        assert_eq!(found.check, Check::Command(["sh", "-c", "pg_isready"].map(String::from).to_vec()));
        let task = parse("muster submit --stop-signal INT --start-timeout 30s -- true").unwrap();
        assert_eq!((task.stop_signal, task.start_timeout_s), (Some(StopSignal::Int), Some(30.0)));
    }

    #[test]
    fn an_image_alone_is_enough() {
        let task = parse("muster submit --image registry.example/team/web:1").unwrap();
        assert_eq!(task.name, "web:1");
    }

    #[test]
    fn what_makes_no_task_is_wrong_usage() {
        for line in [
            "muster submit",
            "muster submit --env A=1 --env A=2 -- true",
            "muster submit --limit open_files=lots -- true",
            "muster submit --limit nosuch=1 -- true",
            "muster submit --timeout 0 -- true",
            "muster submit --workdir rel -- true",
        ] {
            assert_eq!(parse(line).unwrap_err().code, crate::exit::USAGE, "{line}");
        }
        for line in [
            "muster submit --env A -- true",
            "muster submit --runtime vm -- true",
            "muster submit f -- true",
            "muster submit --restart sometimes -- true",
            "muster submit --backoff 1s.. -- true",
            "muster submit --health-http /well -- true",
            "muster submit --health-tcp 80 --health-http 80 -- true",
            "muster submit --health-retries 3 -- true",
            "muster submit --stop-signal SIGSTOP -- true",
            "muster submit --retries 3 tasks.yaml",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
