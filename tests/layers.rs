//! The house: which room may know of which. The layers are in [`ROOMS`], from top to bottom, and an arrow only ever points down. Subjects of
//! the stack know of each other only `names.rs` and `state.rs`.
//!
//! It reads the paths that begin with `crate::` or `super::` in the product's own code; what stands in tests may look anywhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

/// From top to bottom: a room may know those below it.
const ROOMS: [&str; 14] = [
    "commands", "doctor", "stack", "report", "engine", "bundle", "image", "host", "network", "cli", "config", "kube",
    "secrets", "error",
];

/// The subjects of the stack.
const SUBJECTS: [&str; 5] = ["preflight", "microk8s", "metallb", "longhorn", "iris"];

/// The tables of the stack: they know all subjects, and nothing in the stack knows them.
const TABLES: [&str; 4] = ["", "checks", "recall", "switch"];

/// What subjects may know of each other.
const SHARED: [&str; 2] = ["names", "state"];

/// A file of the product: its path below `src/`, and its text.
type File = (String, String);

/// The words and signs of a text without comments and what stands in quotes.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(end) = quoted(rest) {
            end
        } else if sign.is_alphanumeric() || sign == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else {
            if !sign.is_whitespace() {
                words.push(sign.to_string());
            }
            sign.len_utf8()
        };
        rest = &rest[end..];
    }
    words
}

/// Where the string or the character ends with which a text begins.
fn quoted(text: &str) -> Option<usize> {
    let raw = text.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
    if let Some(hashes) = raw.filter(|hashes| text[1 + hashes..].starts_with('"')) {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(2 + hashes + text[2 + hashes..].find(&end)? + end.len());
    }
    let mark = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == mark => return Some(at + 1),
            // A lifetime has no second mark.
            _ if mark == '\'' && at > 1 && !text[1..].starts_with('\\') => return None,
            _ => {}
        }
    }
    None
}

/// Without the items that only tests have.
fn product(words: &[String]) -> Vec<&str> {
    let mut kept: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words[at..].iter().take(7).map(String::as_str).eq(["#", "[", "cfg", "(", "test", ")", "]"]) {
            let mut depth = 0;
            loop {
                match words[at].as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 && matches!(words[at - 1].as_str(), "}" | ";") {
                    break;
                }
            }
            continue;
        }
        kept.push(&words[at]);
        at += 1;
    }
    kept
}

/// The paths that a tree of a `use` stands for.
fn tree<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    begin: &[&'a str],
    found: &mut Vec<Vec<&'a str>>,
) {
    let mut path = begin.to_vec();
    while let Some(word) = words.next() {
        match word {
            "::" => {}
            "{" => {
                while words.peek().is_some_and(|next| *next != "}") {
                    tree(words, &path, found);
                    words.next_if(|next| *next == ",");
                }
                words.next();
                return;
            }
            "as" => _ = words.next(),
            "self" if path.len() > begin.len() || !begin.is_empty() => {}
            name => path.push(name),
        }
        if words.peek().is_none_or(|next| matches!(*next, "," | "}" | ";")) {
            break;
        }
    }
    found.push(path);
}

/// The paths in a file that begin at the crate or above the file, as paths from the crate on.
fn paths(file: &File) -> BTreeSet<Vec<String>> {
    let all = words(&file.1);
    let kept = product(&all);
    let mut found: Vec<Vec<&str>> = Vec::new();
    let mut at = 0;
    while at < kept.len() {
        if kept[at] == "use" {
            let end = at + kept[at..].iter().position(|word| *word == ";").unwrap_or(0);
            tree(&mut kept[at + 1..=end].iter().copied().peekable(), &[], &mut found);
            at = end;
        } else if matches!(kept[at], "crate" | "super") && kept.get(at + 1) == Some(&"::") {
            let mut path = vec![kept[at]];
            while kept.get(at + 1) == Some(&"::") && kept.get(at + 2).is_some_and(|w| *w != "{" && *w != "*") {
                path.push(kept[at + 2]);
                at += 2;
            }
            found.push(path);
        }
        at += 1;
    }
    let own = module(&file.0);
    let absolute = |path: Vec<&str>| -> Option<Vec<String>> {
        let above = path.iter().take_while(|word| **word == "super").count();
        let begin = match *path.first()? {
            "crate" => &own[..0],
            "super" => &own[..own.len().checked_sub(above)?],
            _ => return None,
        };
        let rest = path.iter().filter(|word| !matches!(**word, "crate" | "super" | "*")).map(|word| (*word).to_owned());
        Some(begin.iter().cloned().chain(rest).collect())
    };
    found.into_iter().filter_map(absolute).collect()
}

/// The module of a file.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// What is wrong with an arrow from a file to a path; none when nothing is.
fn wrong(from: &[String], to: &[String]) -> Option<String> {
    let (room, other) = (from.first()?, to.first()?);
    let floor = |room: &str| ROOMS.iter().position(|r| *r == room);
    if room != other {
        return match (floor(room), floor(other)) {
            (Some(here), Some(there)) if here < there => None,
            (Some(_), Some(_)) => Some(format!("points up from {room} to {other}")),
            (None, _) => Some(format!("{room} is no room of the house")),
            (_, None) => Some(format!("{other} is no room of the house")),
        };
    }
    if room != "stack" {
        return None;
    }
    let part = |path: &[String]| path.get(1).cloned().unwrap_or_default();
    let (here, there) = (part(from), part(to));
    if TABLES.contains(&here.as_str()) || here == there {
        return None;
    }
    if TABLES.contains(&there.as_str()) {
        return Some("points up to a table of the stack".to_owned());
    }
    let shared = to.get(2).is_some_and(|module| SHARED.contains(&module.as_str()));
    (SUBJECTS.contains(&there.as_str()) && !shared)
        .then(|| format!("takes more of {there} than its names and its state"))
}

/// All wrong arrows: the two files, the name, and what is wrong.
fn violations(files: &[File]) -> Vec<String> {
    let modules: Vec<(Vec<String>, &str)> = files.iter().map(|(path, _)| (module(path), path.as_str())).collect();
    let file_of = |path: &[String]| {
        let holds = |(module, _): &&(Vec<String>, &str)| path.starts_with(module);
        modules.iter().filter(holds).max_by_key(|(module, _)| module.len())
    };
    let mut found = Vec::new();
    for file in files {
        for path in paths(file) {
            let (target, name) = file_of(&path).map_or(("?", path.as_slice()), |(m, f)| (f, &path[m.len()..]));
            if let Some(what) = wrong(&module(&file.0), &path) {
                found.push(format!("src/{} → src/{target}: {} {what}", file.0, name.join("::")));
            }
        }
    }
    found
}

/// All files of the product but the root of the crate and the program.
fn files(below: &Path, found: &mut Vec<File>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
            continue;
        }
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let is_test = name.ends_with("/tests.rs");
        if !is_test && !["lib.rs", "main.rs"].contains(&name.as_str()) {
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_arrow_points_down_and_subjects_share_only_names_and_state() {
    let mut all = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let arrows: usize = all.iter().map(|file| paths(file).len()).sum();
    assert!(all.len() > 150 && arrows > 1000, "{} files and {arrows} arrows: are they read at all?", all.len());
    let found = violations(&all);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// There is one way to lay out a module that has others below it: `foo/mod.rs`.
#[test]
fn a_folder_has_its_mod_rs_and_no_file_beside_it() {
    let mut all = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let names: BTreeSet<&str> = all.iter().map(|(path, _)| path.as_str()).collect();
    for folder in all.iter().filter_map(|(path, _)| path.rsplit_once('/').map(|(folder, _)| folder)) {
        assert!(names.contains(format!("{folder}/mod.rs").as_str()), "src/{folder}/ has no mod.rs");
        assert!(!names.contains(format!("{folder}.rs").as_str()), "src/{folder}.rs stands beside src/{folder}/");
    }
}

/// Each rule broken once.
#[test]
fn a_wrong_arrow_is_found_and_named() {
    let cases = [
        ("engine/plan.rs", "use crate::{error::Result, stack::data::Agreed};", "points up from engine to stack"),
        ("host/cri.rs", "fn pull() { crate::engine::one_line() }", "points up from host to engine"),
        ("error/defect.rs", "use super::super::host::Log;", "points up from error to host"),
        ("kube/mod.rs", "use crate::steps;", "steps is no room of the house"),
        (
            "stack/metallb/addon.rs",
            "use crate::stack::microk8s::{addons::judge, state};",
            "takes more of microk8s than its names",
        ),
        ("stack/object.rs", "use super::iris;", "takes more of iris than its names and its state"),
        (
            "stack/iris/log.rs",
            "use crate::{kube, stack::{self, longhorn::names}};",
            "points up to a table of the stack",
        ),
        ("stack/data/mod.rs", "use crate::stack::checks::HOST;", "points up to a table of the stack"),
    ];
    for (file, text, what) in cases {
        let found = violations(&[(file.to_owned(), text.to_owned())]);
        assert!(found.len() == 1 && found[0].contains(what) && found[0].contains(file), "{text}: {found:?}");
    }
    let good = [
        ("commands/mod.rs", "use crate::{stack::{self, iris::summary}, cli};"),
        ("stack/checks.rs", "use crate::stack::preflight::system;"),
        ("stack/iris/claims.rs", "use crate::stack::{microk8s::state as microk8s, longhorn::names::CLASS, object};"),
        (
            "engine/mod.rs",
            "#[cfg(test)]\nmod tests { use crate::stack; }\n// crate::stack\nconst A: &str = \"crate::stack::x\";",
        ),
    ];
    for (file, text) in good {
        assert_eq!(violations(&[(file.to_owned(), text.to_owned())]), Vec::<String>::new(), "{text}");
    }
}
