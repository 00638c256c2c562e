//! The name of an image in the built-in registry.

use std::fmt;

use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The built-in registry as images name it: the node port of MicroK8s' addon `registry`.
pub const REGISTRY: &str = "localhost:32000";

/// What images have as their registry when they name none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// Where images of the default registry lie when they name no owner.
const DEFAULT_OWNER: &str = "library/";

/// Whether a tag moves: whoever starts a pod asks the registry each time, for what a node keeps of it may be an image whose licence has run out.
pub fn is_asked_for_at_each_start(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("latest", |(_, tag)| tag);
    !image.contains('@') && (tag.starts_with("latest") || tag == "preview")
}

/// An image in the built-in registry: repository, tag and, where it is pinned, digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// `simple`, `team/simple`
    pub repository: String,
    /// `latest`
    pub tag: String,
    /// `sha256:…`, where the image is named by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The image as Kubernetes and containerd take it.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REGISTRY}/{}", self.short())
    }
}

impl Name {
    /// `simple:latest`
    pub fn short(&self) -> String {
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}:{}{digest}", self.repository, self.tag)
    }

    /// What the registry is asked for: the digest, or else the tag.
    pub fn reference(&self) -> &str {
        self.digest.as_deref().unwrap_or(&self.tag)
    }

    /// The name that an image gets in the built-in registry: its path without the registry that it came from.
    ///
    /// # Errors
    /// Exit code 2: it is no name of an image.
    pub fn of(image: &str) -> Result<Self> {
        let reference: Reference = parse(image)?;
        Ok(Self::from_reference(&reference))
    }

    /// A name that the user gives an image in the built-in registry: with that registry, or without any.
    ///
    /// # Errors
    /// Exit code 2: it is no name of an image, has a digest, or names another registry.
    pub fn given(text: &str) -> Result<Self> {
        let reference = parse(text)?;
        if reference.digest().is_some() {
            return Err(Error::usage(format!("`{text}` names a digest; an image is pushed by its name and tag")));
        }
        if ![REGISTRY, DEFAULT_REGISTRY].contains(&reference.registry()) {
            return Err(Error::usage(format!("`{text}` names the registry {}", reference.registry())).hint(format!(
                "images go into the built-in registry {REGISTRY}; leave the registry out: {}",
                Self::from_reference(&reference).short()
            )));
        }
        Ok(Self::from_reference(&reference))
    }

    /// The name of an image that lies in the built-in registry; none when it lies elsewhere.
    pub fn in_registry(image: &str) -> Option<Self> {
        let reference: Reference = image.parse().ok()?;
        let pinned = reference.digest().map(str::to_owned);
        let name = Self { digest: pinned, ..Self::from_reference(&reference) };
        (reference.registry() == REGISTRY).then_some(name)
    }

    fn from_reference(reference: &Reference) -> Self {
        let whole = reference.repository();
        let repository = whole.strip_prefix(DEFAULT_OWNER).unwrap_or(whole).to_owned();
        Self { repository, tag: reference.tag().unwrap_or("latest").to_owned(), digest: None }
    }
}

fn parse(text: &str) -> Result<Reference> {
    text.parse().map_err(|why| {
        Error::usage(format!("`{text}` is not the name of an image"))
            .because(why)
            .hint("write it as NAME or NAME:TAG, in small letters, for example simple:latest")
    })
}

/// Whether an image of an archive, by one of its names, is the one that the user means.
pub fn is_meant(image: &str, meant: &str) -> bool {
    let (Ok(image), Ok(meant)) = (image.parse::<Reference>(), meant.parse::<Reference>()) else { return false };
    image == meant
        || (meant.registry() == DEFAULT_REGISTRY && Name::from_reference(&image) == Name::from_reference(&meant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitCode;

    #[test]
    fn an_image_keeps_its_path_and_leaves_its_registry() {
        for (image, name) in [
            ("simple", "simple:latest"),
            ("simple:1.0", "simple:1.0"),
            ("docker.io/library/simple:latest", "simple:latest"),
            ("dpmeister/simple:latest", "dpmeister/simple:latest"),
            ("localhost/simple:latest", "simple:latest"),
            ("localhost:32000/simple:latest", "simple:latest"),
            ("registry.example:5000/team/app", "team/app:latest"),
        ] {
            let name_of = Name::of(image).expect(image);
            assert_eq!(name_of.short(), name, "{image}");
            assert_eq!(name_of.to_string(), format!("localhost:32000/{name}"), "{image}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "Simple", "simple:", "simple:a b", "-simple", "../simple", "simple::latest", "sim ple"] {
            assert_eq!(Name::of(text).expect_err(text).code, ExitCode::Usage, "{text}");
            assert_eq!(Name::given(text).expect_err(text).code, ExitCode::Usage, "{text}");
        }
        let digest = format!("simple@sha256:{}", "0".repeat(64));
        for text in ["registry.example/simple", "localhost/simple", &digest] {
            assert_eq!(Name::given(text).expect_err(text).code, ExitCode::Usage, "{text}");
        }
        assert_eq!(Name::given("localhost:32000/simple").expect("ours").short(), "simple:latest");
    }

    #[test]
    fn only_images_of_the_built_in_registry_lie_in_it() {
        let pinned = format!("localhost:32000/simple:1.0@sha256:{}", "a".repeat(64));
        let name = Name::in_registry(&pinned).expect("pinned");
        assert_eq!((name.tag.as_str(), name.reference()), ("1.0", &*format!("sha256:{}", "a".repeat(64))));
        assert_eq!(name.to_string(), pinned);
        assert_eq!(
            Name::in_registry("localhost:32000/simple").map(|name| name.short()),
            Some("simple:latest".to_owned())
        );
        for image in ["simple:latest", "localhost:5000/simple:latest", "intersystems/iris-community:latest-em"] {
            assert_eq!(Name::in_registry(image), None, "{image}");
        }
    }

    #[test]
    fn a_name_without_a_registry_means_the_path() {
        for (image, meant, is) in [
            ("docker.io/library/simple:latest", "simple", true),
            ("localhost/simple:latest", "simple:latest", true),
            ("simple:1.0", "simple", false),
            ("docker.io/a/simple:latest", "docker.io/b/simple", false),
            ("a.example/simple:latest", "b.example/simple", false),
            ("a.example/simple:latest", "a.example/simple:latest", true),
        ] {
            assert_eq!(is_meant(image, meant), is, "{image} {meant}");
        }
    }
}
