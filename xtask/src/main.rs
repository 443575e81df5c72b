//! Project automation. `cargo xtask help` says what there is.

mod contract;
mod fuzz;
mod run;
mod simulate;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask tools             find a fit nats-server, or install the pinned one into .tools/
cargo xtask up [--debug] [args]
                              build `muster` and run `muster up` with these arguments (`cargo xtask up --help`)
cargo xtask test [--only STEP]
                              everything CI checks; steps: fmt, clippy, test, contract
cargo xtask fuzz DECODER [SECONDS]
                              give a decoder (commit, command, ...) to a fuzzer, 60 seconds if not told (nightly Rust)
cargo xtask simulate [--seeds N | --seed S]
                              run more seeds of the simulated cluster than `test` does, or one with its trace
cargo xtask schemas [--check] write schemas/ from the types, or only say whether it is up to date
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tools"] => tools::nats_server().map(|path| println!("{}", path.display())),
        ["up", rest @ ..] => up::up(rest),
        ["test"] => test::all(),
        ["test", "--only", step] => test::only(step),
        ["fuzz", target] => fuzz::fuzz(target, "60"),
        ["fuzz", target, seconds] => fuzz::fuzz(target, seconds),
        ["simulate", rest @ ..] => simulate::simulate(rest),
        ["schemas"] => test::schemas(test::Schemas::Write),
        ["schemas", "--check"] => test::schemas(test::Schemas::Check),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [] => Err(format!("which task?\n\n{HELP}")),
        other => Err(format!("`{}` is no task of xtask\n\n{HELP}", other.join(" "))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
