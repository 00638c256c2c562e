//! Arguments in, exit code out.

use clap::Parser;
use iris_mk8s::{cli::Cli, commands, error::defect, host};

fn main() -> std::process::ExitCode {
    defect::watch();
    host::set_umask();
    let code = match Cli::try_parse() {
        Ok(cli) => commands::run(cli),
        Err(answer) => commands::answer(&answer),
    };
    (code as u8).into()
}
