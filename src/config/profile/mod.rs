//! From flags, environment and profile to the [`Spec`], and where each value came from.
//!
//! The strongest that speaks wins: flag, environment, the chosen profile, the built-in profile `current`. A name that nobody
//! knows is refused wherever it stands, since a misspelt key that is silently ignored is the most expensive mistake of all.

mod agree;
mod check;
mod cloud;
mod cpf_file;
mod endpoints;
mod file;
mod files;
mod input;
mod keys;
mod show;
mod spec;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        flags::{ChannelArg, Lb, SpecFlags},
        lb_range::LbRange,
        spec::Spec,
        version::Channel,
    },
    error::{Error, ExitCode, Result},
};

use file::{Source, nearest};
use keys::{Kind, Refusal};

pub use cpf_file::{DIRECTORY, Report as CpfReport, check_cpf};

pub use input::Input;
pub use keys::{KEYS, Key, Value};

/// What the environment variables of this program begin with.
pub const PREFIX: &str = "IRIS_MK8S_";
/// Variables of that prefix that are no keys: the choice of the profile, the cache of the development scripts, and what
/// `scripts/install` reads.
const OTHER_VARIABLES: [&str; 4] = ["IRIS_MK8S_PROFILE", "IRIS_MK8S_CACHE", "IRIS_MK8S_RELEASES", "IRIS_MK8S_VERSION"];

/// The profile that holds what no other layer names.
const DEFAULT: &str = "current";
/// The one profile that may bring a password's hash: it is the published one of the article.
const ARTICLE: &str = "article";
const BUILT_IN: [(&str, &str); 3] = [
    (DEFAULT, include_str!("../../../profiles/current.toml")),
    (ARTICLE, include_str!("../../../profiles/article.toml")),
    ("simple", include_str!("../../../profiles/simple.toml")),
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// A line of a profile in a file.
    File(PathBuf, usize),
    /// A built-in profile.
    BuiltIn(&'static str),
    /// The user who called sudo.
    Sudo,
    /// The first user whom cloud-init made.
    CloudInit,
    /// The user who runs this.
    Login,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::BuiltIn(name) => write!(f, "profile {name}"),
            Self::Sudo => f.write_str("SUDO_USER"),
            Self::CloudInit => f.write_str("the first user of cloud-init"),
            Self::Login => f.write_str("who runs this"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// All values with their origins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or file of the chosen profile.
    pub profile: String,
    values: BTreeMap<&'static str, Setting>,
}

/// Names of the built-in profiles, each with its first line, which says what it is.
pub fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN.iter().map(|(name, text)| (*name, text.lines().next().unwrap_or_default().trim_start_matches("# ")))
}

/// The wanted state, and where each part of it came from.
///
/// # Errors
/// Exit code 2: names the flag, variable or line that is wrong, or what is missing.
pub fn resolve(input: &Input) -> Result<(Spec, Settings)> {
    let settings = Settings::gather(input)?;
    settings.named()?;
    Ok((settings.wanted(input)?, settings))
}

impl Settings {
    /// The channel is this one, in the place of the wish for one that suits the host.
    ///
    /// # Errors
    /// Exit code 2: something else that is wanted does not go with it.
    pub fn choose(&mut self, channel: Channel, input: &Input) -> Result<()> {
        self.take("channel", Value::Channel(ChannelArg::Channel(channel)));
        self.agree(&input.flags.skip_check)
    }

    /// The addresses are these, in the place of the wish for such as the network has room for.
    pub fn give(&mut self, addresses: LbRange) {
        self.take("lb", Value::Lb(Lb::Range(addresses)));
    }

    /// The wanted state of this run.
    ///
    /// # Errors
    /// Exit code 2: a value that does not go with the others, or that is still to be found on the host.
    pub fn wanted(&self, input: &Input) -> Result<Spec> {
        // Wishes for this run, not properties of the wanted state: no profile names them.
        let (skip_checks, data_goes) = (input.flags.skip_check.clone(), input.data_goes);
        Ok(Spec { skip_checks, data_goes, ..self.spec()? })
    }
}

/// Reads a profile by itself, without flags and environment.
///
/// # Errors
/// Exit code 2: names all that is wrong in the file.
pub fn check_file(path: &Path) -> Result<Settings> {
    let mut settings = Settings { profile: path.display().to_string(), values: BTreeMap::new() };
    settings.built_in(DEFAULT)?;
    settings.file(path)?;
    settings.agree(&[])?;
    Ok(settings)
}

impl Settings {
    /// Puts the layers on top of each other, the weakest first.
    ///
    /// # Errors
    /// Exit code 2: names the flag, variable or line that is wrong.
    pub fn gather(input: &Input) -> Result<Self> {
        let chosen = input.flags.profile.as_deref().or(input.variable("IRIS_MK8S_PROFILE")).unwrap_or(DEFAULT);
        let mut settings = Self { profile: chosen.to_owned(), values: BTreeMap::new() };
        settings.person(input)?;
        settings.built_in(DEFAULT)?;
        if chosen.contains('/') || Path::new(chosen).extension().is_some_and(|ending| ending == "toml") {
            settings.file(Path::new(chosen))?;
        } else if chosen != DEFAULT {
            settings.built_in(chosen)?;
        }
        settings.environment(input)?;
        settings.flags(&input.flags)?;
        settings.agree(&input.flags.skip_check)?;
        Ok(settings)
    }

    /// The value of a key, if any layer names it.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)
    }

    /// Puts what was found in the place of the wish for it.
    fn take(&mut self, key: &str, found: Value) {
        if let Some(setting) = self.values.get_mut(key) {
            setting.value = found;
        }
    }

    /// The weakest layer: who is there.
    fn person(&mut self, input: &Input) -> Result<()> {
        let sudo = input.variable("SUDO_USER").map(|name| (name, Origin::Sudo));
        let cloud_init = input.cloud_init.as_deref().map(|name| (name, Origin::CloudInit));
        let login = input.login.as_deref().map(|name| (name, Origin::Login));
        let Some((name, origin)) = sudo.or(cloud_init).or(login) else { return Ok(()) };
        self.read("user", name, &origin)
    }

    fn built_in(&mut self, name: &str) -> Result<()> {
        let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let meant = nearest(name, names.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
            return Err(Error::usage(format!("no profile is called `{name}`{}", meant.unwrap_or_default())).hint(
                format!(
                    "built in are {}; a file of your own is given with a `/` in its name or with the ending .toml",
                    in_words(&names)
                ),
            ));
        };
        self.toml(text, &Source::BuiltIn(name))
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path)
            .map_err(|e| Error::usage(format!("the profile {} cannot be read", path.display())).caused_by(e))?;
        self.toml(&text, &Source::File(path))
    }

    fn environment(&mut self, input: &Input) -> Result<()> {
        let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
        for (name, _) in input.environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            if !names.contains(name) && !OTHER_VARIABLES.contains(&name.as_str()) {
                let meant = nearest(name, names.iter().map(String::as_str));
                return Err(Error::usage(format!("the environment variable {name} is not known")).hint(
                    meant.map_or("`iris-mk8s profile show` lists the keys".to_owned(), |near| {
                        format!("did you mean {near}?")
                    }),
                ));
            }
        }
        for (key, name) in KEYS.iter().zip(names) {
            if let Some(text) = input.variable(&name) {
                self.read(key.name, text, &Origin::Variable(name.clone()))?;
            }
        }
        Ok(())
    }

    fn flags(&mut self, flags: &SpecFlags) -> Result<()> {
        let text = |value: &Option<String>| value.clone().map(Value::Text);
        let file = |value: &Option<PathBuf>| value.as_ref().map(|path| Value::Text(path.display().to_string()));
        let given = [
            ("lb", "--lb", flags.lb.clone().map(Value::Lb)),
            ("channel", "--channel", flags.channel.clone().map(Value::Channel)),
            ("user", "--user", text(&flags.user)),
            ("storage.class", "--storage", text(&flags.storage)),
            ("longhorn.version", "--longhorn-version", text(&flags.longhorn_version)),
            ("longhorn.manifest", "--longhorn-manifest", file(&flags.longhorn_manifest)),
            ("iris.image", "--image", text(&flags.image)),
            ("iris.replicas", "--replicas", flags.replicas.map(Value::Number)),
            ("iris.namespace", "--namespace", text(&flags.namespace)),
        ];
        for (name, flag, value) in given {
            if let (Some(value), Some(key)) = (value, key(name)) {
                let origin = Origin::Flag(flag);
                let set = key.checked(value).and_then(|value| self.set(key, value, origin.clone()));
                set.map_err(|refusal| refused(&origin, refusal))?;
            }
        }
        Ok(())
    }

    /// One value as a person types it.
    fn read(&mut self, name: &str, text: &str, origin: &Origin) -> Result<()> {
        let Some(key) = key(name) else { return Err(bug(name)) };
        let set = key.read_text(text).and_then(|value| self.set(key, value, origin.clone()));
        set.map_err(|refusal| refused(origin, refusal))
    }

    /// # Errors
    /// Why the value is refused. Whoever calls says where it stands.
    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) -> Result<(), Refusal> {
        if key.name == "iris.password_hash" && origin != Origin::BuiltIn(ARTICLE) {
            return Err(Refusal {
                why: format!("only the profile `{ARTICLE}` may bring the hash of a password"),
                hint: Some("give the password with --password-file; its hash is made from it".to_owned()),
            });
        }
        let (key, value) = files::resolved(key, value, &origin)?;
        self.values.insert(key, Setting { value, origin });
        Ok(())
    }

    /// All of a profile, with all that is wrong in it.
    fn toml(&mut self, text: &str, source: &Source<'_>) -> Result<()> {
        let mut content = file::read(text, source)?;
        let mut cpf = None;
        for found in std::mem::take(&mut content.found) {
            if matches!(found.key.kind, Kind::Cpf | Kind::CpfFile) && cpf.replace(found.key.name).is_some() {
                content
                    .wrong(found.line, "the CPF is given twice, in `cpf` and in `cpf_file`; take one out".to_owned());
            } else if let Err(refusal) = self.set(found.key, found.value, source.origin(found.line)) {
                content.wrong(found.line, refusal.why + &file::suffix(refusal.hint));
            }
        }
        content.verdict(source)
    }
}

/// `a, b and c`
fn in_words(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        all => all.join(", "),
    }
}

fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn refused(origin: &Origin, Refusal { why, hint }: Refusal) -> Error {
    let error = Error::usage(format!("{origin}: {why}"));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The built-in profile names every key but the optional ones; a test holds it to that.
fn bug(key: &str) -> Error {
    Error::new(ExitCode::Bug, format!("the built-in profile `{DEFAULT}` lacks the key `{key}`"))
}
