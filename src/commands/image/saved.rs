//! Where an image comes from: a file or a folder, or a local Docker or Podman, whose `save` is written into a file first.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::commands::run::Run;
use crate::{
    engine::event::Event,
    error::{Error, ExitCode, Result},
    host::{Cmd, Heard, Host},
    image::Name,
};

/// Programs that may hold images, in the order in which they are asked.
const TOOLS: [&str; 2] = ["docker", "podman"];

/// Where an image is kept while it is pushed. Other than `/tmp` it is on a disk, and folders there are removed after a month if nobody else does.
const FOLDER: &str = "/var/tmp";

/// The largest images over the slowest disks.
const SAVED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// An archive that can be opened.
pub(super) enum Source {
    File(PathBuf),
    /// Its folder goes with this value.
    Saved {
        file: PathBuf,
        image: String,
        _folder: TempDir,
    },
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Saved { file, .. } => file,
        }
    }

    /// The image that was asked for by its name.
    pub(super) fn image(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Saved { image, .. } => Some(image),
        }
    }
}

/// Finds the image: a file of that name counts first.
///
/// # Errors
/// Exit code 2: there is neither a file nor an image of that name. Otherwise the image cannot be saved.
pub(super) fn source(run: &Run, given: &Path) -> Result<Source> {
    let text = given.to_string_lossy();
    let is_path = text.starts_with(['/', '.'])
        || given.extension().is_some_and(|end| ["tar", "tgz", "gz", "oci"].iter().any(|known| end == *known));
    if is_path || given.exists() {
        return Ok(Source::File(given.to_owned()));
    }
    Name::of(&text).map_err(|e| Error::usage(format!("there is no file {text}, and {}", e.what)))?;
    let mut refusals = Vec::new();
    for tool in TOOLS {
        match run.host.ask(&Cmd::reads([tool, "image", "inspect", "--format", "{{.Id}}", &text])) {
            Ok(output) if output.ok() => return save(run, tool, &text),
            Ok(output) => refusals.push(format!("{tool}: {}", output.tail())),
            Err(e) => refusals.push(e.what),
        }
    }
    Err(Error::usage(format!("there is neither a file nor a local image {text}"))
        .because(refusals.join("\n"))
        .hint("give an archive of the image (`docker save --output FILE NAME:TAG` where it was built), or build it on this host"))
}

/// Lets a local Docker or Podman write the image down.
fn save(run: &Run, tool: &str, image: &str) -> Result<Source> {
    let cannot = |e: &dyn std::fmt::Display| Error::failed(format!("{tool} cannot save {image}")).because(e);
    // Nobody else may look into it.
    let folder = tempfile::Builder::new().prefix("iris-mk8s-").tempdir_in(FOLDER).map_err(|e| cannot(&e))?;
    let file = folder.path().join("image.tar");
    // A Docker that is a snap may not write there itself: the shell does.
    let script = "exec \"$0\" save \"$1\" >\"$2\"";
    let cmd = Cmd::changes(SAVED_WITHIN, ["sh", "-c", script, tool, image, &file.to_string_lossy()]);
    let (step, title) = ("image.save".to_owned(), format!("image {image} of {tool}"));
    run.events.send(Event::StepActing { step: step.clone(), title, act: format!("{tool} save {image}") });
    let output = run.host.run(&cmd, &mut |heard| {
        if let Heard::Line(line) = heard {
            run.events.send(Event::Output { step: step.clone(), line: line.to_owned() });
        }
        if run.host.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if run.host.stopping() {
        return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
    }
    if !output.ok() {
        return Err(cannot(&output.tail()).hint(format!("the image needs room in {FOLDER} as well")));
    }
    Ok(Source::Saved { file, image: image.to_owned(), _folder: folder })
}
