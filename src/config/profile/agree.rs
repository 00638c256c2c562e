//! Rules that need several values: whether they fit each other.

use std::fs;

use super::{DIRECTORY, Origin, Setting, Settings, Value, check, cpf_file};
use crate::{
    config::{cpf::Cpf, flags::ChannelArg, image_name::Name, spec::LONGHORN_CLASS, version::MIRRORS_FROM},
    error::{Error, Result},
};

impl Settings {
    /// What no single value can tell, and what may be skipped.
    pub(super) fn agree(&self, skipped: &[String]) -> Result<()> {
        self.data_outside(skipped)?;
        self.longhorn_flags()?;
        self.mirrors()?;
        self.logins()?;
        self.registry_of_image()?;
        self.memory()
    }

    /// Data outside of the volumes is refused, unless that check is skipped.
    fn data_outside(&self, skipped: &[String]) -> Result<()> {
        if let Some(Setting { value: Value::Text(text), origin }) = self.get("iris.cpf")
            && !skipped.iter().any(|check| check == DIRECTORY)
            && let Some(why) = cpf_file::joined(&Cpf::read(text).outside())
        {
            return Err(Error::usage(format!("{origin}: iris.cpf: {why}")).hint(cpf_file::mounted()));
        }
        Ok(())
    }

    /// Flags of Longhorn need volumes on it.
    fn longhorn_flags(&self) -> Result<()> {
        let class = self.get("storage.class").map(|class| class.value.to_string());
        for name in ["longhorn.version", "longhorn.manifest"] {
            if let Some(Setting { origin: origin @ Origin::Flag(_), .. }) = self.get(name)
                && class.as_deref() != Some(LONGHORN_CLASS)
            {
                return Err(Error::usage(format!("{origin} is given, and the volumes are not on Longhorn"))
                    .hint(format!("also pass --storage {LONGHORN_CLASS}")));
            }
        }
        Ok(())
    }

    /// Mirrors need a MicroK8s that knows them, and each certificate and login a mirror.
    fn mirrors(&self) -> Result<()> {
        if let (Some(mirrors), Some(Setting { value: Value::Channel(ChannelArg::Channel(channel)), origin })) =
            (self.get("registries.mirrors"), self.get("channel"))
            && !channel.row().mirror_folders
        {
            return Err(Error::usage(format!(
                "registries.mirrors ({}) needs MicroK8s {MIRRORS_FROM} or newer, and the channel is {} ({origin})",
                mirrors.origin, channel.minor
            )));
        }
        let mirrored = self.list("registries.mirrors");
        for name in ["registries.ca", "registries.login"] {
            let of = |text: &String| text.split_once('=').map(|(registry, _)| registry.to_owned());
            let files = self.list(name);
            let lone = files.iter().filter_map(of).find(|r| !mirrored.iter().filter_map(of).any(|known| known == *r));
            if let (Some(registry), Some(setting)) = (lone, self.get(name)) {
                return Err(Error::usage(format!(
                    "{name} ({}) names {registry}, which registries.mirrors does not",
                    setting.origin
                ))
                .hint(format!(
                    "name who answers for it, if it is itself: registries.mirrors = [\"{registry}=https://{registry}\"]"
                )));
            }
        }
        Ok(())
    }

    /// No more memory may be asked for than is allowed.
    fn memory(&self) -> Result<()> {
        let (Some(request), Some(limit)) = (self.get("iris.memory_request"), self.get("iris.memory_limit")) else {
            return Ok(());
        };
        if check::bytes(&request.value.to_string()) <= check::bytes(&limit.value.to_string()) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "iris.memory_request is {} ({}), more than iris.memory_limit, which is {} ({})",
            request.value, request.origin, limit.value, limit.origin
        )))
    }

    /// An image of the built-in registry needs that.
    fn registry_of_image(&self) -> Result<()> {
        let (Some(image), Some(addons)) = (self.get("iris.image"), self.get("addons")) else { return Ok(()) };
        let is_in_it = Name::in_registry(&image.value.to_string()).is_some();
        if !is_in_it || self.list("addons").iter().any(|addon| addon == "registry") {
            return Ok(());
        }
        Err(Error::usage(format!(
            "iris.image is {} ({}), of the built-in registry, and addons ({}) does not name `registry`",
            image.value, image.origin, addons.origin
        ))
        .hint("add `registry` to addons"))
    }

    /// Files with a login hold one, as far as who asks may read them.
    fn logins(&self) -> Result<()> {
        let (files, Some(setting)) = (self.list("registries.login"), self.get("registries.login")) else {
            return Ok(());
        };
        for (registry, file) in files.iter().filter_map(|text| text.split_once('=')) {
            let first = |text: &String| text.lines().next().is_some_and(|line| line.contains(':'));
            if fs::read_to_string(file).is_ok_and(|text| !first(&text)) {
                return Err(Error::usage(format!(
                    "registries.login ({}): {file} holds no login for {registry}",
                    setting.origin
                ))
                .hint("write it as one line: USER:PASSWORD"));
            }
        }
        Ok(())
    }
}
