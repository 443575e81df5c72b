//! The command line: what is common to all commands, and the list of them.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

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
    pub(crate) const fn is_service(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Manager(_) | Self::Worker(_) | Self::Api(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
            vec!["muster", "submit", "--memory", "lots", "--", "true"],
            vec!["muster", "submit", "--cpu", "nan", "--", "true"],
            vec!["muster", "submit", "--cpu=-1", "--", "true"],
            vec!["muster", "up", "--workers", "-1"],
            vec!["muster", "up", "--lease", "0"],
            vec!["muster", "manager", "--lease", "2h"],
            vec!["muster", "manager", "--snapshot-events", "99"],
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
