//! Which Longhorn runs on which MicroK8s, and what differs between its versions: one table. Nothing else compares them.
//!
//! Facts are Longhorn's own (manifests, charts and documentation of the release tags); a checksum is that of `deploy/longhorn.yaml`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Minor;
use crate::error::{Error, Result};

/// A release of Longhorn, `v1.11.3`. `semver` would also take pre-releases and build numbers, which the table does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LonghornVersion(u32, u32, u32);

impl fmt::Display for LonghornVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for LonghornVersion {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let numbers: Vec<u32> = s.trim_start_matches('v').split('.').map_while(|n| n.parse().ok()).collect();
        match numbers.as_slice() {
            [major, minor, patch] if s.matches('.').count() == 2 => Ok(Self(*major, *minor, *patch)),
            _ => Err(Error::usage(format!("`{s}` is no release of Longhorn"))
                .hint("name a release with its three numbers, for example v1.11.3")),
        }
    }
}

impl TryFrom<String> for LonghornVersion {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<LonghornVersion> for String {
    fn from(version: LonghornVersion) -> Self {
        version.to_string()
    }
}

/// `deploy/longhorn-images.txt` of 1.2.3.
const CSI_OF_1_2: &[&str] = &[
    "longhornio/csi-attacher:v3.2.1",
    "longhornio/csi-provisioner:v2.1.2",
    "longhornio/csi-resizer:v1.2.0",
    "longhornio/csi-snapshotter:v3.0.3",
    "longhornio/csi-node-driver-registrar:v2.3.0",
];

/// The version for each MicroK8s from `from` up to the next line; none where none was tried.
struct CompatRow {
    from: Minor,
    version: Option<LonghornVersion>,
}

/// The table, oldest first. 1.25 to 1.31 lie between what is tried of both eras. v1.11.3 is tested by its makers with 1.34 to 1.36; no
/// release names 1.37. v1.12.1, tested with 1.33 to 1.36, brings NetworkPolicies that may cut a volume off (longhorn/longhorn#13802).
const COMPATIBILITY: &[CompatRow] = &[
    CompatRow { from: Minor(1, 20), version: Some(LonghornVersion(1, 2, 3)) },
    CompatRow { from: Minor(1, 25), version: None },
    CompatRow { from: Minor(1, 32), version: Some(LonghornVersion(1, 11, 2)) },
    CompatRow { from: Minor(1, 34), version: Some(LonghornVersion(1, 11, 3)) },
];

/// The oldest and the newest Kubernetes for each Longhorn from `from` up to the next line. Neither chart nor deployer enforce it.
struct Line {
    from: LonghornVersion,
    oldest: Minor,
    newest: Minor,
    /// What happens outside.
    why: &'static str,
}

const ANY: Minor = Minor(1, u32::MAX);

/// The table, oldest first.
const LINES: &[Line] = &[
    Line {
        from: LonghornVersion(1, 2, 0),
        oldest: Minor(1, 18),
        newest: Minor(1, 24),
        why: "its manager watches kinds (policy/v1beta1, batch/v1beta1) that Kubernetes 1.25 no longer has, and never gets ready",
    },
    Line { from: LonghornVersion(1, 4, 0), oldest: Minor(1, 21), newest: ANY, why: "it was made for newer ones" },
    Line { from: LonghornVersion(1, 8, 0), oldest: Minor(1, 25), newest: ANY, why: "it was made for newer ones" },
    Line {
        from: LonghornVersion(1, 11, 3),
        oldest: Minor(1, 34),
        newest: ANY,
        why: "its csi-provisioner wants VolumeAttributesClass of storage.k8s.io/v1, so claims would wait for ever",
    },
    Line { from: LonghornVersion(1, 12, 0), oldest: Minor(1, 25), newest: ANY, why: "it was made for newer ones" },
    Line { from: LonghornVersion(1, 13, 0), oldest: Minor(1, 34), newest: ANY, why: "it was made for newer ones" },
];

/// Checksums (SHA-256) of the published manifests.
const PUBLISHED: &[(LonghornVersion, &str)] = &[
    (LonghornVersion(1, 2, 3), "77833c78a62f0755c230f306a58b2bdbeb7d94db25f4fb95f2f199bcde9d0249"),
    (LonghornVersion(1, 3, 3), "bb2574c53497ad48bf7b257b6d84038220418c1cecdfcc80239f3063e6798fe1"),
    (LonghornVersion(1, 11, 2), "52a0cd0bee76755ea931a9467dd865454b46d9261f2623b946306662bc2beb2f"),
    (LonghornVersion(1, 11, 3), "67ae1baa5f7121dc0aa55f0be9463c96dd65fefc5b1e5f5474de77b5ff2d9435"),
    (LonghornVersion(1, 12, 1), "41648963af867ac1d0c85755fb53cf61cacd57c9bb22e1942e3fb0439eeb04fd"),
];

impl LonghornVersion {
    /// Images that its manager knows by itself, and its manifest does not name: those of CSI, before 1.3.
    pub fn unnamed_images(self) -> &'static [&'static str] {
        if self < Self(1, 3, 0) { CSI_OF_1_2 } else { &[] }
    }

    /// The version for a MicroK8s.
    ///
    /// # Errors
    /// None was tried with it.
    pub fn for_minor(minor: Minor) -> Result<Self> {
        let fit = COMPATIBILITY.iter().rev().find(|fit| fit.from <= minor);
        fit.and_then(|fit| fit.version).ok_or_else(|| {
            Error::usage(format!("no version of Longhorn was tried with MicroK8s {minor}")).hint(
                "take --channel 1.20 to 1.24, or 1.32 and newer; or name one that you know to work: --longhorn-version",
            )
        })
    }

    /// Whether it runs on a MicroK8s.
    ///
    /// # Errors
    /// It cannot, and why.
    pub fn fits(self, minor: Minor) -> Result<()> {
        let Some(line) = LINES.iter().rev().find(|line| line.from <= self) else {
            return Err(Error::usage(format!(
                "Longhorn {self} is older than {}, the oldest one this tool knows",
                LINES[0].from
            )));
        };
        if (line.oldest..=line.newest).contains(&minor) {
            return Ok(());
        }
        let hint = Self::for_minor(minor).map_or_else(
            |e| e.hint.unwrap_or_default(),
            |fitting| format!("take {fitting}, the one for this channel, or another channel"),
        );
        Err(Error::usage(format!("Longhorn {self} cannot run on MicroK8s {minor}: {}", line.why)).hint(hint))
    }

    /// The checksum of its published manifest, where it is known.
    pub fn checksum(self) -> Option<&'static str> {
        PUBLISHED.iter().find(|(version, _)| *version == self).map(|(_, sum)| *sum)
    }

    /// Where its manifest is published: by the exact tag, since there are branches of the same name.
    pub fn url(self) -> String {
        format!("https://raw.githubusercontent.com/longhorn/longhorn/refs/tags/{self}/deploy/longhorn.yaml")
    }

    /// Why an installed version cannot become this one in one move; none when it can, or is it already.
    pub fn no_way_from(self, installed: Self) -> Option<String> {
        if installed == self || (installed < self && installed.0 == self.0 && self.1 <= installed.1 + 1) {
            return None;
        }
        Some(if installed > self {
            format!("Longhorn {installed} is installed, and cannot go back to {self}")
        } else {
            format!("Longhorn {installed} is installed; it is upgraded one minor at a time, and {self} is further")
        })
    }

    /// Whether it has webhooks that judge its objects (and whose absence blocks every change).
    pub fn has_webhooks(self) -> bool {
        self >= Self(1, 3, 0)
    }

    /// The API version of its objects.
    pub fn api(self) -> &'static str {
        if self >= Self(1, 3, 0) { "v1beta2" } else { "v1beta1" }
    }

    /// Whether its removal must be confirmed by a setting; its uninstall job then runs in its own namespace, else in `default`.
    pub fn wants_confirmation(self) -> bool {
        self >= Self(1, 4, 0)
    }

    /// How much of a disk may be promised to volumes, in percent of what is not reserved.
    pub fn over_provisioning(self) -> u64 {
        if self >= Self(1, 5, 0) { 100 } else { 200 }
    }

    /// Share of the CPU that its instance managers ask for, in percent.
    pub fn cpu_share(self) -> u64 {
        if self >= Self(1, 5, 0) { 12 } else { 24 }
    }
}

impl Minor {
    /// Whether its API has PodSecurityPolicy.
    pub fn has_pod_security_policy(self) -> bool {
        self < Minor(1, 25)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> LonghornVersion {
        text.parse().expect("a version")
    }

    #[test]
    fn each_channel_has_its_version_or_the_reason_why_not() {
        for (minor, expected) in [
            (20, "v1.2.3"),
            (24, "v1.2.3"),
            (25, "no version of Longhorn was tried with MicroK8s 1.25"),
            (31, "no version of Longhorn was tried with MicroK8s 1.31"),
            (32, "v1.11.2"),
            (33, "v1.11.2"),
            (34, "v1.11.3"),
            (35, "v1.11.3"),
            (36, "v1.11.3"),
            (40, "v1.11.3"),
        ] {
            let found = LonghornVersion::for_minor(Minor(1, minor)).map_or_else(|e| e.what, |v| v.to_string());
            assert_eq!(found, expected, "1.{minor}");
        }
    }

    #[test]
    fn every_version_that_is_taken_by_itself_fits_and_is_published() {
        for (at, fit) in COMPATIBILITY.iter().enumerate() {
            let Some(version) = fit.version else { continue };
            let last = COMPATIBILITY
                .get(at + 1)
                .map_or(super::super::NEWEST_KNOWN, |next| Minor(next.from.0, next.from.1 - 1));
            for minor in fit.from.1..=last.1 {
                version.fits(Minor(1, minor)).expect("it fits");
            }
            assert!(version.checksum().is_some(), "{version}");
        }
        assert!(
            LINES.windows(2).all(|w| w[0].from < w[1].from) && COMPATIBILITY.windows(2).all(|w| w[0].from < w[1].from)
        );
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        for (named, minor, reason) in [
            ("v1.2.3", 25, "policy/v1beta1"),
            ("v1.3.3", 34, "policy/v1beta1"),
            ("v1.11.3", 33, "VolumeAttributesClass"),
            ("v1.11.3", 20, "VolumeAttributesClass"),
            ("v1.11.2", 20, "made for newer ones"),
            ("v1.7.3", 20, "made for newer ones"),
            ("v1.13.0", 33, "made for newer ones"),
            ("v1.1.3", 20, "older than v1.2.0"),
        ] {
            let error = version(named).fits(Minor(1, minor)).unwrap_err();
            assert!(error.what.contains(reason), "{named} on 1.{minor}: {error}");
        }
        for (named, minor) in [
            ("v1.3.3", 20),
            ("1.2.6", 24),
            ("v1.11.2", 35),
            ("v1.12.1", 33),
            ("v1.11.3", 36),
            ("v1.11.3", 34),
            ("v1.9.2", 31),
        ] {
            version(named).fits(Minor(1, minor)).expect("it fits");
        }
    }

    #[test]
    fn only_releases_are_versions() {
        for text in ["", "v1.2", "1.2.3.4", "master", "v1.2.x", "v1.2.3-rc1"] {
            assert!(text.parse::<LonghornVersion>().is_err(), "{text}");
        }
        assert_eq!(version("1.2.3").to_string(), "v1.2.3");
    }

    #[test]
    fn an_upgrade_goes_one_minor_at_a_time_and_never_back() {
        assert_eq!(version("v1.11.3").no_way_from(version("v1.11.2")), None);
        assert_eq!(version("v1.12.1").no_way_from(version("v1.11.3")), None);
        assert!(
            version("v1.12.1").no_way_from(version("v1.10.0")).is_some_and(|why| why.contains("one minor at a time"))
        );
        assert!(version("v1.11.2").no_way_from(version("v1.11.3")).is_some_and(|why| why.contains("cannot go back")));
        assert!(version("v1.11.3").no_way_from(version("v1.2.3")).is_some());
    }
}
