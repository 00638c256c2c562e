//! The log of a run: every command with its full output, without what looks like a secret. It is kept in memory until something is changed,
//! so that a run that only looks, or refuses, leaves no file; a defect is worth one.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

use super::{Cmd, Effect, Output};
use crate::{
    error::{Error, defect},
    secrets,
};

/// Where logs are kept.
pub const DIR: &str = "/var/log/iris-mk8s";

/// A name for a run of a command that no other run has: its log has it too.
pub fn run_name(command: &str) -> String {
    format!("{}-{command}-{}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"), std::process::id())
}

/// Whether a file in [`DIR`] has a name that [`run_name`] gives.
pub fn is_log(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "log") && name.starts_with(|c: char| c.is_ascii_digit())
}

/// The log.
pub struct Log {
    path: PathBuf,
    start: Instant,
    inner: Mutex<Sink>,
}

enum Sink {
    Memory(Vec<u8>),
    File(File),
    /// The disk refused: the run is worth more than its log.
    Broken,
}

impl Log {
    /// A log of the given run.
    pub fn new(run: &str) -> Self {
        let path = Path::new(DIR).join(format!("{run}.log"));
        Self { path, start: Instant::now(), inner: Mutex::new(Sink::Memory(Vec::new())) }
    }

    /// Its file, if there is one by now.
    pub fn file(&self) -> Option<&Path> {
        let written = self.inner.lock().is_ok_and(|sink| matches!(*sink, Sink::File(_)));
        written.then_some(&*self.path)
    }

    /// Notes something that is about to change the host, or has.
    pub fn change(&self, text: &str) {
        self.write(text, true);
    }

    /// Notes a command that ended.
    pub fn command(&self, cmd: &Cmd, output: &Output) {
        let text = format!("$ {}\n{}{}  [{}]", cmd.show(), output.stdout, output.stderr, output.ended());
        self.write(&text, cmd.effect == Effect::Changes);
    }

    /// Notes a command that could not be run.
    pub fn failed(&self, cmd: &Cmd, error: &Error) {
        self.write(&format!("$ {}\n{error}", cmd.show()), cmd.effect == Effect::Changes);
    }

    fn write(&self, text: &str, changes: bool) {
        let line = format!("[{:9.3}] {}\n", self.start.elapsed().as_secs_f64(), secrets::hide(text.trim_end()));
        let Ok(mut sink) = self.inner.lock() else { return };
        if let (Sink::Memory(buffer), true) = (&*sink, changes) {
            let next = self.open(buffer).map_or(Sink::Broken, Sink::File);
            *sink = next;
        }
        match &mut *sink {
            Sink::Memory(buffer) => buffer.extend_from_slice(line.as_bytes()),
            Sink::File(file) => _ = file.write_all(line.as_bytes()),
            Sink::Broken => {}
        }
    }

    fn open(&self, buffer: &[u8]) -> std::io::Result<File> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(DIR)?;
        let mut file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&self.path)?;
        file.write_all(buffer)?;
        Ok(file)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.change("ended by a panic");
            if let Some(file) = self.file() {
                defect::note_log(file.to_owned());
            }
        }
    }
}
