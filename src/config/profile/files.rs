//! Files that a value names. In a profile, their paths are relative to that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Origin, cpf_file,
    keys::{Key, Kind, Refusal, Value},
};
use crate::config::{
    cpf::{self, Cpf},
    spec::Endpoint,
};

/// A value with the files that it names found: the content of a CPF, and whole paths.
///
/// # Errors
/// One of them cannot be read, or holds mistakes.
pub(super) fn resolved(key: &'static Key, value: Value, origin: &Origin) -> Result<(&'static str, Value), Refusal> {
    Ok(match (&key.kind, value) {
        (Kind::CpfFile, Value::Text(path)) => ("iris.cpf", cpf_in_file(&path, origin)?),
        (Kind::LonghornFile, Value::Text(path)) => (key.name, whole_path(&path, origin)?),
        (Kind::Endpoints, Value::Endpoints(list)) => {
            let whole = |endpoint: Endpoint| {
                let file = endpoint.password_file.as_ref().map(|file| relative_to(origin, file));
                Endpoint { password_file: file, ..endpoint }
            };
            (key.name, Value::Endpoints(list.into_iter().map(whole).collect()))
        }
        (Kind::FilesOf, Value::List(files)) => {
            let whole = |file: &String| {
                let (registry, path) = file.split_once('=').unwrap_or_default();
                whole_path(path, origin).map(|path| format!("{registry}={path}"))
            };
            (key.name, Value::List(files.iter().map(whole).collect::<Result<_, _>>()?))
        }
        (_, value) => (key.name, value),
    })
}

/// The CPF in a file, relative to the profile that names it.
fn cpf_in_file(path: &str, origin: &Origin) -> Result<Value, Refusal> {
    let full = relative_to(origin, Path::new(path));
    let file = format!("the CPF {}", full.display());
    let text = cpf_file::read(&full).map_err(|why| Refusal::from(format!("{file} {why}")))?;
    let text = cpf::normalise(&text);
    if let Some(why) = cpf_file::joined(&Cpf::read(&text).mistakes()) {
        return Err(format!("{file}: {why}").into());
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
fn whole_path(path: &str, origin: &Origin) -> Result<Value, Refusal> {
    let full = relative_to(origin, Path::new(path));
    let found =
        fs::canonicalize(&full).map_err(|e| Refusal::from(format!("{} cannot be read ({e})", full.display())))?;
    Ok(Value::Text(found.display().to_string()))
}
