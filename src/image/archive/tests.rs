//! Archives as `docker save`, `podman save` and buildx write them, made here file by file; and such as nobody should write.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::*;
use crate::error::ExitCode;

/// The files of an archive, in order.
#[derive(Clone, Default)]
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.push((name.to_owned(), bytes.as_ref().to_vec()));
        self
    }

    /// Adds a file by its digest, and tells that.
    fn blob(&mut self, bytes: impl AsRef<[u8]>) -> (String, usize) {
        let hex = sha256(&bytes);
        self.add(&format!("blobs/sha256/{hex}"), &bytes);
        (format!("sha256:{hex}"), bytes.as_ref().len())
    }

    fn tar(&self, folder: &Path) -> PathBuf {
        let file = folder.join("image.tar");
        let mut tar = tar::Builder::new(File::create(&file).expect("a file"));
        for (name, bytes) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes.as_slice()).expect("an entry");
        }
        tar.into_inner().expect("written");
        file
    }

    fn folder(&self, folder: &Path) -> PathBuf {
        let root = folder.join("layout");
        for (name, bytes) in &self.0 {
            let file = root.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, bytes).expect("written");
        }
        root
    }
}

fn config(architecture: &str, layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
        .into_bytes()
}

/// What `docker save` writes: an image of two layers under these names.
fn docker(names: &[&str], architecture: &str) -> Files {
    let mut files = Files::default();
    files.add("c.json", config(architecture, &[b"one", b"two"])).add("a/layer.tar", "one").add("b/layer.tar", "two");
    files.add(
        "manifest.json",
        json!([{"Config": "c.json", "RepoTags": names, "Layers": ["a/layer.tar", "b/layer.tar"]}]).to_string(),
    );
    files
}

/// The descriptor of an image of one layer that is added to a layout.
fn in_layout(files: &mut Files, architecture: &str, layer: &[u8]) -> Value {
    let (config, config_size) = files.blob(config(architecture, &[layer]));
    let (layer, layer_size) = files.blob(layer);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": layer_size}],
    });
    let (digest, size) = files.blob(manifest.to_string());
    json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size})
}

fn layout(descriptors: &[Value], mut files: Files) -> Files {
    files.add("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    files.add("index.json", json!({"schemaVersion": 2, "manifests": descriptors}).to_string());
    files
}

fn named(mut descriptor: Value, key: &str, name: &str) -> Value {
    descriptor["annotations"][key] = name.into();
    descriptor
}

fn ours() -> &'static str {
    crate::image::architecture()
}

/// The bytes of a part, as a push reads them.
fn read(blob: &crate::image::Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    open_blob(blob).expect("open").read_to_end(&mut bytes).expect("read");
    bytes
}

#[test]
fn an_archive_of_docker_save_gets_the_manifest_that_docker_would_push() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = Archive::open(&docker(&["team/simple:1.0"], ours()).tar(dir.path())).expect("an archive");
    let (name, content) = archive.image(None).expect("an image");
    assert_eq!(name.as_deref(), Some("team/simple:1.0"));
    let manifest: Value = serde_json::from_slice(&content.manifest).expect("JSON");
    let types: Vec<&str> = [&manifest["config"]]
        .into_iter()
        .chain(manifest["layers"].as_array().expect("layers"))
        .map(|p| p["mediaType"].as_str().expect("a type"))
        .collect();
    assert_eq!(
        types,
        [
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar"
        ]
    );
    assert_eq!(content.digest, format!("sha256:{}", sha256(&content.manifest)));
    // Layers first, the configuration last; each is where it lies in the tar.
    assert_eq!(
        content.blobs.iter().map(read).collect::<Vec<_>>(),
        [b"one".to_vec(), b"two".to_vec(), config(ours(), &[b"one", b"two"])]
    );
    for blob in &content.blobs {
        assert_eq!(blob.digest, format!("sha256:{}", sha256(read(blob))));
    }
}

/// Older Dockers write equal layers once, and links to them; a layer may come compressed from other tools.
#[test]
fn linked_and_compressed_layers_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let gzip = [&[0x1f, 0x8b, 8][..], b"compressed"].concat();
    let mut files = Files::default();
    files
        .add("c.json", config(ours(), &[b"one", b"one", b"what gzip unpacks"]))
        .add("./a/layer.tar", "one")
        .add("z.tar.gz", &gzip);
    files.add(
        "manifest.json",
        json!([{"Config": "c.json", "RepoTags": null, "Layers": ["a/layer.tar", "b/layer.tar", "z.tar.gz"]}])
            .to_string(),
    );
    let path = dir.path().join("linked.tar");
    let mut tar = tar::Builder::new(File::create(&path).expect("a file"));
    for (name, bytes) in &files.0 {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice()).expect("an entry");
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "b/layer.tar", "../a/layer.tar").expect("a link");
    tar.into_inner().expect("written");
    let (name, content) = Archive::open(&path).expect("an archive").image(None).expect("an image");
    assert_eq!(name, None);
    let manifest: Value = serde_json::from_slice(&content.manifest).expect("JSON");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(3));
    assert_eq!(manifest["layers"][2]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_eq!(manifest["layers"][2]["digest"], format!("sha256:{}", sha256(&gzip)));
    assert_eq!(content.blobs.len(), 3, "an equal layer is pushed once");
}

#[test]
fn a_layout_is_pushed_byte_for_byte_whether_folder_or_tar() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut files = Files::default();
    let descriptor = in_layout(&mut files, ours(), b"layer");
    let digest = descriptor["digest"].clone();
    let containerd = named(descriptor.clone(), "io.containerd.image.name", "docker.io/library/simple:latest");
    let files = layout(
        &[
            named(containerd, "org.opencontainers.image.ref.name", "latest"),
            named(descriptor, "org.opencontainers.image.ref.name", "quay.io/x/other:2"),
        ],
        files,
    );
    for path in [files.tar(dir.path()), files.folder(dir.path())] {
        let archive = Archive::open(&path).expect("a layout");
        let (name, content) = archive.image(None).expect("one image of two names");
        assert_eq!(
            (name.as_deref(), Value::from(content.digest.clone())),
            (Some("docker.io/library/simple:latest"), digest.clone())
        );
        assert_eq!(format!("sha256:{}", sha256(&content.manifest)), content.digest);
        assert_eq!(content.media_type, "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(
            archive.image(Some("quay.io/x/other:2")).expect("its second name").0.as_deref(),
            Some("quay.io/x/other:2")
        );
    }
}

#[test]
fn of_several_platforms_the_one_of_this_host_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut files = Files::default();
    let platform = |mut descriptor: Value, os: &str, architecture: &str| {
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        descriptor
    };
    let (good, odd) = (in_layout(&mut files, ours(), b"ours"), in_layout(&mut files, "s390x", b"odd"));
    let digest = good["digest"].clone();
    let index = |files: &mut Files, manifests: Value| {
        let (digest, size) = files.blob(
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests})
                .to_string(),
        );
        json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": size})
    };
    let attested = platform(odd.clone(), "unknown", "unknown");
    let both = json!([attested, platform(odd.clone(), "linux", "s390x"), platform(good, "linux", ours())]);
    let descriptor = index(&mut files, both);
    let (_, content) =
        Archive::open(&layout(&[descriptor], files.clone()).tar(dir.path())).expect("open").image(None).expect("ours");
    assert_eq!(digest, content.digest.as_str());
    let descriptor = index(&mut files, json!([attested, platform(odd, "linux", "s390x")]));
    let error = Archive::open(&layout(&[descriptor], files).tar(dir.path()))
        .expect("open")
        .image(None)
        .expect_err("another platform");
    assert!(
        error.what.contains("for linux/s390x, and this host is linux/") && error.code == ExitCode::Usage,
        "{error}"
    );
}

/// The error for an archive that is made of these files.
#[track_caller]
fn refused(files: &Files, meant: Option<&str>, words: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = Archive::open(&files.tar(dir.path())).and_then(|archive| archive.image(meant));
    let error = opened.expect_err(words);
    assert_eq!(error.code, ExitCode::Usage, "{error}");
    assert!(error.to_string().contains(words), "it should say `{words}`: {error}");
}

#[test]
fn what_is_wrong_with_an_archive_is_said() {
    let (good, odd) = (docker(&["simple:latest"], ours()), docker(&["simple:latest"], "s390x"));
    refused(&odd, None, "holds an image for linux/s390x, and this host is linux/");
    refused(&good, Some("other"), "holds no image other\n  cause: it holds simple:latest");
    refused(Files::default().add("readme.txt", "hello"), None, "neither an index.json nor a manifest.json");
    refused(Files::default().add("manifest.json", "[]"), None, "it holds no image");
    refused(Files::default().add("manifest.json", "{"), None, "its manifest.json: invalid type");
    refused(Files::default().add("index.json", r#"{"schemaVersion":2,"manifests":[]}"#), None, "it holds no image");
    let without = |name: &str| Files(good.0.iter().filter(|(known, _)| known != name).cloned().collect());
    refused(&without("b/layer.tar"), None, "b/layer.tar is not in it");
    refused(&without("c.json"), None, "c.json is not in it");
    let mut two = good.clone();
    let entry = |tag: &str| json!({"Config": "c.json", "RepoTags": [tag], "Layers": ["a/layer.tar", "b/layer.tar"]});
    two.0.retain(|(name, _)| name != "manifest.json");
    two.add("manifest.json", json!([entry("one:1"), entry("two:2")]).to_string());
    refused(
        &two,
        None,
        "holds 2 images\n  cause: one:1, two:2\n  hint:  name the one to push: iris-mk8s image push FILE NAME:TAG",
    );
    let mut few = without("manifest.json");
    few.add("manifest.json", json!([{"Config": "c.json", "RepoTags": [], "Layers": ["a/layer.tar"]}]).to_string());
    refused(&few, None, "its configuration names 2 layers, its manifest.json 1");
}

#[test]
fn a_damaged_layout_is_refused_before_anything_is_pushed() {
    let mut files = Files::default();
    let descriptor = in_layout(&mut files, ours(), b"layer");
    let files = layout(std::slice::from_ref(&descriptor), files);
    let hex = |digest: &Value| digest.as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    let with = |part: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        files.0.iter_mut().filter(|(name, _)| name.ends_with(part)).for_each(|(_, bytes)| change(bytes));
        files
    };
    let manifest = hex(&descriptor["digest"]);
    refused(&with(&manifest, &|bytes| bytes[2] ^= 1), None, "is in truth sha256:");
    let layer = sha256(b"layer");
    refused(&with(&layer, &|bytes| bytes.truncate(3)), None, "has 3 bytes, not 5");
    let gone = Files(files.0.iter().filter(|(name, _)| !name.ends_with(&layer)).cloned().collect());
    refused(&gone, None, "is not in it");
    // A digest that leads out of the folder.
    let mut evil = Files::default();
    evil.add("index.json", json!({"schemaVersion": 2, "manifests": [{"mediaType": "x", "size": 1, "digest": "sha256:../../../../etc/passwd"}]}).to_string());
    let dir = tempfile::tempdir().expect("a folder");
    let error = Archive::open(&evil.folder(dir.path())).and_then(|archive| archive.image(None)).expect_err("refused");
    assert_eq!(error.code, ExitCode::Usage, "{error}");
}

#[test]
fn what_is_no_archive_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let whole = fs::read(docker(&["simple:latest"], ours()).tar(dir.path())).expect("a tar");
    let cut = whole.len() / 4;
    fs::create_dir(dir.path().join("empty")).expect("a folder");
    for (path, words) in [
        (dir.path().join("nothing.tar"), "there is no file"),
        (file("text.tar", &[b'x'; 2000]), "is not an archive of images"),
        (file("nothing", b""), "neither an index.json nor a manifest.json"),
        (file("gz.tar.gz", &[0x1f, 0x8b, 8, 0]), "is compressed with gzip"),
        (file("zst", &[0x28, 0xb5, 0x2f, 0xfd]), "unpack it first: zstd --decompress"),
        (file("cut.tar", &whole[..cut]), "image.tar"),
        (dir.path().join("empty"), "neither an index.json nor a manifest.json"),
        (PathBuf::from("/dev/null"), "is neither a file nor a folder"),
    ] {
        let opened = Archive::open(&path).and_then(|archive| archive.image(None).map(|_| ()));
        let error = opened.expect_err(words);
        assert_eq!(error.code, ExitCode::Usage, "{error}");
        assert!(words == "image.tar" || error.to_string().contains(words), "it should say `{words}`: {error}");
    }
}
