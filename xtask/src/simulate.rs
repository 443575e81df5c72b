//! `cargo xtask simulate`: more seeds of the simulation than CI runs, or one with its trace.

use crate::run::{Result, cargo, run};

pub(crate) const HELP: &str = "\
cargo xtask simulate [--seeds N] [--from F] [--release]
                              run N seeds (1000) of the simulated cluster from seed F (0) on, on all cores
cargo xtask simulate --seed S [--steps N] [--log FILTER] [--release]
                              run one seed, or its first N steps, and print its whole trace; FILTER as in RUST_LOG adds
                              what the parts log
";

/// The test that does it, and how it is told.
const TEST: [&str; 6] = ["--test", "simulation", "--", "--ignored", "--exact", "seeds::by_hand"];

/// Runs what the arguments say.
pub(crate) fn simulate(args: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--workspace", "--locked"]);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let name = match *arg {
            "--release" => {
                command.arg("--release");
                continue;
            }
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            "--seeds" => "MUSTER_SIMULATE_SEEDS",
            "--from" => "MUSTER_SIMULATE_FROM",
            "--seed" => "MUSTER_SIMULATE_SEED",
            "--steps" => "MUSTER_SIMULATE_STEPS",
            "--log" => "MUSTER_SIMULATE_LOG",
            other => return Err(format!("`{other}` is nothing simulate knows\n\n{HELP}")),
        };
        let value = rest.next().ok_or_else(|| format!("{arg} needs a value\n\n{HELP}"))?;
        if *arg != "--log" && value.parse::<u64>().is_err() {
            return Err(format!("{arg} needs a number, not `{value}`"));
        }
        command.env(name, value);
    }
    run(command.args(TEST).arg("--nocapture"))
}
