//! Where something is mounted.

use std::path::{Path, PathBuf};

use super::Host;
use crate::error::Result;

/// Everything at which something is mounted on this host.
///
/// # Errors
/// The list cannot be read.
pub fn mount_points(host: &dyn Host) -> Result<Vec<PathBuf>> {
    let text = host.read(Path::new("/proc/self/mountinfo"))?.unwrap_or_default();
    Ok(mounts(&String::from_utf8_lossy(&text)))
}

/// The mount points of a text of `/proc/self/mountinfo`.
pub fn mounts(text: &str) -> Vec<PathBuf> {
    text.lines().filter_map(|line| Some(PathBuf::from(unescaped(line.split(' ').nth(4)?)))).collect()
}

/// A path as it is: blanks and the like are octal numbers there (`\040`).
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
