//! Bundles of the modelled hosts: real files, with a few bytes in the place of each image and snap.

use std::sync::{Arc, OnceLock};

use iris_mk8s::{
    bundle::{Bundle, FORMAT, Image, Manifest, Snap, Writer, platform, whole_name},
    host::digest::sha256,
};

use super::{tool, world::Era};

const PAUSE: &str = "registry.k8s.io/pause:3.10";

/// Parts on their way into a bundle.
struct Parts(Vec<(String, Vec<u8>)>);

impl Parts {
    fn add(&mut self, text: &str) -> String {
        let digest = format!("sha256:{}", sha256(text));
        self.0.push((digest.clone(), text.as_bytes().to_vec()));
        digest
    }
}

/// The bundle for the usual spec.
pub fn of(era: Era) -> Arc<Bundle> {
    static BUNDLES: [OnceLock<Arc<Bundle>>; 2] = [const { OnceLock::new() }; 2];
    Arc::clone(BUNDLES[usize::from(era == Era::Old)].get_or_init(|| Arc::new(make(era))))
}

fn make(era: Era) -> Bundle {
    let mut parts = Parts(Vec::new());
    let snap = |parts: &mut Parts, name: &str| Snap {
        name: name.to_owned(),
        version: era.kubernetes().to_owned(),
        revision: 1,
        classic: name == "microk8s",
        file: parts.add(&format!("the snap {name}")),
        assertions: parts.add(&format!("what the store says of {name}")),
    };
    let image = |parts: &mut Parts, name: &str| Image {
        name: whole_name(name).expect("a name"),
        digest: parts.add(&format!("the manifest of {name}")),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        blobs: vec![parts.add("a configuration"), parts.add(&format!("a layer of {name}"))],
    };
    let manifest = Manifest {
        format: FORMAT,
        tool: "iris-mk8s 0".to_owned(),
        created: "2027-01-15T08:00:00Z".to_owned(),
        platform: platform(),
        channel: era.channel().parse().expect("a channel"),
        snaps: ["microk8s", "snapd", "core22"].map(|name| snap(&mut parts, name)).into(),
        images: [PAUSE, &tool::spec(era, false).iris.image].map(|name| image(&mut parts, name)).into(),
        longhorn: None,
        program: None,
        profile: None,
        parts: std::collections::BTreeMap::new(),
        length: 0,
    };
    // It lasts as long as the tests do.
    let path = tempfile::tempdir().expect("a folder").keep().join("bundle");
    let mut writer = Writer::create(&path).expect("a file");
    for (digest, bytes) in parts.0 {
        writer.add(&digest, bytes.len() as u64, bytes.as_slice()).expect("it is added");
    }
    writer.finish(manifest).expect("it is whole");
    let bundle = Bundle::open(&path).expect("it is good");
    assert!(bundle.image(PAUSE).is_some());
    bundle
}
