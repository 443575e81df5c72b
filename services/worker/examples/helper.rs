//! The hidden subcommands of `muster`, for the worker's own tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == muster_worker::EXEC_LIMITED => {
            eprintln!("{}", muster_worker::exec_limited(words))
        }
        Some(word) if word == muster_worker::SHIM => match muster_worker::shim(words) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => eprintln!("{error}"),
        },
        _ => eprintln!("helper exec-limited …, or helper shim …"),
    }
    ExitCode::FAILURE
}
