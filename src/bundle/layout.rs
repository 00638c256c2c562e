//! An image of a bundle as containerd imports it: an OCI layout in a tar, made while it is read. Nothing of it is ever on the disk a second time.

use std::{
    collections::VecDeque,
    io::{self, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde_json::json;

use super::{Bundle, Image, write::path_of};
use crate::error::{Error, ExitCode, Result};

/// A piece of the tar.
enum Piece {
    Bytes(Cursor<Vec<u8>>),
    Part(String),
    Open(Box<dyn Read + Send>),
}

/// The tar.
pub struct Layout {
    bundle: Arc<Bundle>,
    pieces: VecDeque<Piece>,
    /// Its length.
    pub length: u64,
    done: Arc<AtomicU64>,
}

impl Layout {
    /// The layout of an image, which begins with what leads to it.
    ///
    /// # Errors
    /// A part of it is not in the bundle.
    pub fn new(bundle: &Arc<Bundle>, image: &Image) -> Result<Self> {
        let mut layout = Self { bundle: Arc::clone(bundle), pieces: VecDeque::new(), length: 0, done: Arc::default() };
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": bundle.size(&image.digest),
            "annotations": {"io.containerd.image.name": image.name},
        }]});
        layout.file("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes())?;
        layout.file("index.json", index.to_string().into_bytes())?;
        for digest in std::iter::once(&image.digest).chain(&image.blobs) {
            let size = bundle.size(digest);
            layout.header(&path_of(digest), size)?;
            layout.pieces.push_back(Piece::Part(digest.clone()));
            layout.length += size;
            layout.zeros((512 - size % 512) % 512);
        }
        layout.zeros(1024);
        Ok(layout)
    }

    /// How many bytes of it were read, for who watches.
    pub fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    fn file(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let size = bytes.len() as u64;
        self.header(name, size)?;
        self.bytes(bytes);
        self.zeros((512 - size % 512) % 512);
        Ok(())
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).map_err(|e| Error::new(ExitCode::Bug, "not a name for a tar").because(e))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.bytes(header.as_bytes().to_vec());
        Ok(())
    }

    fn zeros(&mut self, count: u64) {
        self.bytes(vec![0; usize::try_from(count).unwrap_or_default()]);
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        self.length += bytes.len() as u64;
        self.pieces.push_back(Piece::Bytes(Cursor::new(bytes)));
    }
}

impl Read for Layout {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = match self.pieces.front_mut() {
                None => return Ok(0),
                Some(Piece::Bytes(bytes)) => bytes.read(buffer)?,
                Some(Piece::Open(part)) => part.read(buffer)?,
                Some(Piece::Part(digest)) => {
                    let part = self.bundle.part(digest).map_err(|e| io::Error::other(e.what))?;
                    self.pieces[0] = Piece::Open(Box::new(part));
                    continue;
                }
            };
            if count > 0 || buffer.is_empty() {
                self.done.fetch_add(count as u64, Relaxed);
                return Ok(count);
            }
            self.pieces.pop_front();
        }
    }
}
