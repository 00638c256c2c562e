//! Vagrant of Debian with the example's Vagrantfile. Its provider is `tests/provisioning/vagrant.rb`, whose machines are the sandbox's.

use std::io::Write as _;

use std::{path::PathBuf, process::Command};

use super::{REPO, Web, answers};
use crate::support::{Era, Machine, Neighbour, kept};

/// Vagrant on this computer, for one machine.
struct Vagrant<'a> {
    machine: &'a Machine,
    home: PathBuf,
    releases: String,
}

impl Vagrant<'_> {
    /// Its output, after an exit with 0.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("timeout")
            .args(["900", "vagrant"])
            .args(args)
            .env("HOME", &self.home)
            .env("IRIS_MK8S_CACHE", cache())
            .env("VAGRANT_HOME", &self.home)
            .env("VAGRANT_CWD", format!("{REPO}/examples/vagrant"))
            .env("VAGRANT_DOTFILE_PATH", self.home.join("dot"))
            .env("VAGRANT_DEFAULT_PROVIDER", "sandbox")
            .env("VAGRANT_CHECKPOINT_DISABLE", "1")
            .env("SANDBOX_MACHINE", self.machine.name())
            .env("VM_ADDRESS", self.machine.address())
            .env("IRIS_MK8S_LB", self.machine.range())
            .env("IRIS_MK8S_RELEASES", &self.releases)
            .output()
            .expect("vagrant can be run; `scripts/test ship` installs it");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "vagrant {args:?}:\n{said}");
        let _ = writeln!(std::io::stderr(), "vagrant {args:?}:\n{said}");
        said
    }
}

/// Where the sandbox's parts are, for somebody whose home is another one.
fn cache() -> PathBuf {
    std::env::var_os("IRIS_MK8S_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache/iris-mk8s"),
        PathBuf::from,
    )
}

#[test]
fn up_provision_twice_halt_up_and_destroy() {
    // It gives name, address and range; Vagrant makes a machine of that name itself, on a LAN that somebody else keeps.
    let Some(machine) = Machine::up("vagrant", Era::Current) else { return };
    let _keeper = Neighbour::add("keeper", "192.168.11.80", true);
    let web = Web::new(&machine);
    let home = kept(machine.name()).join("home");
    std::fs::create_dir_all(&home).expect("a folder");
    // Vagrant reads the Vagrantfile of its home before the project's own.
    std::fs::write(home.join("Vagrantfile"), format!("require '{REPO}/tests/provisioning/vagrant.rb'\n"))
        .expect("a file");
    machine.down();
    let vagrant = Vagrant { machine: &machine, home, releases: web.releases("good") };
    let url = format!("http://{}:52773/", machine.nth_address(0));

    assert!(vagrant.run(&["up"]).contains(&url), "it does not say where IRIS is");
    answers(&machine);
    assert!(machine.root("id -nG vagrant").ok().contains("microk8s"));

    let journal = machine.root("sha256sum /var/lib/iris-mk8s/journal.jsonl").ok();
    for _ in 0..2 {
        let said = vagrant.run(&["provision"]);
        let done = said.lines().find(|line| line.contains("] done in ")).expect("the end of a run");
        assert!(!done.contains("created") && !done.contains("changed"), "{done}");
        assert_eq!(machine.root("sha256sum /var/lib/iris-mk8s/journal.jsonl").ok(), journal);
    }

    vagrant.run(&["halt"]);
    assert!(vagrant.run(&["status"]).contains("poweroff"));
    vagrant.run(&["up"]);
    answers(&machine);
    assert_eq!(machine.root("sha256sum /var/lib/iris-mk8s/journal.jsonl").ok(), journal);

    vagrant.run(&["destroy", "--force"]);
    assert!(vagrant.run(&["status"]).contains("not_created"));
    assert!(!machine.exists(), "something of the machine is left");
}
