//! Faults around a bootstrap, real ones: each ends in success after a bounded wait, or in one message with its cause and what to do, and
//! the same command goes on from there.

use std::{io::Write, time::Instant};

use crate::support::{Ended, Era, Machine, Snapshot, kept};

/// A row of the table.
struct Row {
    fault: &'static str,
    code: i32,
    seconds: f64,
    said: String,
}

/// The machine, and what was seen in it so far.
struct Faults {
    machine: Machine,
    bootstrap: String,
    rows: Vec<Row>,
}

impl Faults {
    /// Writes down how a run ended.
    #[track_caller]
    fn note(&mut self, fault: &'static str, begun: Instant, ended: &Ended, code: i32, says: &[&str]) {
        assert_eq!(ended.code, code, "{fault}: {ended:?}\n{}", ended.stderr);
        let error = &ended.events.last().expect("an event").outcome()["errors"][0];
        let field = |name: &str| error[name].as_str().unwrap_or_default().replace('\n', " ");
        let said = if code == 0 {
            "success".to_owned()
        } else {
            assert!(!field("hint").is_empty(), "{fault}: it does not say what to do: {error}");
            format!("{}: {} -> {}", field("what"), field("cause"), field("hint"))
        };
        for text in says {
            assert!(said.contains(text), "{fault}: it should say `{text}`: {said}");
        }
        self.rows.push(Row { fault, code, seconds: begun.elapsed().as_secs_f64(), said });
    }

    /// A bootstrap from its beginning to its end.
    #[track_caller]
    fn ends(&mut self, fault: &'static str, variables: &str, until: &str, code: i32, says: &[&str]) {
        let begun = Instant::now();
        let ended = self.machine.start_with(variables, &format!("{}{until}", self.bootstrap)).finish();
        self.note(fault, begun, &ended, code, says);
    }

    fn tell(&self) {
        let line = |r: &Row| format!("{:<34} exit {:<3} {:6.1} s  {}\n", r.fault, r.code, r.seconds, r.said);
        let table: String = self.rows.iter().map(line).collect();
        let _ = std::fs::write(kept(self.machine.name()).join("faults.txt"), &table);
        let _ = write!(std::io::stderr(), "machines: {}\n{table}", self.machine.name());
    }
}

/// However the test ends, what was seen is told.
impl Drop for Faults {
    fn drop(&mut self) {
        self.tell();
    }
}

/// A machine for some of the faults; what they leave is taken back in the end.
fn with_machine(name: &str, work: impl FnOnce(&mut Faults, &Snapshot)) {
    let Some(machine) = Machine::up(name, Era::Current) else { return };
    let before = machine.snapshot("before");
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let mut faults = Faults { machine, bootstrap, rows: Vec::new() };
    work(&mut faults, &before);
    faults.machine.product("teardown --reset --yes").exits(0);
    faults.machine.is_restored_to(&before);
}

#[test]
fn of_the_store_and_the_registry() {
    with_machine("faults-store", |faults, before| {
        store(faults, before);
        registry(faults);
    });
}

#[test]
fn of_the_cluster() {
    with_machine("faults-cluster", |faults, _| {
        faults.ends("none, until there are volumes", "", " --until basics", 0, &[]);
        api_server(faults);
        hanging(faults);
    });
}

#[test]
fn of_the_disk() {
    with_machine("faults-disk", |faults, _| {
        faults.ends("none", "", "", 0, &[]);
        disk_full(faults);
    });
}

#[test]
fn of_snapd() {
    with_machine("faults-snapd", |faults, _| {
        faults.ends("none", "", "", 0, &[]);
        snapd(faults);
    });
}

fn store(faults: &mut Faults, before: &Snapshot) {
    faults.machine.fault("store --down");
    faults.ends("store down", "", " --until snap", 10, &["store"]);
    faults.machine.is_as_at(before);
    // Found by the name, but not to be downloaded.
    faults.machine.fault("clear");
    faults.machine.fault("store --rate 20M");
    let begun = Instant::now();
    let mut run = faults.machine.start(&format!("{} --until snap", faults.bootstrap));
    run.until("the download", |e| e.is("step-progress", "snap.microk8s") && e.number("done") > 0);
    faults.machine.fault("store --status 500");
    let ended = run.finish();
    faults.note("store answers 500 in the download", begun, &ended, 20, &["cannot install \"microk8s\"", "500"]);
    faults.machine.fault("store --rate 20M");
    faults.ends("store slow", "", " --until snap", 0, &[]);
    faults.machine.fault("clear");
}

fn registry(faults: &mut Faults) {
    faults.ends("none, until the cluster runs", "", " --until start", 0, &[]);
    faults.machine.fault("registry --status 429");
    faults.ends("registry answers 429", "IRIS_MK8S_TIMEOUTS_ADDON=45 ", " --until basics", 21, &["429"]);
    faults.machine.fault("registry --missing cdkbot/hostpath-provisioner:1.6.0");
    faults.ends("registry without an image", "", " --until basics", 22, &["does not have its image"]);
    faults.machine.fault("registry --rate 3M");
    faults.ends("registry slow", "", " --until basics", 0, &[]);
    faults.machine.fault("clear");
}

fn api_server(faults: &mut Faults) {
    let begun = Instant::now();
    let mut run = faults.machine.start(&format!("{} --until metallb", faults.bootstrap));
    run.until("the act", |e| e.is("step-acting", "addon.metallb"));
    let restarts = "for n in $(seq 10); do systemctl kill -s KILL snap.microk8s.daemon-kubelite; sleep 3; done";
    faults.machine.root(restarts).ok();
    let ended = run.finish();
    faults.note("API server dies for 30 s", begun, &ended, 0, &[]);
}

fn hanging(faults: &mut Faults) {
    let begun = Instant::now();
    let command = format!("{} --until addons", faults.bootstrap);
    let mut run = faults.machine.start_with("IRIS_MK8S_TIMEOUTS_ADDON=30 ", &command);
    run.until("the act", |e| e.is("step-acting", "addon.registry"));
    let group = faults.machine.group_of("enable.*registry");
    faults.machine.root(&format!("kill -STOP -- -{group}")).ok();
    let ended = run.finish();
    faults.note(
        "`microk8s` hangs for ever",
        begun,
        &ended,
        21,
        &["microk8s enable registry", "did not end within 30 s"],
    );
    assert!(!faults.machine.group_lives(&group), "what hung is not ended");
    faults.ends("the same command goes on", "", " --until addons", 0, &[]);
}

/// No room is left where containerd puts what it downloads.
fn disk_full(faults: &mut Faults) {
    let folder = "/var/snap/microk8s/common/var/lib/containerd/io.containerd.content.v1.content";
    // IRIS has its volumes, and its image has to be pulled anew.
    faults.machine.kubectl("scale statefulset/data --replicas=0").ok();
    faults.machine.kubectl("wait --for=delete pod -l app=iris --timeout=120s").ok();
    // Kubernetes knows an image by its name, its digest and its number.
    let images = "microk8s ctr images ls | awk '/iris/ {gone[$3]} {all[$1] = $3} END {for (n in all) if (all[n] in gone) print n}' | \
                  xargs microk8s ctr images rm --sync";
    faults.machine.root(images).ok();
    // What is there stays there, and little more has room: pods need what their sandbox is made of.
    let mount = format!(
        "mkdir /root/full && mount -t tmpfs -o size=$(($(du -sk {folder} | cut -f 1) + 400))k tmpfs /root/full && \
         cp -a {folder}/. /root/full && mount --bind /root/full {folder}"
    );
    faults.machine.root(&mount).ok();
    faults.ends("disk full in a pull", "IRIS_MK8S_TIMEOUTS_IRIS=60 ", "", 21, &["no space left on device"]);
    faults.machine.root(&format!("umount -l {folder} /root/full; rmdir /root/full")).ok();
    faults.ends("the same command goes on", "", "", 0, &[]);
}

/// Others use snapd as well.
fn snapd(faults: &mut Faults) {
    faults.machine.root("snap restart microk8s --no-wait").ok();
    faults.ends("somebody's snapd change", "", "", 0, &[]);
    // A refresh is this: another revision is mounted, the services are stopped, the data copied, the services started.
    faults.machine.kubectl("scale statefulset/data --replicas=0").ok();
    let begun = Instant::now();
    let mut run = faults.machine.start(&faults.bootstrap);
    run.until("the act", |e| e.is("step-acting", "iris.statefulset"));
    let refresh = "cp /var/lib/snapd/snaps/microk8s_*.snap /root/m.snap && \
                   snap install --dangerous --classic --no-wait /root/m.snap && rm /root/m.snap";
    faults.machine.root(refresh).ok();
    let ended = run.finish();
    faults.note("a refresh in the middle", begun, &ended, 0, &[]);
    faults.ends("and once more", "", "", 0, &[]);
}
