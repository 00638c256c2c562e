//! Bundles of a few bytes: what is written is read again, and what is wrong is told.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use super::*;
use crate::{
    error::{Error, ExitCode},
    host::digest::sha256,
};

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// Some bytes that do not compress away.
fn layer() -> Vec<u8> {
    (0..4000_u32).flat_map(|n| sha256(n.to_le_bytes()).into_bytes()).collect()
}

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        tool: "iris-mk8s 0".to_owned(),
        created: "2026-12-01T00:00:00Z".to_owned(),
        platform: platform(),
        channel: "1.34".parse().expect("a channel"),
        snaps: Vec::new(),
        images: vec![Image {
            name: "docker.io/library/a:1".to_owned(),
            digest: digest(b"{}"),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            blobs: vec![digest(b"config"), digest(&layer())],
        }],
        longhorn: None,
        program: None,
        profile: None,
        parts: std::collections::BTreeMap::new(),
        length: 0,
    }
}

fn written(folder: &Path) -> PathBuf {
    let path = folder.join("bundle");
    let mut writer = Writer::create(&path).expect("a file");
    for bytes in [b"{}".to_vec(), b"config".to_vec(), layer()] {
        writer.add(&digest(&bytes), bytes.len() as u64, bytes.as_slice()).expect("it is added");
    }
    writer.finish(manifest()).expect("it is whole");
    path
}

fn opened(path: &Path) -> Result<Bundle, Error> {
    let bundle = Bundle::open(path)?;
    bundle.verify(&mut |_| Ok(()))?;
    Ok(bundle)
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path());
    let bundle = opened(&path).expect("a good one");
    assert_eq!(bundle.manifest.images, manifest().images);
    assert_eq!(bundle.bytes(&digest(&layer())).expect("a part"), layer());
    assert_eq!(bundle.total(), 2 + 6 + layer().len() as u64);
    assert!(!folder.path().join("bundle.new").exists());
}

/// Whoever has no iris-mk8s reads it with what every distribution has.
#[test]
fn common_tools_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path());
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(fs::File::open(path).expect("the file"))
        .expect("zstd")
        .read_to_end(&mut plain)
        .expect("all frames");
    fs::write(folder.path().join("plain.tar"), plain).expect("a file");
    let listed = Command::new("tar").arg("tf").arg(folder.path().join("plain.tar")).output().expect("tar");
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let parts = [b"{}".to_vec(), b"config".to_vec(), layer()].map(|bytes| format!("blobs/sha256/{}", sha256(bytes)));
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["manifest.json", &parts[0], &parts[1], &parts[2]]);
}

/// A bit may flip anywhere but in the gap, which nobody reads. Some bits of a frame mean nothing: then what is read is the same.
#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path());
    let good = fs::read(&path).expect("the file");
    let whole = opened(&path).expect("a good one").manifest;
    let mut unseen = 0;
    let gap = 1 << 20;
    let end = good[..gap].iter().rposition(|byte| *byte != 0).expect("a manifest") - 8;
    let places = (0..end).step_by(7).chain((gap..good.len() - 40).step_by(3001));
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).expect("a file");
        match opened(&path) {
            Ok(bundle) => {
                assert_eq!(bundle.manifest, whole, "byte {at}");
                unseen += 1;
            }
            Err(error) => assert_eq!(error.code, ExitCode::Usage, "byte {at}: {error}"),
        }
    }
    assert!(unseen < 5, "{unseen} flipped bits were not seen");
}

#[test]
fn one_that_is_cut_off_or_goes_on_is_found_before_its_parts_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path());
    let good = fs::read(&path).expect("the file");
    for length in [0, 3, 100, 1 << 20, good.len() - 1] {
        fs::write(&path, &good[..length]).expect("a file");
        assert_eq!(Bundle::open(&path).expect_err("it is cut off").code, ExitCode::Usage, "{length}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).expect("a file");
    assert!(Bundle::open(&path).expect_err("it goes on").what.contains("damaged"));
}

#[test]
fn what_is_no_bundle_or_of_another_format_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle");
    let said = |path: &Path| Bundle::open(path).expect_err("refused").to_string();
    assert!(said(&path).contains("there is no bundle"));
    fs::write(&path, b"a text that is long enough").expect("a file");
    assert!(said(&path).contains("is no bundle"));
    let writer = Writer::create(&path).expect("a file");
    writer.finish(Manifest { format: FORMAT + 1, ..manifest() }).expect("it is whole");
    assert!(said(&path).contains("is of format 2, and this program reads format 1"));
}

#[test]
fn what_is_packed_must_be_what_it_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = Writer::create(&folder.path().join("bundle")).expect("a file");
    let error = writer.add(&digest(b"a"), 1, &b"b"[..]).expect_err("another one");
    assert!(error.to_string().contains("is in truth"), "{error}");
}

#[test]
fn an_image_is_an_oci_layout_for_containerd() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = Arc::new(opened(&written(folder.path())).expect("a good one"));
    let mut layout = Layout::new(&bundle, &bundle.manifest.images[0]).expect("all parts are there");
    let (length, mut bytes) = (layout.length, Vec::new());
    layout.read_to_end(&mut bytes).expect("all of it");
    assert_eq!(bytes.len() as u64, length);
    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let (name, mut content) = (entry.path().expect("a name").display().to_string(), Vec::new());
        entry.read_to_end(&mut content).expect("its content");
        files.insert(name, content);
    }
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "docker.io/library/a:1");
    assert_eq!(files[&format!("blobs/sha256/{}", sha256(layer()))], layer());
    assert_eq!(files.len(), 5, "{:?}", files.keys());
}
