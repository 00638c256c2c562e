//! Everything that decides the spec, read once.

use super::{PREFIX, cloud};
use crate::{
    config::flags::SpecFlags,
    error::{Error, Result},
};

/// Everything that decides the spec.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The command line.
    pub flags: SpecFlags,
    /// The environment; only names that begin with [`PREFIX`], and `SUDO_USER`, matter.
    pub environment: Vec<(String, String)>,
    /// Name of the user who runs this.
    pub login: Option<String>,
    /// Name of the first user whom cloud-init made, where root runs this and nobody called sudo.
    pub cloud_init: Option<String>,
    /// Volumes of another class may be deleted with their data (`bootstrap --data`).
    pub data_goes: bool,
}

impl Input {
    /// The given flags, with this process's environment and user.
    ///
    /// # Errors
    /// When a variable of ours is not UTF-8.
    pub fn of_process(flags: &SpecFlags) -> Result<Self> {
        let ours = |name: &str| name.starts_with(PREFIX) || name == "SUDO_USER";
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| ours(name)) else { continue };
            let value = value.into_string().map_err(|_| Error::usage(format!("{name}: the value is not UTF-8")))?;
            environment.push((name.to_owned(), value));
        }
        // By the user id, not by `USER`, which a service or a container may lack.
        let login = nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok().flatten().map(|user| user.name);
        let mut input = Self { flags: flags.clone(), environment, login, ..Self::default() };
        if nix::unistd::Uid::current().is_root() && input.variable("SUDO_USER").is_none() {
            input.cloud_init = cloud::first_user();
        }
        Ok(input)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        // A template that fills in nothing means nothing.
        self.environment.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}
