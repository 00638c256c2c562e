//! The password of IRIS' predefined accounts. It is generated unless the user gives one, kept in a file of mode 0600, and reaches
//! IRIS only as a salted hash, in the CPF merge. It is never in a command line, log, journal, event or plan.

use std::{fmt, fs, io::Read, path::Path};

use rand::{Rng, distr::Alphanumeric};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    journal::Place,
};

/// Iterations of the hash: IRIS' default.
const ITERATIONS: u32 = 10_000;

/// Bytes of hash and salt: IRIS wants both of the same length, and SHA-512 gives this one.
const LENGTH: usize = 64;

/// Letters and digits of a generated password: more than 130 bits.
const GENERATED: usize = 24;

/// The password of IRIS as it comes, of which the article published a hash.
const PUBLISHED: &str = "SYS";

/// A password and its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    password: String,
    hash: PasswordHash,
}

/// The `PasswordHash` of a CPF: `hash,salt,work factor,algorithm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes as IRIS does: PBKDF2 with HMAC-SHA512 over the password's UTF-8, the salt's bytes, 10,000 iterations.
    /// Source: the CPF reference (`PasswordHash`) and InterSystems' `passwordhash` tool.
    fn new(password: &str, salt: &[u8; LENGTH]) -> Self {
        let mut hash = [0_u8; LENGTH];
        pbkdf2::pbkdf2_hmac::<sha2::Sha512>(password.as_bytes(), salt, ITERATIONS, &mut hash);
        Self(format!("{},{},{ITERATIONS},SHA512", hex(&hash), hex(salt)))
    }

    /// Whether it is the hash of this password.
    fn fits(&self, password: &str) -> bool {
        let salt = self.0.split(',').nth(1).and_then(unhex);
        salt.is_some_and(|salt| Self::new(password, &salt) == *self)
    }

    /// The text that goes into the CPF.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Credentials {
    /// Takes the password from a file (`-` = standard input); else the one that an earlier run wrote; else the one whose hash is
    /// published, when that is wanted; else makes one. Writes nothing.
    ///
    /// # Errors
    /// The file cannot be read, or what is in it cannot be a password.
    pub fn load_or_make(place: &Place, given: Option<&str>, published: Option<&str>) -> Result<Self> {
        let kept = |path: &Path| {
            fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned()).filter(|t| !t.is_empty())
        };
        let before = kept(&place.password());
        if let (None, Some(hash)) = (given, published)
            && before.as_ref().is_none_or(|password| password == PUBLISHED)
        {
            return Ok(Self { password: PUBLISHED.to_owned(), hash: PasswordHash(hash.to_owned()) });
        }
        let password = match given {
            Some(source) => read(source)?,
            None => before
                .unwrap_or_else(|| rand::rng().sample_iter(Alphanumeric).take(GENERATED).map(char::from).collect()),
        };
        // The same password keeps its hash, or every run would change the CPF.
        let hash = kept(&place.password_hash()).map(PasswordHash).filter(|hash| hash.fits(&password));
        let hash = hash.unwrap_or_else(|| PasswordHash::new(&password, &rand::random::<[u8; LENGTH]>()));
        Ok(Self { password, hash })
    }

    /// In the place of one where steps are made only to be asked what they are, or to be taken back.
    pub(crate) fn placeholder() -> Self {
        Self { password: "example".to_owned(), hash: PasswordHash("hash,salt,10000,SHA512".to_owned()) }
    }

    /// Whether everybody knows it.
    pub fn is_published(&self) -> bool {
        self.password == PUBLISHED
    }

    /// The file's content.
    pub fn password_file(&self) -> Vec<u8> {
        format!("{}\n", self.password).into_bytes()
    }

    /// What IRIS gets.
    pub fn hash(&self) -> &PasswordHash {
        &self.hash
    }
}

/// A password must not find its way into a message by accident.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

fn read(source: &str) -> Result<String> {
    let cannot = |e: &dyn fmt::Display| Error::usage(format!("--password-file {source}: cannot be read")).because(e);
    let mut text = String::new();
    if source == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(|e| cannot(&e))?;
    } else {
        text = fs::read_to_string(source).map_err(|e| cannot(&e))?;
    }
    let password = text.strip_suffix('\n').unwrap_or(&text).trim_end_matches('\r');
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(Error::usage(format!("--password-file {source}: the password is one line that is not empty")));
    }
    if password == PUBLISHED {
        return Err(Error::usage(format!(
            "--password-file {source}: `{PUBLISHED}` is the password that everybody tries first"
        ))
        .hint("leave --password-file out, and one is generated"));
    }
    Ok(password.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; LENGTH]> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_hashes_are_recomputed() {
        let vectors: Vec<(String, String)> =
            serde_json::from_str(include_str!("../tests/data/password_hashes.json")).expect("vectors");
        assert_eq!(vectors.len(), 3);
        for (password, hash) in vectors {
            assert!(PasswordHash(hash.clone()).fits(&password), "{hash}");
            assert!(!PasswordHash(hash).fits("another"), "any password fits");
        }
    }

    /// Up to 2021.1: `hash,salt`, PBKDF2 with HMAC-SHA1 over the salt's text, 1024 iterations.
    #[test]
    fn the_published_hash_is_that_of_the_published_password() {
        let article = include_str!("../profiles/article.toml");
        let line = article.lines().find_map(|l| l.strip_prefix("password_hash = \"")?.strip_suffix('"'));
        for vector in [line.expect("the article's"), "d8191b3c433ed48c7cd60cb7a4b1bfd3068b38db,t6jhs1sc"] {
            let (hash, salt) = vector.split_once(',').expect("two fields");
            let of = |password: &str| {
                let mut hash = [0_u8; 20];
                pbkdf2::pbkdf2_hmac::<sha1::Sha1>(password.as_bytes(), salt.as_bytes(), 1024, &mut hash);
                hex(&hash)
            };
            assert_eq!(of(PUBLISHED), hash.to_ascii_lowercase());
            assert_ne!(of("sys"), hash.to_ascii_lowercase());
        }
    }

    #[test]
    fn a_published_password_gives_way_to_a_given_one() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        let published = Credentials::load_or_make(&place, None, Some("h,s")).expect("published");
        assert!(published.is_published() && published.hash().as_str() == "h,s");
        let given = dir.path().join("given");
        fs::write(&given, "another\n").expect("write");
        let given = Credentials::load_or_make(&place, given.to_str(), Some("h,s")).expect("given");
        assert!(!given.is_published() && given.hash().as_str() != "h,s");
        // Later runs find it, although they are not told again.
        fs::write(place.password(), given.password_file()).expect("write");
        fs::write(place.password_hash(), given.hash().as_str()).expect("write");
        assert_eq!(given, Credentials::load_or_make(&place, None, Some("h,s")).expect("kept"));
        fs::write(place.password(), published.password_file()).expect("write");
        assert_eq!(published, Credentials::load_or_make(&place, None, Some("h,s")).expect("kept"));
    }

    #[test]
    fn the_same_password_keeps_its_hash() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        let first = Credentials::load_or_make(&place, None, None).expect("made");
        assert_ne!(
            first,
            Credentials::load_or_make(&place, None, None).expect("made"),
            "nothing is written, so another one is made"
        );
        fs::write(place.password(), first.password_file()).expect("write");
        fs::write(place.password_hash(), first.hash().as_str()).expect("write");
        assert_eq!(first, Credentials::load_or_make(&place, None, None).expect("kept"));
        let given = dir.path().join("given");
        fs::write(&given, "another\n").expect("write");
        let other = Credentials::load_or_make(&place, given.to_str(), None).expect("given");
        assert_eq!(other.password_file(), b"another\n");
        assert_ne!(other.hash(), first.hash());
    }

    #[test]
    fn what_cannot_be_a_password_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        for wrong in ["", "\n", "a\nb\n", "SYS\n"] {
            let path = dir.path().join("p");
            fs::write(&path, wrong).expect("write");
            let error =
                Credentials::load_or_make(&Place { dir: dir.path().to_owned() }, path.to_str(), None).unwrap_err();
            assert_eq!(error.code, crate::error::ExitCode::Usage, "{wrong:?}");
        }
    }
}
