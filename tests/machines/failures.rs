//! What cannot heal is told in seconds, with its cause and what to do, and never by a timeout; put right, the same command goes on.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { what_cannot_heal_is_told_in_seconds a_volume_that_nobody_can_write_to }

/// Between the cause and the message: a look, the log, the words. A machine that shares two cores with others takes its time.
const WITHIN: f64 = 15.0;

/// The moment of the cause.
enum Cause {
    /// The first pull that failed.
    Pull(&'static str),
    /// IRIS was started for the first time, and ended at once.
    Start,
    /// The run itself began, since the cause was there before.
    Run,
    /// A step was done.
    After(&'static str),
}

struct Case<'a> {
    what: &'a str,
    args: &'a str,
    cause: Cause,
    step: &'a str,
    says: &'a [&'a str],
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// The earliest of the times that kubectl prints, in whole seconds; those of other cases, before this one, do not count.
fn earliest(machine: &Machine, args: &str, since: f64) -> f64 {
    let printed = machine.kubectl(args).ok();
    let seconds = |t: &str| t.parse::<jiff::Timestamp>().ok().and_then(|t| i32::try_from(t.as_second()).ok());
    let times = printed.split_whitespace().filter_map(seconds).map(f64::from).filter(|t| *t >= since.floor());
    times.min_by(f64::total_cmp).unwrap_or_else(|| panic!("no time of this case in `{printed}`"))
}

impl Case<'_> {
    /// Runs into it, and measures how long the message took.
    fn run(&self, machine: &Machine, namespace: &str) {
        let Self { what, args, cause, step, says } = self;
        let mut run = machine.start(&format!("bootstrap --lb {} {args}", machine.range()));
        let started = now();
        let mut begun = started;
        if let Cause::After(before) = cause {
            run.until(before, |e| e.is("step-done", before) || e.is("step-kept", before));
            begun = now();
        }
        let failed = run.until(what, |e| e.text("event") == "step-failed");
        let told = now();
        let ended = run.finish();
        let outcome = ended.exits(22);
        assert!(failed.is("step-failed", step), "{what}: another step failed: {failed:?}");
        let error = &outcome["errors"][0];
        let message = format!("{}\n{}\n{}", error["what"], error["cause"], error["hint"]);
        for text in *says {
            assert!(message.contains(text), "{what}: it should say `{text}`: {message}");
        }
        let of_events = |namespace: &str| {
            format!("get events -n {namespace} --field-selector reason=Failed -o jsonpath={{.items[*].firstTimestamp}}")
        };
        let since = match cause {
            Cause::Pull(namespace) => told - earliest(machine, &of_events(namespace), started),
            Cause::Start => {
                let of_iris = "{.items[?(@.involvedObject.fieldPath==\"spec.containers{iris}\")].firstTimestamp}";
                let args = format!("get events -n {namespace} --field-selector reason=Started -o 'jsonpath={of_iris}'");
                told - earliest(machine, &args, started)
            }
            Cause::Run | Cause::After(_) => told - begun,
        };
        let era = machine.era().name();
        let what_said = error["what"].as_str().unwrap_or_default();
        let _ =
            writeln!(std::io::stderr(), "failures: {era} | {what} | {since:.1} s | {what_said} | {}", error["hint"]);
        assert!(since < WITHIN, "{what}: the message came {since:.1} s after its cause: {message}");
    }
}

/// A profile of which one action fails: there is no such database.
const FAILING_ACTION: &str = "[iris]\ncpf = '''\n[Startup]\nSystemMode=TEST\n[config]\nglobals=0,0,32,0,0,0\n[Actions]\n\
                              CreateDatabase:Name=TEST-DATA,Directory=/vol-data/TEST-DATA\n\
                              CreateNamespace:Name=TEST,Globals=NO-SUCH\n'''\n";

/// Images that nobody has. In 1.20 the sandbox cannot tell of them: containerd asks the registry itself after the mirror, and gets no TLS.
fn missing_images(machine: &Machine, good: &str) {
    machine.fault("registry --missing metallb/controller:v0.15.2");
    let case = Case {
        what: "a webhook that never comes up: MetalLB's controller has no image",
        args: "--until metallb",
        cause: Cause::Pull("metallb-system"),
        step: "addon.metallb",
        says: &["the registry does not have its image", "quay.io/metallb/controller:v0.15.2"],
    };
    case.run(machine, "default");
    machine.fault("clear");

    Case {
        what: "a wrong tag",
        args: "--image intersystems/iris-community:no-such-tag",
        cause: Cause::Run,
        step: "image.iris",
        says: &["the registry does not have the image", "no-such-tag", "see the name and the tag"],
    }
    .run(machine, "default");

    machine.fault(&format!("registry --missing {good}"));
    Case {
        what: "a registry without the image",
        args: &format!("--image {good}"),
        cause: Cause::Run,
        step: "image.iris",
        says: &["the registry does not have the image", good],
    }
    .run(machine, "default");
    machine.fault("clear");
}

fn what_cannot_heal_is_told_in_seconds(era: Era) {
    let Some(machine) = Machine::up("failures", era) else { return };
    let good = era.of("intersystems/iris-community:latest-em", "intersystemsdc/iris-community:2026.1-zpm");
    machine.product(&format!("bootstrap --lb {} --until basics", machine.range())).ok();

    if era == Era::Current {
        missing_images(&machine, good);
    }

    let expired = era.of("intersystems/iris-community:2025.1", "intersystemsdc/iris-community:2022.1.0.209.0-zpm");
    Case {
        what: "an expired licence",
        args: &format!("--image {expired}"),
        cause: Cause::Start,
        step: "ready.pods",
        says: &["the licence of this image has run out", "Community License expired", "--image"],
    }
    .run(&machine, "default");

    // This profile has no password of its own; volumes of the one before would keep theirs.
    machine.product("teardown --data --yes").exits(0);
    machine.root(&format!("printf '%s' \"{FAILING_ACTION}\" >/tmp/actions.toml")).ok();
    let args = format!("--profile /tmp/actions.toml --channel {} --image {good}", era.track());
    Case {
        what: "an action of the CPF that fails",
        args: &args,
        cause: Cause::After("ready.licence"),
        step: "ready.database",
        says: &["an action of the CPF failed", "there is no ", "Action 'CreateNamespace' failed", "NO-SUCH"],
    }
    .run(&machine, "default");

    // Put right, the same command goes on; and then the units are used up.
    machine.root("sed -i s/NO-SUCH/TEST-DATA/ /tmp/actions.toml").ok();
    machine.start(&format!("bootstrap --lb {} {args}", machine.range())).finish().exits(0);
    let pod = machine.kubectl("get pod data-0 -o jsonpath={.status.podIP}").ok();
    let portal = format!("http://{pod}:52773/csp/sys/UtilHome.csp");
    machine.root(&format!("for n in $(seq 9); do curl -s -o /dev/null -w '%{{http_code}}\\n' {portal}; done")).ok();
    Case {
        what: "all licence units in use",
        args: &args,
        cause: Cause::Run,
        step: "ready.terminal",
        says: &["all of its licence units are in use", "close sessions"],
    }
    .run(&machine, "default");
    if era == Era::Current {
        a_wrong_tag_takes_nothing_down(&machine, &args.replace(good, "intersystems/iris-community:no-such-tag"));
    }
    // It is no fault of the network: metrics are there, and say how many units are left.
    machine.root(&format!("curl -sf http://{pod}:52773/api/monitor/metrics | grep 'iris_license_available 0'")).ok();
}

/// A database that works goes on until the image that is to come is there.
fn a_wrong_tag_takes_nothing_down(machine: &Machine, args: &str) {
    let pods = || machine.kubectl("get pods -l app=iris -o jsonpath={.items[*].metadata.uid}").ok();
    let before = pods();
    Case {
        what: "a wrong tag, beside a database that works",
        args,
        cause: Cause::Run,
        step: "image.iris",
        says: &["the registry does not have the image", "no-such-tag"],
    }
    .run(machine, "default");
    assert_eq!(pods(), before, "pods were replaced");
    machine.kubectl("wait --for=condition=Ready pod/data-0 pod/data-1 --timeout=1s").ok();
}

/// Volumes made by hand, in directories that even root cannot write to.
fn volumes_made_by_hand(machine: &Machine, class: &str, folder: &str) {
    let mut objects = format!(
        "---\n{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: {class}}}, provisioner: kubernetes.io/no-provisioner}}\n"
    );
    for n in 0..4 {
        objects.push_str(&format!(
            "---\n{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: {class}-{n}}}, spec: {{capacity: {{storage: 5Gi}}, \
             accessModes: [ReadWriteOnce], storageClassName: {class}, hostPath: {{path: {folder}/{n}}}}}}}\n"
        ));
    }
    machine.root(&format!("cat <<'END' | microk8s kubectl apply -f -\n{objects}END")).ok();
}

fn a_volume_that_nobody_can_write_to(era: Era) {
    let Some(machine) = Machine::up("volumes", era) else { return };
    machine.product(&format!("bootstrap --lb {} --until basics", machine.range())).ok();
    machine
        .root("mkdir -p /srv/closed && mount -t tmpfs tmpfs /srv/closed && mkdir /srv/closed/{0..3} && mount -o remount,ro /srv/closed")
        .ok();
    volumes_made_by_hand(&machine, "closed", "/srv/closed");
    Case {
        what: "a volume that nobody can write to",
        args: "--storage closed --namespace closed",
        cause: Cause::Start,
        step: "ready.pods",
        says: &["IRIS cannot", "volume", "the volume must belong to user 51773"],
    }
    .run(&machine, "closed");

    // Directories of root's, which fsGroup does not reach: IRIS gets them all the same.
    machine.product("teardown --data --yes").exits(0);
    machine.root("mkdir -p /srv/roots/{0..3} && chmod 755 /srv/roots/*").ok();
    volumes_made_by_hand(&machine, "roots", "/srv/roots");
    machine.product(&format!("bootstrap --lb {} --storage roots", machine.range())).exits(0);
    assert_eq!(machine.root("stat -c %u /srv/roots/* | sort -u").ok(), "51773\n");
}
