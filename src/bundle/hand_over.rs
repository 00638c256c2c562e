//! What is in a bundle, handed over to those who install it: images to MicroK8s' containerd, snaps to snapd.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{Bundle, Image, Layout, Snap};
use crate::{
    error::{Error, ExitCode, Result},
    host::{Cmd, Heard, Host, Progress, Upload},
};

/// Who listens: what is done, and how far it is. It may break off.
type Seen<'a> = &'a mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>;

/// An image that goes into MicroK8s' containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Where it is.
    pub bundle: Arc<Bundle>,
    /// Which it is.
    pub image: Image,
    /// The longest time that it may take.
    pub within: Duration,
}

/// A snap that goes to snapd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sideload {
    /// Where it is.
    pub bundle: Arc<Bundle>,
    /// Which it is.
    pub snap: Snap,
}

impl Import {
    /// The command, which every MicroK8s since 1.20 has: it reads the image from its standard input.
    fn command(&self) -> Cmd {
        Cmd::changes(self.within, ["microk8s", "ctr", "image", "import", "-"])
    }

    /// As a person would type it.
    pub fn show(&self) -> String {
        format!("{} # {} of {}", self.command().show(), self.image.name, self.bundle.path().display())
    }
}

impl Sideload {
    /// As a person would type it.
    pub fn show(&self) -> String {
        let (name, file) = (&self.snap.name, self.snap.file_name());
        let classic = if self.snap.classic { " --classic" } else { "" };
        format!("snap ack {name}.assert; snap install{classic} {file} # of {}", self.bundle.path().display())
    }
}

/// Imports an image. What is read is verified on the way; what containerd has of it is not written again.
///
/// # Errors
/// The bundle is damaged, containerd does not take the image, its disk is full, or it was interrupted.
pub fn import(host: &dyn Host, import: &Import, seen: Seen<'_>) -> Result<()> {
    let Import { bundle, image, .. } = import;
    let mut layout = Layout::new(bundle, image)?;
    let (total, done) = (layout.length, layout.done());
    let what = format!("imports {}", image.name);
    let mut late = false;
    let output = host.pipe(&import.command(), &mut layout, &mut |heard| {
        if let Heard::Silence = heard {
            late = seen(&what, Some(Progress { done: done.load(Relaxed), total, unit: "bytes" })).is_break();
        }
        if late || host.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if host.stopping() {
        return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
    }
    if late {
        return Err(Error::new(ExitCode::TimedOut, format!("image {}: not imported in time", image.name))
            .hint("run the same command again: it resumes"));
    }
    if output.ok() {
        return Ok(());
    }
    let words = output.tail();
    if words.contains("no space left on device") {
        return Err(Error::new(ExitCode::Unverified, format!("there is no room for the image {}", image.name))
            .because(words)
            .hint("make room below /var/snap/microk8s/common, and run the same command again: it resumes"));
    }
    Err(Error::failed(format!("containerd does not take the image {}", image.name)).because(words))
}

/// Gives snapd a snap with what the store says of it, and follows the installation.
///
/// # Errors
/// The bundle is damaged, or snapd refuses or fails.
pub fn sideload(host: &dyn Host, sideload: &Sideload, seen: Seen<'_>) -> Result<()> {
    let Sideload { bundle, snap } = sideload;
    let mut source = bundle.part(&snap.file)?;
    let upload = Upload {
        name: snap.file_name(),
        classic: snap.classic,
        assertions: bundle.bytes(&snap.assertions)?,
        length: bundle.size(&snap.file),
        source: &mut source,
        shown: sideload.show(),
    };
    host.snapd_upload(upload, seen)
}
