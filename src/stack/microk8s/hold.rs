//! The refreshes of the snap, held while it is ours.

use std::{sync::OnceLock, time::Duration};

use serde_json::{Value, json};

use super::snap::Snap;
use crate::{
    config::spec::Spec,
    engine::step::{Act, Memo, Memory, Probe, SOON, Scope, Step, Undo},
    error::{Kind, Result},
    host::{Host, SnapdChange, microk8s},
};

/// No refresh in the middle: it restarts everything.
#[derive(Default)]
pub(crate) struct Hold {
    /// Until when all snaps are held. It is written down, and so it is the same in the whole run.
    until: OnceLock<String>,
}

/// snapd older than this cannot hold one snap; then the refreshes of all are held, for at most 90 days.
const HOLDS_ONE_SNAP: (u32, u32) = (2, 58);

/// A hold of all refreshes: the longest that snapd takes is 90 days.
const HOLD_DAYS: u64 = 89;

/// A hold that still lasts this long needs no renewal.
const ENOUGH_DAYS: u64 = 30;

const DAY: u64 = 24 * 60 * 60;

/// `--hold=forever` of one snap is a time some three hundred years away.
const FOREVER: &str = "2200";

impl Hold {
    pub(crate) fn new(_: &Spec) -> Self {
        Self::default()
    }

    fn of_one_snap(host: &dyn Host) -> Result<bool> {
        let info = host.snapd_get("/v2/system-info")?.unwrap_or_default();
        let mut parts = info["version"]
            .as_str()
            .unwrap_or("0.0")
            .split(['.', '+', '~', '-'])
            .map(|n| n.parse::<u32>().unwrap_or(0));
        Ok((parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= HOLDS_ONE_SNAP)
    }

    /// Until when MicroK8s alone is held.
    fn snap_hold(host: &dyn Host) -> Result<Option<String>> {
        Ok(host.snapd_get(microk8s::SNAP)?.and_then(|snap| snap["hold"].as_str().map(str::to_owned)))
    }

    fn system_hold(host: &dyn Host) -> Result<Option<String>> {
        match host.snapd_get("/v2/snaps/system/conf?keys=refresh.hold") {
            Ok(conf) => Ok(conf.and_then(|c| c["refresh.hold"].as_str().map(str::to_owned))),
            Err(e) if e.kind == Kind::NoSuchOption => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn until(&self, host: &dyn Host) -> &str {
        self.until.get_or_init(|| date(host.unix_time() + HOLD_DAYS * DAY))
    }

    fn set_system(value: &Value, shown: String) -> Act {
        let (path, body) = ("/v2/snaps/system/conf".to_owned(), json!({"refresh.hold": value}));
        Act::Snapd(SnapdChange { method: "PUT", path, body, shown })
    }

    /// Takes back the hold of one snap; one that somebody gave an end is theirs.
    fn unhold(host: &dyn Host) -> Result<Undo> {
        let Some(until) = Self::snap_hold(host)? else { return Ok(Undo::Done) };
        if until.as_str() < FOREVER {
            return Ok(Undo::Theirs(format!(
                "somebody holds microk8s until {until} since; `snap refresh --unhold microk8s` ends it"
            )));
        }
        Ok(Undo::Acts(vec![Snap::change(json!({"action": "unhold"}), "snap refresh --unhold microk8s")]))
    }

    /// What was there before the newest hold of ours that was not our own.
    fn prior(memory: &Memory) -> &Value {
        let ours: Vec<&Value> = memory.wants.iter().map(|want| &want["until"]).collect();
        // Null: nothing was held then, or not any more.
        let mut overs = memory.wants.iter().rev().filter_map(|want| want.get("over"));
        overs.find(|over| !ours.contains(over)).unwrap_or(&memory.prior)
    }

    /// Whether a hold of all snaps is one that we set. Journals of the first format do not say which: it was 89 days from a moment of that run.
    fn is_ours(now: &str, memory: &Memory) -> bool {
        let known: Vec<&str> = memory.wants.iter().filter_map(|want| want["until"].as_str()).collect();
        if known.is_empty() {
            let from = memory.at + HOLD_DAYS * DAY;
            return now >= date(from).as_str() && now <= date(from + DAY).as_str();
        }
        known.contains(&now)
    }
}

impl Step for Hold {
    fn id(&self) -> &'static str {
        "snap.hold"
    }

    fn title(&self) -> String {
        "snap refreshes are held".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if Self::of_one_snap(host)? {
            let held = Self::snap_hold(host)?.is_some();
            return Ok(if held { Probe::satisfied("for the snap microk8s") } else { Probe::Absent });
        }
        Ok(match Self::system_hold(host)? {
            Some(until)
                if until == "forever" || until.as_str() > date(host.unix_time() + ENOUGH_DAYS * DAY).as_str() =>
            {
                Probe::satisfied(format!("for all snaps, until {until}"))
            }
            Some(until) => Probe::differs(json!(until), format!("held only until {until}")),
            None => Probe::Absent,
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        if Self::of_one_snap(host)? {
            let body = json!({"action": "hold", "time": "forever", "hold-level": "general"});
            return Ok(vec![Snap::change(body, "snap refresh --hold=forever microk8s")]);
        }
        let until = self.until(host);
        Ok(vec![Self::set_system(&json!(until), format!("snap set system refresh.hold={until}"))])
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        let one = Self::of_one_snap(host)?;
        let want = if one {
            json!({"one": true})
        } else {
            // What somebody set since an earlier run is what was there before this one.
            json!({"one": false, "until": self.until(host), "over": prior})
        };
        Ok(Memo { prior, want })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let of_one = memory.wants.iter().any(|want| want["one"] == true);
        if of_one {
            let one = Self::unhold(host)?;
            if one != Undo::Done {
                return Ok(one);
            }
        }
        // snapd may have become new enough to hold one snap since all of them were held.
        if !memory.wants.iter().any(|want| want["one"] == false) {
            return Ok(Undo::Done);
        }
        let Some(now) = Self::system_hold(host)? else { return Ok(Undo::Done) };
        let prior = Self::prior(memory);
        if prior == now.as_str() {
            return Ok(Undo::Done);
        }
        if !Self::is_ours(&now, memory) {
            return Ok(Undo::Theirs(format!(
                "somebody set refresh.hold to {now} since; `snap unset system refresh.hold` ends it"
            )));
        }
        let shown = match prior.as_str() {
            Some(prior) => format!("snap set system refresh.hold={prior}"),
            None => "snap unset system refresh.hold".to_owned(),
        };
        Ok(Undo::Acts(vec![Self::set_system(prior, shown)]))
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }
}

/// A time as RFC 3339, which also sorts as text.
fn date(unix: u64) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .map(|t| t.to_string())
        .unwrap_or_default()
}
