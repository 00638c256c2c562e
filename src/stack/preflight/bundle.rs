//! The bundle, where one is given: whether it is for this host and this spec, and whole. It is looked at before anything is changed.

use std::path::Path;

use crate::{
    bundle::{self, Bundle, platform},
    config::image_name::{Name, is_asked_for_at_each_start},
    error::{Result, finding::Finding},
    stack::{facts::Facts, longhorn::state as longhorn},
};

/// Checks of what only matters where something is fetched.
pub(crate) const OF_NETWORK: &[&str] =
    &["dns", "name-servers", "search-domains", "proxy", "store", "registries", "longhorn-download"];

pub(crate) fn look(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(bundle) = &facts.bundle else { return Ok(vec![Finding::fine("everything is fetched")]) };
    let shown = bundle.path().display();
    let wrong = |(message, hint): (String, String)| Finding::refused(format!("the bundle {shown} {message}"), hint);
    let found =
        [for_platform(bundle), for_channel(facts, bundle), with_image(facts, bundle), with_longhorn(facts, bundle)?];
    let mut findings: Vec<Finding> = found.into_iter().flatten().map(wrong).collect();
    // What is not for this host need not be whole.
    if findings.is_empty() {
        findings.push(match bundle.verify(&mut |_| Ok(())) {
            Ok(()) => Finding::fine(format!("{shown}: {} parts", bundle.manifest.parts.len())),
            Err(e) => Finding::refused(e.what, e.hint.unwrap_or_default()),
        });
    }
    Ok(findings)
}

/// What is wrong, and what to do.
type Wrong = Option<(String, String)>;

fn for_platform(bundle: &Bundle) -> Wrong {
    let (theirs, ours) = (&bundle.manifest.platform, platform());
    (*theirs != ours).then(|| {
        (format!("is for {theirs}, and this host is {ours}"), format!("make one on a host that is {ours}, too"))
    })
}

fn for_channel(facts: &Facts<'_>, bundle: &Bundle) -> Wrong {
    let (theirs, ours) = (&bundle.manifest.channel, &facts.spec.channel);
    (theirs != ours).then(|| {
        (
            format!("is for MicroK8s {theirs}, and {ours} is wanted"),
            format!("take --channel {theirs}, or make a bundle with --channel {ours}"),
        )
    })
}

/// Images other than that of IRIS go with the channel and the addons.
fn with_image(facts: &Facts<'_>, bundle: &Bundle) -> Wrong {
    let image = &facts.spec.iris.image;
    if Name::in_registry(image).is_some() {
        return None;
    }
    let whole = bundle::whole_name(image).ok()?;
    if bundle.image(&whole).is_some() {
        return always_asked_for(image);
    }
    // A MicroK8s that runs may have it already; one that does not answer has nothing.
    if facts.host.has_image(image).unwrap_or(false) {
        return None;
    }
    let others = bundle.manifest.images.iter().map(|image| image.name.as_str()).filter(|name| name.contains("iris"));
    let others: Vec<&str> = others.collect();
    let hint = if others.is_empty() {
        format!("make a bundle with --image {image}")
    } else {
        format!("take --image {}, or make a bundle with --image {image}", others.join(" or "))
    };
    Some((format!("does not hold the image {image}"), hint))
}

/// A tag that moves: whoever starts a pod asks the registry where it leads by now.
fn always_asked_for(image: &str) -> Wrong {
    is_asked_for_at_each_start(image).then(|| {
        (
            format!("holds {image}, and Kubernetes asks the registry where this tag leads whenever a pod starts"),
            "name the image by another tag or by its digest, in the bundle as well as here".to_owned(),
        )
    })
}

fn with_longhorn(facts: &Facts<'_>, bundle: &Bundle) -> Result<Wrong> {
    let Some(wanted) = &facts.spec.longhorn else { return Ok(None) };
    let make = "make a bundle with --storage longhorn";
    let Some(held) = &bundle.manifest.longhorn else {
        return Ok(Some(("does not hold Longhorn, which is wanted".to_owned(), make.to_owned())));
    };
    if held.version != wanted.version {
        let why = format!("holds Longhorn {}, and {} is wanted", held.version, wanted.version);
        return Ok(Some((why, format!("take --longhorn-version {}, or {make}", held.version))));
    }
    if longhorn::lacks_iscsi(facts.host)? && bundle.packages_for(&release(facts)?).is_none() {
        let why = "does not hold the package open-iscsi for this release of the system, and it is not installed";
        return Ok(Some((
            why.to_owned(),
            format!("install open-iscsi; or {make} on a fresh host of the same release"),
        )));
    }
    Ok(None)
}

/// The release of this host.
pub(crate) fn release(facts: &Facts<'_>) -> Result<String> {
    let text = facts.host.read(Path::new("/etc/os-release"))?.unwrap_or_default();
    Ok(bundle::release_of(&String::from_utf8_lossy(&text)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offline, a pod with such an image would wait for ever: the tag of the built-in profile is one.
    #[test]
    fn an_image_whose_tag_moves_is_refused_in_a_bundle() {
        for (image, refused) in [
            ("intersystems/iris-community:latest-em", true),
            ("intersystems/iris-community:latest", true),
            ("intersystems/iris-community", true),
            ("intersystems/iris-community:preview", true),
            ("intersystems/iris-community:2026.1", false),
            ("intersystems/iris-community:latest-em@sha256:00", false),
        ] {
            assert_eq!(always_asked_for(image).is_some(), refused, "{image}");
        }
    }
}
