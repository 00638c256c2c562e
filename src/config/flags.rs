//! The wanted state as far as the command line gives it. The doc comments are the help.

use std::{fmt, path::PathBuf};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::{Serialize, Serializer};

use crate::{
    config::{
        lb_range::{LbRange, ParseError},
        version::Channel,
    },
    error::{Error, Result},
};

/// The wanted state, as far as it is given on the command line.
///
/// Each of them but the password is also a key of a profile and an environment variable (`IRIS_MK8S_LB`, ...).
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Wanted state (flag, else environment, else profile)")]
pub struct SpecFlags {
    /// Addresses that MetalLB may give out: 192.168.11.110-192.168.11.130, 192.168.11.110-130 or 192.168.11.112/28; `auto` finds
    /// free ones at the top of this host's network
    #[arg(long, value_name = "RANGE")]
    pub lb: Option<Lb>,
    /// How many addresses `--lb auto` looks for [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub lb_size: Option<u32>,
    /// A built-in profile (see `profile list`), or a file when it contains a `/` or ends in `.toml` [default: current]
    #[arg(long, value_name = "NAME|FILE", value_parser = NonEmptyStringValueParser::new())]
    pub profile: Option<String>,
    /// Channel of the snap microk8s, such as 1.36 or 1.36/stable; `auto` takes the one that is there, else the newest one known to
    /// work that this host can run [default: auto]
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<ChannelArg>,
    /// The user who works with the cluster; is added to the group microk8s [default: who called sudo, else the first
    /// user of cloud-init, else who runs this]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// StorageClass of the volume claims; `longhorn` also installs Longhorn [default: the cluster's default class]
    #[arg(long, value_name = "CLASS")]
    pub storage: Option<String>,
    /// Release of Longhorn, for `--storage longhorn` [default: the one that goes with the channel]
    #[arg(long, value_name = "VERSION")]
    pub longhorn_version: Option<String>,
    /// Longhorn's manifest (deploy/longhorn.yaml of its release) in a file, instead of a download
    #[arg(long, value_name = "FILE")]
    pub longhorn_manifest: Option<PathBuf>,
    /// Image of IRIS, with a tag or a digest
    #[arg(long)]
    pub image: Option<String>,
    /// Number of IRIS instances
    #[arg(long, value_name = "N")]
    pub replicas: Option<u64>,
    /// Kubernetes namespace of IRIS
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// File with the password of IRIS's users as its only line, including blanks; `-` reads it from stdin
    #[arg(long, value_name = "FILE|-")]
    pub password_file: Option<PathBuf>,
    /// Only warn about findings of this check of the host or the range (repeatable); a refusal names its check
    #[arg(long, value_name = "CHECK")]
    pub skip_check: Vec<String>,
}

/// The addresses as they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lb {
    /// Such as the network has room for.
    Auto,
    /// These.
    Range(LbRange),
}

/// The channel as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelArg {
    /// The newest one that suits this host.
    Auto,
    /// This one.
    Channel(Channel),
}

/// The word for [`Lb::Auto`] and [`ChannelArg::Auto`].
const AUTO: &str = "auto";

impl fmt::Display for Lb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Range(range) => range.fmt(f),
        }
    }
}

impl fmt::Display for ChannelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Channel(channel) => channel.fmt(f),
        }
    }
}

impl Serialize for Lb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ChannelArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for ChannelArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == AUTO { Ok(Self::Auto) } else { text.parse().map(Self::Channel) }
    }
}

impl std::str::FromStr for Lb {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == AUTO { Ok(Self::Auto) } else { text.parse().map(Self::Range) }
    }
}
