//! Which images a MicroK8s needs, by what its own snap says: the template of containerd's configuration, the manifests of the pod network, and those of
//! the addons. `unsquashfs` reads them out of the snap, whatever it is compressed with.

use std::{fs, path::Path};

use super::Tell;
use crate::{
    config::{spec::Spec, version::Minor},
    error::{Error, Result},
    host::{Cmd, Host},
    image,
};

/// What the lines of `unsquashfs -l` begin with.
const ROOT: &str = "squashfs-root/";

/// Since this version the storage addon asks for an image that no manifest names: its provisioner starts a pod of it for each volume.
const HELPER_FROM: Minor = Minor(1, 24);
const HELPER: &str = "docker.io/library/busybox:1.28.4";

/// The manifest of an addon where it is not called after it, up to 1.23.
const CALLED_OTHERWISE: [(&str, &str); 2] = [("dns", "coredns"), ("hostpath-storage", "storage")];

/// The addons that every bootstrap enables.
const BASICS: [&str; 3] = ["dns", "hostpath-storage", "metallb"];

/// The images, in the order in which a cluster asks for them.
///
/// # Errors
/// The snap cannot be read, or names no image where there must be one.
pub(super) fn images(host: &dyn Host, snap: &Path, spec: &Spec, tell: Tell<'_>) -> Result<Vec<String>> {
    let files = list(host, snap)?;
    let mut addons: Vec<&str> = BASICS.to_vec();
    addons.extend(spec.addons.iter().map(String::as_str).filter(|addon| !BASICS.contains(addon)));
    let wanted: Vec<(&str, Vec<&String>)> = [
        ("the sandbox of a pod", files.iter().filter(|file| file.ends_with("/containerd-template.toml")).collect()),
        ("the pod network", files.iter().filter(|file| of_network(file)).collect()),
    ]
    .into_iter()
    .chain(addons.iter().map(|addon| (*addon, files.iter().filter(|file| of_addon(file, addon)).collect())))
    .collect();
    let texts = extract(host, snap, &wanted.iter().flat_map(|(_, files)| files.iter().copied()).collect::<Vec<_>>())?;
    let mut found: Vec<String> = Vec::new();
    for (what, files) in &wanted {
        let of_these: Vec<String> =
            files.iter().filter_map(|file| texts.get(*file)).flat_map(|text| named(text)).collect();
        if of_these.is_empty() {
            if !BASICS.contains(what) && spec.addons.iter().any(|addon| addon == what) {
                tell(
                    &format!("the snap names no image for the addon {what}: whether it needs one is not known"),
                    None,
                )?;
                continue;
            }
            return Err(Error::failed(format!("the snap names no image for {what}"))
                .hint("this version of MicroK8s may be newer than this program; take a newer iris-mk8s"));
        }
        found.extend(of_these);
    }
    if spec.channel.minor >= HELPER_FROM {
        found.push(HELPER.to_owned());
    }
    Ok(found.into_iter().map(|image| moved(image, spec)).collect())
}

/// Where an image is by now, when the one that the addon names is gone.
fn moved(image: String, spec: &Spec) -> String {
    let (Some((prefix, tag)), Some((_, name))) = (spec.channel.row().metallb_images, image.rsplit_once("metallb/"))
    else {
        return image;
    };
    let name = name.split(':').next().unwrap_or(name);
    format!("{prefix}/{name}:{tag}")
}

fn is_yaml(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "yaml")
}

fn of_network(file: &str) -> bool {
    is_yaml(file) && (file.ends_with("/calico.yaml") || file.ends_with("/cni.yaml"))
}

fn of_addon(file: &str, addon: &str) -> bool {
    let old = CALLED_OTHERWISE.iter().find(|(name, _)| *name == addon).map_or(addon, |(_, old)| old);
    is_yaml(file) && (file.contains(&format!("/addons/{addon}/")) || *file == format!("actions/{old}.yaml"))
}

/// The images that a manifest or the template names, those of which a part is filled in later left out.
fn named(text: &str) -> Vec<String> {
    let one = |line: &str| {
        let line = line.trim().trim_start_matches("- ");
        let value =
            line.strip_prefix("image:").or_else(|| line.strip_prefix("sandbox_image")?.trim().strip_prefix('='))?;
        let value = value.split(" #").next()?.trim().trim_matches(['"', '\'']);
        let value = value.replace("${ARCH}", image::architecture()).replace("$ARCH", image::architecture());
        (!value.is_empty() && !value.contains(['$', '{', ' '])).then_some(value)
    };
    text.lines().filter_map(one).collect()
}

fn run(host: &dyn Host, argv: Vec<String>) -> Result<String> {
    let output = host.ask(&Cmd::reads(argv)).map_err(|e| e.hint("install it: apt install squashfs-tools"))?;
    if output.ok() {
        return Ok(output.stdout);
    }
    Err(Error::failed("the snap cannot be read").because(output.tail()))
}

fn list(host: &dyn Host, snap: &Path) -> Result<Vec<String>> {
    let words = ["unsquashfs".to_owned(), "-l".to_owned(), absolute(snap)?];
    let listed = run(host, words.into())?;
    Ok(listed.lines().filter_map(|line| line.strip_prefix(ROOT)).map(str::to_owned).collect())
}

fn absolute(path: &Path) -> Result<String> {
    let path =
        fs::canonicalize(path).map_err(|e| Error::failed(format!("{} cannot be read", path.display())).because(e))?;
    Ok(path.display().to_string())
}

/// The texts of these files.
fn extract(host: &dyn Host, snap: &Path, files: &[&String]) -> Result<std::collections::BTreeMap<String, String>> {
    let cannot = |e| Error::failed("no folder for files of the snap can be made").because(e);
    let folder = tempfile::tempdir().map_err(cannot)?;
    let words = ["unsquashfs", "-no-xattrs", "-force", "-dest"].map(str::to_owned).into_iter();
    let words =
        words.chain([absolute(folder.path())?, absolute(snap)?]).chain(files.iter().map(|file| (*file).clone()));
    run(host, words.collect())?;
    let read = |file: &&String| Some(((*file).clone(), fs::read_to_string(folder.path().join(file)).ok()?));
    Ok(files.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_from_manifests_and_the_template() {
        let text = "  sandbox_image = \"registry.k8s.io/pause:3.10\"\n    - image: \"calico/cni:v3.29.3\" # a comment\n  image: 'a/b-$ARCH:1'\n  \
                    image: {{ .Values.x }}\n image:\n  imagePullPolicy: Always\n";
        let arch = image::architecture();
        assert_eq!(named(text), ["registry.k8s.io/pause:3.10", "calico/cni:v3.29.3", &format!("a/b-{arch}:1")]);
    }

    #[test]
    fn an_addon_is_found_in_both_layouts() {
        for (file, addon, is) in [
            ("addons/core/addons/dns/coredns.yaml", "dns", true),
            ("addons/core/addons/hostpath-storage/storage.yaml", "hostpath-storage", true),
            ("addons/core/addons/hostpath-storage/storage.yaml", "storage", false),
            ("addons/core/addons/dns/enable", "dns", false),
            ("actions/coredns.yaml", "dns", true),
            ("actions/storage.yaml", "hostpath-storage", true),
            ("actions/metallb.yaml", "metallb", true),
            ("actions/prometheus.yaml", "metallb", false),
        ] {
            assert_eq!(of_addon(file, addon), is, "{file} {addon}");
        }
    }

    #[test]
    fn images_of_metallb_that_are_gone_are_where_they_moved() {
        let mut spec = crate::config::spec::example();
        spec.channel = "1.20".parse().expect("a channel");
        assert_eq!(moved("metallb/speaker:v0.9.3".to_owned(), &spec), "quay.io/metallb/speaker:v0.9.3");
        assert_eq!(moved("coredns/coredns:1.6.6".to_owned(), &spec), "coredns/coredns:1.6.6");
        spec.channel = "1.34".parse().expect("a channel");
        assert_eq!(moved("quay.io/metallb/speaker:v0.15.2".to_owned(), &spec), "quay.io/metallb/speaker:v0.15.2");
    }
}
