//! SHA-256 as everybody writes it.

use sha2::{Digest, Sha256};

/// In small hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
