//! Arguments in, exit code out.

use iris_mk8s::{cli, commands, error::defect, host};

fn main() -> std::process::ExitCode {
    defect::watch();
    host::set_umask();
    let code = match cli::parse(std::env::args_os(), &commands::offered()) {
        Ok(cli) => commands::run(cli),
        Err(answer) => commands::answer(&answer),
    };
    (code as u8).into()
}
