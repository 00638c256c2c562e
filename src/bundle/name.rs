//! Names as those have them to whom the things are handed over.

use oci_spec::distribution::Reference;

use crate::error::{Error, Result};

/// The whole name of an image, as containerd has it.
///
/// # Errors
/// Exit code 2: it is no name of an image.
pub fn whole_name(image: &str) -> Result<String> {
    let reference: Reference =
        image.parse().map_err(|e| Error::usage(format!("`{image}` is not the name of an image")).because(e))?;
    // One that is named by its digest is known by that, whatever tag stands beside it.
    Ok(match reference.digest() {
        Some(digest) => format!("{}/{}@{digest}", reference.registry(), reference.repository()),
        None => format!("{}/{}:{}", reference.registry(), reference.repository(), reference.tag().unwrap_or("latest")),
    })
}

/// The release of a host by its `/etc/os-release`, `ubuntu 24.04`; none where it does not say.
pub fn release_of(text: &str) -> Option<String> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    Some(format!("{} {}", field("ID")?, field("VERSION_ID")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_called_as_containerd_calls_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, whole) in [
            ("busybox:1.28.4", "docker.io/library/busybox:1.28.4"),
            ("calico/cni:v3.29.3", "docker.io/calico/cni:v3.29.3"),
            ("quay.io/metallb/speaker:v0.9.3", "quay.io/metallb/speaker:v0.9.3"),
            ("registry.example:5000/a", "registry.example:5000/a:latest"),
            (&*format!("a/b:1@{digest}"), &*format!("docker.io/a/b@{digest}")),
        ] {
            assert_eq!(whole_name(image).expect("a name"), whole);
        }
        assert!(whole_name("A B").is_err());
    }

    #[test]
    fn a_release_is_its_name_and_version() {
        let text = "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n";
        assert_eq!(release_of(text).as_deref(), Some("ubuntu 24.04"));
    }
}
