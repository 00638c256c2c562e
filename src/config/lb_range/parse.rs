//! From text to an [`LbRange`]: what a user types, and what a MetalLB pool holds.
//!
//! Every refusal quotes the part that is wrong, says what is wrong with it, and what to type instead.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    Interval, LbRange,
    error::{Note, ParseError, quote},
};

/// More addresses than this are a mistake, not a pool: no LAN is larger than a /16.
pub const MOST_ADDRESSES: u64 = 65_536;

/// Addresses that no LAN gives to a host, with their name.
const SPECIAL: [(Ipv4Addr, u8, &str); 6] = [
    (Ipv4Addr::UNSPECIFIED, 8, "the unspecified address and its network"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback addresses"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local addresses"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast addresses"),
    (Ipv4Addr::BROADCAST, 32, "the broadcast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved addresses"),
];

/// What a user typed.
pub(super) fn typed(input: &str) -> Result<(LbRange, Vec<Note>), ParseError> {
    if input.trim().is_empty() {
        return Err(ParseError::Empty);
    }
    let mut parts: Vec<(Interval, &str)> = Vec::new();
    for part in input.split(',').map(str::trim) {
        if part.is_empty() {
            return Err(ParseError::EmptyPart { input: quote(input) });
        }
        let interval = typed_part(part)?;
        refuse_special(part, interval)?;
        parts.push((interval, part));
    }
    parts.sort_unstable();
    let notes = overlaps(&parts);
    let range = LbRange::from_intervals(parts.iter().map(|(interval, _)| *interval)).ok_or(ParseError::Empty)?;
    let count = range.len();
    if count > MOST_ADDRESSES { Err(ParseError::TooMany { input: quote(input), count }) } else { Ok((range, notes)) }
}

/// One part between commas.
fn typed_part(part: &str) -> Result<Interval, ParseError> {
    refuse_foreign(part)?;
    match (part.split_once('-'), part.split_once('/')) {
        (None, None) => address(part, part).map(|a| (a, a)),
        (None, Some((base, mask))) => masked(part, base.trim(), mask.trim()),
        (Some(_), Some(_)) => Err(ParseError::MaskAndDash { part: quote(part) }),
        (Some((first, last)), None) => ends(part, first.trim(), last.trim()),
    }
}

/// What people write in other notations gets a message of its own, rather than "is no address".
fn refuse_foreign(part: &str) -> Result<(), ParseError> {
    let quoted = || quote(part);
    if !part.contains(|c: char| c.is_ascii_digit() || "-:/".contains(c)) {
        return Err(ParseError::NotAnAddress { part: quoted() });
    }
    let before_colon = part.split(':').next().unwrap_or_default();
    if part.matches(':').count() > 1 && before_colon.chars().all(|c| c.is_ascii_hexdigit() || c == '[') {
        return Err(ParseError::Ipv6 { part: quoted() });
    }
    if part.contains([':', '@', '?']) || part.contains("//") {
        return Err(ParseError::NotAlone { part: quoted() });
    }
    let tight: String = part.split('-').map(str::trim).collect::<Vec<_>>().join("-");
    let tight: String = tight.split('/').map(str::trim).collect::<Vec<_>>().join("/");
    let foreign = |c: &char| {
        c.is_whitespace()
            || ";~_|&+".contains(*c)
            || ('\u{2010}'..='\u{2015}').contains(c)
            || "\u{2212}\u{ff0d}\u{301c}\u{3001}\u{ff0c}\u{ff5e}".contains(*c)
    };
    if let Some(found) = tight.chars().find(foreign) {
        let found = if found.is_whitespace() { "space".to_owned() } else { format!("`{found}`") };
        return Err(ParseError::Separator { part: quoted(), found });
    }
    if part.contains("..") {
        return Err(ParseError::Separator { part: quoted(), found: "`..`".to_owned() });
    }
    Ok(())
}

/// `a.b.c.d-e.f.g.h` or `a.b.c.d-N`.
fn ends(part: &str, first: &str, last: &str) -> Result<Interval, ParseError> {
    if first.is_empty() || last.is_empty() {
        return Err(ParseError::OpenEnded { part: quote(part) });
    }
    if last.contains('-') {
        return Err(ParseError::Dashes { part: quote(part) });
    }
    let first = address(part, first)?;
    let [a, b, c, _] = first.octets();
    let last = match last.split('.').count() {
        1 => Ipv4Addr::new(a, b, c, octet(part, last)?),
        2 | 3 => {
            return Err(ParseError::ShortEnd {
                part: quote(part),
                end: quote(last),
                first,
                example: Ipv4Addr::new(a, b, c, 254),
            });
        }
        _ => address(part, last)?,
    };
    if first > last { Err(ParseError::Reversed { part: quote(part), first, last }) } else { Ok((first, last)) }
}

/// `a.b.c.d/len`: exactly those addresses, so the address must be where the network begins.
fn masked(part: &str, base: &str, mask: &str) -> Result<Interval, ParseError> {
    let base = address(part, base)?;
    let dotted = mask.parse().ok().and_then(|mask| Ipv4Net::with_netmask(base, mask).ok());
    let net = dotted.or_else(|| cidr(base, mask)).ok_or_else(|| ParseError::Mask { part: quote(part) })?;
    let (network, last) = (net.network(), net.broadcast());
    let count = u64::from(u32::from(last)) - u64::from(u32::from(network)) + 1;
    if count > MOST_ADDRESSES {
        return Err(ParseError::WideMask { part: quote(part), net: net.trunc(), count });
    }
    if base != network {
        return Err(ParseError::HostBits {
            part: quote(part),
            address: base,
            len: net.prefix_len(),
            net: net.trunc(),
            last,
        });
    }
    if dotted.is_some() { Err(ParseError::DottedMask { part: quote(part), net }) } else { Ok((network, last)) }
}

fn cidr(base: Ipv4Addr, mask: &str) -> Option<Ipv4Net> {
    // `parse` alone would take a `+`.
    let digits = !mask.is_empty() && mask.len() <= 2 && mask.bytes().all(|b| b.is_ascii_digit());
    Ipv4Net::new(base, digits.then(|| mask.parse().ok())??).ok()
}

/// Four numbers with dots.
fn address(part: &str, text: &str) -> Result<Ipv4Addr, ParseError> {
    // A word is not an address with one wrong number.
    if text.is_empty() || !text.contains('.') && !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::NotAnAddress { part: quote(part) });
    }
    let octets: Vec<&str> = text.split('.').collect();
    if octets.len() != 4 {
        // The first number that is none says more than their count: `my-host.lan` is not an address with two numbers.
        for text in &octets {
            octet(part, text)?;
        }
        return Err(ParseError::Octets { part: quote(part), count: octets.len() });
    }
    let mut bytes = [0; 4];
    for (byte, text) in bytes.iter_mut().zip(octets) {
        *byte = octet(part, text)?;
    }
    Ok(Ipv4Addr::from(bytes))
}

fn octet(part: &str, text: &str) -> Result<u8, ParseError> {
    if text.is_empty() {
        return Err(ParseError::NoNumber { part: quote(part) });
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::NotANumber { part: quote(part), octet: quote(text) });
    }
    let plain = match text.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let Ok(number) = plain.parse() else {
        return Err(ParseError::Over255 { part: quote(part), octet: quote(text) });
    };
    if plain.len() != text.len() {
        return Err(ParseError::LeadingZero { part: quote(part), octet: quote(text), plain: plain.to_owned() });
    }
    Ok(number)
}

fn refuse_special(part: &str, (first, last): Interval) -> Result<(), ParseError> {
    for (network, len, kind) in SPECIAL {
        let Ok(block) = Ipv4Net::new(network, len) else { continue };
        if first <= block.broadcast() && block.network() <= last {
            return Err(ParseError::Special { part: quote(part), kind, block });
        }
    }
    Ok(())
}

/// One note for each part that holds addresses of one that begins earlier.
fn overlaps(sorted: &[(Interval, &str)]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut widest: Option<(Interval, &str)> = None;
    for &((first, last), part) in sorted {
        if let Some((before, name)) = widest.filter(|(before, _)| first <= before.1) {
            notes.push(Note::Overlap { one: quote(name), other: quote(part), common: (first, last.min(before.1)) });
        }
        if widest.is_none_or(|(before, _)| last > before.1) {
            widest = Some(((first, last), part));
        }
    }
    notes
}

/// The addresses of a pool, by MetalLB's own rules: `a-b` or `a/len`, host bits ignored.
pub(super) fn pool<S: AsRef<str>>(addresses: &[S]) -> Result<LbRange, ParseError> {
    let interval = |text: &str| {
        let text = text.trim();
        if text.contains(':') {
            return Err(ParseError::Ipv6 { part: quote(text) });
        }
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(text, first.trim())?, address(text, last.trim())?);
            return if first > last {
                Err(ParseError::Reversed { part: quote(text), first, last })
            } else {
                Ok((first, last))
            };
        }
        let (base, mask) = text.split_once('/').ok_or_else(|| ParseError::NotAnAddress { part: quote(text) })?;
        let net = cidr(address(text, base)?, mask).ok_or_else(|| ParseError::Mask { part: quote(text) })?;
        Ok((net.network(), net.broadcast()))
    };
    let intervals: Vec<Interval> = addresses.iter().map(|text| interval(text.as_ref())).collect::<Result<_, _>>()?;
    LbRange::from_intervals(intervals).ok_or(ParseError::Empty)
}
