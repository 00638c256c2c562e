//! What happens on the host between a bootstrap and its reset: others arrive, and put their things beside ours and among them. Nothing of theirs is
//! harmed, and nothing of ours is forgotten.

use std::collections::BTreeSet;

use iris_mk8s::{
    config::place::Place,
    engine::{journal::Contents, step::Scope},
    error::ExitCode,
    stack,
};
use serde_json::{Value, json};

use crate::model::{
    compare::{difference, facts},
    foreign::{self, Resident},
    initial::{Initial, ask},
    network,
    store::{Policy, bytes},
    tool::{Ran, Tool},
    world::{Era, World},
};

const ERAS: [Era; 2] = [Era::Today, Era::Old];

fn tool() -> Tool {
    Tool::new(Policy::Proposed)
}

/// A host that was bootstrapped, and how it was before.
fn bootstrapped(era: Era) -> (BTreeSet<String>, World) {
    let world = Initial::fresh(era).world();
    let before = facts(&world);
    let up = tool().bootstrap(world);
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    (before, up.world)
}

fn reset(world: World) -> Ran {
    let mut ran = tool().teardown(world, Scope::Host);
    ran.world.settle();
    ran
}

/// Why the reset left something, as one text.
fn said(ran: &Ran) -> String {
    ran.left.iter().map(|(step, why)| format!("{step}: {why}\n")).collect()
}

/// The reset goes to its end, leaves exactly these facts more than there were, and names each of these words.
#[track_caller]
fn leaves(ran: &Ran, before: &BTreeSet<String>, code: ExitCode, more: &[&str], named: &[&str]) {
    let now = facts(&ran.world);
    let left: Vec<String> =
        difference(before, &now).into_iter().filter(|f| !f.contains("/var/lib/iris-mk8s")).collect();
    let unexpected: Vec<&String> = left.iter().filter(|f| !more.iter().any(|m| f.contains(m))).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}\n{}", said(ran));
    for wanted in more {
        assert!(left.iter().any(|f| f.contains(wanted)), "{wanted} is gone: {left:#?}\n{}", said(ran));
    }
    for word in named {
        assert!(said(ran).contains(word), "{word} is not named: {}", said(ran));
    }
    assert_eq!(ran.code, code, "{:?}\n{}", ran.error, said(ran));
}

/// Things of these people, as a person would miss them.
fn of(world: &World, who: &[Resident]) -> BTreeSet<String> {
    let mut bare = Initial::fresh(world.era).world();
    let before = facts(&bare);
    who.iter().for_each(|who| foreign::arrives(&mut bare, *who));
    difference(&before, &facts(&bare)).into_iter().filter_map(|f| f.strip_prefix("+ ").map(str::to_owned)).collect()
}

#[test]
fn nothing_of_others_on_the_host_is_harmed() {
    for era in ERAS {
        for who in Resident::ALL {
            let (_, mut world) = bootstrapped(era);
            foreign::arrives(&mut world, who);
            let ran = reset(world);
            let (theirs, now) = (of(&ran.world, &[who]), facts(&ran.world));
            let lost: Vec<&String> = theirs.difference(&now).collect();
            assert!(lost.is_empty(), "{era:?}, {who:?}: {lost:#?}\n{}", said(&ran));
            assert!(matches!(ran.code, ExitCode::Done | ExitCode::Residue), "{:?}", ran.error);
        }
    }
}

/// Where nobody else's Kubernetes uses the same names, all of ours goes, whoever is there.
#[test]
fn beside_others_all_of_ours_goes() {
    for era in ERAS {
        for who in [Resident::Docker, Resident::K3d, Resident::Lxd, Resident::Containerd] {
            let (before, mut world) = bootstrapped(era);
            foreign::arrives(&mut world, who);
            let theirs = of(&world, &[who]);
            let ran = reset(world);
            assert_eq!(ran.code, ExitCode::Done, "{era:?}, {who:?}: {:?} {}", ran.error, said(&ran));
            let more: Vec<String> = facts(&ran.world).difference(&before).cloned().collect();
            let ours: Vec<&String> =
                more.iter().filter(|f| !theirs.contains(*f) && !is_folder_of(f, &theirs)).collect();
            assert!(ours.is_empty(), "{era:?}, {who:?}: {ours:#?}\n{}", said(&ran));
        }
    }
}

/// A folder in which things of theirs lie.
fn is_folder_of(fact: &str, things: &BTreeSet<String>) -> bool {
    let folder = fact.strip_suffix(" directory").map(|path| format!("{path}/"));
    folder.is_some_and(|folder| things.iter().any(|thing| thing.starts_with(&folder)))
}

/// Beside another Kubernetes of the host whose rules and folders are cannot be told: what only looks like ours stays, is named, and counts. When it
/// is gone, the next reset goes on.
#[test]
fn what_another_kubernetes_may_have_made_stays_until_it_is_gone() {
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        foreign::arrives(&mut world, Resident::K3s);
        let ran = reset(world);
        assert_eq!(ran.code, ExitCode::Residue, "{:?}", ran.error);
        for word in ["k3s is on this host", "KUBE-"] {
            assert!(said(&ran).contains(word), "{word} is not named: {}", said(&ran));
        }
        let mut world = ran.world;
        assert!(world.files.has("/var/lib/iris-mk8s/before.json"), "what was there before is still needed");
        foreign::leaves(&mut world, Resident::K3s);
        leaves(&reset(world), &before, ExitCode::Done, &[], &[]);
    }
}

/// The control group of a kubelet in somebody's container is no evidence.
#[test]
fn pods_of_others_are_neither_killed_nor_named_for_killing() {
    for era in ERAS {
        let mut world = Initial::fresh(era).world();
        foreign::arrives(&mut world, Resident::K3d);
        foreign::arrives(&mut world, Resident::Lxd);
        let processes =
            |world: &World| facts(world).into_iter().filter(|f| f.starts_with("/proc/5")).collect::<BTreeSet<_>>();
        let before = processes(&world);
        assert!(!before.is_empty());
        let plan = tool().plan_of(world.clone(), crate::model::tool::spec(world.era, false)).expect("a plan").show();
        assert!(!plan.contains("kill"), "{plan}");
        let up = tool().bootstrap(world);
        assert_eq!((up.code, processes(&up.world)), (ExitCode::Done, before.clone()), "{:?}", up.error);
        let plan = tool().undo_plan(up.world.clone(), Scope::Host).expect("a plan").show();
        assert!(!plan.contains("kill"), "{plan}");
        assert_eq!(processes(&reset(up.world).world), before);
    }
}

/// Pods of a MicroK8s that somebody removed: they are killed, and the plan says so, with or without a record of ours.
#[test]
fn pods_that_outlived_their_microk8s_are_in_the_plan_before_they_are_killed() {
    let orphaned = |mut world: World| {
        ask(&mut world, "POST", "/v2/snaps/microk8s", json!({"action": "remove", "purge": true}));
        world.settle();
        assert!(world.files.has("/proc/4711"), "a pod lives on");
        world
    };
    let (_, ours) = bootstrapped(Era::Old);
    let mut by_hand = ours.clone();
    by_hand.files.remove("/var/lib/iris-mk8s");
    for world in [orphaned(ours), orphaned(by_hand)] {
        let plan = tool().plan_of(world.clone(), crate::model::tool::spec(world.era, false)).expect("a plan");
        let acts = &plan.step("snap.before").expect("it is in the plan").acts;
        assert!(acts[0].starts_with("kill -KILL 4711 4712 # pause, speaker"), "{acts:?}");
        let up = tool().bootstrap(world);
        assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
        assert!(!up.world.files.has("/proc/4711") && !up.world.files.has("/proc/4712"));
    }
}

/// A number that is another process' by the time of the signal: nobody is hit.
#[test]
fn a_process_that_nothing_proves_stays_and_counts() {
    let (before, mut world) = bootstrapped(Era::Old);
    foreign::process(&mut world, 6000, 1, "/usr/bin/mystery", "/kubepods/besteffort/podq/1");
    let ran = reset(world);
    leaves(
        &ran,
        &before,
        ExitCode::Residue,
        &["/proc/6000"],
        &["process 6000 (mystery)", "nothing says that it is of MicroK8s"],
    );
}

/// Files of somebody's in folders that came with MicroK8s: they stay, with the folders, and are named; all else goes.
#[test]
fn what_others_put_into_folders_of_microk8s_stays_and_is_named() {
    let theirs = [
        "/etc/cni/mine.d/foreign.conf",
        "/opt/cni/mine/bridge",
        "/run/containerd/mine.sock",
        "/var/lib/cni/networks/mine/10.9.0.2",
        "/var/log/pods/notes.txt",
        "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/mine~driver/driver",
        "/root/snap/firefox/common/x",
    ];
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        theirs.iter().for_each(|path| world.files.write(path, "theirs\n"));
        let mut more: Vec<&str> = theirs.to_vec();
        more.extend([
            "/etc/cni directory",
            "/etc/cni/mine.d directory",
            "/opt/cni directory",
            "/opt/cni/mine directory",
            "/run/containerd directory",
            "/var/lib/cni directory",
            "/var/lib/cni/networks directory",
            "/var/lib/cni/networks/mine directory",
            "/var/log/pods directory",
            "/usr/libexec/kubernetes",
            "/root/snap directory",
            "/root/snap/firefox",
        ]);
        let named = [
            "/etc/cni/mine.d",
            "/opt/cni/mine",
            "/run/containerd/mine.sock",
            "/var/lib/cni/networks/mine",
            "notes.txt",
        ];
        leaves(&reset(world), &before, ExitCode::Done, &more, &named);
    }
}

/// What is mounted below such a folder is somebody's, whatever the folder is called.
#[test]
fn nothing_is_removed_across_a_mount() {
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        let pod = "/var/log/pods/default_data-0_6e0f1a52-0001-4000-8000-000000000000";
        for at in [format!("{pod}/iris"), "/var/lib/cni/networks".to_owned()] {
            world.files.write(&format!("{at}/data"), "theirs\n");
            world.mounts.insert(at);
        }
        let more = ["/var/log/pods", "/var/lib/cni"];
        let ran = reset(world);
        leaves(&ran, &before, ExitCode::Done, &more, &["/iris", "what is mounted at /var/lib/cni/networks"]);
        assert!(ran.world.files.has(format!("{pod}/iris/data")) && ran.world.files.has("/var/lib/cni/networks/data"));
    }
}

#[test]
fn rules_of_others_stay_and_those_of_kubernetes_go() {
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        let lines = ["-A FORWARD -i cni0 -j ACCEPT", "-A MINE -j KUBE-FORWARD"];
        network::add_rules(&mut world.rules[0], "*filter", &[], &lines);
        let ran = reset(world);
        // A chain of Kubernetes' that somebody's rule leads to is kept by that.
        let more = ["-i cni0 -j ACCEPT", "KUBE-FORWARD"];
        leaves(&ran, &before, ExitCode::Residue, &more, &["-A FORWARD -i cni0 -j ACCEPT", "chain KUBE-FORWARD"]);
        assert!(!facts(&ran.world).iter().any(|f| f.contains("-A FORWARD -m comment")), "the way into it is gone");
    }
}

/// One kind of traces that does not go keeps no other one, and not for ever.
#[test]
fn what_cannot_be_taken_away_is_named_and_keeps_nothing_else() {
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        world.broken.insert("sysctl");
        world.broken.insert("groupdel");
        let begun = world.now;
        let ran = reset(world);
        assert!((ran.world.now - begun).as_secs() < 1200, "it took {} s", (ran.world.now - begun).as_secs());
        let more = ["/proc/sys/", "group microk8s"];
        leaves(&ran, &before, ExitCode::Residue, &more, &["sysctl -q -w vm.overcommit_memory=0", "groupdel microk8s"]);
        let mut world = ran.world;
        world.broken.clear();
        leaves(&reset(world), &before, ExitCode::Done, &[], &[]);
    }
}

#[test]
fn kernel_settings_go_back_only_where_nobody_needs_them() {
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        world.files.write("/etc/sysctl.d/90-mine.conf", "net.ipv4.ip_forward = 1\nkernel.panic=5\n");
        world.files.write("/proc/sys/vm/overcommit_memory", "2\n");
        let ran = reset(world);
        // The two names of forwarding are one setting.
        let more = ["90-mine.conf", "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "vm/overcommit_memory"];
        let named = [
            "/proc/sys/net/ipv4/ip_forward = 1 (it was 0): /etc/sysctl.d/90-mine.conf sets it",
            "/proc/sys/vm/overcommit_memory = 2",
        ];
        leaves(&ran, &before, ExitCode::Done, &more, &named);
        assert_eq!(ran.world.files.text("/proc/sys/vm/overcommit_memory"), "2\n");
        assert_eq!(
            ran.world.files.text("/proc/sys/kernel/panic"),
            "0\n",
            "a file that sets another value wants another one"
        );
    }
}

#[test]
fn a_hold_an_alias_and_members_of_others_stay_and_are_named() {
    for era in ERAS {
        let (before, mut world) = bootstrapped(era);
        world.snapd.hold = Some("2027-02-03T00:00:00Z".to_owned());
        world.groups.get_mut("microk8s").expect("the group").push("bob".to_owned());
        let ran = reset(world);
        let more = ["hold", "group microk8s: [\"bob\"]"];
        let named = ["refresh.hold to 2027-02-03T00:00:00Z since", "bob is in it"];
        leaves(&ran, &before, ExitCode::Residue, &more, &named);
        let mut world = ran.world;
        world.groups.get_mut("microk8s").expect("the group").clear();
        leaves(&reset(world), &before, ExitCode::Done, &["hold"], &[]);
    }
}

/// The record as the first release wrote it, which knows nothing of places that were there, nor of rules.
#[test]
fn a_record_of_the_first_release_is_taken_back_fully() {
    for era in ERAS {
        for old_kubernetes in [false, true] {
            let world = Initial { old_kubernetes, ..Initial::fresh(era) }.world();
            let before = facts(&world);
            let mut world = tool().bootstrap(world).world;
            let file = "/var/lib/iris-mk8s/before.json";
            let mut record: Value = serde_json::from_str(&world.files.text(file)).expect("JSON");
            for new in ["format", "there", "rules"] {
                assert!(record.as_object_mut().expect("fields").remove(new).is_some(), "{new}");
            }
            world.files.write(file, record.to_string());
            leaves(&reset(world), &before, ExitCode::Done, &[], &[]);
        }
    }
}

/// A hold of MicroK8s alone, as a newer snapd knows it: one with an end is the user's own.
#[test]
fn a_hold_of_one_snap_that_the_user_made_is_told() {
    let world = Initial { new_snapd: true, ..Initial::fresh(Era::Today) }.world();
    let mut world = tool().bootstrap(world).world;
    let hold = |world: &World| world.snapd.snaps["microk8s"].hold.clone();
    assert_eq!(hold(&world).as_deref(), Some("2318-01-01T00:00:00Z"));
    let undo = |world: &World| {
        let plan = tool().undo_plan(world.clone(), Scope::Host).expect("a plan");
        let step = plan.steps.into_iter().find(|s| s.step == "snap.hold").expect("it is ours");
        (step.acts, step.keep.unwrap_or_default())
    };
    assert_eq!(undo(&world).0, ["snap refresh --unhold microk8s"]);
    world.snapd.snaps.get_mut("microk8s").expect("it is there").hold = Some("2027-02-03T00:00:00Z".to_owned());
    let (acts, why) = undo(&world);
    assert!(acts.is_empty() && why.contains("holds microk8s until 2027-02-03T00:00:00Z since"), "{acts:?} {why}");
    world.snapd.snaps.get_mut("microk8s").expect("it is there").hold = None;
    assert_eq!(undo(&world), (Vec::new(), String::new()));
}

/// Somebody gave the short name to another program of MicroK8s'.
#[test]
fn an_alias_that_means_something_else_by_now_is_told() {
    let (_, mut world) = bootstrapped(Era::Today);
    world.snapd.aliases.insert("kubectl".to_owned(), ("microk8s".to_owned(), "ctr".to_owned()));
    // It goes with the snap; where that stays it is told.
    world.snapd.snaps.get_mut("microk8s").expect("it is there").channel = "latest/edge".to_owned();
    let ran = reset(world);
    assert!(
        said(&ran).contains("alias.kubectl: somebody made kubectl the short name of microk8s.ctr since"),
        "{}",
        said(&ran)
    );
    assert_eq!(ran.world.snapd.aliases["kubectl"].1, "ctr");
}

/// As the first release wrote it.
fn without_copies(world: &mut World) {
    let journal = Place::default().journal();
    let without = |line: &str| {
        let mut record: Value = serde_json::from_str(line).expect("a record");
        if let Some(want) = record["want"].as_object_mut() {
            want.remove("found");
        }
        format!("{record}\n")
    };
    let text: String = world.files.text(&journal).lines().map(without).collect();
    world.files.write_as(journal.to_str().expect("UTF-8"), text, 0o600, "root");
}

/// An emptied record is told before anything is done: nothing is guessed.
#[test]
fn a_record_that_cannot_be_read_ends_it_before_anything_is_done() {
    let file = "/var/lib/iris-mk8s/before.json";
    for era in ERAS {
        let (before, good) = bootstrapped(era);
        let whole = good.files.text(file);
        for bad in [String::new(), "\0".repeat(whole.len()), whole[..whole.len() / 2].to_owned(), "{}".to_owned()] {
            let mut world = good.clone();
            world.files.write(file, &bad);
            let planned = tool().undo_plan(world.clone(), Scope::Host).unwrap_err();
            assert_eq!(planned.code, ExitCode::Journal, "{planned}");
            assert!(planned.to_string().contains(file), "{planned}");
            for ran in [tool().teardown(world.clone(), Scope::Host), tool().bootstrap(world.clone())] {
                assert_eq!((ran.code, ran.acts), (ExitCode::Journal, 0), "{:?}", ran.error);
            }
        }
        // The person moves it away: the journal has a copy.
        let mut world = good;
        world.files.remove(file);
        leaves(&reset(world.clone()), &before, ExitCode::Done, &[], &[]);
        // Where that is older and has none, what cannot be told apart stays, and is named.
        without_copies(&mut world);
        let planned = tool().undo_plan(world.clone(), Scope::Host).expect("a plan").show();
        assert!(planned.contains("stays: /var/lib/iris-mk8s/before.json is gone"), "{planned}");
        let ran = reset(world);
        assert_eq!(ran.code, ExitCode::Residue, "{:?}", ran.error);
        for named in ["before.json is gone", "/var/log/pods", "iptables-nft-restore", "groupdel"] {
            assert!(said(&ran).contains(named), "{named} is not named: {}", said(&ran));
        }
        assert!(ran.world.files.has("/var/log/pods"), "nothing was guessed");
        // They look at it, take it away by hand, and restart the host; then it has an end.
        let mut world = ran.world;
        world.groups.remove("microk8s");
        for path in
            ["/var/log/pods", "/var/log/containers", "/var/lib/cni", "/var/lib/kubelet", "/usr/libexec/kubernetes"]
        {
            world.files.remove(path);
        }
        for path in ["/etc/cni", "/opt/cni", "/etc/apparmor.d/cri-containerd.apparmor.d"] {
            world.files.remove(path);
        }
        world.power_cut();
        let ran = reset(world);
        assert_eq!(ran.code, ExitCode::Done, "{:?} {}", ran.error, said(&ran));
        assert!(!ran.world.files.has(Place::default().journal()));
    }
}

/// What Longhorn needed of the host somebody else needs by now, and has put things of their own beside it.
#[test]
fn what_others_need_of_longhorns_ground_stays_and_is_named() {
    let tool = Tool { longhorn: true, ..tool() };
    let mut world = Initial { longhorn: true, ..Initial::fresh(Era::Today) }.world();
    for package in ["open-iscsi", "libisns0"] {
        world.packages.insert(package.to_owned(), "ii".to_owned());
    }
    world.units.insert("iscsid.service".to_owned(), (false, false));
    world.units.insert("multipathd.service".to_owned(), (true, true));
    let before = facts(&world);
    let up = tool.bootstrap(world);
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    assert_eq!(up.world.units["iscsid.service"], (true, true));
    let reset = |world: World| {
        let mut ran = tool.teardown(world, Scope::Host);
        ran.world.settle();
        ran
    };
    leaves(&reset(up.world.clone()), &before, ExitCode::Done, &[], &[]);

    let mut world = up.world;
    let target = "tcp: [9] 192.168.11.9:3260,1 iqn.2004-04.com.qnap:ts-453 (non-flash)";
    world.targets.insert(target);
    let theirs = ["/etc/modules-load.d/mine.conf", "/etc/multipath/conf.d/mine.conf", "/var/lib/longhorn/mine/data"];
    theirs.iter().for_each(|path| world.files.write(path, "iscsi_tcp\n"));
    let more = [
        theirs[0],
        "/etc/multipath",
        "/var/lib/longhorn directory",
        "/var/lib/longhorn/mine",
        "unit iscsid.service (true, true)",
        "/sys/module/iscsi_tcp",
    ];
    let named = [
        target,
        "/etc/modules-load.d/mine.conf asks for it",
        "mine.conf lies in /etc/multipath/conf.d",
        "/var/lib/longhorn/mine",
    ];
    let mut before: BTreeSet<String> = before;
    before.retain(|fact| !fact.starts_with("unit iscsid.service"));
    leaves(&reset(world), &before, ExitCode::Done, &more, &named);
}

/// The record of what was there before Longhorn, emptied.
#[test]
fn a_record_of_longhorn_that_cannot_be_read_ends_it_before_anything_is_done() {
    let tool = Tool { longhorn: true, ..tool() };
    let up = tool.bootstrap(Initial { longhorn: true, ..Initial::fresh(Era::Today) }.world());
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    let file = "/var/lib/iris-mk8s/longhorn-before.json";
    let mut world = up.world;
    assert!(world.files.has(file));
    world.files.write(file, "");
    let planned = tool.undo_plan(world.clone(), Scope::Host).unwrap_err();
    assert!(planned.code == ExitCode::Journal && planned.to_string().contains(file), "{planned}");
    let ran = tool.teardown(world, Scope::Host);
    assert_eq!((ran.code, ran.acts), (ExitCode::Journal, 0), "{:?}", ran.error);
}

/// What a dry run says is what a reset does, as far as it can be known.
#[test]
fn a_dry_run_tells_what_the_reset_will_do_to_the_host() {
    let (_, mut world) = bootstrapped(Era::Today);
    world.files.write("/etc/cni/mine.conf", "theirs\n");
    let plan = tool().undo_plan(world.clone(), Scope::Host).expect("a plan");
    let step = plan.steps.iter().find(|s| s.step == "snap.before").expect("it is in the plan");
    for begin in [
        "# When MicroK8s is gone",
        "ip netns delete cni-",
        "iptables-nft-restore --noflush --wait 20 # takes away 5 rules and 5 chains",
        "rm /var/log/pods",
        "sysctl -q -w net.ipv4.ip_forward=0",
        "groupdel microk8s",
        "stays: /etc/cni/mine.conf: MicroK8s makes nothing of that name",
    ] {
        assert!(step.acts.iter().any(|a| a.starts_with(begin)), "{begin}: {:#?}", step.acts);
    }
    let ledger = Contents::parse(&bytes(&world), stack::origin).expect("a journal").ledger;
    assert!(ledger.memory("snap.before").is_some());
}
