//! A bundle is made: what the spec needs is found, fetched into a folder beside the file, and packed. What was fetched stays there until the bundle
//! is whole, so that an interrupted command goes on where it was.

mod debian;
mod fetch;
mod in_snap;
mod login;
mod longhorn;
mod pull;
mod store;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{FORMAT, Image, Manifest, Snap, Writer, platform, whole_name};
use crate::{
    config::spec::{Mirror, Spec},
    error::{Error, Result},
    host::{Host, Progress},
};

use fetch::Folder;
pub use login::{Login, Logins};

/// What a bundle is made of.
pub struct Recipe {
    /// What a bootstrap with it shall make.
    pub spec: Spec,
    /// Who answers for registries.
    pub mirrors: Vec<Mirror>,
    /// Logins of the person's.
    pub logins: Logins,
    /// The program itself.
    pub program: PathBuf,
    /// The profile, where it is a file.
    pub profile: Option<PathBuf>,
    /// Where the bundle goes.
    pub output: PathBuf,
}

/// Who listens: what is done, and how far it is. An error ends the work.
pub type Tell<'a> = &'a mut dyn FnMut(&str, Option<Progress>) -> Result<()>;

/// Makes a bundle.
///
/// # Errors
/// Something could not be downloaded or written, or the person interrupted it; the same command resumes.
pub fn create(host: &dyn Host, recipe: &Recipe, tell: Tell<'_>) -> Result<Manifest> {
    let spec = &recipe.spec;
    let mut folder = Folder::open(&recipe.output)?;
    let snaps = snaps(&mut folder, spec, tell)?;
    let snap = folder.file(&snaps[0].file)?;
    let mut names = in_snap::images(host, &snap, spec, tell)?;
    let longhorn = longhorn::fetch(host, &mut folder, spec, &mut names, tell)?;
    names.push(spec.iris.image.clone());
    let mut puller = pull::Puller::new(&recipe.mirrors, &recipe.logins)?;
    let mut images: Vec<Image> = Vec::new();
    for name in &names {
        let name = whole_name(name)?;
        if !images.iter().any(|image| image.name == name) {
            images.push(puller.pull(&mut folder, &name, tell)?);
        }
    }
    let program = Some(folder.take_file(&recipe.program)?);
    let profile = recipe.profile.as_deref().map(|file| folder.take_file(file)).transpose()?;
    let manifest = Manifest {
        format: FORMAT,
        tool: format!("iris-mk8s {}", env!("CARGO_PKG_VERSION")),
        created: jiff::Timestamp::from_second(i64::try_from(host.unix_time()).unwrap_or_default())
            .map(|time| time.to_string())
            .unwrap_or_default(),
        platform: platform(),
        channel: spec.channel.clone(),
        snaps,
        images,
        longhorn,
        program,
        profile,
        parts: std::collections::BTreeMap::new(),
        length: 0,
    };
    let manifest = pack(&folder, &recipe.output, manifest, tell)?;
    folder.remove()?;
    Ok(manifest)
}

/// The snap and those that it stands on.
fn snaps(folder: &mut Folder, spec: &Spec, tell: Tell<'_>) -> Result<Vec<Snap>> {
    let store = store::Store::default();
    let first = store.fetch(folder, "microk8s", &spec.channel.to_string(), tell)?;
    // A snap without a base stands on `core`, which has snapd in it.
    let base = first.base.clone().unwrap_or_else(|| store::CORE.to_owned());
    let mut snaps = vec![first.snap];
    let others = if base == store::CORE { vec![base] } else { vec!["snapd".to_owned(), base] };
    for name in others {
        snaps.push(store.fetch(folder, &name, "latest/stable", tell)?.snap);
    }
    Ok(snaps)
}

/// Everything that a manifest names, in the order in which it is read.
fn parts(manifest: &Manifest) -> Vec<&String> {
    let snaps = manifest.snaps.iter().flat_map(|snap| [&snap.assertions, &snap.file]);
    let images = manifest.images.iter().flat_map(|image| std::iter::once(&image.digest).chain(&image.blobs));
    let longhorn = manifest.longhorn.iter().flat_map(|longhorn| {
        let packages = longhorn.debian.iter().flat_map(|debian| &debian.packages).map(|package| &package.file);
        std::iter::once(&longhorn.manifest).chain(packages)
    });
    snaps.chain(images).chain(longhorn).chain(&manifest.program).chain(&manifest.profile).collect()
}

fn pack(folder: &Folder, output: &Path, manifest: Manifest, tell: Tell<'_>) -> Result<Manifest> {
    let mut writer = Writer::create(output)?;
    let all = parts(&manifest);
    let total = all.len() as u64;
    for (done, digest) in (0..).zip(all) {
        tell(&format!("packs {}", output.display()), Some(Progress { done, total, unit: "parts" }))?;
        let path = folder.file(digest)?;
        let cannot = |e| Error::failed(format!("{} cannot be read", path.display())).because(e);
        let file = File::open(&path).map_err(cannot)?;
        let size = file.metadata().map_err(cannot)?.len();
        writer.add(digest, size, file)?;
    }
    writer.finish(manifest)
}
