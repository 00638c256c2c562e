//! The wanted state and the password that goes with it, as the program finds them.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use iris_mk8s::{
    config::{
        credentials::Credentials,
        flags::{Lb, SpecFlags},
        place::Place,
        profile,
        spec::{Mirror, Spec},
    },
    error::Result,
};

use super::place;
use crate::{
    model::{
        longhorn,
        world::{Era, World},
    },
    op::Wish,
};

/// The wanted state.
pub fn spec(era: Era, wish: &Wish) -> Spec {
    let flags = SpecFlags {
        lb: Some(Lb::Range(wish.range.text().parse().expect("a range"))),
        channel: Some(era.channel().parse().expect("a channel")),
        // The modelled Longhorn is that of today.
        storage: wish.class.filter(|class| era == Era::Today || *class != "longhorn").map(str::to_owned),
        replicas: Some(u64::from(wish.replicas)),
        namespace: Some(wish.namespace.to_owned()),
        user: Some(wish.user.to_owned()),
        ..Default::default()
    };
    let input = profile::Input { flags, login: Some("ubuntu".to_owned()), ..profile::Input::default() };
    let mut spec = profile::resolve(&input).expect("the default profile").0;
    spec.data_goes = wish.data;
    spec.addons.retain(|addon| wish.registry || addon != "registry");
    let mirror = |url: &str| Mirror { registry: "docker.io".to_owned(), url: url.to_owned(), ca: None, login: None };
    // Up to 1.22 containerd reads no such file.
    let mirrors = wish.mirror.filter(|_| era == Era::Today);
    spec.registries.mirrors = mirrors.into_iter().map(mirror).collect();
    if let Some(own) = &mut spec.longhorn {
        own.manifest = Some(longhorn::FILE.into());
    }
    spec
}

/// A password's file, its hash's file, what was given, and which of the salts.
type Known = (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>, usize);

/// Salts that are told apart.
const SALTS: usize = 4;

/// The password as the program loads it. Hashing takes its time, so each is made once.
pub(super) fn credentials(world: &mut World, given: Option<&str>) -> Result<Credentials> {
    static KNOWN: OnceLock<Mutex<HashMap<Known, Result<Credentials>>>> = OnceLock::new();
    let file = |path: std::path::PathBuf| world.files.read(path).map(<[u8]>::to_vec);
    let (password, hash) = (file(place().password()), file(place().password_hash()));
    let key = (password, hash, given.map(str::to_owned), world.passwords % SALTS);
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.entry(key.clone()).or_insert_with(|| load(&key)).clone()?;
    if key.1.as_deref() != Some(found.hash().as_str().as_bytes()) {
        world.passwords += 1;
    }
    Ok(found)
}

fn load((password, hash, given, _): &Known) -> Result<Credentials> {
    let dir = tempfile::tempdir().expect("a directory");
    let there = Place { dir: dir.path().to_owned() };
    let given_at = dir.path().join("given");
    for (path, bytes) in [
        (there.password(), password.as_deref()),
        (there.password_hash(), hash.as_deref()),
        (given_at.clone(), given.as_deref().map(str::as_bytes)),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(path, bytes).expect("a file");
        }
    }
    Credentials::load_or_make(&there, given.as_ref().and_then(|_| given_at.to_str()), None)
}
