//! One file per command. A command takes its arguments and the [`Context`], and gives its exit code or a failure.

pub(crate) mod activate;
pub(crate) mod api;
pub(crate) mod bench;
pub(crate) mod cancel;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod forget;
pub(crate) mod job;
pub(crate) mod leader;
pub(crate) mod logs;
pub(crate) mod manager;
pub(crate) mod namespaces;
pub(crate) mod plan;
pub(crate) mod ps;
pub(crate) mod rebalance;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod start;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod up;
pub(crate) mod worker;
pub(crate) mod workers;

use muster_client::{Client, Config, ManagerClient};

use crate::cli::{Command, Global};
use crate::exit::Failure;
use crate::output::Output;

/// How a command ends.
pub(crate) type Outcome = Result<u8, Failure>;

/// What every command gets.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The options of all commands.
    pub(crate) global: Global,
    /// Where to print.
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let out = Output { json: global.json };
        Self { global, out }
    }

    /// The API the user named.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut config = Config::new(&self.global.api).token(self.global.token.clone());
        if let Some(file) = &self.global.ca {
            let pem = std::fs::read(file)
                .map_err(|e| Failure::usage(format!("--ca {} cannot be read: {e}", file.display())))?;
            config.ca_pem = Some(pem);
        }
        Ok(Client::with(config)?)
    }

    /// The manager's side of it.
    pub(crate) fn manager(&self) -> Result<ManagerClient, Failure> {
        Ok(self.client()?.manager())
    }
}

/// Carries out one command.
pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Up(args) => up::run(*args, context).await,
        Command::Manager(args) => manager::run(*args, context).await,
        Command::Worker(args) => worker::run(*args, context).await,
        Command::Api(args) => api::run(*args, context).await,
        Command::Submit(args) => submit::run(*args, context).await,
        Command::Ps(args) => ps::run(args, context).await,
        Command::Task(args) => task::run(args, context).await,
        Command::Plan(args) => plan::run(args, context).await,
        Command::Explain(args) => explain::run(args, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Cancel(args) => cancel::run(args, context).await,
        Command::Start(args) => start::run(args, context).await,
        Command::Retry(args) => retry::run(args, context).await,
        Command::Job(args) => job::run(args, context).await,
        Command::Workers(args) => workers::run(args, context).await,
        Command::Namespaces(args) => namespaces::run(args, context).await,
        Command::Limit(args) => namespaces::limit(args, context).await,
        Command::Drain(args) => drain::run(args, context).await,
        Command::Rebalance(args) => rebalance::run(args, context).await,
        Command::Move(args) => rebalance::move_one(args, context).await,
        Command::Activate(args) => activate::run(args, context).await,
        Command::Forget(args) => forget::run(args, context).await,
        Command::Events(args) => events::run(args, context).await,
        Command::Cluster(args) => cluster::run(args, context).await,
        Command::Leader(args) => leader::run(args, context).await,
        Command::Replay(args) => replay::run(args, context).await,
        Command::Bench(args) => bench::run(args, context).await,
        Command::Completions(args) => completions::run(args),
    }
}
