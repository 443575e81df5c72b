//! The binary `muster`: a cluster, its parts, and the command line that talks to it.

mod attempts;
mod cli;
mod command;
mod connect;
mod exit;
mod follow;
mod home;
mod interrupt;
mod jobfile;
mod listen;
mod locate;
mod logging;
mod nats_server;
mod output;
mod parts;
mod port;
mod resolve;
mod story;
mod taskfile;
mod units;

use std::process::ExitCode;

use crate::cli::Cli;
use crate::command::Context;
use crate::exit::Failure;

/// What one thread allocates (a message from NATS) another often frees (the decision about it): glibc's allocator
/// spends a fifth of a busy manager's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A worker starts programs through these hidden subcommands. They are looked at before anything else: a program's
    // environment and arguments are none of the command line's business, and it should cost nothing.
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == muster_worker::EXEC_LIMITED => {
            eprintln!("muster: {}", muster_worker::exec_limited(words));
            return ExitCode::from(exit::NOT_EXECUTED);
        }
        Some(word) if word == muster_worker::SHIM => {
            let Err(error) = muster_worker::shim(words) else { return ExitCode::SUCCESS };
            eprintln!("muster: {error}");
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    let cli = match Cli::parse_here(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    logging::init(cli.command.is_service(), cli.global.verbose);
    let context = Context::new(cli.global);
    let ended = runtime().and_then(|runtime| {
        let ended = runtime.block_on(command::run(cli.command, &context));
        // A blocking read (standard input, a name look-up) must not keep the program from ending.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.tell(context.out.json);
            ExitCode::from(failure.code)
        }
    }
}

/// Tells wrong usage, or the help that was asked for. Whether JSON is wanted has to be looked up by hand: nothing was parsed.
fn misused(error: &clap::Error) -> ExitCode {
    let words = std::env::args_os().skip(1).take_while(|word| word != "--");
    if error.use_stderr() && words.into_iter().any(|word| word == "--json") {
        let text = error.render().to_string();
        Failure::usage(text.trim().trim_start_matches("error: ")).tell(true);
    } else {
        // Nobody is left to be told that this failed.
        drop(error.print());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("no threads can be started: {e}")))
}
