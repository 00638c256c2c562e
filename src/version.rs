//! What differs between MicroK8s versions: one table. Nothing else in the crate compares versions.
//!
//! Facts are MicroK8s' own (wrappers, addons and snapcraft files of the release branches).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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
            Error::usage(format!("channel `{s}`: {why}")).hint("name a track of MicroK8s, for example `1.34` or `1.34/stable`")
        };
        let (track, risk) = s.split_once('/').unwrap_or((s, "stable"));
        if track == "latest" || matches!(track, "stable" | "candidate" | "beta" | "edge") {
            return Err(wrong("`latest` moves to the next minor version by itself, which MicroK8s does not support for a running cluster"));
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

/// One line of the table: holds from `from` up to the next line.
#[derive(Debug)]
pub struct Row {
    /// The first track it holds for.
    pub from: Minor,
    /// Name of the addon that provides volumes.
    pub storage_addon: &'static str,
    /// How MetalLB is configured.
    pub metallb: MetallbApi,
    /// Whether MicroK8s enables dns by itself, some seconds after its installation.
    pub enables_dns: bool,
}

/// The table, oldest first.
const TABLE: &[Row] = &[
    Row { from: Minor(1, 20), storage_addon: "storage", metallb: MetallbApi::ConfigMap, enables_dns: false },
    Row { from: Minor(1, 24), storage_addon: "hostpath-storage", metallb: MetallbApi::ConfigMap, enables_dns: false },
    Row { from: Minor(1, 25), storage_addon: "hostpath-storage", metallb: MetallbApi::Crd, enables_dns: false },
    Row { from: Minor(1, 27), storage_addon: "hostpath-storage", metallb: MetallbApi::Crd, enables_dns: true },
];

impl Row {
    /// The line that holds for a track. Newer tracks than the newest line take that line.
    ///
    /// # Errors
    /// Tracks older than the oldest line are refused.
    pub fn of(minor: Minor) -> Result<&'static Self> {
        TABLE.iter().rev().find(|row| row.from <= minor).ok_or_else(|| {
            Error::usage(format!("channel {minor} is older than {}, the oldest one this tool knows", TABLE[0].from))
                .hint("take a newer channel, for example --channel 1.34")
        })
    }
}

impl Channel {
    /// What holds for this channel. Parsing made sure that there is a line.
    pub fn row(&self) -> &'static Row {
        TABLE.iter().rev().find(|row| row.from <= self.minor).unwrap_or(&TABLE[0])
    }
}
