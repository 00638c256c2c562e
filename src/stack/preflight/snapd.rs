//! snapd, and the store behind it.

use super::system::numbers;
use crate::{
    config::version::Channel,
    engine,
    error::{Kind, Result, finding::Finding},
    stack::facts::Facts,
};

pub(crate) fn answers(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    Ok(vec![match facts.host.snapd_get("/v2/system-info") {
        Ok(_) => Finding::fine("snapd answers"),
        Err(e) => Finding::refused(
            format!("snapd does not answer: {}", engine::one_line(&e)),
            "install it (`apt install snapd`), or start it (`systemctl start snapd.socket snapd`)",
        ),
    }])
}

pub(crate) fn version(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let info = facts.host.snapd_get("/v2/system-info").ok().flatten().unwrap_or_default();
    let Some(version) = info["version"].as_str() else {
        return Ok(vec![Finding::fine("snapd does not tell its version")]);
    };
    let channel = &facts.spec.channel;
    let (major, minor) = channel.row().snapd;
    Ok(vec![if numbers(version) < (major, minor) {
        Finding::refused(
            format!("snapd {version} is too old for MicroK8s {}, which asks for {major}.{minor}", channel.minor),
            "`apt update && apt install snapd`, or `snap refresh snapd`",
        )
    } else {
        Finding::fine(format!("snapd {version}"))
    }])
}

pub(crate) fn channel(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let minor = facts.spec.channel.minor;
    let untried = facts.spec.channel.untried().map(|why| {
        Finding::warned(why, "if something fails, take a newer version of this tool, or an older --channel")
    });
    let ended = minor.ended(facts.host.unix_time()).map(|end| {
        let message = format!("MicroK8s {minor} reached its end of life on {end} and gets no more security fixes");
        Finding::warned(message, instead(facts))
    });
    let mut found: Vec<Finding> = untried.into_iter().chain(ended).collect();
    if found.is_empty() {
        let until = minor.end().map(|end| format!(", and gets fixes until {end}")).unwrap_or_default();
        found.push(Finding::fine(format!("MicroK8s {minor} is known{until}")));
    }
    Ok(found)
}

/// What to do about a MicroK8s whose life has ended.
fn instead(facts: &Facts<'_>) -> String {
    let channel = &facts.spec.channel;
    let cgroup_v2 = facts.exists("/sys/fs/cgroup/cgroup.controllers");
    let newest = Channel::for_host(cgroup_v2).0;
    if newest.minor.ended(facts.host.unix_time()).is_none() && newest.minor > channel.minor {
        let (next, newest) = (channel.next(), newest.minor);
        return if facts.installed() {
            format!(
                "it is upgraded one minor at a time, up to {newest}: bootstrap with --channel {}, and so on; where it was \
                 there before iris-mk8s, `snap refresh microk8s --channel={next}`",
                next.minor
            )
        } else {
            format!("take --channel auto, which is {newest} on this host")
        };
    }
    if cgroup_v2 {
        "a newer version of this tool may know a newer MicroK8s".to_owned()
    } else {
        "no MicroK8s that still gets fixes runs with cgroup v1: use a host with cgroup v2 (Ubuntu 22.04 or later)"
            .to_owned()
    }
}

/// Addons that this MicroK8s no longer has.
pub(crate) fn addons(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let (channel, wanted) = (&facts.spec.channel, &facts.spec.addons);
    let gone: Vec<&str> = channel.row().gone.iter().copied().filter(|name| wanted.iter().any(|w| w == name)).collect();
    Ok(vec![if gone.is_empty() {
        Finding::fine("no addon is wanted that is known to be gone")
    } else {
        Finding::refused(
            format!("MicroK8s {} no longer has the addon {}", channel.minor, gone.join(", ")),
            "take it out of `addons` (`iris-mk8s profile show` tells where that was set), or take an older --channel",
        )
    }])
}

/// On its first boot snapd installs what the image brought, and refuses everything else until that is done.
pub(crate) fn seeded(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    // A setting that was never made is an error of snapd's: then it is not seeded.
    let conf = facts.host.snapd_get("/v2/snaps/system/conf?keys=seed.loaded").ok().flatten().unwrap_or_default();
    Ok(vec![if conf["seed.loaded"] == true || facts.host.snapd_get("/v2/system-info").is_err() {
        Finding::fine("snapd has finished its first start")
    } else {
        Finding::warned(
            "snapd has not finished its first start, and takes no orders before; bootstrap waits for it",
            "to see it end: `snap wait system seed.loaded`; `snap changes` tells what it does",
        )
    }])
}

/// Changes after which snapd, or MicroK8s with everything in it, starts again.
const REFRESHES: &[&str] = &["auto-refresh", "refresh-snap", "refresh", "revert-snap"];

pub(crate) fn busy(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let changes = facts.host.snapd_get("/v2/changes?select=in-progress").ok().flatten().unwrap_or_default();
    let refresh = changes.as_array().into_iter().flatten().find(|c| REFRESHES.iter().any(|kind| c["kind"] == *kind));
    Ok(vec![match refresh {
        Some(change) => {
            let text = |name: &str| change[name].as_str().unwrap_or("?").to_owned();
            Finding::warned(
                format!("snapd is busy: {} (change {})", text("summary"), text("id")),
                "it is waited for where it is in the way; to see it end: `snap watch --last=auto-refresh?`",
            )
        }
        None => Finding::fine("no refresh is under way"),
    }])
}

pub(crate) fn store(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if facts.installed() {
        return Ok(vec![Finding::fine("MicroK8s is installed")]);
    }
    let channel = facts.spec.channel.to_string();
    let found = match facts.host.snapd_get("/v2/find?name=microk8s") {
        Ok(found) => found.unwrap_or_default(),
        Err(e) => {
            let why = engine::one_line(&e);
            // The message ends with the URL that snapd asked. The query in that is long and of no use.
            let why = why.split('?').next().unwrap_or_default().to_owned();
            let hint =
                "see the network, DNS and the proxy (`snap get system proxy`); `snap info microk8s` asks the same";
            // A store with a short problem, or a proxy of it that knows only downloads, may do better when it is needed.
            return Ok(vec![if e.kind == Kind::StoreTrouble {
                Finding::warned(format!("the snap store answers, but not with what was asked for: {why}"), hint)
            } else {
                Finding::refused(format!("the snap store does not answer: {why}"), hint)
            }]);
        }
    };
    let channels = found[0]["channels"].as_object().cloned().unwrap_or_default();
    Ok(vec![match channels.get(&channel) {
        Some(release) => {
            let size = release["size"].as_u64().unwrap_or(0) >> 20;
            let size = if size > 0 { format!(", {size} MiB") } else { String::new() };
            Finding::fine(format!("{channel} is {}{size}", release["version"].as_str().unwrap_or("published")))
        }
        None => {
            let stable: Vec<&str> =
                channels.keys().filter_map(|c| c.strip_suffix("/stable")).filter(|t| is_track(t)).collect();
            Finding::refused(
                format!("the snap store does not publish MicroK8s in the channel {channel}"),
                if stable.is_empty() {
                    "`snap info microk8s` lists the channels".to_owned()
                } else {
                    format!("take --channel with one of {}", stable.join(", "))
                },
            )
        }
    }])
}

/// Whether this tool takes a track.
fn is_track(track: &str) -> bool {
    track.parse::<Channel>().is_ok()
}
