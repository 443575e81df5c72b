//! `muster completions`: what a shell needs to complete muster's command lines.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::command::Outcome;
use crate::exit;

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: Args) -> Outcome {
    // Into memory first: the generator panics where it cannot write.
    let mut text = Vec::new();
    generate(args.shell, &mut Cli::command(), "muster", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(exit::OK)
}
