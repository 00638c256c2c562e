//! The modelled file system: paths to files, directories and links. Copies are cheap, since the matrix copies a world at every point
//! where a run may die.

use std::{collections::BTreeMap, path::Path, sync::Arc};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file: its bytes, its mode, its owner.
    File(Arc<[u8]>, u32, String),
    /// A directory.
    Dir,
    /// A symbolic link.
    Link(String),
}

/// The tree.
#[derive(Clone, Default)]
pub struct Files {
    nodes: Arc<BTreeMap<String, Node>>,
    /// So many files and records can still be written; none = as many as wanted.
    pub room: Option<u32>,
}

fn key(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

impl Files {
    /// Whether there is room for one more file or record of ours, which then takes it.
    pub fn has_room(&mut self) -> bool {
        match &mut self.room {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn put(&mut self, path: &str, node: Node) {
        let nodes = Arc::make_mut(&mut self.nodes);
        for (at, _) in path.match_indices('/').skip(1) {
            nodes.entry(path[..at].to_owned()).or_insert(Node::Dir);
        }
        nodes.insert(path.to_owned(), node);
    }

    /// Writes a file of root's.
    pub fn write(&mut self, path: &str, bytes: impl AsRef<[u8]>) {
        self.write_as(path, bytes, 0o644, "root");
    }

    /// Writes a file.
    pub fn write_as(&mut self, path: &str, bytes: impl AsRef<[u8]>, mode: u32, owner: &str) {
        self.put(path, Node::File(bytes.as_ref().into(), mode, owner.to_owned()));
    }

    /// Makes a directory.
    pub fn dir(&mut self, path: &str) {
        if !self.nodes.contains_key(path) {
            self.put(path, Node::Dir);
        }
    }

    /// Makes a link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.put(path, Node::Link(to.to_owned()));
    }

    /// What a path names.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<&Node> {
        self.nodes.get(key(path.as_ref()))
    }

    /// Whether it names anything.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.get(path).is_some()
    }

    /// A file's bytes.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        match self.get(path)? {
            Node::File(bytes, ..) => Some(bytes),
            Node::Dir | Node::Link(_) => None,
        }
    }

    /// A file's text; empty when there is none.
    pub fn text(&self, path: impl AsRef<Path>) -> String {
        self.read(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// Names in a directory.
    pub fn names(&self, dir: impl AsRef<Path>) -> Vec<String> {
        let prefix = format!("{}/", key(dir.as_ref()));
        let below = self.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        below.map(|(path, _)| path[prefix.len()..].to_owned()).filter(|name| !name.contains('/')).collect()
    }

    /// Removes what a path names, with all below it.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        let path = key(path.as_ref());
        if !self.nodes.contains_key(path) {
            return;
        }
        let below = format!("{path}/");
        Arc::make_mut(&mut self.nodes).retain(|p, _| p != path && !p.starts_with(&below));
    }

    /// Gives a directory another name, with all below it.
    pub fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved: Vec<(String, Node)> = self
            .nodes
            .range(from.to_owned()..)
            .take_while(|(path, _)| path.starts_with(from))
            .map(|(p, n)| (p.clone(), n.clone()))
            .collect();
        for (path, node) in moved.into_iter().filter(|(path, _)| path == from || path.starts_with(&below)) {
            self.put(&format!("{to}{}", &path[from.len()..]), node);
        }
        self.remove(from);
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter()
    }
}
