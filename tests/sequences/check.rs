//! The promises, each as a question to what a command left and said.

use iris_mk8s::error::ExitCode;

use crate::{
    facts::our_objects,
    model::world::World,
    op::{End, Op, Reach},
    program::{Ran, Shown, ShownStep},
};

/// More changes than any command needs.
pub const MANY: u64 = 400;

/// Words that stand for things, where the things themselves are many: what goes with MicroK8s is named with it.
const WITH_MICROK8S: [&str; 2] = ["snap.microk8s", "MicroK8s"];

/// The steps that bring things, and words by which these are known.
const BRINGS: &[(&str, &[&str])] = &[
    ("registry", &["container-registry", "/registry"]),
    ("metallb", &["metallb", "ipaddresspools"]),
    ("addon.dns", &["coredns", "kube-dns", "args/kubelet"]),
    ("hostpath-storage", &["hostpath", "default-storage directory"]),
    ("iris.claims", &["dbv-"]),
    ("iris.namespace", &["Namespace /a", "Namespace /b"]),
    ("cluster.running", &["stopped.lock", "cluster runs", "snap microk8s"]),
    ("mirror.", &["certs.d"]),
    ("longhorn.module", &["/etc/modules-load.d/iris-mk8s-longhorn", "/sys/module/iscsi_tcp"]),
    ("longhorn.manifest", &["/var/cache/iris-mk8s"]),
    ("longhorn.before", &["/var/lib/longhorn"]),
    ("longhorn.packages", &["package ", "unit iscsid"]),
    ("longhorn.", &["an iSCSI session", "longhorn"]),
    (
        "snap.before",
        &[
            "/etc/apparmor.d/cri",
            "/etc/cni",
            "/opt/cni",
            "/etc/sysctl.d/10-microk8s",
            "/run/",
            "/var/lib/cni",
            "/var/log/",
            "/usr/libexec",
            "/proc/sys/",
            "rule ",
            "link ",
            "group microk8s",
            "/var/lib/kubelet",
            "/var/lib/calico",
            "failed units",
            "/proc/4",
        ],
    ),
];

/// The names by which a person would find a fact in what was printed.
fn names(fact: &str) -> Vec<String> {
    let of_steps = BRINGS.iter().filter(|(_, words)| words.iter().any(|word| fact.contains(word)));
    of_steps.map(|(step, _)| (*step).to_owned()).chain(own_names(fact)).collect()
}

fn own_names(fact: &str) -> Vec<String> {
    let first = fact.split(' ').next().unwrap_or_default();
    if first.starts_with('/') {
        let parts: Vec<&str> = first.split('/').collect();
        // The folder of a volume is known by its claim, too.
        let folder = parts.iter().find_map(|part| Some(&part[part.find("-dbv-")? + 1..]));
        let claim = folder.map(|name| name.split("-pvc-").next().unwrap_or(name).to_owned());
        return (3..=parts.len()).map(|n| parts[..n].join("/")).chain(claim).collect();
    }
    let second = fact.split(' ').nth(1).unwrap_or_default();
    match first {
        "link" | "alias" | "snap" | "group" | "unit" | "package" => vec![second.to_owned()],
        "hold" => vec!["hold".to_owned()],
        "rule" => fact.split(' ').filter(|word| word.len() > 3).map(|word| word.trim_matches(':').to_owned()).collect(),
        _ => vec![second.to_owned(), second.rsplit('/').next().unwrap_or_default().to_owned()],
    }
}

/// Whether MicroK8s with all that it makes may be there because it was said that it stays.
fn is_of_microk8s(fact: &str) -> bool {
    let prefixes = [
        "snap microk8s",
        "cluster",
        "pod of",
        "volume of",
        "rule ",
        "link ",
        "/proc/",
        "/run/",
        "/run ",
        "alias ",
        "group microk8s",
        "/snap/",
        "/var/snap",
        "/etc/",
        "/opt/cni",
        "/var/lib/",
        "/usr/libexec",
        "/var/log/",
        "hold",
        "failed units",
    ];
    let first = fact.split(' ').next().unwrap_or_default();
    prefixes.iter().any(|prefix| fact.starts_with(prefix)) || first.starts_with(char::is_uppercase)
}

fn is_explained(fact: &str, said: &str) -> bool {
    let microk8s =
        is_of_microk8s(fact) && said.contains("left ") && WITH_MICROK8S.iter().any(|word| said.contains(word));
    // As long as anything stays, the journal does, and it is said where it is.
    let ours = fact.starts_with("/var/lib/iris-mk8s");
    microk8s || ours || names(fact).iter().any(|name| said.contains(name.as_str()))
}

/// What is left, and nothing that was printed says so.
pub fn unexplained(more: &[String], done: bool, said: &str) -> Vec<String> {
    let silent = more.iter().filter(|fact| !is_explained(fact, said));
    silent.take(8).map(|fact| format!("left, {}: {fact}", if done { "and exit 0" } else { "and unnamed" })).collect()
}

/// What would be there without us.
pub fn missing(less: &[String], said: &str) -> Vec<String> {
    let silent = less.iter().filter(|fact| !is_explained(fact, said));
    silent.take(8).map(|fact| format!("not as it would be without us: {fact}")).collect()
}

/// What is left in the very end, when nothing stands in the way any more.
pub fn in_the_end(more: &[String], told: &str) -> Vec<String> {
    let silent = more.iter().filter(|fact| !is_explained(fact, told));
    silent.take(8).map(|fact| format!("left in the end: {fact}")).collect()
}

/// Objects of ours that a teardown of that reach leaves, and does not name.
pub fn unnamed(world: &World, reach: Reach, said: &str) -> Vec<String> {
    let Some(cluster) = &world.cluster else { return Vec::new() };
    // Longhorn is of the host, and so are the addons, with what of them was mended.
    let of_host = ["longhorn-system/", "kube-system/", "container-registry/", "metallb-system/"];
    let of_reach = |name: &str| {
        matches!(reach, Reach::Reset | Reach::Blind) || !of_host.iter().any(|namespace| name.contains(namespace))
    };
    let goes = |kind: &str| reach != Reach::App || kind != "PersistentVolumeClaim";
    let left = our_objects(cluster).into_iter().filter(|(kind, name)| goes(kind) && of_reach(name));
    let silent = left.filter(|(kind, name)| {
        let last = name.rsplit('/').next().unwrap_or_default();
        let step = match *kind {
            "StatefulSet" => "iris.statefulset",
            "Service" => "iris.service",
            "Secret" => "iris.cpf",
            _ => "iris.claims",
        };
        let brought = names(&format!("{kind} {name}"));
        !said.contains(last) && !said.contains(step) && !brought.iter().any(|by| said.contains(by.as_str()))
    });
    silent.map(|(_, name)| format!("left and unnamed: {name}")).collect()
}

/// The kind of an act: the program and what it does, without the names of what it does it to.
fn kind(act: &str) -> String {
    let words: Vec<&str> = act.split_whitespace().collect();
    match words.as_slice() {
        ["kubectl", "apply", .., what, _] => format!("kubectl apply {what}"),
        ["kubectl", verb, what, ..] => format!("kubectl {verb} {}", what.split('/').next().unwrap_or_default()),
        ["microk8s", verb, what, ..] => format!("microk8s {verb} {}", what.split(':').next().unwrap_or_default()),
        ["ip", what, verb, ..] => format!("ip {what} {verb}"),
        [first, second, ..] => format!("{first} {second}"),
        _ => act.to_owned(),
    }
}

/// Acts that a step's announcement stands for although their words come later.
const ANNOUNCED: &[(&str, &[&str])] = &[
    // A disabled snap is enabled first, and then removed; one that is being installed is aborted.
    ("snap.microk8s", &["snap remove", "snap enable", "snap abort"]),
    // Our own record of what was there before.
    ("snap.before", &["rm /var/lib/iris-mk8s/before.json"]),
];

/// Acts after which something is gone.
const DESTROYS: &[&str] = &[
    "kill",
    "kubectl delete",
    "microk8s disable",
    "snap remove",
    "rm",
    "ip netns delete",
    "ip link delete",
    "groupdel",
];

/// What was done, and not shown before.
pub fn unplanned(op: &Op, shown: &Shown, ran: &Ran) -> Vec<String> {
    let bootstrap = matches!(op, Op::Bootstrap(..));
    // What others do meanwhile was in no plan; but nothing may be destroyed because of it.
    let meanwhile = matches!(op, Op::Bootstrap(_, End::Meanwhile(..)) | Op::Teardown(_, End::Meanwhile(..)));
    if !bootstrap && !matches!(op, Op::Teardown(..)) {
        return Vec::new();
    }
    let refused = |code: ExitCode| matches!(code, ExitCode::NotOurs | ExitCode::Preflight | ExitCode::Usage);
    let mut wrong = Vec::new();
    for (step, act) in &ran.acts {
        // Several may have that name, each about something else.
        let planned: Vec<&ShownStep> = shown.steps.iter().filter(|s| s.step == *step).collect();
        if planned.is_empty() {
            wrong.push(format!("{step} was not in the plan: {act}"));
            continue;
        }
        // What is waited for is made when it does not come, and what is on its way already goes on.
        let waits = bootstrap && planned.iter().any(|s| s.later || (!s.stays && s.acts.is_empty()));
        if (meanwhile || waits) && !DESTROYS.iter().any(|begin| act.starts_with(begin)) {
            continue;
        }
        let mut acts = planned.iter().flat_map(|s| &s.acts);
        let same = acts.any(|a| a == act || (bootstrap && kind(a) == kind(act)));
        let goes = !bootstrap && planned.iter().any(|s| !s.stays);
        let told = ANNOUNCED.iter().any(|(id, begins)| id == step && goes && begins.iter().any(|b| act.starts_with(b)));
        // What another step leaves shows only when that is gone.
        let traces = (goes || ran.asked.contains(&format!("remove {step} ")))
            && ran.asked.contains("the traces that it leaves")
            || goes && planned.iter().any(|s| s.with.as_ref().is_some_and(|with| with.contains("traces")));
        let waited_for = !bootstrap && planned.iter().any(|s| s.later);
        // The question shows the plan again, as it is by then.
        let asked = !bootstrap && ran.asked.contains(act.as_str());
        let same = same || asked;
        // Which pods outlive a MicroK8s shows only when it is gone.
        let outlive =
            bootstrap && act.starts_with("kill") && shown.text.contains("pods that outlive it are killed then");
        if !same && !told && !traces && !waited_for && !outlive {
            wrong.push(format!("{step} was not to do that: {act}"));
        }
    }
    if shown.code.is_some_and(refused) && !ran.acts.is_empty() {
        wrong.push(format!("it was refused ({:?}) and acts", shown.code));
    }
    wrong.truncate(6);
    wrong
}
