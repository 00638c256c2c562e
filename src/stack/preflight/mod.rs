//! Whether the host is fit for MicroK8s and IRIS: what each check of the host looks at. The table of all checks is [`crate::stack::checks`].

pub(crate) mod bundle;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod disk_speed;
pub(crate) mod firewall;
pub(crate) mod host_names;
pub(crate) mod machine;
pub(crate) mod mounts;
pub(crate) mod network_of_host;
pub(crate) mod nft;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod others;
pub(crate) mod resolver;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod room;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod snapd;
pub(crate) mod state;
pub(crate) mod step;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod system;
