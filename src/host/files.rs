//! Files: each is there whole or not at all, with the mode that was asked for whatever the umask is, and durable when a call returns.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use nix::{
    sys::stat::{Mode, umask},
    unistd::User,
};

use super::FileWrite;
use crate::error::{Error, Result};

/// Sets the umask for us and for all that we run: a stricter one of the caller's would keep users from what they must be able to read
/// (`umask 027` and the folder of the password). What is secret gets its mode by itself.
pub fn set_umask() {
    umask(Mode::from_bits_truncate(0o022));
}

/// Writes a file beside its place, and moves it there. Its name beside is a fixed one, unlike those of `tempfile`: what a killed run left is
/// found and removed.
pub(super) fn write(file: &FileWrite) -> Result<()> {
    let cannot = |e: &dyn std::fmt::Display| Error::failed(format!("cannot write {}", file.path.display())).because(e);
    let owner = match &file.owner {
        Some(name) => {
            let user = User::from_name(name).map_err(|e| cannot(&e))?;
            Some(user.ok_or_else(|| cannot(&format!("there is no user `{name}`")))?)
        }
        None => None,
    };
    let mut beside = file.path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    write_beside(file, owner.as_ref(), &beside).map_err(|e| {
        let _ = fs::remove_file(&beside);
        cannot(&e)
    })
}

fn write_beside(file: &FileWrite, owner: Option<&User>, beside: &Path) -> io::Result<()> {
    if let Some(folder) = file.path.parent() {
        make_folders(folder)?;
    }
    let _ = fs::remove_file(beside);
    // Nobody else can read it before it has its owner and its mode.
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    out.write_all(&file.bytes)?;
    let mut mode = Permissions::from_mode(file.mode);
    if let Some(user) = owner {
        chown(beside, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    if let Some(before) = fs::metadata(&file.path).ok().filter(|_| file.keeps) {
        chown(beside, Some(before.uid()), Some(before.gid()))?;
        mode = before.permissions();
    }
    out.set_permissions(mode)?;
    out.sync_all()?;
    fs::rename(beside, &file.path)?;
    sync_parent(&file.path)
}

/// Makes a folder and those that it lies in.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    match fs::create_dir(folder) {
        // Somebody else made it at the same time.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => sync_parent(folder),
    }
}

/// Makes a file's name durable, or its absence: both are in the folder.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let folder = match File::open(folder) {
        // Gone together with its folder.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match folder.sync_all() {
        // There are file systems whose folders cannot be synced, and need not be.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_written_whole_with_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b/c");
        let file = FileWrite {
            path: path.clone(),
            bytes: b"x".to_vec(),
            mode: 0o600,
            owner: None,
            secret: true,
            keeps: false,
        };
        write(&file).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"x");
        assert_eq!(mode(&path), 0o600);
        let names: Vec<_> = fs::read_dir(dir.path().join("a/b")).expect("a folder").flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
        fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("chmod");
        write(&FileWrite { keeps: true, ..file.clone() }).expect("written");
        assert_eq!(mode(&path), 0o664, "what is there keeps its mode");
        write(&file).expect("written");
        assert_eq!(mode(&path), 0o600);
        // More than any usual umask lets through.
        write(&FileWrite { mode: 0o666, ..file }).expect("written");
        assert_eq!(mode(&path), 0o666);
    }
}
