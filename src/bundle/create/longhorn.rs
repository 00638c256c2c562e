//! What Longhorn needs: its manifest, the images that this names, and packages of the distribution.

use std::{fs, path::Path};

use super::{Tell, debian, fetch::Folder};
use crate::{
    bundle::Longhorn,
    config::{spec::Spec, version::LonghornVersion},
    error::{Error, Result},
    host::{Host, download},
};

/// Images that its manifest names, and that a plain installation never runs.
const NEVER_RUN: [&str; 3] = ["backing-image-manager", "support-bundle-kit", "longhorn-cli"];

/// Fetches what Longhorn needs, and adds its images; none where it is not wanted.
///
/// # Errors
/// Something could not be downloaded.
pub(super) fn fetch(
    host: &dyn Host,
    folder: &mut Folder,
    spec: &Spec,
    images: &mut Vec<String>,
    tell: Tell<'_>,
) -> Result<Option<Longhorn>> {
    let Some(wanted) = &spec.longhorn else { return Ok(None) };
    let text = match &wanted.manifest {
        Some(file) => given(file)?,
        None => published(wanted.version, tell)?,
    };
    images.extend(named(&text));
    images.extend(wanted.version.unnamed_images().iter().map(|image| (*image).to_owned()));
    let manifest = folder.keep(text.as_bytes())?;
    Ok(Some(Longhorn { version: wanted.version, manifest, debian: debian::packages(host, folder, tell)? }))
}

fn given(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|e| Error::usage(format!("{} cannot be read", file.display())).because(e))
}

/// The manifest of a release, by its published checksum.
fn published(version: LonghornVersion, tell: Tell<'_>) -> Result<String> {
    let url = version.url();
    tell(&format!("fetches the manifest of Longhorn {version}"), None)?;
    let other = "give a manifest that you trust with --longhorn-manifest FILE";
    let sum = version.checksum().ok_or_else(|| {
        Error::usage(format!("the checksum of Longhorn's manifest {version} is not known")).hint(other)
    })?;
    let bytes = download::fetch(&url, sum)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The images that a manifest names anywhere: its manager gets most of them as arguments and variables.
fn named(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','));
    for word in words.map(|word| word.trim_start_matches("docker.io/")) {
        let Some((name, tag)) = word.strip_prefix("longhornio/").and_then(|rest| rest.split_once(':')) else {
            continue;
        };
        if !tag.is_empty() && !NEVER_RUN.contains(&name) && !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_arguments_and_variables_count() {
        let text = "image: longhornio/longhorn-manager:v1.11.3\n- --engine-image\n- \"longhornio/longhorn-engine:v1.11.3\"\nvalue: \
                    docker.io/longhornio/csi-attacher:v4.12.0\n- longhornio/backing-image-manager:v1.11.3\nimage: longhornio/longhorn-manager:v1.11.3\n";
        let found = [
            "longhornio/longhorn-manager:v1.11.3",
            "longhornio/longhorn-engine:v1.11.3",
            "longhornio/csi-attacher:v4.12.0",
        ];
        assert_eq!(named(text), found);
    }
}
