//! `profile`: lists, shows and checks profiles.

use super::{print, print_json};
use crate::{
    cli::{self, Format, Global},
    config::profile,
    error::{ExitCode, Result},
};

pub(super) fn profiles(global: &Global, what: cli::Profile) -> Result<ExitCode> {
    match what {
        cli::Profile::List => match global.output {
            Format::Text => {
                print(&profile::list().map(|(name, what)| format!("{name:<10} {what}\n")).collect::<String>())
            }
            Format::Json => {
                let profiles = profile::list().map(|(name, what)| serde_json::json!({"name": name, "about": what}));
                print_json(&profiles.collect::<Vec<_>>())
            }
        },
        cli::Profile::Show(flags) => {
            let settings = profile::Settings::gather(&profile::Input::of_process(&flags)?)?;
            match global.output {
                Format::Text => print(&settings.to_string()),
                Format::Json => print_json(&settings),
            }
        }
        cli::Profile::Check { file } if file.extension().is_some_and(|end| end.eq_ignore_ascii_case("cpf")) => {
            let report = profile::check_cpf(&file)?;
            match global.output {
                Format::Text => print(&report.to_string()),
                Format::Json => print_json(&report),
            }
        }
        cli::Profile::Check { file } => {
            profile::check_file(&file)?;
            match global.output {
                Format::Text => print(&format!("{} is a valid profile\n", file.display())),
                Format::Json => print_json(&serde_json::json!({"file": file.display().to_string(), "good": true})),
            }
        }
    }
}
