//! SHA-256 as everybody writes it.

use sha2::{Digest, Sha256};

/// In small hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    shown(Sha256::digest(bytes))
}

/// A finished digest in small hexadecimal digits.
pub fn shown(digest: impl AsRef<[u8]>) -> String {
    base16ct::lower::encode_string(digest.as_ref())
}
