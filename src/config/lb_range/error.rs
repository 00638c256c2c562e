//! Why a text is no range, and what was put right in one that is.

use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::Interval;

/// Parts are quoted in messages up to this many characters.
const QUOTED: usize = 60;

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ParseError {
    #[error("the range is empty: type the addresses that MetalLB may give out, like 192.168.11.110-130")]
    Empty,
    #[error("`{input}` has nothing before, after or between commas: remove the comma that is too many")]
    EmptyPart { input: String },
    #[error("`{part}` has nothing on one side of its `-`: type both ends, like 192.168.11.110-130")]
    OpenEnded { part: String },
    #[error("`{part}` has a {found} in it: type a plain `-` between the two ends and a comma between ranges")]
    Separator { part: String, found: String },
    #[error("`{part}` has more than one `-`: type one `-` per range and a comma between ranges")]
    Dashes { part: String },
    #[error(
        "`{part}` is IPv6, which MetalLB of MicroK8s takes only from 1.31 on and which these services do not use: type IPv4 addresses, like 192.168.11.110-130"
    )]
    Ipv6 { part: String },
    #[error("`{part}` is more than an address (a name, a port, a URL): type the address alone, like 192.168.11.110")]
    NotAlone { part: String },
    #[error("`{part}` is no address: type four numbers with dots, like 192.168.11.110-130")]
    NotAnAddress { part: String },
    #[error("`{part}` has {count} of the four numbers of an IPv4 address: type all four, like 192.168.11.110")]
    Octets { part: String, count: usize },
    #[error(
        "`{end}` in `{part}` is neither a whole address nor one last number: type {first}-{example}, or only the last number, {first}-N"
    )]
    ShortEnd { part: String, end: String, first: Ipv4Addr, example: Ipv4Addr },
    #[error("`{octet}` in `{part}` is not a number: type four numbers from 0 to 255 with dots between them")]
    NotANumber { part: String, octet: String },
    #[error("`{part}` has no number at one of its dots: type four numbers from 0 to 255 with dots between them")]
    NoNumber { part: String },
    #[error("{octet} in `{part}` is over 255: type four numbers from 0 to 255 with dots between them")]
    Over255 { part: String, octet: String },
    #[error("`{octet}` in `{part}` begins with 0, which some programs read as octal: type {plain}")]
    LeadingZero { part: String, octet: String, plain: String },
    #[error("`{part}` runs backwards, {first} comes after {last}: type {last}-{first}")]
    Reversed { part: String, first: Ipv4Addr, last: Ipv4Addr },
    #[error(
        "`{part}` has no mask from 16 to 32 after its `/`: type one, like 192.168.11.112/28, or the two ends, like 192.168.11.112-127"
    )]
    Mask { part: String },
    #[error("`{part}` has its mask as an address: type {net}")]
    DottedMask { part: String, net: Ipv4Net },
    #[error(
        "`{part}` has both a mask and a `-`: type either the two ends, like 192.168.11.110-130, or a network, like 192.168.11.112/28"
    )]
    MaskAndDash { part: String },
    #[error(
        "`{part}` would take {count} addresses, all of {net}: type the few that are kept free for MetalLB, like 192.168.11.110-130"
    )]
    WideMask { part: String, net: Ipv4Net, count: u64 },
    #[error(
        "`{part}` can mean two things, since {address} is not where a /{len} begins: type {net} for the whole network, or {address}-{last} for {address} and those after it (for it alone, {address})"
    )]
    HostBits { part: String, address: Ipv4Addr, len: u8, net: Ipv4Net, last: Ipv4Addr },
    #[error(
        "`{part}` holds {kind} ({block}), which cannot be given to a service: type free addresses of the LAN, like 192.168.11.110-130"
    )]
    Special { part: String, kind: &'static str, block: Ipv4Net },
    #[error(
        "`{input}` has {count} addresses, more than 65536: type the few that are kept free for MetalLB, like 192.168.11.110-130"
    )]
    TooMany { input: String, count: u64 },
}

/// Something that was put right in what the user typed, and that the user should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Two parts hold the same addresses.
    Overlap {
        /// The part that begins first.
        one: String,
        /// The other.
        other: String,
        /// What both hold.
        common: Interval,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Overlap { one, other, common: (first, last) } = self;
        if first == last {
            write!(f, "`{one}` and `{other}` both hold {first}; merged")
        } else {
            write!(f, "`{one}` and `{other}` both hold {first}-{last}; merged")
        }
    }
}

/// A part as it is shown: without control characters, and not longer than a line.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text
        .trim()
        .chars()
        .take(QUOTED)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.trim().chars().nth(QUOTED).is_some() {
        shown.push('…');
    }
    shown
}
