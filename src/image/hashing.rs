//! A reader that computes a digest of what is read through it.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::host::digest;

/// Passes on what it reads, and knows the digest of that.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// The digest of all that was read.
    pub(crate) fn digest(self) -> String {
        format!("sha256:{}", digest::shown(self.hash.finalize()))
    }

    /// Reads so many bytes for their digest alone.
    pub(crate) fn skip(&mut self, count: u64) -> io::Result<()> {
        let read = io::copy(&mut self.by_ref().take(count), &mut io::sink())?;
        if read == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
