//! The addresses that MetalLB may give out, as one value: a set of IPv4 addresses that is never empty.
//!
//! It is kept sorted and merged, so that two ranges are equal when they hold the same addresses, however they were written.

mod error;
mod parse;

use std::{fmt, net::Ipv4Addr, str::FromStr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use error::{Note, ParseError};
pub use parse::MOST_ADDRESSES;

/// Inclusive ends of a run of addresses.
pub type Interval = (Ipv4Addr, Ipv4Addr);

/// A sorted, merged, non-empty set of IPv4 addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LbRange {
    /// Sorted; between two of them lies at least one address.
    intervals: Vec<Interval>,
}

impl LbRange {
    /// Parses what a user typed, and tells what had to be merged.
    pub fn parse_noting(input: &str) -> Result<(Self, Vec<Note>), ParseError> {
        parse::typed(input)
    }

    /// Parses the addresses of a MetalLB pool as MetalLB itself reads them: `192.168.1.240/24` is the whole network, and
    /// nothing is refused for being unwise, since the pool is already there.
    pub fn from_metallb<S: AsRef<str>>(addresses: &[S]) -> Result<Self, ParseError> {
        parse::pool(addresses)
    }

    /// The union of the intervals; none when there is none, or when one of them ends before it begins.
    pub fn from_intervals(intervals: impl IntoIterator<Item = Interval>) -> Option<Self> {
        let mut sorted: Vec<Interval> = intervals.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            if first > last {
                return None;
            }
            match merged.last_mut() {
                // An interval that begins right after the last one is one with it.
                Some(before) if u32::from(first) <= u32::from(before.1).saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        if merged.is_empty() { None } else { Some(Self { intervals: merged }) }
    }

    /// The runs of addresses, sorted, with a gap between each two.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Every address, in order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.intervals.iter().flat_map(|&(first, last)| (u32::from(first)..=u32::from(last)).map(Ipv4Addr::from))
    }

    /// The lowest address.
    pub fn first(&self) -> Ipv4Addr {
        self.intervals[0].0
    }

    /// The highest address.
    pub fn last(&self) -> Ipv4Addr {
        self.intervals[self.intervals.len() - 1].1
    }

    /// How many addresses there are: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> u64 {
        self.intervals.iter().map(|&(first, last)| u64::from(u32::from(last)) - u64::from(u32::from(first)) + 1).sum()
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let after = self.intervals.partition_point(|&(first, _)| first <= address);
        after > 0 && address <= self.intervals[after - 1].1
    }

    /// Whether any address lies in the network.
    pub fn overlaps(&self, net: &Ipv4Net) -> bool {
        self.intervals.iter().any(|&(first, last)| first <= net.broadcast() && net.network() <= last)
    }

    /// The addresses that both have; none when there is none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let pairs =
            self.intervals.iter().flat_map(|a| other.intervals.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
        Self::from_intervals(pairs.filter(|(first, last)| first <= last))
    }

    /// The addresses that the other does not have; none when there is none.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Self> {
        let mut left = Vec::new();
        for &(first, last) in &self.intervals {
            // Counted in u64, so that the address after 255.255.255.255 has a number too.
            let (mut from, to) = (u64::from(u32::from(first)), u64::from(u32::from(last)));
            for &(out_first, out_last) in &other.intervals {
                let (out_first, out_last) = (u64::from(u32::from(out_first)), u64::from(u32::from(out_last)));
                if out_last < from || out_first > to {
                    continue;
                }
                if from < out_first {
                    left.push((from, out_first - 1));
                }
                from = out_last + 1;
            }
            if from <= to {
                left.push((from, to));
            }
        }
        let address = |n: u64| u32::try_from(n).ok().map(Ipv4Addr::from);
        Self::from_intervals(left.into_iter().filter_map(|(a, b)| Some((address(a)?, address(b)?))))
    }
}

impl From<Ipv4Addr> for LbRange {
    fn from(address: Ipv4Addr) -> Self {
        Self { intervals: vec![(address, address)] }
    }
}

impl From<Ipv4Net> for LbRange {
    fn from(net: Ipv4Net) -> Self {
        Self { intervals: vec![(net.network(), net.broadcast())] }
    }
}

impl FromStr for LbRange {
    type Err = ParseError;

    fn from_str(input: &str) -> Result<Self, ParseError> {
        Self::parse_noting(input).map(|(range, _)| range)
    }
}

/// The form that every version of MicroK8s takes: `a-b`, by comma, without spaces; never a mask, never a single address.
impl fmt::Display for LbRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.intervals.iter().enumerate() {
            write!(f, "{}{first}-{last}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for LbRange {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<LbRange> for String {
    fn from(range: LbRange) -> Self {
        range.to_string()
    }
}
