//! A host without a network, from the beginning: everything comes from a bundle that another host made, and not one packet leaves for what would be
//! fetched.

use std::{io::Write, path::PathBuf};

use crate::support::{Era, Event, Machine, in_both_eras, kept, run_sandbox};

in_both_eras! { a_host_without_a_network a_bundle_that_does_not_fit a_full_disk_and_kills_in_the_import }

/// The LAN's registry answers for all registries of the world.
const REGISTRIES: [&str; 5] = ["docker.io", "quay.io", "registry.k8s.io", "k8s.gcr.io", "containers.intersystems.com"];

/// Where a bundle lies on a machine.
const FILE: &str = "/home/ubuntu/iris.bundle";

const IMAGE: &str = "intersystemsdc/iris-community:2026.1-zpm";

/// Longhorn's manifest, on both machines.
fn longhorn(machine: &Machine) -> String {
    crate::longhorn::arguments(machine);
    format!("--storage longhorn --longhorn-manifest {}", crate::longhorn::FILE)
}

/// The wishes of both commands.
fn wishes(era: Era) -> String {
    format!("--channel {} --image {IMAGE}", era.track())
}

/// `bundle create` for this machine's era, by a user without root and without a cluster.
fn create(machine: &Machine, output: &str, more: &str) -> String {
    let mirrors = REGISTRIES.map(|registry| format!(" --mirror {registry}=http://192.168.11.2:5000")).concat();
    let store = machine.era().of("http://192.168.11.2:8080", "http://192.168.11.2:8120");
    let wishes = wishes(machine.era());
    let variables = machine.era().variables();
    format!("SNAPPY_FORCE_API_URL={store} {variables}iris-mk8s bundle create {output} {wishes}{mirrors} {more}")
}

/// A bundle, made on a machine with a network, which is gone afterwards.
fn made(name: &str, era: Era, with_longhorn: bool) -> Option<PathBuf> {
    let machine = Machine::up(&format!("{name}-m"), era)?;
    let more = if with_longhorn { longhorn(&machine) } else { String::new() };
    // As on any host that somebody works with: apt knows what there is.
    machine.root("apt-get update").ok();
    machine.ubuntu(&create(&machine, "iris.bundle", &more)).exits(0).says(&["snap    microk8s", IMAGE]);
    machine.ubuntu("iris-mk8s bundle verify iris.bundle").exits(0).says(&["is a good bundle"]);
    assert_eq!(machine.root("ls -d /home/ubuntu/iris.bundle.*").code, 2, "something is left beside the bundle");
    let file = kept(machine.name()).join("iris.bundle");
    machine.fetch(FILE, &file);
    Some(file)
}

/// A machine whose store, registry, packages and names are down, and whose only way out leads to nobody.
fn alone(name: &str, era: Era) -> Option<Machine> {
    let machine = Machine::up(name, era)?;
    for service in ["store", "registry", "packages"] {
        machine.fault(&format!("{service} --down"));
    }
    machine.root("ip route delete default; ip route add default dev host0 metric 4096; : >/etc/resolv.conf").ok();
    Some(machine)
}

/// Counts what the machine sends to anybody but its LAN, and to the services of the LAN, at the bridge.
fn counting(machine: &Machine) {
    let address = machine.address();
    let table = table(machine);
    let rules = format!(
        "add table bridge {table}\n\
         delete table bridge {table}\n\
         add table bridge {table}\n\
         add chain bridge {table} count {{ type filter hook prerouting priority 0; }}\n\
         add rule bridge {table} count ip saddr {address} ip daddr 192.168.11.2 tcp dport {{ 8080, 8120 }} counter accept\n\
         add rule bridge {table} count ip saddr {address} ip daddr 192.168.11.2 counter\n\
         add rule bridge {table} count ip saddr {address} ip daddr != {{ 192.168.11.0/24, 224.0.0.0/4, 255.255.255.255 }} counter\n\
         add rule bridge {table} count ip saddr {address} udp dport 53 counter\n"
    );
    run_sandbox(&["client", "bash", "-c", &format!("nft -f - <<'END'\n{rules}END")]).ok();
}

/// Each machine has a table of its own.
fn table(machine: &Machine) -> String {
    format!("bundle_{}", machine.address().replace('.', "_"))
}

/// The packets that were counted: to the store, which snapd asks by itself now and then, and all others.
/// They are those to the LAN's other services, to the world, and look-ups of names.
fn counted(machine: &Machine) -> Vec<u64> {
    let text = run_sandbox(&["client", "nft", "list", "table", "bridge", &table(machine)]).ok();
    let counts = text.split("counter packets ").skip(1).map(|rest| rest.split(' ').next().expect("a number"));
    counts.map(|count| count.parse().expect("a number")).collect()
}

fn a_host_without_a_network(era: Era) {
    let Some(file) = made("bun", era, true) else { return };
    let Some(machine) = alone("bun", era) else { return };
    machine.put(&file.to_string_lossy(), FILE);
    let wishes = format!("--lb {} {} {}", machine.range(), wishes(era), longhorn(&machine));
    let before = machine.snapshot("before");
    machine.product(&format!("bundle show {FILE}")).exits(0).says(&["image   ", "Longhorn"]);
    counting(&machine);

    machine
        .product(&format!("plan {wishes} --bundle {FILE}"))
        .exits(0)
        .says(&["snap ack microk8s.assert", "ctr image import -"]);
    machine.is_as_at(&before);
    let run = machine.start(&format!("bootstrap {wishes} --bundle {FILE}")).finish();
    let seconds = run.exits(0)["seconds"].clone();
    let _ = writeln!(
        std::io::stderr(),
        "{}: bootstrap --bundle {seconds} s, {:?} packets",
        machine.name(),
        counted(&machine)
    );
    assert_eq!(counted(&machine)[1..], [0, 0, 0], "something was asked of the network");
    let metrics = format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0));
    machine.client_curl(&[&metrics]).exits(0).says(&["iris_cpu_usage"]);
    let tracking = machine.root("snap list microk8s | tail -1").ok();
    assert!(tracking.contains(era.track()), "it follows its channel: {tracking}");

    // Without the file nothing is missing.
    machine.root(&format!("mv {FILE} {FILE}.away")).ok();
    let again = machine.start(&format!("bootstrap {wishes}")).finish();
    let outcome = again.exits(0);
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &0.into()), "{outcome}");
    machine.product("status").exits(0);
    assert_eq!(counted(&machine)[1..], [0, 0, 0], "something was asked of the network");

    machine.product("teardown --reset --yes").exits(0);
    machine.root(&format!("mv {FILE}.away {FILE}")).ok();
    machine.is_restored_to(&before);
}

fn a_bundle_that_does_not_fit(era: Era) {
    let Some(file) = made("bunbad", era, false) else { return };
    let Some(machine) = alone("bunbad", era) else { return };
    machine.put(&file.to_string_lossy(), FILE);
    let range = machine.range();
    let before = machine.snapshot("before");
    let bad = "/home/ubuntu/bad.bundle";
    let size: u64 = machine.root(&format!("stat -c %s {FILE}")).ok().trim().parse().expect("a number");
    let flip = format!(
        "cp {FILE} {bad} && python3 -c 'f = open(\"{bad}\", \"r+b\"); f.seek({0}); b = f.read(1); f.seek({0}); f.write(bytes([b[0] ^ 1]))'",
        size / 2
    );
    let wishes = wishes(era);
    let other = era.of("1.33", "1.21");
    for (make, arguments, code, says) in [
        (flip, wishes.clone(), 10, "is damaged"),
        (format!("head -c {} {FILE} >{bad}", size / 2), wishes.clone(), 2, "is damaged"),
        (format!("head -c 100 {FILE} >{bad}"), wishes.clone(), 2, "is damaged"),
        (format!("echo a text >{bad}"), wishes.clone(), 2, "is no bundle"),
        (format!("rm -f {bad}"), wishes.clone(), 2, "there is no bundle"),
        (format!("cp {FILE} {bad}"), format!("--channel {other} --image {IMAGE}"), 10, "and 1."),
        (
            format!("cp {FILE} {bad}"),
            format!("--channel {} --image a/b:1", era.track()),
            10,
            "does not hold the image a/b:1",
        ),
        (format!("cp {FILE} {bad}"), format!("{wishes} --storage longhorn"), 10, "does not hold Longhorn"),
    ] {
        machine.root(&make).ok();
        machine.product(&format!("bootstrap --lb {range} {arguments} --bundle {bad}")).exits(code).says(&[says]);
        let _ = writeln!(std::io::stderr(), "{}: {code} {says}", machine.name());
    }
    machine.root(&format!("rm -f {bad}; rm -rf /var/log/iris-mk8s")).ok();
    machine.is_as_at(&before);
}

fn a_full_disk_and_kills_in_the_import(era: Era) {
    let Some(file) = made("bunkill", era, false) else { return };
    let Some(machine) = alone("bunkill", era) else { return };
    machine.put(&file.to_string_lossy(), FILE);
    let before = machine.snapshot("before");
    let command = format!("bootstrap --lb {} {} --bundle {FILE}", machine.range(), wishes(era));
    // In the installation of the snap, and in the first imports.
    for step in ["snap.microk8s", "image.bundle"] {
        killed(&machine, &command, step);
    }
    // The disk of containerd is full: what was imported before stays.
    machine.root(&format!("mount -t tmpfs -o size=16k full {INGEST}")).ok();
    let full = machine.product(&command).exits(22);
    machine.root(&format!("umount {INGEST}")).ok();
    full.says(&["there is no room for the image", "no space left on device"]);
    for step in ["image.bundle", "image.iris"] {
        killed(&machine, &command, step);
    }
    machine.start(&command).finish().exits(0);
    machine.client_curl(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))]).exits(0);
    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}

/// Where containerd writes what it does not have whole yet.
const INGEST: &str = "/var/snap/microk8s/common/var/lib/containerd/io.containerd.content.v1.content/ingest";

/// The command is killed when that step acts.
fn killed(machine: &Machine, command: &str, step: &str) {
    let mut run = machine.start(command);
    let event =
        run.until(step, |e: &Event| e.is("step-acting", step) || e.is("step-kept", step) || e.is("step-done", step));
    machine.signal("KILL");
    let _ = writeln!(std::io::stderr(), "{}: killed at {step}: {}", machine.name(), event.text("act"));
    assert_eq!(run.finish().code, 137, "it was killed");
}
