//! cloud-init of Debian, in a machine as a cloud's image has it: the example's user-data in a NoCloud seed.

use super::{REPO, Web, answers, bare};
use crate::support::{Era, Machine, kept};

/// What the builder of a cloud's image writes: the user, and that the network is there already.
const IMAGE: &str = "\
datasource_list: [ NoCloud ]
network: { config: disabled }
locale: C.UTF-8
system_info:
  default_user:
    name: ubuntu
    lock_passwd: true
    groups: [ adm, sudo ]
    sudo: [ 'ALL=(ALL) NOPASSWD:ALL' ]
    shell: /bin/bash
";

/// Writes a file into the machine.
fn write(machine: &Machine, to: &str, text: &str) {
    let file = kept(machine.name()).join("file");
    std::fs::write(&file, text).expect("a file");
    machine.put(&file.to_string_lossy(), to);
}

/// A machine that is off, and whose next boot is its first one as far as cloud-init knows.
fn image(name: &str) -> Option<(Machine, Web, String)> {
    let (machine, web) = bare(name, Era::Current)?;
    let install =
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends cloud-init";
    machine.root(install).ok();
    machine.root("loginctl terminate-user ubuntu; systemctl stop user@1000; userdel --remove ubuntu").ok();
    write(&machine, "/etc/cloud/cloud.cfg.d/99-image.cfg", IMAGE);
    let example = std::fs::read_to_string(format!("{REPO}/examples/cloud-init/user-data.yaml")).expect("the example");
    assert!(example.contains("IRIS_MK8S_RELEASES=https://example.com/iris-mk8s\n"));
    Some((machine, web, example))
}

/// Gives it these data, and cuts its power.
fn seed(machine: &Machine, user_data: &str, meta_data: &str) {
    write(machine, "/var/lib/cloud/seed/nocloud/user-data", user_data);
    write(machine, "/var/lib/cloud/seed/nocloud/meta-data", &format!("instance-id: first\n{meta_data}"));
    let check = "cloud-init schema --config-file";
    machine.root(&format!("{check} /var/lib/cloud/seed/nocloud/user-data")).says(&["Valid cloud-config"]).ok();
    let spoilt = format!("sed 's/- path:/- paths:/' /var/lib/cloud/seed/nocloud/user-data >/run/bad; {check} /run/bad");
    assert_ne!(machine.root(&spoilt).code, 0, "the check finds nothing");
    machine.cut();
}

/// The example with its two lines filled in.
fn filled_in(machine: &Machine, releases: &str, example: &str) -> String {
    example.replace("https://example.com/iris-mk8s", releases).replace("192.168.11.110-130", &machine.range())
}

/// What `cloud-init status` says when all is over.
fn status(machine: &Machine) -> String {
    machine.root("timeout 800 cloud-init status --wait --long").stdout
}

/// IRIS is there, for the user of cloud-init, and no later boot will do anything.
fn is_done(machine: &Machine) {
    answers(machine);
    assert_eq!(machine.root("stat -c %U /var/lib/iris-mk8s/password").ok(), "ubuntu\n");
    assert!(machine.root("id -nG ubuntu").ok().contains("microk8s"));
    assert_eq!(machine.root("systemctl is-enabled iris-mk8s-bootstrap").stdout, "disabled\n");
    assert_eq!(machine.root("ls /var/lib/cloud/scripts/per-boot").ok(), "");
}

/// What another run of the program would leave.
fn traces(machine: &Machine) -> String {
    machine.root("ls /var/log/iris-mk8s; sha256sum /var/lib/iris-mk8s/journal.jsonl; cat /etc/default/iris-mk8s").ok()
}

/// Holds apt's lock at the first boot until another apt has come and waited; snapd comes late, too.
const BUSY: &str = "\
[Service]
ExecStart=/usr/bin/python3 -c \"import fcntl, os, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); [time.sleep(0.2) for _ in iter(lambda: os.system('pgrep -x apt-get'), 0)]; time.sleep(5)\"
[Install]
WantedBy=basic.target
";

#[test]
fn the_first_boot_makes_it_and_the_second_one_changes_nothing() {
    let Some((machine, web, example)) = image("cloud") else { return };
    write(&machine, "/etc/systemd/system/busy.service", BUSY);
    write(&machine, "/etc/systemd/system/snapd.service.d/late.conf", "[Service]\nExecStartPre=/bin/sleep 20\n");
    machine.root("systemctl enable busy").ok();
    // The addresses come with the metadata; the file names others.
    let user_data = example.replace("https://example.com/iris-mk8s", &web.releases("good"));
    seed(&machine, &user_data, &format!("iris_mk8s_lb: {}\n", machine.range()));

    machine.boot();
    let said = status(&machine);
    assert!(said.contains("status: done"), "{said}");
    assert!(machine.console().contains("Could not get lock"), "apt's lock was free");
    // The summary is on the console.
    assert!(machine.console().contains(&format!("http://{}:52773/", machine.nth_address(0))), "{}", machine.console());
    is_done(&machine);

    machine.root("systemctl disable busy").ok();
    let before = traces(&machine);
    let uids = "get statefulsets,services,pvc,pods -A -o jsonpath={.items[*].metadata.uid}";
    let objects = machine.kubectl(uids).ok();
    machine.power_cut();
    let said = status(&machine);
    assert!(said.contains("status: done"), "{said}");
    is_done(&machine);
    assert_eq!(traces(&machine), before);
    assert_eq!(machine.kubectl(uids).ok(), objects);
    drop(web);
}

#[test]
fn a_power_cut_in_the_middle_is_made_good_by_the_next_boot() {
    let Some((machine, web, example)) = image("cloud-cut") else { return };
    seed(&machine, &filled_in(&machine, &web.releases("slow"), &example), "");

    // While the package comes.
    machine.boot();
    machine.wait_until("the download runs", 120, |m| m.root("pgrep -x curl && ls /tmp/tmp.*/iris-mk8s*.deb").code == 0);
    machine.cut();
    // The next one is quick, and power goes while MicroK8s is installed.
    machine.boot();
    machine.root("sed -i s,/slow,/good, /etc/default/iris-mk8s").ok();
    machine.wait_until("the package is there", 300, |m| m.root("command -v iris-mk8s").code == 0);
    machine.wait_until("a stage is done", 300, |m| {
        m.root("grep -q snap.microk8s /var/lib/iris-mk8s/journal.jsonl").code == 0
    });
    machine.cut();
    machine.boot();
    let said = status(&machine);
    assert!(said.contains("status: done"), "{said}");
    is_done(&machine);
    drop(web);
}

#[test]
fn a_failure_is_told_with_its_code_and_the_next_boot_tries_again() {
    let Some((machine, web, example)) = image("cloud-store") else { return };
    machine.fault("store --down");
    seed(&machine, &filled_in(&machine, &web.releases("good"), &example), "");

    machine.boot();
    let said = status(&machine);
    assert!(said.contains("status: error") && said.contains("(iris-mk8s)"), "{said}");
    let told = "iris-mk8s bootstrap ended with exit code 10; the next boot tries again";
    assert!(machine.console().contains(told), "{}", machine.console());
    let log = machine.root("cat /var/log/cloud-init.log").ok();
    assert!(log.contains("Command: ['/var/lib/cloud/scripts/per-boot/iris-mk8s']\nExit code: 10\n"), "{log}");
    assert_eq!(machine.root("systemctl is-enabled iris-mk8s-bootstrap").ok(), "enabled\n");

    machine.fault("clear");
    machine.power_cut();
    let said = status(&machine);
    assert!(said.contains("status: done"), "{said}");
    is_done(&machine);
    drop(web);
}
