//! What differs between MicroK8s versions: one table. Nothing else in the crate compares versions.
//!
//! Facts are MicroK8s' own (wrappers, addons and snapcraft files of the release branches).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod life;
mod longhorn;

pub use longhorn::LonghornVersion;

/// A MicroK8s track, `1.34`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor(pub u32, pub u32);

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A channel in snapd's full form, `1.34/stable`. `1.34` and `1.34/stable` are the same channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Channel {
    /// The track.
    pub minor: Minor,
    /// `stable`, `candidate`, `beta` or `edge`.
    pub risk: String,
}

impl FromStr for Channel {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::usage(format!("channel `{s}`: {why}"))
                .hint("name a track of MicroK8s, for example `1.36` or `1.36/stable`")
        };
        let (track, risk) = s.split_once('/').unwrap_or((s, "stable"));
        if track == "latest" || matches!(track, "stable" | "candidate" | "beta" | "edge") {
            return Err(wrong(
                "`latest` moves to the next minor version automatically, which MicroK8s does not support for a running cluster",
            ));
        }
        if track.ends_with("-strict") {
            return Err(wrong("strict confinement needs other groups and commands, which this tool does not drive"));
        }
        if !matches!(risk, "stable" | "candidate" | "beta" | "edge") {
            return Err(wrong("the risk level is one of stable, candidate, beta, edge"));
        }
        let minor = track
            .split_once('.')
            .and_then(|(major, minor)| Some(Minor(major.parse().ok()?, minor.parse().ok()?)))
            .ok_or_else(|| wrong("not of the form 1.NN"))?;
        Row::of(minor)?;
        Ok(Self { minor, risk: risk.to_owned() })
    }
}

impl TryFrom<String> for Channel {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<Channel> for String {
    fn from(c: Channel) -> Self {
        c.to_string()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.minor, self.risk)
    }
}

/// How MetalLB is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetallbApi {
    /// The ConfigMap `metallb-system/config` (MetalLB 0.9).
    ConfigMap,
    /// `IPAddressPool` and `L2Advertisement` (MetalLB 0.13 and later), judged by a webhook.
    Crd,
}

/// What holds from `from` up to the next line of the table.
#[derive(Debug)]
pub struct Row {
    /// The first track it holds for.
    pub from: Minor,
    /// Name of the addon that provides volumes.
    pub storage_addon: &'static str,
    /// Whether its storage makes a volume only when the first pod uses the claim.
    pub waits_for_consumer: bool,
    /// How MetalLB is configured.
    pub metallb: MetallbApi,
    /// Where MetalLB's images are by now, when those that the addon names are gone: repository prefix and tag.
    pub metallb_images: Option<(&'static str, &'static str)>,
    /// Whether MicroK8s enables dns by itself, some seconds after its installation.
    pub enables_dns: bool,
    /// Whether it runs on a host with cgroup v1, and with v2.
    pub cgroups: (bool, bool),
    /// Whether its commands work under sudo-rs (Ubuntu 25.10 and later), which does not pass the environment on.
    pub sudo_rs: bool,
    /// Whether its containers get their sockets under AppArmor 4.1 (Ubuntu 25.04 and later).
    pub apparmor_4_1: bool,
    /// Whether it raises the host's limits of inotify by itself.
    pub raises_inotify: bool,
    /// Whether its containerd takes mirrors from the folders in `args/certs.d`.
    pub mirror_folders: bool,
    /// Whether `refresh-certs` renews the one certificate that it is told; before, it made all of them anew.
    pub names_certificates: bool,
    /// The oldest snapd that takes its snap.
    pub snapd: (u32, u32),
    /// Addons that it no longer has.
    pub gone: &'static [&'static str],
}

/// The first minor that takes mirrors from folders.
pub const MIRRORS_FROM: Minor = Minor(1, 23);

const OLD_METALLB: Option<(&str, &str)> = Some(("quay.io/metallb", "v0.9.3"));

/// The oldest line; each line below names only what changed.
const OLDEST: Row = Row {
    from: Minor(1, 20),
    storage_addon: "storage",
    waits_for_consumer: false,
    metallb: MetallbApi::ConfigMap,
    metallb_images: OLD_METALLB,
    enables_dns: false,
    cgroups: (true, false),
    sudo_rs: false,
    apparmor_4_1: false,
    raises_inotify: false,
    mirror_folders: false,
    names_certificates: false,
    snapd: (2, 32),
    gone: &[],
};

/// The table, oldest first. Sources: MicroK8s' release branches 1.20 to 1.36 (scripts, addons, snapcraft files) and their issues:
/// metallb images canonical/microk8s#3854, cgroup v2 #1691, kubelet and cgroup v1 from Kubernetes 1.35's release notes,
/// sudo-rs canonical/microk8s#5319, AppArmor #5218, the dashboard canonical/microk8s#5485. MetalLB is 0.15.2 in 1.34 and 1.35 and 0.15.3
/// in 1.36, which is configured in the same way.
const TABLE: &[Row] = &[
    OLDEST,
    Row { from: Minor(1, 22), ..V1_22 },
    Row { from: MIRRORS_FROM, mirror_folders: true, ..V1_22 },
    Row {
        from: Minor(1, 24),
        mirror_folders: true,
        storage_addon: "hostpath-storage",
        waits_for_consumer: true,
        ..V1_22
    },
    Row { from: Minor(1, 25), metallb: MetallbApi::Crd, ..MODERN },
    Row { from: Minor(1, 27), enables_dns: true, metallb: MetallbApi::Crd, ..MODERN },
    Row { from: Minor(1, 28), ..TODAY },
    Row { from: Minor(1, 32), apparmor_4_1: true, ..TODAY },
    Row { from: Minor(1, 35), cgroups: (false, true), sudo_rs: true, apparmor_4_1: true, ..TODAY },
    Row {
        from: Minor(1, 36),
        cgroups: (false, true),
        sudo_rs: true,
        apparmor_4_1: true,
        gone: &["dashboard"],
        ..TODAY
    },
];

/// What 1.22 has in common with its successors.
const V1_22: Row = Row { metallb_images: None, cgroups: (true, true), names_certificates: true, ..OLDEST };

/// The same for 1.25.
const MODERN: Row = Row {
    mirror_folders: true,
    storage_addon: "hostpath-storage",
    waits_for_consumer: true,
    metallb: MetallbApi::Crd,
    snapd: (2, 52),
    ..V1_22
};

/// The same for 1.28.
const TODAY: Row = Row { enables_dns: true, raises_inotify: true, ..MODERN };

/// The newest minor that was tried. A newer one takes the newest line.
pub const NEWEST_KNOWN: Minor = Minor(1, 36);

impl Row {
    /// Whether it runs on a host with cgroup v2, or else with v1.
    pub fn runs_with(&self, cgroup_v2: bool) -> bool {
        if cgroup_v2 { self.cgroups.1 } else { self.cgroups.0 }
    }

    /// The line that holds for a track. Newer tracks than the newest line take that line.
    ///
    /// # Errors
    /// Tracks older than the oldest line are refused.
    pub fn of(minor: Minor) -> Result<&'static Self> {
        TABLE.iter().rev().find(|row| row.from <= minor).ok_or_else(|| {
            Error::usage(format!("channel {minor} is older than {}, the oldest one this tool knows", TABLE[0].from))
                .hint("take a newer channel; --channel auto takes the newest one that this host can run")
        })
    }
}

impl Channel {
    /// The newest channel that a host with these control groups can run, and why it is that one.
    pub fn for_host(cgroup_v2: bool) -> (Self, &'static str) {
        let newest = TABLE.iter().enumerate().rev().find(|(_, row)| row.runs_with(cgroup_v2)).map_or(0, |(at, _)| at);
        // The line holds up to the one below it.
        let minor = TABLE.get(newest + 1).map_or(NEWEST_KNOWN, |next| Minor(next.from.0, next.from.1 - 1));
        let why = if cgroup_v2 {
            "the newest one known to work; this host has cgroup v2"
        } else {
            "the newest one that runs with cgroup v1, which this host has"
        };
        (Self { minor, risk: "stable".to_owned() }, why)
    }

    /// What a person should know when nobody tried this minor yet: it is driven as the newest one that was.
    pub fn untried(&self) -> Option<String> {
        (self.minor > NEWEST_KNOWN).then(|| {
            format!(
                "MicroK8s {} is newer than {NEWEST_KNOWN}, the newest one that this tool knows: it is driven as if it were {NEWEST_KNOWN}",
                self.minor
            )
        })
    }

    /// Whether it is the next minor after `other`: MicroK8s is refreshed one minor at a time.
    pub fn follows(&self, other: &Self) -> bool {
        self.minor.0 == other.minor.0 && self.minor.1 == other.minor.1 + 1
    }

    /// The channel one minor after this one.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { minor: Minor(self.minor.0, self.minor.1 + 1), risk: self.risk.clone() }
    }

    /// What holds for this channel. Parsing made sure that there is a line.
    pub fn row(&self) -> &'static Row {
        TABLE.iter().rev().find(|row| row.from <= self.minor).unwrap_or(&TABLE[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_the_same_channel() {
        assert_eq!("1.34".parse::<Channel>().expect("good"), "1.34/stable".parse().expect("good"));
        assert_eq!("1.20/edge".parse::<Channel>().expect("good").to_string(), "1.20/edge");
    }

    #[test]
    fn channels_that_cannot_be_driven_are_refused_with_the_reason() {
        for (channel, reason) in [
            ("latest/stable", "moves to the next minor"),
            ("stable", "moves to the next minor"),
            ("1.32-strict", "strict"),
            ("1.19", "older than 1.20"),
            ("1.34/nightly", "risk level"),
            ("34", "1.NN"),
            ("", "1.NN"),
        ] {
            let error = channel.parse::<Channel>().unwrap_err();
            assert!(error.what.contains(reason), "{channel}: {error}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_says_what_differs() {
        assert!(TABLE.windows(2).all(|w| w[0].from < w[1].from));
        let row = |minor| Row::of(Minor(1, minor)).expect("known");
        assert_eq!(
            (row(20).storage_addon, row(23).storage_addon, row(24).storage_addon),
            ("storage", "storage", "hostpath-storage")
        );
        assert_eq!((row(24).metallb, row(25).metallb), (MetallbApi::ConfigMap, MetallbApi::Crd));
        assert_eq!((row(21).metallb_images.is_some(), row(22).metallb_images.is_some()), (true, false));
        assert_eq!((row(26).enables_dns, row(27).enables_dns), (false, true));
        assert_eq!(
            (row(21).cgroups, row(22).cgroups, row(34).cgroups, row(35).cgroups),
            ((true, false), (true, true), (true, true), (false, true))
        );
        assert_eq!((row(34).sudo_rs, row(35).sudo_rs), (false, true));
        assert_eq!((row(31).apparmor_4_1, row(32).apparmor_4_1), (false, true));
        assert_eq!((row(27).raises_inotify, row(28).raises_inotify, row(35).raises_inotify), (false, true, true));
        assert_eq!(
            (row(22).mirror_folders, row(23).mirror_folders, row(24).mirror_folders, row(35).mirror_folders),
            (false, true, true, true)
        );
        assert_eq!((row(24).snapd, row(25).snapd), ((2, 32), (2, 52)));
        assert_eq!((row(35).gone, row(36).gone), (&[][..], &["dashboard"][..]));
        assert_eq!(row(40).from, Minor(1, 36));
        let untried = |minor| Channel { minor: Minor(1, minor), risk: "stable".to_owned() }.untried();
        assert!(untried(37).is_some_and(|said| said.contains("1.37 is newer than 1.36")));
        assert_eq!((untried(36), untried(20)), (None, None));
    }

    #[test]
    fn the_host_decides_what_auto_is() {
        assert_eq!(Channel::for_host(false).0.to_string(), "1.34/stable");
        assert_eq!(Channel::for_host(true).0.to_string(), "1.36/stable");
    }
}
