//! A CPF merge: what we need to know of it, and how the password gets into it. The text itself goes to IRIS as it was written; IRIS
//! alone understands it in full.
//!
//! The grammar, line by line, as InterSystems' "Configuration Parameter File Reference" has it (CPF Format, [Actions]):
//!
//! ```text
//! file     = { line }
//! line     = [ section | setting | action ] [ comment ] end-of-line
//! section  = "[" name "]"
//! setting  = key "=" value                           in every section but [Actions]
//! action   = verb ":" [ property { "," property } ]  in the section [Actions]
//! property = name "=" value                          what has no "=" belongs to the value before it
//! value    = { character | quoted }                  blanks around it do not count
//! quoted   = '"' { character | '""' } '"'            within its line; nothing in it is a comment or separates
//! comment  = ( ";" | "#" | "//" ) to the end of the line
//!          | "/*" ... "*/"                           over several lines, too
//! ```
//!
//! A comment begins at the beginning of a line, after a blank, or after the `]` of a section. Within a word the signs are part of the
//! value: IRIS's own default file has values such as `80^#,$C(27)`. Section names, keys and verbs are compared without case. A section
//! may come several times.

mod check;
mod encoding;
mod memory;
mod password;
mod scan;

use std::fmt;

pub use encoding::{LONGEST, decode};
pub use memory::Memory;

/// A CPF merge, taken apart.
#[derive(Clone, Debug)]
pub struct Cpf<'a> {
    text: &'a str,
    lines: Vec<Line<'a>>,
    mistakes: Vec<Mistake>,
    within_words: Vec<Mistake>,
}

/// A line that is more than a comment.
#[derive(Clone, Debug)]
struct Line<'a> {
    number: usize,
    /// As it was written, with its comments.
    raw: &'a str,
    item: Item,
}

/// What a line says.
#[derive(Clone, Debug)]
enum Item {
    Section(String),
    Setting { section: String, key: String, value: String },
    Action { verb: String, properties: Vec<(String, String)> },
}

/// What is wrong with a line, or worth knowing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line; none when it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl Mistake {
    fn at(line: usize, why: String) -> Self {
        Self { line: Some(line), why }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of the CPF: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// One form for the same text, however it was written down: lines end with a newline (and not as on an old Mac) and without blanks, and
/// byte order marks, of which editors leave more than one, are gone.
pub fn normalise(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let text = text.trim_end();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

impl<'a> Cpf<'a> {
    /// Takes a text apart. What is wrong in it is told by [`Cpf::mistakes`]; the rest can be asked all the same.
    pub fn read(text: &'a str) -> Self {
        let scan::Scanned { lines, mistakes, within_words } = scan::scan(text);
        let mut cpf = Self { text, lines: Vec::new(), mistakes, within_words };
        let mut section: Option<String> = None;
        for code in lines.into_iter().filter(|code| !code.text.is_empty()) {
            match item(&code.text, section.as_deref()) {
                Ok(item) => {
                    if let Item::Section(name) = &item {
                        section = Some(name.clone());
                    }
                    cpf.lines.push(Line { number: code.number, raw: code.raw, item });
                }
                Err(why) => cpf.mistakes.push(Mistake::at(code.number, why)),
            }
        }
        cpf
    }

    /// Names of the databases of this instance that must be there in the end.
    pub fn databases(&self) -> Vec<String> {
        self.names("Databases", "Database", |line| !line.is_remote())
    }

    /// Names of the namespaces that must be there in the end.
    pub fn namespaces(&self) -> Vec<String> {
        self.names("Namespaces", "Namespace", |_| true)
    }

    /// What a section lists and what actions make, without what actions delete, each of them once.
    fn names(&self, section: &str, kind: &str, counts: impl Fn(&Line<'_>) -> bool) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in &self.lines {
            let (made, name) = match &line.item {
                Item::Setting { section: of, key, .. } if is(of, section) => (true, key),
                Item::Action { verb, .. } => {
                    let Some(name) = line.property("Name").filter(|name| !name.is_empty()) else { continue };
                    let made = is(verb, &format!("Create{kind}"));
                    if !made && !is(verb, &format!("Delete{kind}")) {
                        continue;
                    }
                    (made, name)
                }
                _ => continue,
            };
            names.retain(|known| !is(known, name));
            if made && counts(line) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Everything that is set: settings of sections, and the properties of actions that set the same.
    fn settings(&self) -> impl Iterator<Item = Set<'_>> {
        self.lines.iter().flat_map(Line::sets)
    }

    /// The value of a setting; none when the CPF leaves it to IRIS.
    pub fn setting(&self, section: &str, key: &str) -> Option<&str> {
        self.settings().filter(|set| is(set.section, section) && is(set.key, key)).map(|set| set.value).last()
    }
}

/// The text without comments and without the lines that hold nothing else: two texts with the same essence say the same.
pub fn essence(text: &str) -> String {
    let scanned = scan::scan(text);
    let kept = scanned.lines.iter().filter(|line| !line.commented || !line.text.is_empty());
    let lines: Vec<&str> =
        kept.map(|line| if line.commented { line.text.as_str() } else { line.raw.trim_end() }).collect();
    format!("{}\n", lines.join("\n").trim())
}

/// A value that is set.
struct Set<'a> {
    line: &'a Line<'a>,
    section: &'a str,
    key: &'a str,
    value: &'a str,
}

/// Names are compared without case, as IRIS does.
fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// What verbs of actions begin with.
const VERBS: [&str; 8] = ["Create", "Modify", "Delete", "Config", "Execute", "Grant", "Revoke", "Install"];

/// Reads a line that is more than a comment.
fn item(text: &str, section: Option<&str>) -> Result<Item, String> {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.strip_suffix(']').map(str::trim) {
            Some(name) if !name.is_empty() && !name.contains(['[', ']']) => Ok(Item::Section(name.to_owned())),
            _ => Err(format!("`{}` is not a section; write it as [Startup]", short(text))),
        };
    }
    let Some(section) = section else { return Err("comes before the first section, such as [Startup]".to_owned()) };
    if is(section, "Actions") {
        return action(text);
    }
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("`{}` is neither a section nor of the form key=value", short(text)));
    };
    if let Some((verb, _)) = key.split_once(':')
        && VERBS.iter().any(|known| verb.trim().starts_with(known))
    {
        return Err(format!(
            "`{}` is an action: it belongs into the section [Actions], and this is [{section}]",
            short(verb)
        ));
    }
    Ok(Item::Setting { section: section.to_owned(), key: key.trim().to_owned(), value: plain(value) })
}

fn action(text: &str) -> Result<Item, String> {
    let wrong =
        || format!("`{}` is not an action; write it as CreateDatabase:Name=X,Directory=/vol-data/X", short(text));
    let (verb, rest) = text.split_once(':').ok_or_else(wrong)?;
    let verb = verb.trim();
    if verb.is_empty() || !verb.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(wrong());
    }
    let mut properties: Vec<(String, String)> = Vec::new();
    for part in split(rest).into_iter().filter(|part| !part.trim().is_empty()) {
        match (part.split_once('='), properties.last_mut()) {
            (Some((name, value)), _) => properties.push((name.trim().to_owned(), plain(value))),
            // A value may have commas without being quoted (`PasswordHash=hash,salt,10000,SHA512`).
            (None, Some((_, value))) => value.push_str(&format!(",{}", plain(part))),
            // `DeleteApplication:/csp/x` names what it means without a property.
            (None, None) => properties.push(("Name".to_owned(), plain(part))),
        }
    }
    Ok(Item::Action { verb: verb.to_owned(), properties })
}

/// The parts between commas, except for commas within quotes.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let at_comma = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    text.split(at_comma).collect()
}

/// A value without the blanks around it and without its quotes; a doubled one within quotes stands for itself.
fn plain(value: &str) -> String {
    let mut plain = String::new();
    let mut quoted = false;
    let mut rest = value.trim().chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => plain.extend(rest.next()),
            '"' => quoted = !quoted,
            c => plain.push(c),
        }
    }
    plain
}

/// What a message shows of a text.
fn short(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(57).chain("...".chars()).collect() }
}

impl Line<'_> {
    /// A property of an action.
    fn property(&self, name: &str) -> Option<&String> {
        let Item::Action { properties, .. } = &self.item else { return None };
        properties.iter().find(|(key, _)| is(key, name)).map(|(_, value)| value)
    }

    fn verb(&self) -> Option<&str> {
        if let Item::Action { verb, .. } = &self.item { Some(verb) } else { None }
    }

    /// What the line sets. `ModifyStartup:WebServer=0` is the same as `WebServer=0` in the section [Startup].
    fn sets(&self) -> Vec<Set<'_>> {
        match &self.item {
            Item::Section(_) => Vec::new(),
            Item::Setting { section, key, value } => vec![Set { line: self, section, key, value }],
            Item::Action { verb, properties } => {
                let section = ["Startup", "config", "Journal"].into_iter().find(|s| is(verb, &format!("Modify{s}")));
                section
                    .into_iter()
                    .flat_map(|s| {
                        properties.iter().map(move |p| Set { line: self, section: s, key: &p.0, value: &p.1 })
                    })
                    .collect()
            }
        }
    }

    /// A database on another machine: it has a server, or its directory is a name there (`:mirror:SET:NAME`, `:ds:NAME`).
    fn is_remote(&self) -> bool {
        match &self.item {
            Item::Setting { value, .. } => {
                let mut fields = value.split(',').map(str::trim);
                fields.next().is_some_and(|directory| directory.starts_with(':'))
                    || fields.next().is_some_and(|s| !s.is_empty())
            }
            _ => {
                self.property("Server").is_some_and(|server| !server.is_empty())
                    || self.property("Directory").is_some_and(|directory| directory.starts_with(':'))
            }
        }
    }
}
