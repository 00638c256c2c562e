//! The mounts of the host, as `/proc/self/mountinfo` tells of them.

/// A mount, as `/proc/self/mountinfo` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: String,
    /// Of the mount and of its file system.
    pub(crate) options: Vec<String>,
    pub(crate) kind: String,
}

impl Mount {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

/// Reads `/proc/self/mountinfo`: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - KIND SOURCE OPTIONS`.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let (mount, system): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), system.split(' ').collect());
        let options = [*mount.get(5)?, system.get(2).copied().unwrap_or_default()].join(",");
        Some(Mount {
            // A blank in a path is written in octal.
            point: mount.get(4)?.replace("\\040", " "),
            options: options.split(',').map(str::to_owned).collect(),
            kind: (*system.first()?).to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// The mount that a path lies on: the longest that it begins with; of several on one point the last, which hides the others.
pub(crate) fn of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let holds = |point: &str| {
        point == "/" || path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts.iter().filter(|mount| holds(&mount.point)).max_by_key(|mount| mount.point.len())
}
