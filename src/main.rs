//! Arguments in, exit code out.

use clap::Parser;
use iris_mk8s::{app, cli::Cli};

fn main() -> std::process::ExitCode {
    (app::run(Cli::parse()) as u8).into()
}
