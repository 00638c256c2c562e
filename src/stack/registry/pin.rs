//! The image of IRIS by its digest. A tag of the built-in registry moves when the user pushes it anew: the StatefulSet names the tag, for people, and
//! the digest, so that all pods run the same image, a restart does not take another one, and no registry is needed for it. A digest that
//! changes rolls the pods out, one after the other.

use serde_json::Value;

use crate::{
    engine::step::Probe,
    error::{Error, ExitCode, Result},
    host::Host,
    image::{Name, registry},
};

/// The tag whose digest is meant, as it is in the registry now.
pub(crate) struct Pin(Name);

impl Pin {
    /// The pin of an image; none when it is of another registry, or has its digest already.
    pub(crate) fn newest(image: &str) -> Option<Self> {
        of_tag(image).map(Self)
    }

    /// What is to be said where the registry does not have the image.
    ///
    /// # Errors
    /// The registry does not answer (transient).
    pub(crate) fn missing(&self, host: &dyn Host) -> Result<Option<Probe>> {
        Ok(if registry::stored(host, &self.0)?.is_some() { None } else { Some(hopeless(&self.0)) })
    }

    /// The object with the image by its digest.
    ///
    /// # Errors
    /// The registry does not answer (transient), or has no such image.
    pub(crate) fn suited(&self, host: &dyn Host, want: &Value) -> Result<Value> {
        Ok(pinned(want, &self.0, &digest_of(host, &self.0)?))
    }
}

fn of_tag(image: &str) -> Option<Name> {
    Name::in_registry(image).filter(|name| name.digest.is_none())
}

/// The digest of a tag.
///
/// # Errors
/// The registry does not answer (transient), or has no such image.
pub(crate) fn digest_of(host: &dyn Host, name: &Name) -> Result<String> {
    let stored = registry::stored(host, name)?;
    stored.map(|stored| stored.digest).ok_or_else(|| {
        let (why, hint) = missing(name);
        Error::new(ExitCode::Unverified, why).hint(hint)
    })
}

/// An image that the registry does not have: no waiting brings it.
pub(crate) fn hopeless(name: &Name) -> Probe {
    let (why, hint) = missing(name);
    Probe::Hopeless { why, hint }
}

fn missing(name: &Name) -> (String, String) {
    let unpinned = Name { digest: None, ..name.clone() };
    (
        format!("the built-in registry holds no image {}", name.short()),
        format!("push it: sudo iris-mk8s image push FILE --as {}; then run the same command again", unpinned.short()),
    )
}

/// The object with that digest. What has it need not be asked for again.
fn pinned(object: &Value, name: &Name, digest: &str) -> Value {
    let mut object = object.clone();
    let image = Name { digest: Some(digest.to_owned()), ..name.clone() }.to_string();
    let pod = &mut object["spec"]["template"]["spec"];
    for field in ["initContainers", "containers"] {
        for container in pod[field].as_array_mut().into_iter().flatten() {
            let is_it = container["image"].as_str().and_then(Name::in_registry).as_ref() == Some(name);
            if is_it {
                container["image"] = image.as_str().into();
                container["imagePullPolicy"] = "IfNotPresent".into();
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(image: &str) -> Value {
        let container = |name: &str, image: &str| json!({"name": name, "image": image, "imagePullPolicy": "Always"});
        json!({"spec": {"template": {"spec": {
            "initContainers": [container("volumes", image)],
            "containers": [container("iris", image), container("side", "busybox:1.36")],
        }}}})
    }

    /// The containers of an object's pods.
    fn containers(object: &Value) -> impl Iterator<Item = &Value> {
        let pod = &object["spec"]["template"]["spec"];
        ["initContainers", "containers"].into_iter().flat_map(|field| pod[field].as_array().into_iter().flatten())
    }

    #[test]
    fn every_container_with_the_image_has_the_digest_and_the_tag() {
        let name = of_tag("localhost:32000/simple:latest").expect("ours");
        let digest = format!("sha256:{}", "a".repeat(64));
        let object = pinned(&set("localhost:32000/simple:latest"), &name, &digest);
        let images: Vec<(&str, &str)> = containers(&object)
            .map(|c| (c["image"].as_str().expect("a name"), c["imagePullPolicy"].as_str().expect("a policy")))
            .collect();
        let image = format!("localhost:32000/simple:latest@{digest}");
        assert_eq!(images, [(&*image, "IfNotPresent"), (&*image, "IfNotPresent"), ("busybox:1.36", "Always")]);
    }

    #[test]
    fn only_tags_of_the_built_in_registry_are_pinned() {
        let digest = format!("localhost:32000/simple@sha256:{}", "a".repeat(64));
        for image in ["intersystems/iris-community:latest-em", "localhost:5000/simple:latest", &digest] {
            assert!(Pin::newest(image).is_none(), "{image}");
        }
    }
}
