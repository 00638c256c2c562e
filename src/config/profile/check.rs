//! Whether a text is valid for Kubernetes, IRIS and Linux. Each check says what is wrong and what would be right.

use crate::config::version::LonghornVersion;

/// What a check returns: the reason, as a sentence without the key's name.
pub type Check = Result<(), String>;

/// Characters that would draw over a terminal or break a file's lines have no place in any value.
pub fn printable(s: &str) -> Check {
    match s.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("the value contains the control character {}", c.escape_unicode())),
        None if s.is_empty() => Err("the value is empty".into()),
        None if s.trim() != s => Err(format!("`{s}` begins or ends with a blank")),
        None => Ok(()),
    }
}

/// A label of RFC 1123, the form of Kubernetes' names.
fn label(s: &str, longest: usize) -> Check {
    printable(s)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(c) = s.chars().find(|c| !good(*c)) {
        return Err(format!("`{s}` contains `{c}`; a name has only a-z, 0-9 and -"));
    }
    if s.starts_with('-') || s.ends_with('-') {
        return Err(format!("`{s}` begins or ends with `-`"));
    }
    if s.len() > longest {
        return Err(format!("`{s}` is {} characters long; at most {longest} fit", s.len()));
    }
    Ok(())
}

/// A namespace of ours; those of the system belong to others.
pub fn namespace(s: &str) -> Check {
    label(s, 63)?;
    let system = ["metallb-system", "container-registry", "longhorn-system"];
    if s.starts_with("kube-") || system.contains(&s) {
        return Err(format!("`{s}` belongs to the cluster itself; choose another namespace"));
    }
    Ok(())
}

/// A StatefulSet's name: the label of its pods' revision appends eleven characters to it.
pub fn stateful_set(s: &str) -> Check {
    label(s, 52)
}

/// A Service's name: begins with a letter (RFC 1035), and `-ext` is appended for the second one.
pub fn service(s: &str) -> Check {
    label(s, 59)?;
    if s.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{s}` begins with a digit; the name of a service begins with a letter"));
    }
    Ok(())
}

/// A StorageClass. `hostpath` is the one that the article warns of.
pub fn storage_class(s: &str) -> Check {
    printable(s)?;
    if s == "hostpath" {
        return Err(
            "`hostpath` puts the data of several instances into one folder; did you mean `microk8s-hostpath`?".into()
        );
    }
    s.split('.').try_for_each(|part| label(part, 63))
}

/// A release of Longhorn.
pub fn longhorn_version(s: &str) -> Check {
    s.parse::<LonghornVersion>()
        .map(|_| ())
        .map_err(|e| format!("{}; name one with its three numbers, for example v1.11.3", e.what))
}

/// An addon as `microk8s enable` takes it.
pub fn addon(s: &str) -> Check {
    printable(s)?;
    if let Some((_, name)) = s.split_once('/') {
        return Err(format!("addon `{s}`: name it without its repository: `{name}`"));
    }
    if let Some((name, _)) = s.split_once([':', '=', ' ']) {
        return Err(format!("addon `{s}`: arguments are not supported; name it as `{name}`"));
    }
    if s == "metallb" {
        return Err(
            "`metallb` has a stage of its own and is always enabled; take it out of the list, its range is --lb".into(),
        );
    }
    label(s, 63).map_err(|why| format!("addon {why}"))
}

/// A login name. Whether there is such a user is asked of the host.
pub fn user(s: &str) -> Check {
    printable(s)?;
    let odd = |c: char| !(c.is_alphanumeric() || "._-$@\\".contains(c));
    match s.chars().find(|c| odd(*c)) {
        Some(c) => Err(format!("`{s}` contains `{c}`, which no login name does")),
        None if s.starts_with('-') => Err(format!("`{s}` begins with `-`")),
        None if s.len() > 256 => Err("the value is longer than any login name".into()),
        None => Ok(()),
    }
}

/// An image by the grammar of container registries, with a tag or a digest: without one it would be `latest`, which IRIS does not have.
pub fn image(s: &str) -> Check {
    printable(s)?;
    let wrong = |why: String| Err(format!("image `{s}`: {why}"));
    let (rest, digest) = s.split_once('@').map_or((s, None), |(rest, digest)| (rest, Some(digest)));
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            return wrong("a digest is `sha256:` and 64 digits of 0-9, a-f".into());
        }
    }
    // A colon after the last slash begins the tag; before it, it is the registry's port.
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].split_once(':') {
        Some((last, tag)) => (&rest[..slash + last.len()], Some(tag)),
        None => (rest, None),
    };
    match tag {
        Some(tag) => {
            let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            if tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.chars().all(good) {
                return wrong(format!("`{tag}` is not a tag; a tag has letters, digits, `_`, `.` and `-`"));
            }
        }
        None if digest.is_none() => return wrong(format!("names no tag; write for example `{name}:latest-em`")),
        None => {}
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    // The first part is a registry when it looks like a host, as everywhere in the container world.
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        let (host, port) = parts[0].split_once(':').unwrap_or((parts[0], "1"));
        let good = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        if host.is_empty() || !host.chars().all(good) || port.parse::<u16>().is_err() {
            return wrong(format!("`{}` is not a registry's host and port", parts[0]));
        }
        parts.remove(0);
    }
    for part in parts {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let edge = |c: char| "._-".contains(c);
        if part.is_empty() || part.starts_with(edge) || part.ends_with(edge) || !part.chars().all(good) {
            return wrong(format!("`{part}` is not a part of a name; a name has a-z, 0-9, `.`, `_` and `-` inside"));
        }
    }
    Ok(())
}

/// A URL that goes into files which a shell or containerd reads.
fn url(s: &str) -> Check {
    printable(s)?;
    let rest = s.strip_prefix("http://").or(s.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err(format!("`{s}` is not a URL; write it as http://proxy.example:3128"));
    };
    if rest.contains('@') {
        return Err("a user and a password in a URL would be readable for everybody on the host; leave them out".into());
    }
    match rest.chars().find(|c| !(c.is_ascii_alphanumeric() || ".:/-_~%[]".contains(*c))) {
        Some(c) => Err(format!("`{s}` contains `{c}`, which no URL of a host does")),
        None => Ok(()),
    }
}

/// The proxy that images are fetched through.
pub fn proxy(s: &str) -> Check {
    url(s)
}

/// A name or network that is reached without the proxy.
pub fn direct(s: &str) -> Check {
    printable(s)?;
    match s.chars().find(|c| !(c.is_ascii_alphanumeric() || ".:/-_*".contains(*c))) {
        Some(c) => Err(format!("`{s}` contains `{c}`; name hosts (.example.com), addresses or networks (10.0.0.0/8)")),
        None => Ok(()),
    }
}

/// A mirror: `REGISTRY=URL`.
pub fn mirror(s: &str) -> Check {
    printable(s)?;
    let Some((registry, address)) = s.split_once('=') else {
        return Err(format!(
            "`{s}` is not a registry and who answers for it; write it as docker.io=https://mirror.example"
        ));
    };
    let good = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
    if registry.is_empty() || registry.starts_with(['.', '-', ':']) || !registry.chars().all(good) {
        return Err(format!("`{registry}` is not the name of a registry, such as docker.io"));
    }
    url(address)
}

/// A file of a registry's: `REGISTRY=FILE`.
pub fn file_of(s: &str) -> Check {
    printable(s)?;
    match s.split_once('=') {
        Some((registry, file)) if !registry.is_empty() && !file.is_empty() => Ok(()),
        _ => Err(format!("`{s}` is not a registry and a file; write it as reg.example:5000=/etc/ssl/reg.crt")),
    }
}

/// The number that a Kubernetes quantity stands for, in thousandths.
fn quantity(s: &str) -> Option<u128> {
    let digits = s.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(s.len());
    let (number, suffix) = s.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 15 || fraction.len() > 3 || number.ends_with('.') || fraction.contains('.') {
        return None;
    }
    let thousandths: u128 = format!("{whole}{fraction:0<3}").parse().ok()?;
    let binary = |power: u32| 1024_u128.pow(power);
    let factor = match suffix {
        "m" => return Some(thousandths / 1000),
        "" => 1,
        "k" => 10_u128.pow(3),
        "M" => 10_u128.pow(6),
        "G" => 10_u128.pow(9),
        "T" => 10_u128.pow(12),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        _ => return None,
    };
    Some(thousandths * factor)
}

/// An amount of memory or of disk space in bytes.
pub fn bytes(s: &str) -> Option<u128> {
    quantity(s).map(|thousandths| thousandths / 1000)
}

/// An amount of memory or of disk space. Less than 64 MiB is a suffix forgotten, and IRIS cannot start with it.
pub fn size(s: &str) -> Check {
    printable(s)?;
    let example = "write it as 768Mi or 5Gi";
    match bytes(s) {
        None => Err(format!("`{s}` is not an amount of bytes; {example}")),
        Some(n) if n < 64 << 20 => Err(format!("`{s}` is {n} bytes, too little for IRIS; {example}")),
        Some(n) if n > 1 << 50 => Err(format!("`{s}` is more than 1024Ti")),
        Some(_) => Ok(()),
    }
}

/// A share of the processors.
pub fn cpu(s: &str) -> Check {
    printable(s)?;
    match (quantity(s), s.ends_with(|c: char| c == 'm' || c.is_ascii_digit())) {
        (Some(1..=1_024_000), true) => Ok(()),
        _ => Err(format!("`{s}` is not a number of processors; write it as 250m or 1.5")),
    }
}

/// `TZ` in POSIX form. Names of places need a table of time zones, which the image need not have.
pub fn time_zone(s: &str) -> Check {
    printable(s)?;
    let name = |s: &str| -> Option<usize> {
        let end = match s.strip_prefix('<') {
            Some(quoted) => quoted.find('>')? + 2,
            None => s.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(s.len()),
        };
        (end >= 3).then_some(end)
    };
    let offset = |s: &str| -> Option<usize> {
        let unsigned = s.trim_start_matches(['+', '-']);
        let end = unsigned.find(|c: char| !(c.is_ascii_digit() || c == ':')).unwrap_or(unsigned.len());
        let hours: u32 = unsigned[..end].split(':').next()?.parse().ok()?;
        (hours <= 24 && s.len() - unsigned.len() <= 1).then_some(s.len() - unsigned.len() + end)
    };
    let posix = || -> Option<()> {
        let rest = &s[name(s)?..];
        let rest = &rest[offset(rest)?..];
        let summer = if rest.is_empty() { return Some(()) } else { &rest[name(rest)?..] };
        summer.chars().all(|c| c.is_ascii_digit() || "+-:,./MJ".contains(c)).then_some(())
    };
    if matches!(s, "UTC" | "GMT") || posix().is_some() {
        return Ok(());
    }
    Err(format!("`{s}` is not a time zone in POSIX form; write it as JST-9 or CET-1CEST"))
}
