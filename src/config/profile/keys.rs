//! The keys of a profile: THE table. A key's name gives its place in the file and its environment variable.

use std::fmt;

use serde::Serialize;
use toml::de::{DeInteger, DeValue};

use super::{
    check::{self, Check},
    cpf_file, endpoints,
};
use crate::{
    config::{
        cpf::{self, Cpf},
        flags::{ChannelArg, Lb},
        lb_range,
        spec::Endpoint,
    },
    error::Error,
};

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Dotted: the table of the file, then the key in it.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
}

/// What the value of a key is, and how it is checked.
#[derive(Debug)]
pub enum Kind {
    /// Addresses, or `auto` for such as the network has room for.
    Range,
    /// A snap channel, or `auto` for the newest one that suits the host.
    Channel,
    /// A text.
    Text(fn(&str) -> Check),
    /// A whole number between two bounds.
    Number(u64, u64),
    /// A list of texts.
    List(fn(Vec<String>) -> Result<Vec<String>, Refusal>),
    /// Registries with a file each, `REGISTRY=FILE`.
    FilesOf,
    /// The CPF itself.
    Cpf,
    /// The CPF in a file.
    CpfFile,
    /// Longhorn's manifest in a file.
    LonghornFile,
    /// Pages of the application, one table each.
    Endpoints,
}

/// An instance is a pod on this one host; more than this many of them are a slip of the finger.
const MAX_REPLICAS: u64 = 16;
const DAY: u64 = 24 * 60 * 60;

/// The table, in the order of `profile show`.
pub const KEYS: &[Key] = &[
    Key { name: "channel", kind: Kind::Channel },
    Key { name: "lb", kind: Kind::Range },
    Key { name: "user", kind: Kind::Text(check::user) },
    Key { name: "addons", kind: Kind::List(addons) },
    Key { name: "registries.mirrors", kind: Kind::List(|list| each(list, check::mirror)) },
    Key { name: "registries.ca", kind: Kind::FilesOf },
    Key { name: "registries.login", kind: Kind::FilesOf },
    Key { name: "registries.proxy", kind: Kind::Text(check::proxy) },
    Key { name: "registries.no_proxy", kind: Kind::List(|list| each(list, check::direct)) },
    Key { name: "storage.class", kind: Kind::Text(check::storage_class) },
    Key { name: "storage.mgr_size", kind: Kind::Text(check::size) },
    Key { name: "storage.data_size", kind: Kind::Text(check::size) },
    Key { name: "longhorn.version", kind: Kind::Text(check::longhorn_version) },
    Key { name: "longhorn.manifest", kind: Kind::LonghornFile },
    Key { name: "iris.namespace", kind: Kind::Text(check::namespace) },
    Key { name: "iris.name", kind: Kind::Text(check::stateful_set) },
    Key { name: "iris.service", kind: Kind::Text(check::service) },
    Key { name: "iris.image", kind: Kind::Text(check::image) },
    Key { name: "iris.replicas", kind: Kind::Number(1, MAX_REPLICAS) },
    Key { name: "iris.time_zone", kind: Kind::Text(check::time_zone) },
    Key { name: "iris.memory_request", kind: Kind::Text(check::size) },
    Key { name: "iris.memory_limit", kind: Kind::Text(check::size) },
    Key { name: "iris.cpu_request", kind: Kind::Text(check::cpu) },
    Key { name: "iris.endpoints", kind: Kind::Endpoints },
    Key { name: "iris.password_hash", kind: Kind::Text(check::printable) },
    Key { name: "iris.cpf", kind: Kind::Cpf },
    Key { name: "iris.cpf_file", kind: Kind::CpfFile },
    Key { name: "timeouts.install", kind: Kind::Number(1, DAY) },
    Key { name: "timeouts.ready", kind: Kind::Number(1, DAY) },
    Key { name: "timeouts.addon", kind: Kind::Number(1, DAY) },
    Key { name: "timeouts.longhorn", kind: Kind::Number(1, DAY) },
    Key { name: "timeouts.iris", kind: Kind::Number(1, DAY) },
    Key { name: "timeouts.remove", kind: Kind::Number(1, DAY) },
];

/// A value of the right type that passed its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Addresses, or the wish for such as the network has room for.
    Lb(Lb),
    /// A snap channel, or the wish for one that suits the host.
    Channel(ChannelArg),
    /// A text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// A list of names.
    List(Vec<String>),
    /// Pages of the application.
    Endpoints(Vec<Endpoint>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lb(lb) => lb.fmt(f),
            Self::Channel(channel) => channel.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Number(n) => n.fmt(f),
            Self::List(list) => f.write_str(&list.join(", ")),
            Self::Endpoints(list) => f.write_str(&list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// Why a value is refused.
#[derive(Debug)]
pub struct Refusal {
    /// The reason.
    pub why: String,
    /// What to do instead.
    pub hint: Option<String>,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, hint: None }
    }
}

impl From<lb_range::ParseError> for Refusal {
    fn from(e: lb_range::ParseError) -> Self {
        Self { why: e.to_string(), hint: None }
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self { why: e.what, hint: e.hint }
    }
}

impl Key {
    /// The environment variable of this key.
    pub fn variable(&self) -> String {
        format!("{}{}", super::PREFIX, self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// A value as a person types it: on the command line or in the environment, where a list is separated by commas.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read_text(&self, text: &str) -> Result<Value, Refusal> {
        match self.kind {
            Kind::Number(..) => {
                let number = text.parse().map_err(|_| format!("`{text}` is not a whole number"))?;
                self.checked(Value::Number(number))
            }
            Kind::List(_) | Kind::FilesOf => {
                let names = text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
                self.checked(Value::List(names.collect()))
            }
            Kind::Endpoints => Err(Refusal::from("endpoints are named in a profile: [[iris.endpoints]]".to_owned())),
            Kind::Range | Kind::Channel | Kind::Text(_) | Kind::Cpf | Kind::CpfFile | Kind::LonghornFile => {
                self.checked(Value::Text(text.to_owned()))
            }
        }
    }

    /// A value as it stands in a profile.
    ///
    /// # Errors
    /// Says what is wrong with it: its type first.
    pub fn read_toml(&self, value: &DeValue<'_>) -> Result<Value, Refusal> {
        let raw = match (&self.kind, value) {
            (Kind::Number(..), DeValue::Integer(number)) => Value::Number(whole(number)?),
            (Kind::Number(..), other) => return Err(wrong_type("a whole number", other)),
            (Kind::List(_) | Kind::FilesOf, DeValue::Array(items)) => Value::List(
                items
                    .iter()
                    .map(|item| match item.get_ref() {
                        DeValue::String(name) => Ok(name.to_string()),
                        other => Err(wrong_type("a list of texts", other)),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            (Kind::List(_) | Kind::FilesOf, other) => return Err(wrong_type("a list of texts", other)),
            (Kind::Endpoints, DeValue::Array(items)) => {
                let one = |item: &toml::Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::Table(table) => endpoints::read(table),
                    other => Err(wrong_type("tables: write [[iris.endpoints]] and the keys below", other)),
                };
                Value::Endpoints(items.iter().map(one).collect::<Result<_, _>>()?)
            }
            (Kind::Endpoints, other) => {
                return Err(wrong_type("tables: write [[iris.endpoints]] and the keys below", other));
            }
            (
                Kind::Range | Kind::Channel | Kind::Text(_) | Kind::Cpf | Kind::CpfFile | Kind::LonghornFile,
                DeValue::String(text),
            ) => Value::Text(text.to_string()),
            (Kind::Range | Kind::Channel | Kind::Text(_) | Kind::Cpf | Kind::CpfFile | Kind::LonghornFile, other) => {
                return Err(wrong_type("a text", other));
            }
        };
        self.checked(raw)
    }

    /// The value, checked and in the key's own type.
    pub fn checked(&self, value: Value) -> Result<Value, Refusal> {
        match (&self.kind, value) {
            (Kind::Range, Value::Text(text)) => Ok(Value::Lb(text.parse().map_err(Refusal::from)?)),
            (Kind::Channel, Value::Text(text)) => Ok(Value::Channel(text.parse().map_err(Refusal::from)?)),
            (Kind::Text(check), Value::Text(text)) => check(&text).map(|()| Value::Text(text)).map_err(Refusal::from),
            (Kind::CpfFile | Kind::LonghornFile, Value::Text(path)) => {
                check::printable(&path).map(|()| Value::Text(path)).map_err(Refusal::from)
            }
            (Kind::Cpf, Value::Text(text)) => {
                let text = cpf::normalise(&text);
                match cpf_file::joined(&Cpf::read(&text).mistakes()) {
                    Some(why) => Err(why.into()),
                    None => Ok(Value::Text(text)),
                }
            }
            (Kind::Number(least, most), Value::Number(n)) if !(least..=most).contains(&&n) => {
                Err(format!("{n} is not between {least} and {most}").into())
            }
            (Kind::List(check), Value::List(names)) => check(names).map(Value::List),
            (Kind::FilesOf, Value::List(names)) => each(names, check::file_of).map(Value::List),
            (_, value) => Ok(value),
        }
    }
}

/// A list of which each text passes a check.
fn each(texts: Vec<String>, check: fn(&str) -> Check) -> Result<Vec<String>, Refusal> {
    texts.iter().try_for_each(|text| check(text))?;
    Ok(texts)
}

/// Addons under today's names, each of them once.
fn addons(names: Vec<String>) -> Result<Vec<String>, Refusal> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        check::addon(&name)?;
        // The article's name; `version` knows which of the two the channel takes.
        let name = if name == "storage" { "hostpath-storage".to_owned() } else { name };
        if seen.contains(&name) {
            return Err(format!("addon `{name}` is named twice").into());
        }
        seen.push(name);
    }
    Ok(seen)
}

fn whole(number: &DeInteger<'_>) -> Result<u64, Refusal> {
    let text = number.as_str();
    u64::from_str_radix(text, number.radix()).map_err(|_| Refusal::from(format!("{text} is negative or far too large")))
}

fn wrong_type(wanted: &str, found: &DeValue<'_>) -> Refusal {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {wanted}, found {found}").into()
}
