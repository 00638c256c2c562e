//! The files of an archive: those of a folder, or those within a tar. Of a tar, an index is made once; then its files are read in their place.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::LONGEST_JSON;
use crate::error::{Error, Result};

/// Where files lie.
pub(super) enum Store {
    Folder(PathBuf),
    Tar { file: PathBuf, entries: BTreeMap<String, Entry> },
}

/// A file within a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    File {
        offset: u64,
        size: u64,
    },
    /// It has the content of another one: older Dockers write equal layers once.
    Link(String),
}

/// Where a file of an archive is.
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// How a file is compressed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    No,
    Gzip,
    Zstd,
    Other(&'static str),
}

const SIGNS: [(&[u8], Compression); 4] = [
    (&[0x1f, 0x8b], Compression::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
    (b"BZh", Compression::Other("bzip2")),
    (&[0xfd, b'7', b'z', b'X', b'Z'], Compression::Other("xz")),
];

impl Compression {
    pub(super) fn of(first: &[u8]) -> Self {
        SIGNS.iter().find(|(sign, _)| first.starts_with(sign)).map_or(Self::No, |(_, compression)| *compression)
    }

    fn tool(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Other(name) => Some(name),
        }
    }
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::usage(format!("{} cannot be read", path.display())).because(why)
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("there is no file {}", path.display())),
            _ => unreadable(path, e),
        })?;
        // The engine's commands do not run in the user's folder.
        let path = fs::canonicalize(path).map_err(|e| unreadable(path, e))?;
        if meta.is_dir() {
            return Ok(Self::Folder(path));
        }
        if !meta.is_file() {
            return Err(Error::usage(format!("{} is neither a file nor a folder", path.display())));
        }
        let entries = index(&path, meta.len())?;
        Ok(Self::Tar { file: path, entries })
    }

    /// Where a file is; none when the archive has none of that name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Place>> {
        match self {
            Self::Folder(folder) => {
                let file = folder.join(name);
                match fs::metadata(&file) {
                    Ok(meta) if meta.is_file() => Ok(Some(Place { file, offset: 0, size: meta.len() })),
                    Ok(_) => Err(unreadable(&file, "it is not a file")),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(unreadable(&file, e)),
                }
            }
            Self::Tar { file, entries } => {
                let mut name = name.to_owned();
                // A link to a link is as far as any tool goes.
                for _ in 0..4 {
                    match entries.get(&name) {
                        Some(Entry::File { offset, size }) => {
                            return Ok(Some(Place { file: file.clone(), offset: *offset, size: *size }));
                        }
                        Some(Entry::Link(to)) => name.clone_from(to),
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }

    /// The bytes of a small file; none when there is none.
    pub(super) fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(place) = self.find(name)? else { return Ok(None) };
        if place.size > LONGEST_JSON {
            return Err(unreadable(
                &place.file,
                format!("{name} in it has {} bytes, more than any such file", place.size),
            ));
        }
        place.read(place.size).map(Some)
    }
}

impl Place {
    /// Its first bytes.
    pub(super) fn read(&self, count: u64) -> Result<Vec<u8>> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.file)?;
            file.seek(SeekFrom::Start(self.offset))?;
            let mut bytes = Vec::new();
            file.take(self.size.min(count)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|e| unreadable(&self.file, e))
    }
}

/// The files of a tar.
fn index(path: &Path, length: u64) -> Result<BTreeMap<String, Entry>> {
    let open = || File::open(path).map_err(|e| unreadable(path, e));
    let mut first = Vec::new();
    open()?.take(8).read_to_end(&mut first).map_err(|e| unreadable(path, e))?;
    if let Some(tool) = Compression::of(&first).tool() {
        return Err(Error::usage(format!("{} is compressed with {tool}", path.display()))
            .hint(format!("unpack it first: {tool} --decompress --keep {}", path.display())));
    }
    let no_tar = |why: &dyn std::fmt::Display| {
        Error::usage(format!("{} is not an archive of images", path.display()))
            .because(why)
            .hint("write one with `docker save --output FILE NAME:TAG` or `podman save --output FILE NAME:TAG`")
    };
    let mut archive = tar::Archive::new(open()?);
    let mut entries = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(|e| no_tar(&e))? {
        let entry = entry.map_err(|e| no_tar(&e))?;
        let name = plain(&entry.path().map_err(|e| no_tar(&e))?);
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let kind = entry.header().entry_type();
        if kind.is_file() {
            if offset.checked_add(size).is_none_or(|end| end > length) {
                return Err(super::damaged(&path.display().to_string(), &format!("it ends within {name}")));
            }
            entries.insert(name, Entry::File { offset, size });
        } else if kind.is_symlink() || kind.is_hard_link() {
            let Some(to) = entry.link_name().map_err(|e| no_tar(&e))? else { continue };
            let folder =
                if kind.is_symlink() { Path::new(&name).parent().unwrap_or(Path::new("")) } else { Path::new("") };
            let to = plain(&folder.join(to));
            entries.insert(name, Entry::Link(to));
        }
    }
    Ok(entries)
}

/// A path within an archive, without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => _ = parts.pop(),
            _ => {}
        }
    }
    parts.join("/")
}
