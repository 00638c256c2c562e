//! Sequences that broke a promise once, each as short as it could be cut, by what was wrong. A new one is pasted here as it is printed.

use iris_mk8s::kube;
use serde_json::json;

use crate::{
    draw,
    model::{
        foreign::Resident::{self, *},
        tool::Death::*,
        world::Era,
    },
    op::{
        End::*,
        Guest::{self, *},
        Op::*,
        OurFile::*,
        Ours, Part, Place, Range,
        Reach::{self, *},
        Rule, Sequence,
        Start::*,
        Wish,
    },
    op::{Op, Start},
    play::{Play, play},
    program,
};

const PLAIN: Wish = Wish::PLAIN;

/// Plays it, and it keeps all promises.
fn on(era: Era, start: Start, ops: &[Op]) -> Play {
    let sequence = Sequence { era, start, ops: ops.to_vec() };
    let played = play(&sequence);
    assert!(played.violations.is_empty(), "{sequence}\n    {}\n{:#?}", played.story.join("\n    "), played.violations);
    played
}

/// The same on both eras.
fn on_both(start: Start, ops: &[Op]) {
    on(Era::Today, start, ops);
    on(Era::Old, start, ops);
}

/// How the last command that changes something ended, as the story tells.
fn ended(played: &Play, command: &str) -> String {
    let line = played.story.iter().rev().find(|line| line.starts_with(command)).expect("it was run");
    line.split(": ").nth(1).unwrap_or_default().split(',').next().unwrap_or_default().to_owned()
}

/// How this one ended, the first time that it was run.
fn first_end(played: &Play, op: &Op) -> String {
    let begin = format!("{op:?}: ");
    let line = played.story.iter().find_map(|line| line.strip_prefix(&begin)).expect("it was run");
    line.split(',').next().unwrap_or_default().to_owned()
}

#[test]
fn processes_of_others_live() {
    for resident in Resident::ALL {
        on_both(Fresh, &[Arrives(resident), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Arrives(resident), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
        // A MicroK8s that is gone, and a bootstrap that looks for what its pods left.
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Arrives(resident), RemovesSnap, Bootstrap(PLAIN, Whole)]);
    }
}

#[test]
fn links_of_others_stay() {
    for link in ["veth9999999", "br0", "tunl0", "flannel.2"] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), AddsLink(link), Teardown(Reset, Whole)]);
    }
}

#[test]
fn what_lies_beside_the_traces_stays() {
    for place in Place::ALL {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Puts(place), Teardown(Reset, Whole)]);
    }
    for at in ["/run/containerd/mnt", "/var/lib/cni/mnt", "/opt/cni/mnt", "/var/log/pods/mnt"] {
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Mounts(at), Teardown(Reset, Whole)]);
    }
}

#[test]
fn rules_of_others_stay_before_and_after_and_meanwhile() {
    for rule in Rule::ALL {
        on_both(Fresh, &[AddsRule(rule), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), AddsRule(rule), Teardown(Reset, Whole)]);
        for at in (20..80).step_by(5) {
            on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Teardown(Reset, Meanwhile(at, Box::new(AddsRule(rule))))]);
        }
    }
}

#[test]
fn settings_and_holds_that_a_person_made_since_stay() {
    for (name, value) in [("vm/overcommit_memory", "2"), ("kernel/panic", "30")] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), SetsSetting(name, value), Teardown(Reset, Whole)]);
        on_both(Fresh, &[SetsSetting(name, value), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    }
    for until in ["forever", "2027-01-20T00:00:00Z", "2027-04-01T00:00:00Z"] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), HoldsAll(until), Teardown(Reset, Whole)]);
        on_both(Fresh, &[HoldsAll(until), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn a_cluster_that_cannot_be_asked_is_not_empty() {
    for guest in Guest::ALL {
        for off in [Microk8sStop, Stop(Whole), ApiDies, DisablesSnap] {
            on_both(Fresh, &[Bootstrap(PLAIN, Whole), Makes(guest), off.clone(), Teardown(Reset, Whole)]);
        }
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Makes(guest), Reboots, Teardown(Reset, Whole)]);
    }
}

#[test]
fn a_microk8s_of_somebody_else_runs_as_before() {
    for start in [Theirs, TheirsWithPool, TheirsStopped] {
        on_both(start, &[Bootstrap(PLAIN, Whole), Stop(Whole), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
        on_both(start, &[Bootstrap(PLAIN, Whole), Stop(Whole), Start(Whole), Teardown(Reset, Whole)]);
        on_both(start, &[Bootstrap(PLAIN, Whole), Stop(Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn data_of_every_wish_is_named() {
    let wish = |replicas| Wish { replicas, ..PLAIN };
    let within = |namespace| Wish { namespace, ..PLAIN };
    for reach in [Data, Reset] {
        on_both(Fresh, &[Bootstrap(wish(3), Whole), Bootstrap(wish(1), Whole), Teardown(reach, Whole)]);
        let moved = [
            Bootstrap(within("a"), Whole),
            Teardown(App, Whole),
            Bootstrap(within("b"), Whole),
            Teardown(reach, Whole),
        ];
        on_both(Fresh, &moved);
    }
    // Another password, while the data of the first one is there.
    let other = Wish { password: Some("given-2"), ..within("b") };
    on(Era::Today, Fresh, &[Bootstrap(within("a"), Whole), Teardown(App, Whole), Bootstrap(other, Whole)]);
}

#[test]
fn the_registry_is_mended_with_what_was_pushed() {
    for part in [Part::RegistryService, Part::RegistryDeployment] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Pushes, Deletes(part), Bootstrap(PLAIN, Whole)]);
        let teardown = [Bootstrap(PLAIN, Whole), Pushes, Deletes(part), Teardown(Reset, Whole)];
        on_both(TheirsWithPool, &teardown);
    }
    let without = Wish { registry: false, ..PLAIN };
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Pushes, Bootstrap(without, Whole), Teardown(Reset, Whole)]);
}

#[test]
fn our_own_stop_is_no_change_by_somebody_else() {
    for reach in [App, Data, Reset] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Stop(Whole), Microk8sStart, Waits(60), Teardown(reach, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Stop(Whole), Teardown(reach, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Stop(Whole), Start(Whole), Teardown(reach, Whole)]);
    }
}

#[test]
fn what_the_newest_wish_does_not_name_is_taken_back_too() {
    let others = [
        Wish { registry: false, ..PLAIN },
        Wish { user: "anna", ..PLAIN },
        Wish { until: Some("start"), ..PLAIN },
        Wish { until: Some("start"), replicas: 3, ..PLAIN },
    ];
    let mirror = Wish { mirror: Some("http://mirror.lan:5000"), ..PLAIN };
    for start in [Fresh, Theirs, TheirsWithPool] {
        for other in others {
            on_both(start, &[Bootstrap(PLAIN, Whole), Bootstrap(other, Whole), Teardown(Reset, Whole)]);
        }
        on(Era::Today, start, &[Bootstrap(mirror, Whole), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn what_is_kept_stays_known() {
    for guest in Guest::ALL {
        let played = on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Makes(guest), Teardown(Reset, Whole)]);
        assert_eq!(ended(&played, "Teardown"), "Done", "in the end, without {guest:?}");
        on(Era::Old, Fresh, &[Bootstrap(PLAIN, Whole), Makes(guest), Teardown(Reset, Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn a_namespace_of_ours_goes() {
    let wish = Wish { namespace: "a", ..PLAIN };
    for start in [Fresh, Theirs] {
        on_both(start, &[Bootstrap(wish, Whole), Teardown(Data, Whole)]);
        on_both(start, &[Bootstrap(wish, Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn a_damaged_record_is_not_taken_for_none() {
    for file in [JournalEmptied, JournalZeroed, JournalOfTomorrow, BeforeEmptied, BeforeRemoved] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Spoils(file), Teardown(Reset, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Spoils(file), Bootstrap(PLAIN, Whole)]);
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Spoils(file), Stop(Whole)]);
    }
}

#[test]
fn workloads_of_others_keep_microk8s() {
    for guest in Guest::ALL {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Makes(guest), Teardown(Reset, Whole)]);
    }
    for place in [Place::Common, Place::Current, Place::Certs] {
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Puts(place), Teardown(Reset, Whole)]);
    }
    for ours in Ours::ALL {
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Replaces(ours), Teardown(Reset, Whole)]);
    }
}

#[test]
fn a_service_of_somebody_else_keeps_its_address() {
    let range = |range| Wish { range, ..PLAIN };
    on_both(TheirsWithPool, &[Makes(Guest::Service), Bootstrap(PLAIN, Whole)]);
    on_both(TheirsWithPool, &[Makes(Guest::Service), Bootstrap(range(Range::Theirs), Whole)]);
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), Makes(Guest::Service), Bootstrap(range(Range::Second), Whole)]);
    // The range holds addresses of a pool of somebody else's.
    let overlapping = [Makes(OverlappingPool), Bootstrap(range(Range::Wider), Whole), Bootstrap(PLAIN, Whole)];
    on(Era::Today, TheirsWithPool, &overlapping);
}

#[test]
fn what_claims_of_others_stand_on_stays() {
    for guest in [Guest::Claim, ClaimBesideIris, Guest::Service, Workload] {
        for start in [Fresh, Theirs] {
            on_both(start, &[Bootstrap(PLAIN, Whole), Makes(guest), Teardown(Reset, Whole)]);
        }
    }
    // Of 1.20, whose MetalLB heeds a restored pool only after it was started anew.
    let range = |range| Bootstrap(Wish { range, ..PLAIN }, Whole);
    on(Era::Old, TheirsWithPool, &[range(Range::First), range(Range::Second), Teardown(Reset, Whole)]);
}

#[test]
fn edits_of_ours_are_kept_and_named() {
    for ours in Ours::ALL {
        for reach in [App, Data, Reset] {
            on_both(Fresh, &[Bootstrap(PLAIN, Whole), Edits(ours), Teardown(reach, Whole)]);
        }
    }
    on(Era::Today, Theirs, &[Bootstrap(PLAIN, Whole), Edits(Ours::Set), Teardown(Reset, Whole)]);
}

#[test]
fn what_the_first_release_left_is_taken_back() {
    for done in crate::releases::ALL {
        for reach in [App, Data, Reset] {
            on(done.era, Released(done.name), &[Teardown(reach, Whole)]);
        }
        on(done.era, Released(done.name), &[Stop(Whole), Start(Whole), Teardown(Reset, Whole)]);
        on(done.era, Released(done.name), &[Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn a_microk8s_that_came_in_the_place_of_ours_is_somebody_elses() {
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), Reinstalls, Teardown(Reset, Whole)]);
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), Reinstalls, Makes(Guest::Claim), Teardown(Reset, Whole)]);
    for start in [Fresh, Theirs] {
        for reach in [App, Data, Reset] {
            on_both(start, &[Bootstrap(PLAIN, Whole), RemovesSnap, Teardown(reach, Whole)]);
        }
    }
}

#[test]
fn a_plan_of_a_cluster_that_does_not_answer_yet_hides_nothing() {
    for reach in [App, Data, Reset] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Reboots, Teardown(reach, Whole)]);
        on_both(Theirs, &[Bootstrap(PLAIN, Whole), Reboots, Teardown(reach, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), ApiDies, Teardown(reach, Whole)]);
    }
}

#[test]
fn longhorn_goes_as_it_was_planned() {
    let wish = Wish { class: Some("longhorn"), ..PLAIN };
    for reach in [App, Data, Reset] {
        on(Era::Today, Fresh, &[Bootstrap(wish, Whole), Teardown(reach, Whole)]);
    }
    on(Era::Today, Theirs, &[Bootstrap(wish, Whole), Teardown(Reset, Whole)]);
    on(
        Era::Today,
        Fresh,
        &[Bootstrap(PLAIN, Whole), Bootstrap(Wish { data: true, ..wish }, Whole), Teardown(Reset, Whole)],
    );
    on(Era::Today, Fresh, &[Bootstrap(wish, Whole), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    // Somebody deletes its namespace: 1.34 takes it apart from within.
    for then in [Teardown(Reset, Whole), Repair(Whole), Bootstrap(wish, Whole)] {
        let ops = [Bootstrap(wish, Whole), Deletes(Part::LonghornNamespace), then, Teardown(Reset, Whole)];
        on(Era::Today, Fresh, &ops);
    }
}

#[test]
fn who_joined_the_group_stays_in_it() {
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), JoinsGroup("anna"), Teardown(Reset, Whole)]);
    on_both(AfterKubernetes, &[Bootstrap(PLAIN, Whole), JoinsGroup("anna"), Teardown(Reset, Whole)]);
}

/// Whatever is killed while stages run side by side.
#[test]
fn deaths_between_stages_side_by_side_lose_nothing() {
    for dice in 0..6 {
        let wish = Wish { abreast: Some(dice), ..PLAIN };
        for (n, death) in [Killed, ChildGoesOn, PowerCut].into_iter().enumerate() {
            for at in ((60 + n)..200).step_by(23) {
                let at = u16::try_from(at).expect("small");
                let ops = [Bootstrap(wish, Dies(death, at, 4)), Bootstrap(wish, Whole), Teardown(Reset, Whole)];
                on(Era::Today, Fresh, &ops);
                on(Era::Today, Fresh, &[Bootstrap(wish, CtrlC(at)), Teardown(Reset, Whole)]);
            }
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_sequence() {
    for seed in 0..4 {
        let (one, other) = (draw::grow(seed), draw::grow(seed));
        assert_eq!((one.0.to_string(), &one.1.story), (other.0.to_string(), &other.1.story));
    }
}

/// What earlier draws have shown, each cut down.
#[test]
fn what_was_found_once_stays_found() {
    let of_b = Wish { namespace: "b", ..PLAIN };
    on(Era::Today, Released("plain-1.20"), &[Edits(Ours::Set), Teardown(Reset, Whole)]);
    on(Era::Today, Released("plain-1.20"), &[Edits(Ours::External), Teardown(Data, Whole)]);
    on(Era::Today, Fresh, &[Bootstrap(of_b, Whole), Reinstalls, Bootstrap(PLAIN, Whole), Microk8sStop, Start(Whole)]);
    let again = [Bootstrap(PLAIN, Whole), Reinstalls, Start(Whole), Teardown(Data, Whole), Bootstrap(PLAIN, Whole)];
    on(Era::Today, Fresh, &again);
    on(Era::Today, Theirs, &[ApiDies, Bootstrap(PLAIN, Whole)]);
    on(Era::Today, TheirsWithPool, &[Bootstrap(PLAIN, Whole), Deletes(Part::RegistryClaim)]);
    on(Era::Old, TheirsWithPool, &[Bootstrap(PLAIN, Whole), Edits(Ours::Pool)]);
    on(Era::Today, TheirsWithPool, &[Bootstrap(PLAIN, Whole), Stop(Dies(PowerCut, 19, 0)), Teardown(Blind, Whole)]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), HoldsAll("2027-01-20T00:00:00Z"), Bootstrap(PLAIN, Whole)]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Dies(PowerCut, 18, 0)), Reinstalls, JoinsGroup("anna")]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Dies(Killed, 18, 0)), Reinstalls, Bootstrap(PLAIN, Dies(PowerCut, 0, 0))]);
    on(Era::Old, Fresh, &[Bootstrap(PLAIN, Dies(PowerCut, 66, 0)), Bootstrap(PLAIN, Whole)]);
    on(
        Era::Today,
        TheirsStopped,
        &[Bootstrap(PLAIN, Whole), Stop(Dies(PowerCut, 14, 0)), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)],
    );
    // What somebody took away is not brought back, although it was there before us.
    for part in [Part::Of(Ours::Pool), Part::StorageDeployment] {
        on_both(TheirsWithPool, &[Bootstrap(PLAIN, Whole), Deletes(part), Bootstrap(PLAIN, Whole)]);
        on_both(TheirsStopped, &[Bootstrap(PLAIN, Whole), Deletes(part)]);
    }
    for held in ["2027-01-20T00:00:00Z", "2026-12-20T00:00:00Z"] {
        on_both(Fresh, &[HoldsAll(held), Bootstrap(PLAIN, Whole), UnholdsAll, Bootstrap(PLAIN, Whole)]);
    }
    on_both(Theirs, &[Aliases("kubectl"), Bootstrap(PLAIN, Whole), Unaliases("kubectl"), Bootstrap(PLAIN, Whole)]);
    let died = [ApiDies, Bootstrap(PLAIN, Whole), Deletes(Part::StorageDeployment)];
    on(Era::Today, TheirsWithPool, &died);
    let mended = [Deletes(Part::StorageClass), Microk8sStop, Bootstrap(PLAIN, Whole)];
    on(Era::Today, Released("theirs-1.20"), &mended);
    on(Era::Old, TheirsStopped, &[Bootstrap(PLAIN, Whole), Edits(Ours::Pool)]);
    let of_iris = Wish { until: Some("iris"), ..PLAIN };
    for first in [Bootstrap(of_iris, Whole), Bootstrap(PLAIN, Meanwhile(56, Box::new(Makes(Service))))] {
        on_both(Fresh, &[first, Makes(Service), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    }
    on_both(TheirsWithPool, &[Deletes(Part::MetallbNamespace), Bootstrap(PLAIN, Whole)]);
    let set = SetsSetting("net/netfilter/nf_conntrack_tcp_timeout_established", "7200");
    on_both(TheirsWithPool, &[Bootstrap(PLAIN, Whole), Stop(Whole), set]);
    let boots = [Bootstrap(PLAIN, Dies(PowerCut, 0, 0)), Bootstrap(PLAIN, Whole), Stop(Whole), Arrives(K3s)];
    on(Era::Today, TheirsStopped, &boots);
    let set = SetsSetting("vm/overcommit_memory", "2");
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Dies(Killed, 28, 0)), set, Teardown(Reset, Whole)]);
    for theirs in [Puts(Place::Current), Aliases("mk")] {
        for reset in [Teardown(Reset, CtrlC(20)), Teardown(Reset, Dies(Killed, 24, 0))] {
            on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), theirs.clone(), reset, Bootstrap(PLAIN, Whole)]);
        }
    }
    on(Era::Today, TheirsWithPool, &[Deletes(Part::DnsService), Bootstrap(PLAIN, Whole)]);
    let gone = Meanwhile(1, Box::new(Deletes(Part::Of(Ours::Advertisement))));
    on(Era::Today, TheirsWithPool, &[Bootstrap(PLAIN, gone)]);
    let set = SetsSetting("vm/overcommit_memory", "2");
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, CtrlC(16)), set]);
    on(Era::Today, TheirsWithPool, &[Bootstrap(PLAIN, Whole), Teardown(Reset, Dies(PowerCut, 0, 200)), RemovesSnap]);
    on(Era::Today, TheirsWithPool, &[Bootstrap(PLAIN, Whole), Deletes(Part::MetallbController)]);
    let without = [
        Bootstrap(PLAIN, Whole),
        Makes(Service),
        Deletes(Part::MetallbNamespace),
        Teardown(App, Whole),
        Bootstrap(Wish { abreast: Some(117), ..PLAIN }, CtrlC(4)),
    ];
    on(Era::Today, Fresh, &without);
    let of_class = Wish { class: Some("microk8s-hostpath"), ..PLAIN };
    on(Era::Today, Released("theirs"), &[Bootstrap(of_class, Whole), Bootstrap(PLAIN, Whole)]);
    for part in [Part::RegistryService, Part::DnsService] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Deletes(part), Bootstrap(PLAIN, Whole), Teardown(App, Whole)]);
    }
    on(Era::Today, TheirsStopped, &[Bootstrap(PLAIN, Dies(PowerCut, 38, 4)), RemovesSnap]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Stop(Whole), Bootstrap(PLAIN, CtrlCTwice(10))]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Stop(Dies(Killed, 16, 0)), Bootstrap(PLAIN, Whole)]);
    let blind = Teardown(Blind, CtrlC(4));
    on(Era::Today, NewSnapd, &[Bootstrap(PLAIN, Whole), ApiDies, blind, Bootstrap(PLAIN, Whole)]);
    let edited = [Bootstrap(PLAIN, Whole), Makes(ClaimBesideIris), Edits(Ours::Pool), Teardown(Reset, Whole)];
    on(Era::Old, TheirsWithPool, &edited);
    on(Era::Today, TheirsStopped, &[Bootstrap(PLAIN, Whole), Edits(Ours::Set), Start(Whole), Teardown(Reset, Whole)]);
    let set = SetsSetting("kernel/panic", "30");
    on(Era::Today, Theirs, &[Bootstrap(PLAIN, Whole), Stop(Whole), set, Start(Whole)]);
    let set = SetsSetting("net/netfilter/nf_conntrack_tcp_timeout_established", "7200");
    let set = Stop(Meanwhile(1, Box::new(set)));
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), set, Bootstrap(PLAIN, Whole)]);
    let of_longhorn = Wish { class: Some("longhorn"), ..PLAIN };
    let back = Wish { data: true, ..PLAIN };
    on(Era::Today, Fresh, &[Bootstrap(of_longhorn, Whole), Bootstrap(back, Whole)]);
    let (dies, cut) = (Bootstrap(PLAIN, Dies(Killed, 12, 0)), Teardown(Reset, Dies(PowerCut, 6, 0)));
    on(Era::Today, Fresh, &[dies, cut, Bootstrap(PLAIN, Whole)]);
    let replaced = [Bootstrap(PLAIN, Whole), Replaces(Ours::Secret), Teardown(App, Whole), Teardown(Reset, Whole)];
    on(Era::Today, Theirs, &replaced);
    let blind = Teardown(Blind, CtrlC(10));
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Replaces(Ours::Set), Reboots, blind, Start(Whole)]);
    let spoiled = [Bootstrap(PLAIN, Dies(Killed, 30, 0)), Spoils(JournalOfTomorrow), Teardown(Reset, Whole)];
    on(Era::Today, Fresh, &spoiled);
    let dies = Bootstrap(PLAIN, Dies(PowerCut, 6, 0));
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), Edits(Ours::Set), dies, Teardown(Data, Whole)]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), DisablesSnap, RemovesSnap]);
    let removed = Meanwhile(1, Box::new(Deletes(Part::Of(Ours::Secret))));
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), Edits(Ours::Secret), Teardown(Data, removed)]);
}

#[test]
fn what_is_somebody_elses_by_now_is_named_before_it_is_forgotten() {
    for at in 0..40 {
        on(
            Era::Today,
            TheirsStopped,
            &[
                Bootstrap(PLAIN, Whole),
                Replaces(Ours::External),
                Teardown(Data, Dies(Killed, at, 0)),
                Teardown(Reset, Whole),
            ],
        );
    }
    on(
        Era::Today,
        TheirsStopped,
        &[
            Bootstrap(PLAIN, Whole),
            Replaces(Ours::External),
            Teardown(Data, Dies(PowerCut, 17, 0)),
            Teardown(Reset, Whole),
        ],
    );
}

#[test]
fn services_follow_a_stateful_set_that_is_made_anew() {
    let moved = Wish { class: Some("longhorn"), data: true, ..PLAIN };
    on(Era::Today, Released("plain"), &[Bootstrap(moved, Whole)]);
}

#[test]
fn what_came_before_an_addon_needs_it_no_more_than_before() {
    on_both(TheirsStopped, &[Microk8sStart, Makes(Workload), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
}

#[test]
fn a_broken_metallb_is_mended_as_a_plan_shows_and_pools_of_others_stay() {
    let broken = Meanwhile(1, Box::new(Deletes(Part::MetallbController)));
    on(Era::Today, TheirsWithPool, &[Bootstrap(PLAIN, broken)]);
    for part in [Part::MetallbController, Part::MetallbNamespace] {
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Makes(Guest::Pool), Deletes(part), Bootstrap(PLAIN, Whole)]);
    }
}

#[test]
fn settings_and_files_of_users_are_named_although_the_cluster_cannot_be_asked() {
    for file in [Place::HomeSnap, Place::Certs, Place::Current] {
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Puts(file), Stop(Whole), Teardown(Blind, Whole)]);
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, Dies(Killed, 28, 0)), Puts(file), Teardown(Blind, Whole)]);
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, CtrlC(26)), Puts(file), Teardown(Reset, Whole)]);
    }
    on(Era::Today, Fresh, &[Puts(Place::HomeSnap), Bootstrap(PLAIN, Whole), Reinstalls]);
}

#[test]
fn a_name_that_was_moved_away_from_is_whose_takes_it() {
    let again = [Bootstrap(PLAIN, Whole), InstallsKubectl, Bootstrap(PLAIN, Whole), Aliases("kubectl")];
    on(Era::Today, Theirs, &again);
}

#[test]
fn the_password_outlives_volumes_that_moved_from_longhorn() {
    let of_longhorn = Wish { class: Some("longhorn"), ..PLAIN };
    for at in [4, 8, 12, 16] {
        let dies = Teardown(Reset, Dies(PowerCut, at, 0));
        on(Era::Today, Fresh, &[Bootstrap(of_longhorn, CtrlC(211)), Bootstrap(PLAIN, Whole), dies.clone()]);
        let back = Wish { data: true, ..PLAIN };
        on(Era::Today, Fresh, &[Bootstrap(of_longhorn, Whole), Bootstrap(back, Whole), dies.clone()]);
        on(Era::Today, Fresh, &[Bootstrap(PLAIN, CtrlC(145)), Bootstrap(of_longhorn, Whole), dies]);
    }
}

#[test]
fn what_was_told_once_need_not_be_told_again() {
    on(Era::Today, TheirsWithPool, &[Deletes(Part::DnsService), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)]);
    for at in [1, 39] {
        on(Era::Today, TheirsStopped, &[Bootstrap(PLAIN, Meanwhile(at, Box::new(Edits(Ours::Pool))))]);
    }
    on(Era::Today, TheirsStopped, &[Bootstrap(PLAIN, Dies(PowerCut, 25, 0)), Aliases("kubectl")]);
    let boots = Bootstrap(PLAIN, Dies(PowerCut, 0, 0));
    on(Era::Old, TheirsWithPool, &[boots, Bootstrap(PLAIN, Whole), RemovesSnap]);
    let died = Teardown(Reset, Dies(ChildGoesOn, 22, 0));
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), died, Makes(Guest::Pool), ApiDies, Teardown(Reset, Whole)]);
}

#[test]
fn longhorn_that_stays_is_named() {
    let of_longhorn = Wish { class: Some("longhorn"), ..PLAIN };
    on(Era::Today, Theirs, &[Bootstrap(of_longhorn, Whole), Replaces(Ours::Set), Teardown(Reset, Whole)]);
}

#[test]
fn what_was_agreed_to_goes_on_past_a_bootstrap_that_is_refused() {
    let reset = Teardown(Reset, CtrlC(20));
    on(
        Era::Today,
        Fresh,
        &[Bootstrap(PLAIN, Whole), reset, Arrives(K3s), Bootstrap(PLAIN, Whole), Teardown(Reset, Whole)],
    );
}

#[test]
fn a_microk8s_that_a_broken_off_run_started_is_stopped_again() {
    on(Era::Today, TheirsStopped, &[Bootstrap(PLAIN, Dies(PowerCut, 37, 0)), Teardown(Reset, Whole)]);
}

#[test]
fn what_was_found_on_a_third_round_stays_found() {
    let again = [Bootstrap(PLAIN, Whole), Reinstalls, InstallsKubectl, Aliases("kubectl"), Bootstrap(PLAIN, Whole)];
    on(Era::Today, Fresh, &again);
    on(Era::Today, TheirsStopped, &[DisablesSnap, Bootstrap(PLAIN, Whole), EnablesSnap]);
    let basics = Wish { until: Some("basics"), ..PLAIN };
    let set = SetsSetting("kernel/panic", "30");
    on(Era::Today, TheirsWithPool, &[Bootstrap(basics, Whole), Stop(Whole), set, Teardown(Reset, Whole)]);
    let edited = [Bootstrap(PLAIN, Whole), Edits(Ours::Pool), Teardown(Reset, CtrlC(4))];
    on(Era::Old, TheirsStopped, &edited);
    let mirrored = Wish { mirror: Some("http://other.lan"), ..PLAIN };
    on(Era::Today, TheirsWithPool, &[Bootstrap(mirrored, Whole), Spoils(MirrorEdited)]);
    let reset = Teardown(Reset, CtrlC(20));
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Arrives(K3s), reset, Bootstrap(PLAIN, Whole), Stop(Whole)]);
    let of_longhorn = Wish { class: Some("longhorn"), ..PLAIN };
    on(Era::Today, TheirsWithPool, &[Bootstrap(of_longhorn, Whole), Deletes(Part::LonghornNamespace)]);
}

#[test]
fn what_was_found_on_a_fourth_round_stays_found() {
    let gone = Meanwhile(1, Box::new(Deletes(Part::RegistryNamespace)));
    on(Era::Today, Released("theirs-1.20"), &[Teardown(Data, gone)]);
    let dies = Bootstrap(PLAIN, Dies(PowerCut, 8, 0));
    on(Era::Today, TheirsStopped, &[Bootstrap(PLAIN, Whole), InstallsKubectl, dies, Bootstrap(PLAIN, Whole)]);
    let made = Meanwhile(56, Box::new(Makes(Workload)));
    on(Era::Old, Fresh, &[Bootstrap(PLAIN, made), Teardown(Reset, Whole)]);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Teardown(Reset, Meanwhile(100, Box::new(Arrives(Lxd))))]);
    let mirrored = Wish { mirror: Some("http://other.lan"), ..PLAIN };
    for at in 17..24 {
        on(Era::Today, Theirs, &[Bootstrap(mirrored, Dies(ChildGoesOn, at, 0))]);
    }
    let anna = Wish { user: "anna", ..PLAIN };
    let blind = Teardown(Blind, CtrlC(15));
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Bootstrap(anna, Whole), Stop(Whole), blind]);
    let of_longhorn = Wish { class: Some("longhorn"), ..PLAIN };
    for at in 70..90 {
        let dies = Teardown(Reset, Dies(Killed, at, 4));
        let played = on(Era::Today, Fresh, &[Bootstrap(of_longhorn, Whole), dies, Bootstrap(of_longhorn, Whole)]);
        let last = played.story.iter().rev().find(|line| line.starts_with("Bootstrap"));
        assert!(last.is_some_and(|line| line.contains("Whole): Done")), "{at} {:?}", played.story);
    }
}

#[test]
fn a_start_applies_what_was_applied_and_not_the_newest_spec() {
    for stage in ["metallb", "basics"] {
        let other = Bootstrap(Wish { class: Some("other"), until: Some(stage), ..PLAIN }, Whole);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Stop(Whole), other.clone(), Start(Whole), Teardown(App, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), other.clone(), Stop(Whole), Start(Whole), Teardown(App, Whole)]);
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), other.clone(), Microk8sStop, Start(Whole), Teardown(App, Whole)]);
    }
    let fewer = Bootstrap(Wish { replicas: 1, until: Some("metallb"), ..PLAIN }, Whole);
    let mut played = Play::new(Era::Today, Fresh);
    for op in [Bootstrap(PLAIN, Whole), fewer, Stop(Whole), Start(Whole)] {
        assert!(played.step(&op) && played.violations.is_empty(), "{:?}", played.story);
    }
    let set = (kube::STATEFUL_SET.plural, "default".to_owned(), "data".to_owned());
    let set = played.world.cluster.as_ref().and_then(|cluster| cluster.get(&set));
    assert_eq!(set.map(|set| &set["spec"]["replicas"]), Some(&json!(2)), "as many as there were");
}

#[test]
fn what_was_found_on_a_fifth_round_stays_found() {
    let puts = |at| Meanwhile(at, Box::new(Puts(Place::HomeSnap)));
    let ops = [Bootstrap(PLAIN, Whole), Teardown(Reset, puts(1))];
    let played = on(Era::Today, Fresh, &ops);
    assert_eq!(first_end(&played, &ops[1]), "NotOurs", "{:?}", played.story);
    on(Era::Today, Fresh, &[Bootstrap(PLAIN, Whole), Stop(Whole), Teardown(Blind, puts(1))]);
    let edits = || Meanwhile(1, Box::new(Edits(Ours::Set)));
    for replicas in [1, 3] {
        let first = Bootstrap(Wish { replicas, ..PLAIN }, Whole);
        on_both(Fresh, &[first.clone(), Bootstrap(PLAIN, edits()), Teardown(App, Whole)]);
        on_both(Fresh, &[first, Bootstrap(PLAIN, edits()), Teardown(Data, Whole)]);
    }
    let second = Wish { range: Range::Second, ..PLAIN };
    for at in 8..30 {
        let interrupted = Teardown(Reset, CtrlC(at));
        let ops = [Bootstrap(PLAIN, Whole), Bootstrap(second, Whole), interrupted, Bootstrap(PLAIN, Whole)];
        on(Era::Old, Theirs, &ops);
        on(Era::Today, Theirs, &ops);
        let cut = Teardown(Reset, Dies(PowerCut, at, 0));
        on_both(Fresh, &[Bootstrap(PLAIN, Whole), Makes(Kind), cut, Bootstrap(PLAIN, Whole)]);
    }
    let anna = Wish { user: "anna", ..PLAIN };
    let interrupted = Teardown(Reset, CtrlC(29));
    on_both(Fresh, &[Bootstrap(anna, Whole), Aliases("mk"), Bootstrap(PLAIN, Whole), interrupted]);
    let elsewhere = Bootstrap(Wish { namespace: "a", ..PLAIN }, Whole);
    let (data, reset) = (Teardown(Data, Whole), Teardown(Reset, Whole));
    on_both(Fresh, &[Bootstrap(PLAIN, Whole), Edits(Ours::Set), Bootstrap(PLAIN, Whole), data, elsewhere, reset]);
    let breaks = Meanwhile(142, Box::new(Deletes(Part::MetallbController)));
    on(Era::Old, Fresh, &[Bootstrap(Wish { abreast: Some(174), ..PLAIN }, breaks)]);
}

#[test]
fn a_half_metallb_of_the_old_era_keeps_pools_of_others() {
    let broken = Deletes(Part::MetallbController);
    let ops = [broken.clone(), Bootstrap(PLAIN, Whole)];
    let played = on(Era::Old, TheirsWithPool, &ops);
    assert_eq!(first_end(&played, &ops[1]), "NotOurs", "{:?}", played.story);
    // What it holds is what we ask for.
    let ops = [broken, Bootstrap(Wish { range: Range::Theirs, ..PLAIN }, Whole)];
    let played = on(Era::Old, TheirsWithPool, &ops);
    assert_eq!(first_end(&played, &ops[1]), "Done", "{:?}", played.story);
}

#[test]
fn what_somebody_told_metallb_stays_with_it() {
    for guest in [Guest::Pool, Guest::Peer] {
        for reach in Reach::ALL {
            let ops = [Bootstrap(PLAIN, Whole), Makes(guest), Teardown(reach, Whole)];
            on(Era::Today, Fresh, &ops);
            on(Era::Today, Theirs, &ops);
        }
    }
}

#[test]
fn a_dry_run_knows_of_every_user_that_was_added() {
    for era in [Era::Today, Era::Old] {
        let mut played = Play::new(era, Fresh);
        for user in ["anna", "ubuntu"] {
            assert!(played.step(&Bootstrap(Wish { user, ..PLAIN }, Whole)));
        }
        let shown = program::undo_plan(&played.world, Reset).text;
        assert!(shown.contains("gpasswd --delete anna") && shown.contains("gpasswd --delete ubuntu"), "{shown}");
        assert!(!shown.contains("stays: group"), "{shown}");
        assert!(played.step(&Teardown(Reset, Whole)) && played.violations.is_empty(), "{:?}", played.story);
    }
}

#[test]
fn half_a_registry_goes_from_a_microk8s_of_somebody_elses() {
    let broken = [Deletes(Part::RegistryDeployment), Deletes(Part::StorageClass)];
    on_both(TheirsStopped, &[&[Bootstrap(PLAIN, Whole)][..], &broken].concat());
}

#[test]
fn half_an_addon_that_somebody_needs_stays() {
    for part in [Part::MetallbController, Part::RegistryDeployment] {
        on_both(
            Fresh,
            &[Bootstrap(PLAIN, Whole), Makes(Service), Makes(Workload), Deletes(part), Teardown(Reset, Whole)],
        );
    }
}

#[test]
fn a_stop_ends_a_start_that_was_broken_off() {
    for at in 24..40 {
        let cut = Bootstrap(Wish { until: Some("start"), ..PLAIN }, Dies(PowerCut, at, 0));
        on_both(TheirsStopped, &[cut, Stop(Whole), Teardown(Reset, Whole)]);
    }
}

#[test]
fn an_edit_of_what_the_first_release_applied_outlives_an_apply_that_is_refused() {
    let of_class = Bootstrap(Wish { class: Some("microk8s-hostpath"), ..PLAIN }, Whole);
    for release in ["plain", "until-iris"] {
        on(Era::Today, Released(release), &[Edits(Ours::Set), of_class.clone(), Teardown(App, Whole)]);
    }
}
