//! Mistakes in a CPF, each with its line and the correction, and remarks that are only worth knowing.

use super::{Cpf, Item, Line, Mistake, Set, encoding::LONGEST, is};

/// The volumes of an instance. What lies elsewhere is gone when its pod is.
const VOLUMES: [&str; 2] = ["/vol-data", "/iris-mgr"];

impl Cpf<'_> {
    /// What cannot be taken: lines that are none, passwords, a web server that is off or elsewhere.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let whole = |why: &str| vec![Mistake { line: None, why: why.to_owned() }];
        if self.text.len() > LONGEST {
            return whole("the CPF is longer than 64 KiB");
        }
        let mut found = self.mistakes.clone();
        let control = |line: &str| line.chars().find(|c| c.is_control() && *c != '\t');
        for (number, line) in (1..).zip(self.text.lines()) {
            if let Some(c) = control(line) {
                found.push(Mistake::at(number, format!("contains the control character {}", c.escape_unicode())));
            }
        }
        if found.is_empty() && self.lines.is_empty() {
            return whole("the CPF is empty; without one there is no database");
        }
        for line in &self.lines {
            found.extend(secret(line).or_else(|| incomplete(line)).map(|why| Mistake::at(line.number, why)));
        }
        found.extend(self.settings().filter_map(|set| Some(Mistake::at(set.line.number, port(&set)?))));
        found.sort_by_key(|mistake| mistake.line);
        found
    }

    /// Data that would lie outside of the volumes, with the line as it would be right.
    pub fn outside(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        for line in &self.lines {
            if let Some(name) = line.of_iris() {
                found.push(Mistake::at(line.number, format!(
                    "{name} is a database of IRIS's own, and this line would move it to where it is not; remove the line: a merge holds only \
                     what is to differ"
                )));
                continue;
            }
            for (what, directory, own) in directories(line) {
                if !is_durable(&directory) {
                    let right = line.raw.trim().replacen(&directory, &moved(&directory, own), 1);
                    let way = if own { "remove the setting, or write" } else { "write" };
                    found.push(Mistake::at(line.number, format!(
                        "{what} in `{directory}` would be lost with its pod, because only {} are volumes; {way}: {right}",
                        VOLUMES.join(" and ")
                    )));
                }
            }
        }
        found
    }

    /// What is no mistake, and may not be what was meant.
    pub fn notes(&self) -> Vec<Mistake> {
        let mut found = self.within_words.clone();
        let listed = |line: &&Line<'_>| matches!(&line.item, Item::Setting { section, .. } if is(section, "Databases"));
        if let Some(first) = self.lines.iter().filter(listed).find(|line| !line.is_remote()) {
            let why = "the section [Databases] names databases and does not make their files; the action CreateDatabase does both";
            found.push(Mistake::at(first.number, why.to_owned()));
        }
        found
    }
}

/// The CPF is kept in the journal and shown in plans: a password, hashed or not, is not to be found there. And a `PasswordHash` of its
/// own, even an empty one, would take the place of ours.
fn secret(line: &Line<'_>) -> Option<String> {
    let pairs: Vec<(&str, &str)> = match &line.item {
        Item::Section(_) => Vec::new(),
        Item::Setting { key, value, .. } => vec![(key, value)],
        Item::Action { properties, .. } => {
            properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
        }
    };
    let of_startup = line.sets().into_iter().find(|set| is(set.section, "Startup") && is(set.key, "PasswordHash"));
    let name = pairs.into_iter().find(|(name, value)| is_secret(name, value)).map(|(name, _)| name);
    if let Some(name) = of_startup.map(|set| set.key).or(name) {
        // Of those that every image brings, this program sets the password.
        let instead = match line.verb() {
            Some(verb) if !is(verb, "ModifyUser") && !is(verb, "ModifyStartup") => "set it when IRIS runs",
            _ => "give the password with --password-file",
        };
        return Some(format!("`{name}` does not belong into a CPF; {instead}"));
    }
    let argument = argument(line)?;
    let of = ["MethodName", "RoutineName", "ClassName"].into_iter().find_map(|name| line.property(name))?;
    Some(format!(
        "`{argument}` of {of} looks like a password in plain text, which would be kept in the journal and shown in plans; let the program read it from a file"
    ))
}

/// A property that holds a secret. Switches such as `ChangePassword=0` are none.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = ["password", "passwordhash", "passphrase", "pwd", "secret"].iter().any(|end| name.ends_with(end));
    ends && !matches!(value, "" | "0" | "1")
}

/// An argument of `Execute` that is a secret, as far as names tell: what is called sets passwords or secrets, and the first argument of
/// such methods says whose.
fn argument<'a>(line: &'a Line<'_>) -> Option<&'a str> {
    let Item::Action { verb, properties } = &line.item else { return None };
    if !is(verb, "Execute") {
        return None;
    }
    let called: Vec<String> = ["ClassName", "MethodName", "RoutineName"]
        .into_iter()
        .filter_map(|name| Some(line.property(name)?.to_ascii_lowercase()))
        .collect();
    let words = ["password", "passwd", "secret", "credential", "security.users", "token", "passphrase"];
    if !called.iter().any(|name| words.iter().any(|word| name.contains(word))) {
        return None;
    }
    let later = |name: &str| name.len() > 3 && is(&name[..3], "Arg") && name[3..].parse::<u32>().is_ok_and(|n| n > 1);
    let telling = |value: &str| !value.is_empty() && value != "*" && value.parse::<f64>().is_err();
    properties
        .iter()
        .find(|(name, value)| name.is_ascii() && later(name) && telling(value))
        .map(|(name, _)| name.as_str())
}

/// A database without a name or a place is not made, and would be waited for in vain.
fn incomplete(line: &Line<'_>) -> Option<String> {
    let verb = line.verb().filter(|verb| is(verb, "CreateDatabase"))?;
    let lacks = ["Name", "Directory"].into_iter().find(|name| line.property(name).is_none_or(String::is_empty))?;
    Some(format!("{verb} without {lacks}; write {verb}:Name=X,Directory=/vol-data/X"))
}

/// Readiness, metrics, services and the portal use the ports that an image has. Whether its private web server follows another
/// `WebServerPort` is not certain (the class reference calls it "private or external"), so a change is refused at once instead of being
/// waited for in vain.
fn port(set: &Set<'_>) -> Option<String> {
    let fixed = [("WebServer", "1"), ("WebServerPort", "52773"), ("DefaultPort", "1972")];
    let (key, right) = fixed.into_iter().find(|(key, _)| is(set.section, "Startup") && is(set.key, key))?;
    if set.value.is_empty() || set.value == right {
        return None;
    }
    let why = if key == "WebServer" {
        "turns off the web server, which serves the portal and the metrics that show whether an instance is ready"
            .to_owned()
    } else {
        format!(
            "moves IRIS away from port {right}, which the pod's services and readiness check use; each pod has all ports for itself"
        )
    };
    Some(format!("`{key}={}` {why}; remove the setting", set.value))
}

/// Directories that a line names and whose data must outlive the pod: what it is, where, and whether IRIS has a place of its own for it.
fn directories(line: &Line<'_>) -> Vec<(&'static str, String, bool)> {
    if let Item::Setting { section, value, .. } = &line.item
        && is(section, "Databases")
        && !line.is_remote()
    {
        return vec![("the database", value.split(',').next().unwrap_or_default().trim().to_owned(), false)];
    }
    let data = ["CreateDatabase", "ModifyDatabase", "CreateDatabaseFile"];
    if line.verb().is_some_and(|verb| data.iter().any(|known| is(verb, known))) && !line.is_remote() {
        return line.property("Directory").map(|d| ("the database", d.clone(), false)).into_iter().collect();
    }
    let of_iris = [
        ("config", "wijdir", "the write image journal"),
        ("Journal", "CurrentDirectory", "the journal"),
        ("Journal", "AlternateDirectory", "the journal"),
    ];
    let known = |set: &Set<'_>| of_iris.iter().find(|(section, key, _)| is(set.section, section) && is(set.key, key));
    let found = |set: Set<'_>| known(&set).map(|(.., what)| (*what, set.value.to_owned(), true));
    line.sets().into_iter().filter(|set| !set.value.is_empty()).filter_map(found).collect()
}

fn is_durable(directory: &str) -> bool {
    let inside =
        |volume: &&str| directory.strip_prefix(*volume).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    VOLUMES.iter().any(inside) && !directory.split('/').any(|part| part == "..")
}

/// Databases that every image has in places of its own ("Configuration Parameter File Reference", section [Databases]).
const OF_IRIS: [&str; 14] = [
    "IRISSYS",
    "IRISSECURITY",
    "IRISLIB",
    "IRISTEMP",
    "IRISLOCALDATA",
    "IRISAUDIT",
    "IRISMETRICS",
    "ENSLIB",
    "USER",
    "HSLIB",
    "HSSYS",
    "HSCUSTOM",
    "HSSYSLOCALTEMP",
    "HSAALIB",
];

impl Line<'_> {
    /// The name of a database of IRIS's own that a line of the section [Databases] puts outside of the volumes: such lines come from a
    /// whole configuration file of another instance.
    fn of_iris(&self) -> Option<&str> {
        let Item::Setting { section, key, value } = &self.item else { return None };
        let directory = value.split(',').next().unwrap_or_default().trim();
        let known = is(section, "Databases") && OF_IRIS.iter().any(|name| is(name, key));
        (known && !self.is_remote() && !is_durable(directory)).then_some(key)
    }
}

/// The same directory on a volume.
fn moved(directory: &str, own: bool) -> String {
    let separators = ['/', '\\'];
    let last = directory.trim_end_matches(separators).rsplit(separators).next().filter(|l| !l.is_empty() && *l != "..");
    let end = if directory.ends_with(separators) { "/" } else { "" };
    format!("{}/{}{end}", VOLUMES[usize::from(own)], last.unwrap_or("X"))
}
