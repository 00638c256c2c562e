//! What Longhorn needs of the distribution: open-iscsi, and the kernel's extra modules where iSCSI is among them. Installed only where
//! it is missing; only what came with it goes again, and only while nobody else needs it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Common, GONE, stays, text};
use crate::{
    bundle::Package,
    config::place::Place,
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Cmd, FileWrite, Host},
    stack::{left, settled::at_apt},
};

/// iSCSI on the host: `iscsiadm` and its service.
pub(in crate::stack::longhorn) const ISCSI: &str = "open-iscsi";

/// Its units.
const UNITS: &[&str] = &["open-iscsi.*", "iscsid.*"];

/// The kernel's side of it.
pub(super) const MODULE: &str = "iscsi_tcp";

/// On a fresh VM another apt is often at work.
const OTHERS_WITHIN: &str = "DPkg::Lock::Timeout=300";
const WITHIN: Duration = Duration::from_secs(900);

/// The step.
pub(super) struct Packages {
    common: Common,
}

/// apt knows where to get them: its lists are empty on many fresh images, and what comes along can be written down only with them.
pub(super) struct PackageLists {
    common: Common,
}

impl PackageLists {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone() }
    }
}

impl Step for PackageLists {
    fn id(&self) -> &'static str {
        "longhorn.package-lists"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        format!("apt knows the package {ISCSI}")
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if self.common.packages(host)?.is_some() {
            return Ok(Probe::satisfied("not needed: the bundle holds it"));
        }
        for (package, _) in Packages::missing(host)? {
            if !is_known(host, &package)? {
                return Ok(waiting(host)?.unwrap_or(Probe::Absent));
            }
        }
        Ok(Probe::satisfied(""))
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![apt(["update"])])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!(ISCSI) })
    }

    // Lists of packages are not state of the host that anybody keeps: the next `apt update` makes them again.
    fn undo(&self, _: &dyn Host, _: &Memory) -> Result<Undo> {
        Ok(Undo::Done)
    }

    fn deadline(&self) -> Duration {
        WITHIN
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }
}

/// Another apt is running, as on a fresh VM. It ends, and only then is it known which packages are missing.
fn waiting(host: &dyn Host) -> Result<Option<Probe>> {
    let who = at_apt(host)?;
    Ok(who.map(|who| Probe::pending(format!("{who} works with apt; it is waited for"))))
}

/// Whether the kernel has the module, or could load it.
pub(crate) fn module_there(host: &dyn Host) -> Result<bool> {
    let loaded = host.exists(Path::new(&format!("/sys/module/{MODULE}")));
    Ok(loaded || host.ask(&Cmd::reads(["modprobe", "--dry-run", "--quiet", MODULE]))?.ok())
}

/// What dpkg says of a package: `ii`, `iF`, ...; none when it does not know it.
pub(in crate::stack::longhorn) fn state_of(host: &dyn Host, package: &str) -> Result<Option<String>> {
    let asked = Cmd::reads(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", package]);
    let output = host.ask(&asked)?;
    let state = output.stdout.trim().to_owned();
    Ok((output.ok() && !state.is_empty() && !state.starts_with('u')).then_some(state))
}

fn apt<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Act {
    let fixed = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "-o", OTHERS_WITHIN];
    Act::Run(Cmd::changes(WITHIN, fixed.into_iter().map(str::to_owned).chain(words.into_iter().map(Into::into))))
}

/// Where a package of a bundle lies while it is installed.
fn file_of(name: &str) -> PathBuf {
    Place::default().dir.join(name)
}

/// Whether apt knows where to get a package. It exits 0 for one that others only name.
pub(crate) fn is_known(host: &dyn Host, package: &str) -> Result<bool> {
    let output = host.ask(&Cmd::reads(["apt-cache", "show", "--no-all-versions", package]))?;
    Ok(output.stdout.lines().any(|line| line.starts_with("Package: ")))
}

/// The packages that apt would touch: `Inst NAME (...)`, `Remv NAME [...]`, `Purg NAME [...]`.
fn simulated(output: &str, verbs: &[&str]) -> Vec<String> {
    let of_line = |line: &str| {
        let (verb, rest) = line.split_once(' ')?;
        let name = rest.split_whitespace().next()?;
        verbs.contains(&verb).then(|| name.split(':').next().unwrap_or(name).to_owned())
    };
    let mut found: Vec<String> = output.lines().filter_map(of_line).collect();
    found.sort();
    found.dedup();
    found
}

impl Packages {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone() }
    }

    /// The packages of the bundle that are missing here; none where apt gets them.
    fn held(&self, host: &dyn Host) -> Result<Option<Vec<Package>>> {
        let Some(packages) = self.common.packages(host)? else { return Ok(None) };
        let mut missing = Vec::new();
        for package in packages {
            if state_of(host, &package.name)?.as_deref() != Some("ii") {
                missing.push(package.clone());
            }
        }
        Ok(Some(missing))
    }

    /// What must be there, and in what state it is.
    fn missing(host: &dyn Host) -> Result<Vec<(String, Option<String>)>> {
        let mut wanted = vec![ISCSI.to_owned()];
        if !module_there(host)? {
            wanted.push(format!("linux-modules-extra-{}", text(host, "/proc/sys/kernel/osrelease")?.trim()));
        }
        let mut missing = Vec::new();
        for package in wanted {
            let state = state_of(host, &package)?;
            if state.as_deref() != Some("ii") {
                missing.push((package, state));
            }
        }
        Ok(missing)
    }
}

impl Step for Packages {
    fn id(&self) -> &'static str {
        "longhorn.packages"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        format!("package {ISCSI}")
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let missing = Self::missing(host)?;
        if missing.is_empty() {
            return Ok(Probe::satisfied("installed"));
        }
        if let Some(waiting) = waiting(host)? {
            return Ok(waiting);
        }
        // Half-installed: an installation was cut off. Known but gone (`rc`) counts as missing.
        let half = |state: &Option<String>| state.as_ref().is_some_and(|s| s.starts_with('i') && s != "ii");
        if let Some((package, Some(state))) = missing.iter().find(|(_, state)| half(state)) {
            return Ok(Probe::differs(json!({"half": package}), format!("{package} is half installed ({state})")));
        }
        Ok(Probe::Absent)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let names: Vec<String> = Self::missing(host)?.into_iter().map(|(package, _)| package).collect();
        let mut acts = Vec::new();
        if let Probe::Differs { .. } = found {
            acts.push(Act::Run(Cmd::changes(
                WITHIN,
                ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--configure", "-a"],
            )));
        }
        let words = ["install", "--no-install-recommends"].map(str::to_owned);
        let Some(held) = self.held(host)? else {
            acts.push(apt(words.into_iter().chain(names)));
            return Ok(acts);
        };
        // apt reads a package from a file alone.
        let files: Vec<PathBuf> = held.iter().map(|package| file_of(&package.file_name)).collect();
        for (package, path) in held.iter().zip(&files) {
            let bytes = self.common.bytes(&package.file)?;
            let path = path.clone();
            acts.push(Act::Write(FileWrite { path, bytes, mode: 0o644, owner: None, secret: false, keeps: false }));
        }
        acts.push(apt(words.into_iter().chain(files.iter().map(|file| file.display().to_string()))));
        acts.extend(files.into_iter().map(|path| Act::Remove { path, all: false }));
        Ok(acts)
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        if let Some(held) = self.held(host)? {
            let names: Vec<&str> = held.iter().map(|package| package.name.as_str()).collect();
            let files: Vec<PathBuf> = held.iter().map(|package| file_of(&package.file_name)).collect();
            return Ok(Memo { prior, want: json!({"packages": names, "files": files}) });
        }
        let names: Vec<String> = Self::missing(host)?.into_iter().map(|(package, _)| package).collect();
        let words = ["apt-get", "--simulate", "--no-install-recommends", "install"].map(str::to_owned);
        let output = host.ask(&Cmd::reads(words.into_iter().chain(names)))?;
        Ok(Memo { prior, want: json!({"packages": simulated(&output.stdout, &["Inst"])}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(kept) = stays(host)? {
            return Ok(kept);
        }
        // A run that died beside the installation left the files that it was made from.
        let files = memory.wants.iter().filter_map(|want| want["files"].as_array()).flatten().filter_map(Value::as_str);
        let there: Vec<PathBuf> = files.map(PathBuf::from).flat_map(|file| [left::half_written(&file), file]).collect();
        let there: Vec<PathBuf> = there.into_iter().filter(|file| host.exists(file)).collect();
        if !there.is_empty() {
            return Ok(Undo::Acts(there.into_iter().map(|path| Act::Remove { path, all: false }).collect()));
        }
        if !memory.prior.is_null() {
            return Ok(Undo::Theirs("it was there before, half; it was made whole and stays".to_owned()));
        }
        let mut ours = Vec::new();
        for want in &memory.wants {
            let names: Vec<String> = serde_json::from_value(want["packages"].clone()).unwrap_or_default();
            for name in names.into_iter().filter(|n| !n.starts_with("linux-")) {
                if state_of(host, &name)?.is_some() && !ours.contains(&name) {
                    ours.push(name);
                }
            }
        }
        if ours.is_empty() {
            // systemd remembers a service that failed, in a boot in the middle of the removal, after its package is gone.
            let reset = left::forget_failed(host, UNITS, &[])?;
            return Ok(reset.map_or(Undo::Done, |act| Undo::Acts(vec![act])));
        }
        if ours.iter().any(|n| n == ISCSI)
            && let Some(target) = super::iscsid::of_others(host)?
        {
            return Ok(Undo::Keep(format!("the host has an iSCSI target of its own: {target}")));
        }
        let words = ["apt-get", "--simulate", "purge"].map(str::to_owned);
        let output = host.ask(&Cmd::reads(words.into_iter().chain(ours.clone())))?;
        let goes = simulated(&output.stdout, &["Remv", "Purg"]);
        let others: Vec<&str> = goes.iter().filter(|n| !ours.contains(n)).map(String::as_str).collect();
        if !others.is_empty() {
            return Ok(Undo::Keep(format!("{} needs it by now", others.join(", "))));
        }
        Ok(Undo::Acts(vec![apt(std::iter::once("purge".to_owned()).chain(ours))]))
    }

    fn deadline(&self) -> Duration {
        WITHIN
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_do_is_read_from_its_own_words() {
        let text = "NOTE: This is only a simulation!\nThe following NEW packages will be installed:\n  libisns0 open-iscsi\n\
                    Inst libisns0 (0.101-0.2+b1 Debian:12.11/stable [amd64])\nInst open-iscsi (2.1.8-1 Debian [amd64])\nConf open-iscsi (2.1.8-1)\n";
        assert_eq!(simulated(text, &["Inst"]), ["libisns0", "open-iscsi"]);
        let text = "Purg open-iscsi* [2.1.8-1]\nRemv multipath-tools [0.9.4]\nPurg libisns0:amd64 [0.101]\n";
        assert_eq!(simulated(&text.replace('*', ""), &["Remv", "Purg"]), ["libisns0", "multipath-tools", "open-iscsi"]);
    }
}
