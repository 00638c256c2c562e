//! Whether what lies in the journal's place can only have been written by who runs this.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::error::{Error, ExitCode, Result};

/// Refuses a place whose content somebody else could have written: root would act on it, and write its secrets there. The folder and all in it
/// belong to who runs this, nobody else may write there, and no file is a link. The password alone belongs to who uses it.
///
/// # Errors
/// It is not so; the hint is the command that mends it.
pub(crate) fn check_place(place: &Place) -> Result<()> {
    let dir = &place.dir;
    let Some(meta) = look(dir)? else { return Ok(()) };
    let shown = dir.display();
    let what = match (meta.is_dir(), meta.is_symlink()) {
        (true, _) => wrong(&meta),
        (_, true) => Some("it is a link".to_owned()),
        _ => Some("it is no folder".to_owned()),
    };
    if let Some(what) = what {
        let mend = if meta.is_dir() { format!("chown root:root {shown} && sudo chmod 755 {shown}") } else { away(dir) };
        return Err(refusal(dir, &what).hint(format!(
            "see that all in it is yours: `sudo ls -la {shown}/`, then `sudo {mend}`; what is not yours must not be there"
        )));
    }
    for entry in fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let path = entry.map_err(|e| unreadable(dir, &e))?.path();
        // A run beside us may have removed it by now.
        let Some(meta) = look(&path)? else { continue };
        check_entry(place, &path, &meta)?;
    }
    Ok(())
}

fn check_entry(place: &Place, path: &Path, meta: &Metadata) -> Result<()> {
    let shown = path.display();
    if meta.is_symlink() {
        let put = fs::canonicalize(path).ok().map(|file| {
            format!("when that file is yours, put it in the place of the link: `sudo cp --remove-destination {} {shown}`; else ", file.display())
        });
        let hint = format!("{}move it away: `sudo {}`", put.unwrap_or_default(), away(path));
        return Err(refusal(path, "it is a link").hint(hint));
    }
    let ours = [place.journal(), place.lock(), place.password(), place.password_hash()];
    if meta.is_dir() && !ours.iter().any(|file| file == path) {
        // Somebody's own, made as root: no file of ours is in a folder there.
        return Ok(());
    }
    if !meta.is_file() {
        return Err(refusal(path, "it is no file").hint(format!("move it away: `sudo {}`", away(path))));
    }
    match wrong(meta).filter(|_| path != place.password()) {
        Some(what) => Err(refusal(path, &what).hint(format!(
            "when its content is yours: `sudo chown root:root {shown} && sudo chmod go-w {shown}`, else move it away: `sudo {}`",
            away(path)
        ))),
        None => Ok(()),
    }
}

/// What is wrong with an owner or a mode.
fn wrong(meta: &Metadata) -> Option<String> {
    let mode = meta.mode() & 0o7777;
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Some(format!("it belongs to the user with the number {}", meta.uid()));
    }
    (mode & 0o022 != 0).then(|| format!("others may write it (mode {mode:04o})"))
}

fn away(path: &Path) -> String {
    format!("mv {} /root/", path.display())
}

fn refusal(path: &Path, what: &str) -> Error {
    Error::new(ExitCode::Journal, format!("{} cannot be trusted: {what}", path.display()))
        .because("nothing was changed: who can write there decides what is taken for ours, and removed")
}

fn unreadable(path: &Path, e: &io::Error) -> Error {
    Error::new(ExitCode::Journal, format!("cannot read {}", path.display())).because(e)
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(path, &e)),
    }
}

/// Where the journal, the lock and the password live.
#[derive(Clone, Debug)]
pub struct Place {
    /// `/var/lib/iris-mk8s`
    pub dir: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self { dir: PathBuf::from("/var/lib/iris-mk8s") }
    }
}

impl Place {
    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    /// The password, readable for the user alone.
    pub fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Its hash, so that a later run finds the CPF as it made it.
    pub fn password_hash(&self) -> PathBuf {
        self.dir.join("password.hash")
    }

    /// The lock's file.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// What the host was like before MicroK8s.
    pub fn before(&self) -> PathBuf {
        self.dir.join("before.json")
    }

    /// What the host was like before Longhorn.
    pub fn before_longhorn(&self) -> PathBuf {
        self.dir.join("longhorn-before.json")
    }

    /// Our files beside the journal, and what an interrupted write of one may have left.
    pub fn beside(&self) -> Vec<PathBuf> {
        let ours = [self.password(), self.password_hash(), self.before(), self.before_longhorn()];
        let written = ours.iter().cloned().chain([self.journal()]);
        let unfinished: Vec<PathBuf> = written.map(|file| unfinished(&file)).collect();
        ours.into_iter().chain(unfinished).collect()
    }
}

/// A file while it is written anew.
pub(crate) fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::{
        engine::journal::{Contents, Journal},
        stack::origin,
    };

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// What somebody does to a place with a journal, and what is said of it; none = it is good.
    type Case = (&'static str, fn(&Place), Option<&'static str>);

    const CASES: &[Case] = &[
        ("as it is made", |_| {}, None),
        ("with a folder of somebody's", |place| fs::create_dir(place.dir.join("backup")).expect("a folder"), None),
        (
            "its lock a folder",
            |place| {
                fs::remove_file(place.lock()).and_then(|()| fs::create_dir(place.lock())).expect("a folder");
            },
            Some("it is no file"),
        ),
        ("kept to root", |place| mode(&place.dir, 0o700), None),
        ("open to all", |place| mode(&place.dir, 0o777), Some("others may write it (mode 0777)")),
        ("open to all, sticky", |place| mode(&place.dir, 0o1777), Some("mode 1777")),
        ("open to its group", |place| mode(&place.dir, 0o775), Some("mode 0775")),
        (
            "a link",
            |place| {
                let other = place.dir.with_extension("other");
                fs::rename(&place.dir, &other).and_then(|()| symlink(&other, &place.dir)).expect("a link");
            },
            Some("it is a link"),
        ),
        (
            "a file",
            |place| fs::remove_dir_all(&place.dir).and_then(|()| fs::write(&place.dir, "")).expect("a file"),
            Some("it is no folder"),
        ),
        (
            "its journal a link",
            |place| {
                let other = place.dir.join("other");
                fs::rename(place.journal(), &other).and_then(|()| symlink(&other, place.journal())).expect("a link");
            },
            Some("it is a link"),
        ),
        (
            "its password a link",
            |place| symlink("/etc/hostname", place.password()).expect("a link"),
            Some("it is a link"),
        ),
        (
            "its lock a link to nothing",
            |place| {
                fs::remove_file(place.lock()).and_then(|()| symlink("/nonexistent", place.lock())).expect("a link");
            },
            Some("it is a link"),
        ),
        ("its journal open to all", |place| mode(&place.journal(), 0o666), Some("mode 0666")),
        (
            "its journal a pipe",
            |place| {
                fs::remove_file(place.journal()).expect("removed");
                nix::unistd::mkfifo(&place.journal(), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
            },
            Some("it is no file"),
        ),
        (
            "its password open to all",
            |place| {
                fs::write(place.password(), "x").expect("written");
                mode(&place.password(), 0o666);
            },
            None,
        ),
    ];

    #[test]
    fn a_place_that_others_could_have_written_is_refused_and_stays_as_it_is() {
        for (name, change, said) in CASES {
            let dir = tempfile::tempdir().expect("a directory");
            let place = Place { dir: dir.path().join("state") };
            drop(Journal::open(&place, origin).expect("a journal"));
            change(&place);
            let ended = [Contents::read(&place, origin).map(|_| ()), Journal::open(&place, origin).map(|_| ())];
            for ended in ended {
                match (said, ended) {
                    (None, ended) => assert!(ended.is_ok(), "{name}: {ended:?}"),
                    (Some(said), Ok(())) => panic!("{name} is accepted, and it should say: {said}"),
                    (Some(said), Err(e)) => {
                        assert!(e.code == ExitCode::Journal && e.what.contains(said), "{name}: {e}");
                        assert!(e.hint.is_some_and(|hint| hint.contains("`sudo ")), "{name}: no command mends it");
                    }
                }
            }
        }
    }

    #[test]
    fn a_place_of_somebody_else_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "owners need root");
            return;
        }
        let nobody = 65534;
        for what in [Path::new(""), Path::new("journal.jsonl"), Path::new("before.json")] {
            let dir = tempfile::tempdir().expect("a directory");
            let place = Place { dir: dir.path().to_owned() };
            drop(Journal::open(&place, origin).expect("a journal"));
            fs::write(place.dir.join("before.json"), "{}").expect("written");
            chown(place.password(), None, None).unwrap_err();
            check_place(&place).expect("it is good");
            let path = place.dir.join(what);
            chown(&path, Some(nobody), Some(nobody)).expect("chown");
            let error = check_place(&place).unwrap_err();
            assert!(error.what.contains("the user with the number 65534"), "{error}");
        }
        // The password is its user's.
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place { dir: dir.path().to_owned() };
        fs::write(place.password(), "x").and_then(|()| chown(place.password(), Some(nobody), None)).expect("written");
        check_place(&place).expect("it is good");
    }
}
