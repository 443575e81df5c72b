//! The command line: what is common to all commands, and the list of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::command;
use crate::exit::EXIT_CODES;

/// An event-sourced orchestrator whose only infrastructure is NATS.
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 120, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads a command line. Options that mean nothing to the command are wrong usage; the environment may have them, it
    /// is for all commands.
    pub(crate) fn parse_here<T>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error>
    where
        T: Into<OsString> + Clone,
    {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let cli = Self::from_arg_matches(&matches)?;
        for option in ["api", "token", "ca"] {
            let given = matches.value_source(option) == Some(ValueSource::CommandLine);
            if let Some(instead) = cli.command.instead_of(option).filter(|_| given) {
                let name = matches.subcommand_name().unwrap_or_default();
                let text = format!("--{option} means nothing to `muster {name}`: {instead}");
                return Err(command.error(ErrorKind::ArgumentConflict, text));
            }
        }
        Ok(cli)
    }
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Address of the API
    #[arg(
        long,
        global = true,
        env = "MUSTER_API",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    #[arg(help_heading = "Global options", display_order = 1000)]
    pub(crate) api: String,
    /// Bearer token for the API
    #[arg(long, global = true, env = "MUSTER_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    #[arg(help_heading = "Global options", display_order = 1001)]
    pub(crate) token: Option<String>,
    /// Certificates (PEM) to trust besides the system's, for an API with https
    #[arg(long, global = true, env = "MUSTER_CA", value_name = "FILE")]
    #[arg(help_heading = "Global options", display_order = 1001)]
    pub(crate) ca: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true, help_heading = "Global options", display_order = 1002)]
    pub(crate) json: bool,
    /// Log more (-v: debug, -vv: trace); RUST_LOG says it in detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    #[arg(help_heading = "Global options", display_order = 1003)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole cluster on this machine: nats-server, manager, workers, API
    Up(Box<command::up::Args>),
    /// Start a manager alone
    Manager(Box<command::manager::Args>),
    /// Start a worker alone
    Worker(Box<command::worker::Args>),
    /// Start an API alone
    Api(Box<command::api::Args>),
    /// Run tasks: one after `--`, or those in a file
    Submit(Box<command::submit::Args>),
    /// List tasks: those that have not ended, or all
    Ps(command::ps::Args),
    /// Show one task and its story
    Task(command::task::Args),
    /// Show what would follow if the jobs in a file were submitted
    Plan(command::plan::Args),
    /// Explain why a task is where it is, or what it or a job waits for; now or at a moment of the past
    Explain(command::explain::Args),
    /// Show what a task printed
    Logs(command::logs::Args),
    /// Cancel tasks
    Cancel(command::cancel::Args),
    /// Run a task that has ended once more
    Start(command::start::Args),
    /// Try tasks that have failed again: these, or all of them
    Retry(command::retry::Args),
    /// Jobs: run, list, show, scale, stop, start, retry, promote, pause, resume, revert, diff, history
    Job(command::job::Args),
    /// List workers
    Workers(command::workers::Args),
    /// Place nothing new on a worker
    Drain(command::drain::Args),
    /// Place on a drained worker again
    Activate(command::activate::Args),
    /// Show which tasks of services would be better off on other workers, and move them with --apply
    Rebalance(command::rebalance::Args),
    /// Move one task of a service to another worker
    Move(command::rebalance::MoveArgs),
    /// Forget a worker that will not come back
    Forget(command::forget::Args),
    /// List namespaces, what they may use and what they do
    Namespaces(command::namespaces::Args),
    /// Limit what a namespace's tasks use at a time
    Limit(command::namespaces::LimitArgs),
    /// Show what happened: the event log
    Events(command::events::Args),
    /// Show the cluster at a glance
    Cluster(command::cluster::Args),
    /// Show which manager leads and which stand by; `step-down` hands the lead over
    Leader(command::leader::Args),
    /// Fold the event log from NATS and show or verify the state
    Replay(command::replay::Args),
    /// Measure this machine and muster on it
    Bench(command::bench::Args),
    /// Print completions for a shell
    Completions(command::completions::Args),
}

impl Command {
    /// Whether it runs until it is told to end: such a command logs what it does.
    /// What is to be given instead of `option`, which says how to reach an API, to a part that asks none.
    const fn instead_of(&self, option: &str) -> Option<&'static str> {
        match (self, option.as_bytes()) {
            (Self::Up(_) | Self::Api(_), b"api") => {
                Some("it has an API of its own; where that listens says --listen")
            }
            (Self::Up(_) | Self::Api(_), b"token") => Some("whom its API lets in says --token-file"),
            (Self::Up(_) | Self::Api(_), _) => Some("its API's certificate is given with --tls-cert"),
            (Self::Manager(_) | Self::Worker(_), _) => {
                Some("it asks no API but NATS; where that is says --nats")
            }
            _ => None,
        }
    }

    pub(crate) const fn is_service(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Manager(_) | Self::Worker(_) | Self::Api(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_part_that_asks_no_api_takes_no_word_about_one() {
        for (line, hint) in [
            ("muster up --api http://x", "--listen"),
            ("muster --api http://x up", "--listen"),
            ("muster api --token x", "--token-file"),
            ("muster up --ca x", "--tls-cert"),
            ("muster manager --api http://x", "--nats"),
            ("muster worker --token x", "--nats"),
        ] {
            let said = Cli::parse_here(line.split(' ')).unwrap_err().to_string();
            assert!(said.contains("means nothing") && said.contains(hint), "{line}: {said}");
        }
        for line in
            ["muster up", "muster --api http://x ps", "muster ps --token x", "muster worker --nats nats://x"]
        {
            assert!(Cli::parse_here(line.split(' ')).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for line in [
            vec!["muster"],
            vec!["muster", "explode"],
            vec!["muster", "task"],
            vec!["muster", "retry"],
            vec!["muster", "retry", "--failed", "0123"],
            vec!["muster", "ps", "--failed", "--all"],
            vec!["muster", "rebalance", "--max", "0"],
            vec!["muster", "rebalance", "--detach"],
            vec!["muster", "rebalance", "--plan", "x", "--max", "3"],
            vec!["muster", "move", "0123"],
            vec!["muster", "submit", "--memory", "lots", "--", "true"],
            vec!["muster", "submit", "--cpu", "nan", "--", "true"],
            vec!["muster", "submit", "--cpu=-1", "--", "true"],
            vec!["muster", "ps", "--label", "x"],
            vec!["muster", "events", "--since", "yesterday"],
            vec!["muster", "events", "--until", "2026-13-01T00:00:00Z"],
            vec!["muster", "up", "--workers", "-1"],
            vec!["muster", "up", "--lease", "0"],
            vec!["muster", "manager", "--lease", "2h"],
            vec!["muster", "manager", "--snapshot-events", "99"],
            vec!["muster", "manager", "--keep-finished-for", "0s"],
            vec!["muster", "manager", "--keep-finished", "-1"],
            vec!["muster", "api", "--snapshot-events", "1000"],
            vec!["muster", "manager", "--heartbeat-missed", "0"],
            vec!["muster", "manager", "--heartbeat-missed", "5s"],
        ] {
            let error = Cli::try_parse_from(&line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(crate::exit::USAGE), "{line:?}");
        }
    }

    #[test]
    fn options_for_all_may_stand_anywhere() {
        for line in [["muster", "--json", "ps"], ["muster", "ps", "--json"]] {
            assert!(Cli::try_parse_from(line).unwrap().global.json);
        }
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_task() {
        let cli = Cli::try_parse_from(["muster", "submit", "--", "grep", "--json", "-v", "x"]).unwrap();
        assert!(!cli.global.json);
        let Command::Submit(args) = cli.command else { panic!("submit") };
        assert_eq!(args.command, ["grep", "--json", "-v", "x"]);
    }
}
