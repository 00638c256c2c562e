//! The host's name, and the person's home: whom certificates and snaps take them for.

use crate::{
    config::version::Minor,
    error::{Result, finding::Finding},
    host,
    stack::{facts::Facts, mounts},
};

/// From this version on kubelet has a certificate for `system:node:NAME` (MicroK8s, actions/common/utils.sh); a common name has at most
/// 64 characters (RFC 5280, ub-common-name).
const CERTIFIED_FROM: Minor = Minor(1, 28);
const LONGEST: usize = 64 - "system:node:".len();

pub(crate) fn length(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let name = facts.text("/proc/sys/kernel/hostname")?.trim().to_owned();
    let minor = facts.spec.channel.minor;
    if minor < CERTIFIED_FROM || name.len() <= LONGEST {
        return Ok(vec![Finding::fine(format!("{} characters", name.len()))]);
    }
    let short = name.split('.').next().filter(|short| short.len() <= LONGEST).unwrap_or("NAME");
    Ok(vec![Finding::refused(
        format!(
            "the host's name `{name}` has {} characters; MicroK8s {minor} puts it into a certificate that has room for {LONGEST}, and its \
             installation fails without a reason",
            name.len()
        ),
        format!("`hostnamectl set-hostname {short}`"),
    )])
}

/// The first user id of a person (login.defs of Debian and Ubuntu).
const FIRST_PERSON: u32 = 1000;

/// Commands of snaps make a folder in the home of who runs them, and are let into no other place than /home (snapd, snap-confine's
/// user-support.c).
pub(crate) fn home(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let user = &facts.spec.user;
    let Some(entry) = facts.ask(&["getent", "passwd", user])?.filter(host::Output::ok) else {
        return Ok(vec![Finding::fine("the user is not known here")]);
    };
    let fields: Vec<&str> = entry.stdout.trim().split(':').collect();
    let uid = fields.get(2).and_then(|uid| uid.parse::<u32>().ok()).unwrap_or(FIRST_PERSON);
    let home = fields.get(5).copied().unwrap_or_default().trim_end_matches('/');
    if uid == 0 {
        return Ok(vec![Finding::fine("root's commands need no home")]);
    }
    let says = "`home directories outside of /home needs configuration`";
    let conf = facts.host.snapd_get("/v2/snaps/system/conf?keys=homedirs").ok().flatten().unwrap_or_default();
    let allowed = conf["homedirs"].as_str().unwrap_or_default();
    let inside = |dir: &str| home.strip_prefix(dir.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
    Ok(vec![if uid < FIRST_PERSON && !inside("/home") {
        Finding::warned(
            format!(
                "{user} is a user of the system (id {uid}, home {home}): commands of snaps, `microk8s` and `kubectl` too, end for it with {says}"
            ),
            "name a person with --user, or run them with sudo",
        )
    } else if !inside("/home") && !allowed.split(',').filter(|dir| !dir.is_empty()).any(inside) {
        let parent = home.rsplit_once('/').map_or("/", |(parent, _)| parent);
        Finding::warned(
            format!(
                "the home of {user} is {home}: commands of snaps, `microk8s` and `kubectl` too, end for them with {says}"
            ),
            format!("`snap set system homedirs={parent}`, or run them with sudo"),
        )
    } else if let Some(mount) =
        mounts::of(facts.mounts()?, home).filter(|m| m.kind.starts_with("nfs") || m.kind == "cifs")
    {
        Finding::warned(
            format!(
                "the home of {user} lies on {} ({}): commands of snaps may end with `permission denied` there, since root may not look into it",
                mount.kind, mount.point
            ),
            "run them from another folder (`cd /tmp`), or let root in (no_root_squash on the server)",
        )
    } else {
        Finding::fine(home.to_owned())
    }])
}
