//! The distribution's package that Longhorn needs, with those that it needs in turn: as apt of this host would install them. They fit a host of the same
//! release; one that has open-iscsi already, as Ubuntu's server images do, needs none of them.

use std::fs;

use super::{
    Tell,
    fetch::{Folder, Wanted},
};
use crate::{
    bundle::{Debian, Package, release_of},
    error::{Error, Result},
    host::{Cmd, Host, web::Web},
};

/// The package.
const ISCSI: &str = "open-iscsi";

/// Fetches the packages; none where this host has them, or has no apt.
///
/// # Errors
/// One could not be downloaded, or is not what apt announced.
pub(super) fn packages(host: &dyn Host, folder: &mut Folder, tell: Tell<'_>) -> Result<Option<Debian>> {
    let without =
        "the bundle has no package open-iscsi: it can be used where that is installed (Ubuntu's server images have it)";
    let Some(release) = fs::read_to_string("/etc/os-release").ok().as_deref().and_then(release_of) else {
        tell(&format!("{without}; /etc/os-release does not say what this host is"), None)?;
        return Ok(None);
    };
    let words = ["apt-get", "--print-uris", "--yes", "--quiet=2", "--no-install-recommends", "install", ISCSI];
    let listed = match host.ask(&Cmd::reads(words)) {
        Ok(output) if output.ok() => output.stdout,
        Ok(output) => {
            tell(
                &format!("{without}; apt of this host does not know it (`sudo apt update`): {}", output.tail()),
                None,
            )?;
            return Ok(None);
        }
        Err(e) => {
            tell(&format!("{without}; {}", e.what), None)?;
            return Ok(None);
        }
    };
    let mut packages = Vec::new();
    for line in listed.lines() {
        let Some((url, file_name, size)) = entry(line) else { continue };
        let name = file_name.split('_').next().unwrap_or_default().to_owned();
        let sum = checksum(host, &name)?;
        let what = format!("fetches the package {file_name}");
        let wanted = Wanted { url, headers: Vec::new(), what: &what, size: Some(size) };
        let path = folder.fetch(&Web::default(), &file_name, &wanted, tell)?;
        let file = folder.take_file(&path)?;
        if file != format!("sha256:{sum}") {
            let _ = fs::remove_file(&path);
            return Err(Error::failed(format!("the package {file_name} is not what apt announced; it was discarded"))
                .hint("`sudo apt update`, then run the same command again"));
        }
        packages.push(Package { name, file_name, file });
    }
    if packages.is_empty() {
        tell(&format!("{without}; this host has it, so that apt does not tell where it comes from"), None)?;
        return Ok(None);
    }
    Ok(Some(Debian { release, packages }))
}

/// The SHA-256 of a package that apt would install: of what it prints with the addresses, only MD5 is certain.
fn checksum(host: &dyn Host, name: &str) -> Result<String> {
    let output = host.ask(&Cmd::reads(["apt-cache", "show", "--no-all-versions", name]))?;
    let sum = output.stdout.lines().find_map(|line| line.strip_prefix("SHA256: ")).map(str::to_owned);
    sum.ok_or_else(|| {
        Error::failed(format!("apt does not tell the SHA-256 of the package {name}"))
            .hint("`sudo apt update`, then run the same command again")
    })
}

/// `'http://…/open-iscsi_2.1.8-1_amd64.deb' open-iscsi_2.1.8-1_amd64.deb 405224 MD5Sum:…`
fn entry(line: &str) -> Option<(String, String, u64)> {
    let mut words = line.split_whitespace();
    let url = words.next()?.strip_prefix('\'')?.trim_end_matches('\'').to_owned();
    let file_name = words.next()?.to_owned();
    let size = words.next()?.parse().ok()?;
    Some((url, file_name, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_is_read() {
        let line =
            "'http://deb.example/o/open-iscsi_2.1.8-1_amd64.deb' open-iscsi_2.1.8-1_amd64.deb 405224 MD5Sum:ab12";
        let (url, name) = ("http://deb.example/o/open-iscsi_2.1.8-1_amd64.deb", "open-iscsi_2.1.8-1_amd64.deb");
        assert_eq!(entry(line), Some((url.to_owned(), name.to_owned(), 405_224)));
        assert_eq!(entry("Reading package lists..."), None);
    }
}
