//! Removing what is in the file system: never through a link, and never across a mount. What is mounted below a folder is somebody's data,
//! whatever the folder is called.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, OFlags, openat, statat, unlinkat};

use super::mounts;

/// Removes a file, a link or an empty directory; with `all` a directory with everything in it. What is gone is no error.
pub(super) fn remove(path: &Path, all: bool) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() && all => tree(path),
        Ok(meta) if meta.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn tree(path: &Path) -> io::Result<()> {
    // As the kernel names it in the list of mounts.
    let real = fs::canonicalize(path)?;
    let mounted = |text: &str| mounts(text).into_iter().find(|m| m.starts_with(&real));
    if let Some(point) = mounted(&fs::read_to_string("/proc/self/mountinfo")?) {
        return Err(across(&point));
    }
    let name = CString::new(real.as_os_str().as_bytes())?;
    let device = statat(CWD, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_dev;
    clear(CWD, &name, &real, device)?;
    fs::remove_dir(&real)
}

fn across(point: &Path) -> io::Error {
    io::Error::other(format!("something is mounted at {}: it was left as it is", point.display()))
}

/// Empties the directory `name` in `parent`, as long as it lies on that device: whoever mounts something meanwhile does not lose it.
fn clear(parent: BorrowedFd<'_>, name: &CStr, path: &Path, device: u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(parent, name, flags, rustix::fs::Mode::empty())?;
    let mut names: Vec<CString> = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        let path: PathBuf = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let stat = match statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => continue,
            other => other?,
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir {
            if stat.st_dev != device {
                return Err(across(&path));
            }
            clear(fd.as_fd(), &name, &path, device)?;
        }
        match unlinkat(&fd, &name, if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() }) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(io::Error::new(io::Error::from(e).kind(), format!("{}: {e}", path.display()))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_point_to_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        fs::create_dir_all(ours.join("a/b")).expect("made");
        fs::create_dir(&theirs).expect("made");
        fs::write(theirs.join("data"), "x").expect("written");
        std::os::unix::fs::symlink(&theirs, ours.join("a/link")).expect("linked");
        std::os::unix::fs::symlink(&theirs, dir.path().join("link")).expect("linked");
        assert!(remove(&ours, false).is_err(), "it is not empty");
        remove(&ours, true).expect("it goes");
        remove(&dir.path().join("link"), true).expect("it goes");
        assert!(!ours.exists() && theirs.join("data").exists());
        remove(&ours, true).expect("what is gone is no error");
    }

    /// A bind mount lies on the same device: only the list of mounts tells.
    #[test]
    fn nothing_goes_where_something_is_mounted() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (dir.path().join("with space/ours"), dir.path().join("theirs"));
        fs::create_dir_all(ours.join("point")).expect("made");
        fs::create_dir(&theirs).expect("made");
        fs::write(theirs.join("data"), "x").expect("written");
        fs::write(ours.join("file"), "x").expect("written");
        let run =
            |argv: &[&str]| std::process::Command::new(argv[0]).args(&argv[1..]).status().is_ok_and(|s| s.success());
        let (from, to) = (theirs.to_str().expect("UTF-8"), ours.join("point"));
        let to = to.to_str().expect("UTF-8");
        if !run(&["mount", "--bind", from, to]) {
            return;
        }
        let refused = remove(&ours, true);
        assert!(run(&["umount", to]));
        assert!(refused.unwrap_err().to_string().contains("point"));
        assert!(theirs.join("data").exists() && ours.join("file").exists(), "nothing of it went");
        remove(&ours, true).expect("now it goes");
    }
}
