//! The wanted state of a bootstrap, as it is drawn.

use std::fmt;

/// The wanted state of a bootstrap.
#[derive(Clone, Copy, PartialEq)]
pub struct Wish {
    pub replicas: u8,
    pub namespace: &'static str,
    pub registry: bool,
    pub class: Option<&'static str>,
    pub mirror: Option<&'static str>,
    pub user: &'static str,
    pub password: Option<&'static str>,
    pub range: Range,
    /// Volumes of another class may go.
    pub data: bool,
    /// The stage that is the last one.
    pub until: Option<&'static str>,
    /// Stages side by side, in the order of the dice of that number; none = one after the other.
    pub abreast: Option<u16>,
}

impl Wish {
    /// What a bootstrap without options wants.
    pub const PLAIN: Self = Self {
        replicas: 2,
        namespace: "default",
        registry: true,
        class: None,
        mirror: None,
        user: "ubuntu",
        password: None,
        range: Range::First,
        data: false,
        until: None,
        abreast: None,
    };
}

impl Default for Wish {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// Only what differs from the plain one is shown.
impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, namespace, registry, class, mirror, user, password, range, data, until, abreast } = *self;
        let plain = Self::PLAIN;
        let fields = [
            (replicas != plain.replicas).then(|| format!("replicas: {replicas}")),
            (namespace != plain.namespace).then(|| format!("namespace: {namespace:?}")),
            (registry != plain.registry).then(|| format!("registry: {registry}")),
            (class != plain.class).then(|| format!("class: {class:?}")),
            (mirror != plain.mirror).then(|| format!("mirror: {mirror:?}")),
            (user != plain.user).then(|| format!("user: {user:?}")),
            (password != plain.password).then(|| format!("password: {password:?}")),
            (range != plain.range).then(|| format!("range: {range:?}")),
            (data != plain.data).then(|| format!("data: {data}")),
            (until != plain.until).then(|| format!("until: {until:?}")),
            (abreast != plain.abreast).then(|| format!("abreast: {abreast:?}")),
        ];
        let fields: Vec<String> = fields.into_iter().flatten().collect();
        if fields.is_empty() { write!(f, "PLAIN") } else { write!(f, "Wish {{ {}, ..PLAIN }}", fields.join(", ")) }
    }
}

/// Addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    First,
    /// Others.
    Second,
    /// Those of the first one, and some more.
    Wider,
    /// What a pool of somebody else's holds.
    Theirs,
}

impl Range {
    pub const ALL: [Self; 4] = [Self::First, Self::Second, Self::Wider, Self::Theirs];

    pub fn text(self) -> &'static str {
        match self {
            Self::First => "192.168.11.110-192.168.11.130",
            Self::Second => "192.168.11.160-192.168.11.170",
            Self::Wider => "192.168.11.110-192.168.11.140",
            Self::Theirs => "192.168.11.200-192.168.11.210",
        }
    }
}
