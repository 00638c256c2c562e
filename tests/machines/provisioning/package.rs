//! The install line and the life of the package, with the real apt and dpkg.

use super::{REPO, answers, bare, newest};
use crate::support::{Era, Machine};

/// Nothing of the program is on the machine.
fn is_bare(machine: &Machine) {
    let found = machine.root("dpkg-query -W -f '${db:Status-Abbrev}' iris-mk8s; ls -d /usr/bin/iris-mk8s /usr/local/bin/iris-mk8s /usr/local/.iris*").stdout;
    // The second letter is what dpkg has of it: nothing, or (after a removal) what a purge would remove. The first is what was asked for.
    assert!(matches!(found.trim(), "" | "un" | "in" | "rc"), "{found}");
    assert_eq!(machine.root("dpkg --audit").ok(), "");
}

#[test]
fn the_package_is_installed_upgraded_removed_and_purged_around_a_cluster() {
    let Some((machine, web)) = bare("package", Era::Current) else { return };
    let range = machine.range();

    // Of the older program, by a user with sudo.
    let line = web.line("good").replace("| sh", "| IRIS_MK8S_VERSION=0.0.9 sh");
    let said = machine.ubuntu(&line).ok();
    assert!(said.contains("needs root: apt-get install ./iris-mk8s_0.0.9_amd64.deb"), "{said}");
    assert!(!said.contains("not verified"), "OpenSSL can verify the signature: {said}");
    assert_eq!(
        machine.root("command -v iris-mk8s; systemctl is-enabled iris-mk8s-bootstrap").stdout,
        "/usr/bin/iris-mk8s\ndisabled\n"
    );
    machine.root("systemd-analyze verify --man=no iris-mk8s-bootstrap.service").ok();
    let bare = machine.snapshot("bare");
    machine.product(&format!("bootstrap --lb {range}")).ok();
    answers(&machine);

    // The newer program goes on with the older one's cluster.
    let pods = machine.kubectl("get pods -A -o jsonpath={.items[*].metadata.uid}").ok();
    machine.ubuntu(&web.line("good")).ok();
    let version = machine.root("iris-mk8s --version; dpkg-query -W -f '${Version}' iris-mk8s").ok();
    assert_eq!(version, format!("iris-mk8s {0}\n{0}", newest()));
    machine.product(&format!("bootstrap --lb {range}")).ok();
    answers(&machine);
    assert_eq!(
        machine.kubectl("get pods -A -o jsonpath={.items[*].metadata.uid}").ok(),
        pods,
        "the upgrade restarted pods"
    );
    // The same line again finds nothing to do.
    machine.ubuntu(&web.line("good")).says(&["is already the newest version"]).ok();

    // The cluster is nobody's to remove with a package.
    let journal = machine.root("sha256sum /var/lib/iris-mk8s/*").ok();
    machine
        .root("apt-get remove -y iris-mk8s")
        .says(&["MicroK8s, IRIS and their data stay on this host as they are"])
        .ok();
    answers(&machine);
    machine
        .root("apt-get purge -y iris-mk8s")
        .says(&["MicroK8s, IRIS and their data stay, and so do /var/lib/iris-mk8s"])
        .ok();
    answers(&machine);
    assert_eq!(machine.root("sha256sum /var/lib/iris-mk8s/*").ok(), journal);
    assert_eq!(machine.kubectl("get pods -A -o jsonpath={.items[*].metadata.uid}").ok(), pods);

    machine.ubuntu(&web.line("good")).ok();
    machine.product("teardown --reset --yes").ok();
    let left = machine.residue(&bare);
    // The package itself is another version by now, and dpkg's log has been there since its first installation.
    let package = |line: &str| line.contains("iris-mk8s") || line.contains("/var/log/dpkg.log:");
    let others: Vec<&str> = left.lines().filter(|line| !package(line)).collect();
    assert!(others.is_empty(), "after the reset there is\n{left}");
    machine.root("apt-get purge -y iris-mk8s").ok();
    is_bare(&machine);
}

#[test]
fn nothing_is_installed_from_a_bad_release_or_onto_a_full_disk() {
    let Some((machine, web)) = bare("bad-release", Era::Current) else { return };
    let package = format!("iris-mk8s_{}_amd64.deb", newest());
    let cases: &[(&str, &[&str])] = &[
        ("wrong", &["is not the file that was released: its digest is not in SHA256SUMS"]),
        ("forged", &["SHA256SUMS: the signature is wrong"]),
        ("unsigned", &["SHA256SUMS is not signed, and it should be"]),
        ("cut", &["curl: (18)", "could not download"]),
        ("gone", &["404", "could not download", &package]),
    ];
    for (trouble, words) in cases {
        machine.ubuntu(&web.line(trouble)).exits(1).says(words).says(&["install: nothing was installed"]);
        is_bare(&machine);
    }
    let line = web.line("good").replace("| sh", "| IRIS_MK8S_VERSION=9.9.9 sh");
    machine.ubuntu(&line).exits(1).says(&["is there a release 9.9.9?", "nothing was installed"]);

    // Full: where it is downloaded to, where the package's files go, and where the tarball's files go.
    let full = |at: &str, size: &str| format!("mkdir -p {at} && mount -t tmpfs -o size={size},mode=1777 full {at}");
    machine.root(&full("/tmp", "1m")).ok();
    machine.ubuntu(&web.line("good")).exits(1).says(&["could not download", "nothing was installed"]);
    machine.root("umount /tmp").ok();
    is_bare(&machine);
    machine.root(&full("/usr/share/man/man1", "16k")).ok();
    machine.ubuntu(&web.line("good")).exits(1).says(&[
        "No space left on device",
        "apt-get could not install",
        "nothing was installed",
    ]);
    machine.root("umount /usr/share/man/man1").ok();
    is_bare(&machine);
    machine.root(&full("/usr/local/full", "1m")).ok();
    let line = web.line("good").replace("| sh", "| sh -s -- --prefix /usr/local/full");
    machine.root(&line).exits(1).says(&[
        "No space left on device",
        "the files could not be put below",
        "nothing was installed",
    ]);
    assert_eq!(machine.root("find /usr/local/full -mindepth 1").ok(), "");
    machine.root("umount /usr/local/full; rmdir /usr/local/full").ok();

    // Who may not become root gets nothing.
    machine.root("useradd -m -s /bin/bash plain").ok();
    let line = web.line("good");
    machine.root(&format!("su - plain -c '{line}' </dev/null")).exits(1).says(&["needs root", "nothing was installed"]);
    is_bare(&machine);

    // Somebody else's apt is waited for.
    let hold = "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(6)";
    machine.root(&format!("systemd-run --unit=other-apt python3 -c \"{hold}\"")).ok();
    machine.wait_until("apt is locked", 20, |m| m.root("apt-get check").code != 0);
    machine.ubuntu(&web.line("good")).says(&["Could not get lock"]).ok();
    machine.root("iris-mk8s --version && dpkg --verify iris-mk8s").ok();
    // An older way of installing stands before the package.
    machine.root("install -m 755 /bin/true /usr/local/bin/iris-mk8s").ok();
    machine.ubuntu(&web.line("good")).says(&["sudo rm /usr/local/bin/iris-mk8s"]).ok();
    machine.root("rm /usr/local/bin/iris-mk8s && apt-get purge -y iris-mk8s").ok();
    is_bare(&machine);

    // Without apt it is the tarball.
    machine.root("chmod -x /usr/bin/apt-get").ok();
    machine.ubuntu(&web.line("good")).says(&["installing below /usr/local needs root"]).ok();
    let version = format!("iris-mk8s {}\n", newest());
    assert_eq!(machine.ubuntu("iris-mk8s --version").ok(), version);
    machine.root("systemd-analyze verify --man=no iris-mk8s-bootstrap.service").ok();
    machine.root("mkdir -p /srv/source/target/release && cp /usr/local/bin/iris-mk8s /srv/source/target/release").ok();
    machine.root("cd /usr/local && xargs rm <share/doc/iris-mk8s/files").ok();
    is_bare(&machine);

    what_was_built_is_installed(&machine);
}

/// `--from-source`, with a compiler that has built already.
fn what_was_built_is_installed(machine: &Machine) {
    machine.root("cd /srv && mkdir source/scripts source/packaging tools && touch source/packaging/pack").ok();
    machine.root("cp /bin/true /srv/tools/cc && cp /bin/true /srv/tools/cargo").ok();
    machine.put(&format!("{REPO}/scripts/install"), "/srv/source/scripts/install");
    let install = "cd / && PATH=/srv/tools:$PATH /srv/source/scripts/install --from-source";
    machine.ubuntu(install).says(&["needs root: /usr/local/bin/iris-mk8s", "next: sudo iris-mk8s bootstrap"]).ok();
    machine.root("rm /usr/local/bin/iris-mk8s && mount -t tmpfs -o size=1m full /usr/local/bin").ok();
    let words = ["No space left on device", "could not be written", "nothing was installed"];
    machine.ubuntu(install).exits(1).says(&words);
    assert_eq!(machine.root("find /usr/local/bin -mindepth 1; umount /usr/local/bin").ok(), "");
    machine.root("cp /bin/false /srv/tools/cargo").ok();
    machine.ubuntu(install).exits(1).says(&["the build failed", "nothing was installed"]);
    is_bare(machine);
}
