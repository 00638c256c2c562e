//! Arguments in, exit code out.

use clap::Parser;
use iris_mk8s::{app, cli::Cli, defect, host};

fn main() -> std::process::ExitCode {
    defect::watch();
    host::set_umask();
    let code = match Cli::try_parse() {
        Ok(cli) => app::run(cli),
        Err(answer) => app::answer(&answer),
    };
    (code as u8).into()
}
