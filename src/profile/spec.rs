//! From the gathered settings to the [`Spec`]: which key becomes which field.

use super::{Settings, Value, bug, cpf};
use crate::{
    error::{Error, Result},
    lb_range::LbRange,
    spec::{Iris, Mirror, Registries, Seconds, Spec, Timeouts},
    version::Channel,
};

impl Settings {
    /// The plain value.
    ///
    /// # Errors
    /// Exit code 2 when the range or the user is missing, the only ones without a default.
    pub fn spec(&self) -> Result<Spec> {
        let lb = self.range("lb").ok_or_else(|| {
            Error::usage("no addresses are given for the load balancer")
                .hint("name free addresses in a subnet of this host, for example --lb 192.168.11.110-130")
        })?;
        let user = self.optional_text("user").ok_or_else(|| {
            Error::usage("nobody is named who works with the cluster").hint("name the user with --user NAME")
        })?;
        let cpf = self.text("iris.cpf")?;
        Ok(Spec {
            profile: self.profile.clone(),
            user,
            lb,
            channel: self.channel("channel")?,
            addons: self.list("addons"),
            published_hash: self.optional_text("iris.password_hash"),
            registries: Registries {
                mirrors: self.list("registries.mirrors").iter().filter_map(|m| mirror(m)).collect(),
                proxy: self.optional_text("registries.proxy"),
                no_proxy: self.list("registries.no_proxy"),
            },
            iris: Iris {
                namespace: self.text("iris.namespace")?,
                name: self.text("iris.name")?,
                service: self.text("iris.service")?,
                image: self.text("iris.image")?,
                // The table bounds it far below.
                replicas: u32::try_from(self.number("iris.replicas")?).unwrap_or(u32::MAX),
                storage_class: self.optional_text("storage.class"),
                mgr_size: self.text("storage.mgr_size")?,
                data_size: self.text("storage.data_size")?,
                time_zone: self.optional_text("iris.time_zone"),
                databases: cpf::databases(&cpf),
                namespaces: cpf::namespaces(&cpf),
                cpf,
                memory_request: self.text("iris.memory_request")?,
                memory_limit: self.text("iris.memory_limit")?,
                cpu_request: self.text("iris.cpu_request")?,
            },
            timeouts: Timeouts {
                install: Seconds(self.number("timeouts.install")?),
                ready: Seconds(self.number("timeouts.ready")?),
                addon: Seconds(self.number("timeouts.addon")?),
                iris: Seconds(self.number("timeouts.iris")?),
                remove: Seconds(self.number("timeouts.remove")?),
            },
            skip_checks: Vec::new(),
        })
    }

    fn range(&self, key: &str) -> Option<LbRange> {
        match &self.get(key)?.value {
            Value::Range(range) => Some(range.clone()),
            _ => None,
        }
    }

    pub(super) fn channel(&self, key: &str) -> Result<Channel> {
        match self.get(key).map(|s| &s.value) {
            Some(Value::Channel(channel)) => Ok(channel.clone()),
            _ => Err(bug(key)),
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

    /// A list; nothing said is nothing in it.
    fn list(&self, key: &str) -> Vec<String> {
        match self.get(key).map(|s| &s.value) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }
}

/// `REGISTRY=URL`, which was checked.
fn mirror(text: &str) -> Option<Mirror> {
    let (registry, url) = text.split_once('=')?;
    Some(Mirror { registry: registry.to_owned(), url: url.to_owned() })
}
