//! From the gathered settings to the [`Spec`]: which key becomes which field.

use std::path::PathBuf;

use super::{Settings, Value, bug};
use crate::{
    config::{
        cpf::Cpf,
        flags::{ChannelArg, Lb},
        lb_range::LbRange,
        spec::{Iris, LONGHORN_CLASS, Longhorn, Mirror, Registries, Seconds, Spec, Timeouts},
        version::{Channel, LonghornVersion},
    },
    error::{Error, Result},
};

impl Settings {
    /// Checks that everything without a default was given: the addresses and the user.
    ///
    /// # Errors
    /// Exit code 2: what is missing.
    pub fn named(&self) -> Result<()> {
        if self.get("lb").is_none() {
            return Err(Error::usage("no addresses are given for the load balancer")
                .hint("name free addresses in a subnet of this host, for example --lb 192.168.11.110-130"));
        }
        if self.get("user").is_none() {
            return Err(
                Error::usage("no user is given who is to work with the cluster").hint("name the user with --user NAME")
            );
        }
        Ok(())
    }

    /// The plain value.
    ///
    /// # Errors
    /// Exit code 2: a value that does not go with the others.
    pub fn spec(&self) -> Result<Spec> {
        let lb = self.found_addresses()?;
        let user = self.text("user")?;
        let channel = self.chosen_channel()?;
        let storage_class = self.optional_text("storage.class");
        let longhorn =
            if storage_class.as_deref() == Some(LONGHORN_CLASS) { Some(self.longhorn(&channel)?) } else { None };
        Ok(Spec {
            profile: self.profile.clone(),
            user,
            lb,
            channel,
            addons: self.list("addons"),
            published_hash: self.optional_text("iris.password_hash"),
            registries: Registries {
                mirrors: self.list("registries.mirrors").iter().filter_map(|m| self.mirror(m)).collect(),
                proxy: self.optional_text("registries.proxy"),
                no_proxy: self.list("registries.no_proxy"),
            },
            iris: self.iris(storage_class)?,
            longhorn,
            timeouts: self.timeouts()?,
            skip_checks: Vec::new(),
            data_goes: false,
        })
    }

    fn iris(&self, storage_class: Option<String>) -> Result<Iris> {
        let cpf = self.text("iris.cpf")?;
        Ok(Iris {
            namespace: self.text("iris.namespace")?,
            name: self.text("iris.name")?,
            service: self.text("iris.service")?,
            image: self.text("iris.image")?,
            // The table bounds it far below.
            replicas: u32::try_from(self.number("iris.replicas")?).unwrap_or(u32::MAX),
            storage_class,
            mgr_size: self.text("storage.mgr_size")?,
            data_size: self.text("storage.data_size")?,
            time_zone: self.optional_text("iris.time_zone"),
            databases: Cpf::read(&cpf).databases(),
            namespaces: Cpf::read(&cpf).namespaces(),
            cpf,
            memory_request: self.text("iris.memory_request")?,
            memory_limit: self.text("iris.memory_limit")?,
            cpu_request: self.text("iris.cpu_request")?,
            endpoints: match self.get("iris.endpoints").map(|s| &s.value) {
                Some(Value::Endpoints(list)) => list.clone(),
                _ => Vec::new(),
            },
        })
    }

    fn timeouts(&self) -> Result<Timeouts> {
        Ok(Timeouts {
            install: Seconds(self.number("timeouts.install")?),
            ready: Seconds(self.number("timeouts.ready")?),
            addon: Seconds(self.number("timeouts.addon")?),
            longhorn: Seconds(self.number("timeouts.longhorn")?),
            iris: Seconds(self.number("timeouts.iris")?),
            remove: Seconds(self.number("timeouts.remove")?),
        })
    }

    /// Longhorn: the version that goes with the channel, or the one that is named, if it can run there.
    fn longhorn(&self, channel: &Channel) -> Result<Longhorn> {
        let version = match self.optional_text("longhorn.version") {
            Some(named) => named.parse()?,
            None => LonghornVersion::for_minor(channel.minor)?,
        };
        version.fits(channel.minor)?;
        let manifest = self.optional_text("longhorn.manifest").map(PathBuf::from);
        if manifest.is_none() && version.checksum().is_none() {
            return Err(Error::usage(format!("the checksum of Longhorn {version}'s manifest is not known here")).hint(
                format!("fetch it yourself, look at it, and give it with --longhorn-manifest FILE: {}", version.url()),
            ));
        }
        Ok(Longhorn { version, manifest })
    }

    /// The addresses as they are asked for.
    ///
    /// # Errors
    /// They were not named.
    pub fn lb(&self) -> Result<&Lb> {
        match self.get("lb").map(|s| &s.value) {
            Some(Value::Lb(lb)) => Ok(lb),
            _ => Err(bug("lb")),
        }
    }

    /// The channel as it is asked for.
    ///
    /// # Errors
    /// The built-in profile lacks it.
    pub fn channel(&self) -> Result<&ChannelArg> {
        match self.get("channel").map(|s| &s.value) {
            Some(Value::Channel(channel)) => Ok(channel),
            _ => Err(bug("channel")),
        }
    }

    /// The channel, which was chosen before.
    ///
    /// # Errors
    /// It was not.
    pub fn chosen_channel(&self) -> Result<Channel> {
        match self.channel()? {
            ChannelArg::Channel(channel) => Ok(channel.clone()),
            ChannelArg::Auto => {
                Err(Error::usage("`--channel auto` finds the channel that suits the host that it is for"))
            }
        }
    }

    /// The addresses, which were found before.
    fn found_addresses(&self) -> Result<LbRange> {
        match self.lb()? {
            Lb::Range(range) => Ok(range.clone()),
            Lb::Auto => Err(Error::usage("`--lb auto` finds addresses in the network of the host that it is for")),
        }
    }

    fn optional_text(&self, key: &str) -> Option<String> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Result<String> {
        self.optional_text(key).ok_or_else(|| bug(key))
    }

    fn number(&self, key: &str) -> Result<u64> {
        match self.get(key).map(|s| &s.value) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(bug(key)),
        }
    }

    /// `REGISTRY=URL`, which was checked, with the files that go with it.
    fn mirror(&self, text: &str) -> Option<Mirror> {
        let (registry, url) = text.split_once('=')?;
        let file = |key| {
            let files = self.list(key);
            files
                .iter()
                .filter_map(|f| f.split_once('='))
                .find(|(of, _)| *of == registry)
                .map(|(_, path)| PathBuf::from(path))
        };
        let (ca, login) = (file("registries.ca"), file("registries.login"));
        Some(Mirror { registry: registry.to_owned(), url: url.to_owned(), ca, login })
    }

    /// A list; nothing said is nothing in it.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        match self.get(key).map(|s| &s.value) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }
}
