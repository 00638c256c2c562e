//! From flags, environment and profile to the [`Spec`], and where each value came from.
//!
//! The strongest that speaks wins: flag, environment, the chosen profile, the built-in profile `current`. A name that nobody
//! knows is refused wherever it stands, since a misspelt key that is silently ignored is the dearest mistake of all.

mod check;
mod cloud;
mod cpf_file;
mod endpoints;
mod file;
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
        cpf::{self, Cpf},
        flags::{Lb, SpecFlags, Wish},
        image_name::Name,
        lb_range::LbRange,
        spec::{Endpoint, LONGHORN_CLASS, Spec},
        version::{Channel, MIRRORS_FROM},
    },
    error::{Error, ExitCode, Result},
};

use file::{Source, nearest};
use keys::{Kind, Refusal};

pub use cpf_file::{DIRECTORY, Report as CpfReport, check_cpf};

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

    fn variable(&self, name: &str) -> Option<&str> {
        // A template that fills in nothing means nothing.
        self.environment.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
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
        self.take("channel", Value::Channel(Wish::Channel(channel)));
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
        self.read("user", name, origin)
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
            .map_err(|e| Error::usage(format!("the profile {} cannot be read", path.display())).because(e))?;
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
                self.read(key.name, text, Origin::Variable(name.clone()))?;
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
                let value = key.checked(value).map_err(|refusal| refused(&origin, refusal))?;
                self.set(key, value, origin)?;
            }
        }
        Ok(())
    }

    /// One value as a person types it.
    fn read(&mut self, name: &str, text: &str, origin: Origin) -> Result<()> {
        let Some(key) = key(name) else { return Err(bug(name)) };
        let value = key.read_text(text).map_err(|refusal| refused(&origin, refusal))?;
        self.set(key, value, origin)
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) -> Result<()> {
        if key.name == "iris.password_hash" && origin != Origin::BuiltIn(ARTICLE) {
            return Err(Error::usage(format!(
                "{origin}: only the profile `{ARTICLE}` may bring the hash of a password"
            ))
            .hint("give the password with --password-file; its hash is made from it"));
        }
        let (key, value) = match (&key.kind, value) {
            (Kind::CpfFile, Value::Text(path)) => ("iris.cpf", cpf_in_file(&path, &origin)?),
            (Kind::LonghornFile, Value::Text(path)) => (key.name, whole_path(&path, &origin)?),
            (Kind::Endpoints, Value::Endpoints(list)) => {
                let whole = |endpoint: Endpoint| {
                    let file = endpoint.password_file.as_ref().map(|file| relative_to(&origin, file));
                    Endpoint { password_file: file, ..endpoint }
                };
                (key.name, Value::Endpoints(list.into_iter().map(whole).collect()))
            }
            (Kind::FilesOf, Value::List(files)) => {
                let whole = |file: &String| {
                    let (registry, path) = file.split_once('=').unwrap_or_default();
                    whole_path(path, &origin).map(|path| format!("{registry}={path}"))
                };
                (key.name, Value::List(files.iter().map(whole).collect::<Result<_>>()?))
            }
            (_, value) => (key.name, value),
        };
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
            } else if let Err(e) = self.set(found.key, found.value, source.origin(found.line)) {
                content.wrong(
                    found.line,
                    e.what.split_once(": ").map_or(e.what.clone(), |(_, why)| why.to_owned()) + &file::suffix(e.hint),
                );
            }
        }
        content.verdict(source)
    }

    /// What no single value can tell, and what may be skipped.
    fn agree(&self, skipped: &[String]) -> Result<()> {
        if let Some(Setting { value: Value::Text(text), origin }) = self.get("iris.cpf")
            && !skipped.iter().any(|check| check == DIRECTORY)
            && let Some(why) = cpf_file::joined(&Cpf::read(text).outside())
        {
            return Err(Error::usage(format!("{origin}: iris.cpf: {why}")).hint(cpf_file::mounted()));
        }
        let class = self.get("storage.class").map(|class| class.value.to_string());
        for name in ["longhorn.version", "longhorn.manifest"] {
            if let Some(Setting { origin: origin @ Origin::Flag(_), .. }) = self.get(name)
                && class.as_deref() != Some(LONGHORN_CLASS)
            {
                return Err(Error::usage(format!("{origin} is given, and the volumes do not lie on Longhorn"))
                    .hint(format!("say also --storage {LONGHORN_CLASS}")));
            }
        }
        if let (Some(mirrors), Some(Setting { value: Value::Channel(Wish::Channel(channel)), origin })) =
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
        self.logins()?;
        self.registry_of_image()?;
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
}

impl Settings {
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

/// The CPF in a file, relative to the profile that names it.
fn cpf_in_file(path: &str, origin: &Origin) -> Result<Value> {
    let full = relative_to(origin, Path::new(path));
    let file = format!("{origin}: the CPF {}", full.display());
    let text = cpf_file::read(&full).map_err(|why| Error::usage(format!("{file} {why}")))?;
    let text = cpf::normalise(&text);
    if let Some(why) = cpf_file::joined(&Cpf::read(&text).mistakes()) {
        return Err(Error::usage(format!("{file}: {why}")));
    }
    Ok(Value::Text(text))
}

/// A path in a profile is relative to that.
fn relative_to(origin: &Origin, path: &Path) -> PathBuf {
    match origin {
        Origin::File(profile, _) => profile.parent().unwrap_or(Path::new("")).join(path),
        _ => path.to_owned(),
    }
}

/// The path of a file that is there, from the root; in a profile it is relative to that.
fn whole_path(path: &str, origin: &Origin) -> Result<Value> {
    let full = relative_to(origin, Path::new(path));
    let found = fs::canonicalize(&full)
        .map_err(|e| Error::usage(format!("{origin}: {} cannot be read ({e})", full.display())))?;
    Ok(Value::Text(found.display().to_string()))
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
