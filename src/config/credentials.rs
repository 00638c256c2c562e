//! The password of IRIS' predefined accounts. It is generated unless the user gives one, kept in a file of mode 0600, and reaches
//! IRIS only as a salted hash, in the CPF merge. It is never in a command line, log, journal, event or plan.
//!
//! What counts as the password is the same in a file that is given, in the file that is kept, and in what is hashed: all bytes of the file but
//! one line ending at its end. [`line_of`] is the only place that cuts it, and [`Credentials::password_file`] the only one that adds it.
//!
//! | the file | the password |
//! |---|---|
//! | `secret`, `secret\n`, `secret\r\n` | `secret` |
//! | `secret \n`, `secret\t\n` | `secret` and the blank or the tab: what is typed into a login form counts in the same way |
//! | ` secret\n`, `two words\n`, ` \n` | with its blanks |
//! | `secret\n\n`, `secret\r`, `a\nb\n`, a NUL | refused: it is not one line |
//! | nothing, `\n`, `\r\n` | refused: it is empty |
//! | a byte order mark and `secret` | refused: the mark is invisible, and nobody types it |
//! | bytes that are not UTF-8 | refused: IRIS hashes UTF-8 |

use std::{
    fmt, fs,
    io::{self, Read},
    path::Path,
};

use base16ct::{lower::encode_string, mixed::decode};
use rand::{Rng, distr::Alphanumeric};
use serde::{Deserialize, Serialize};

use crate::{
    config::place::Place,
    config::place::check_place,
    error::{Error, Result},
};

/// Iterations of the hash: IRIS' default.
const ITERATIONS: u32 = 10_000;

/// Bytes of hash and salt: IRIS wants both of the same length, and SHA-512 gives this one.
const LENGTH: usize = 64;

/// Letters and digits of a generated password: more than 130 bits.
const GENERATED: usize = 24;

/// The password of IRIS as it comes, of which the article published a hash.
pub const PUBLISHED: &str = "SYS";

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
        Self(format!("{},{},{ITERATIONS},SHA512", encode_string(&hash), encode_string(salt)))
    }

    /// Whether it is the hash of this password.
    fn fits(&self, password: &str) -> bool {
        let salt = self.0.split(',').nth(1).unwrap_or_default();
        let mut bytes = [0; LENGTH];
        let salt = decode(salt, &mut bytes).ok().and_then(|salt| salt.try_into().ok());
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
        check_place(place)?;
        let before = kept(&place.password())?;
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
        let hash = kept(&place.password_hash())?.map(PasswordHash).filter(|hash| hash.fits(&password));
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

/// A file that an earlier run wrote; none when there is no such file, or nothing in it.
///
/// # Errors
/// It is there and cannot be read: then nobody can say that there is no password.
fn kept(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(without_ending(&text).to_owned()).filter(|text| !text.is_empty()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::failed(format!("cannot read {}", path.display())).caused_by(e)),
    }
}

/// No password is longer than this; a device that never ends is none.
const LONGEST: u64 = 4096;

fn read(source: &str) -> Result<String> {
    let cannot = |e: io::Error| Error::usage(format!("--password-file {source}: cannot be read")).caused_by(e);
    let mut bytes = Vec::new();
    let text: Box<dyn Read> =
        if source == "-" { Box::new(io::stdin()) } else { Box::new(fs::File::open(source).map_err(cannot)?) };
    text.take(LONGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    let wrong = |why: &str| Error::usage(format!("--password-file {source}: {why}"));
    if bytes.len() as u64 > LONGEST {
        return Err(wrong("it is too long for a password"));
    }
    let password = line_of(&bytes).map_err(wrong)?;
    if password == PUBLISHED {
        return Err(wrong(&format!("`{PUBLISHED}` is the password that everybody tries first"))
            .hint("leave --password-file out, and one is generated"));
    }
    Ok(password.to_owned())
}

/// The password in a file's bytes, or why there is none.
fn line_of(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = str::from_utf8(bytes).map_err(|_| "the password is not UTF-8")?;
    let password = without_ending(text);
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err("the password is one line that is not empty");
    }
    if password.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark; save it as UTF-8 without one");
    }
    Ok(password)
}

fn without_ending(text: &str) -> &str {
    text.strip_suffix("\r\n").or(text.strip_suffix('\n')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_hashes_are_recomputed() {
        let vectors: Vec<(String, String)> =
            serde_json::from_str(include_str!("../../tests/data/password_hashes.json")).expect("vectors");
        assert_eq!(vectors.len(), 3);
        for (password, hash) in vectors {
            assert!(PasswordHash(hash.clone()).fits(&password), "{hash}");
            assert!(!PasswordHash(hash).fits("another"), "any password fits");
        }
    }

    /// Up to 2021.1: `hash,salt`, PBKDF2 with HMAC-SHA1 over the salt's text, 1024 iterations.
    #[test]
    fn the_published_hash_is_that_of_the_published_password() {
        let article = include_str!("../../profiles/article.toml");
        let line = article.lines().find_map(|l| l.strip_prefix("password_hash = \"")?.strip_suffix('"'));
        for vector in [line.expect("the article's"), "d8191b3c433ed48c7cd60cb7a4b1bfd3068b38db,t6jhs1sc"] {
            let (hash, salt) = vector.split_once(',').expect("two fields");
            let of = |password: &str| {
                let mut hash = [0_u8; 20];
                pbkdf2::pbkdf2_hmac::<sha1::Sha1>(password.as_bytes(), salt.as_bytes(), 1024, &mut hash);
                encode_string(&hash)
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

    /// What is in the file, and the password, if it is one.
    const LINES: &[(&[u8], Option<&str>)] = &[
        (b"secret", Some("secret")),
        (b"secret\n", Some("secret")),
        (b"secret\r\n", Some("secret")),
        (b"secret \n", Some("secret ")),
        (b"secret \t ", Some("secret \t ")),
        (b"secret\t\r\n", Some("secret\t")),
        (b"  secret\n", Some("  secret")),
        (b"two words\n", Some("two words")),
        (b" \n", Some(" ")),
        ("Straße\u{a0}\n".as_bytes(), Some("Straße\u{a0}")),
        (b"", None),
        (b"\n", None),
        (b"\r\n", None),
        (b"secret\n\n", None),
        (b"secret\r", None),
        (b"secret\r\r\n", None),
        (b"secret \n \n", None),
        (b"a\nb\n", None),
        (b"a\0b\n", None),
        (b"\xef\xbb\xbfsecret\n", None),
        (b"caf\xe9\n", None),
        (b"SYS\n", None),
    ];

    #[test]
    fn all_but_the_line_ending_is_the_password_and_the_next_run_finds_the_same() {
        for (bytes, password) in LINES {
            let shown = String::from_utf8_lossy(bytes);
            let dir = tempfile::tempdir().expect("dir");
            let place = Place { dir: dir.path().to_owned() };
            let given = dir.path().join("given");
            fs::write(&given, bytes).expect("write");
            let first = Credentials::load_or_make(&place, given.to_str(), None);
            let Some(password) = password else {
                assert_eq!(first.unwrap_err().code, crate::error::ExitCode::Usage, "{shown:?}");
                continue;
            };
            let first = first.unwrap_or_else(|e| panic!("{shown:?}: {e}"));
            assert_eq!(first.password, *password, "{shown:?}");
            assert!(first.hash.fits(password), "{shown:?}");
            assert_eq!(first.password_file(), format!("{password}\n").into_bytes());
            // The next run, which is told nothing, and one that is told the same.
            fs::write(place.password(), first.password_file()).expect("write");
            fs::write(place.password_hash(), first.hash().as_str()).expect("write");
            assert!(first == Credentials::load_or_make(&place, None, None).expect("kept"), "{shown:?} is another one");
            let again = Credentials::load_or_make(&place, given.to_str(), None).expect("given");
            assert!(first == again, "{shown:?} is another one when it is given again");
        }
    }

    #[test]
    fn a_password_that_cannot_be_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        fs::create_dir(place.password()).expect("a directory in its place");
        assert!(kept(&place.password()).unwrap_err().what.contains("cannot read"));
        assert!(Credentials::load_or_make(&place, None, None).is_err());
        let endless = Credentials::load_or_make(&Place { dir: dir.path().join("x") }, Some("/dev/zero"), None);
        assert!(endless.unwrap_err().what.contains("too long"));
    }
}
