//! How the program comes to a host that nobody has prepared: the install line and the package, cloud-init, Vagrant, and commands without a
//! terminal. The releases are those of `tests/provisioning/releases`, served on the LAN.

mod cloud;
mod package;
mod unattended;
mod vagrant;

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
};

use crate::support::{Era, Machine, sandbox_command};

const REPO: &str = env!("CARGO_MANIFEST_DIR");

/// The folder of the releases, which the tier `ship` makes.
fn releases() -> PathBuf {
    std::env::var_os("IRIS_MK8S_TEST_RELEASES")
        .map_or_else(|| PathBuf::from(format!("{REPO}/target/ship")), PathBuf::from)
}

/// The newest release's version.
fn newest() -> String {
    let file = releases().join("latest");
    let version = std::fs::read_to_string(&file);
    version.unwrap_or_else(|e| panic!("{}: {e}; `scripts/test ship` makes it", file.display())).trim().to_owned()
}

/// A web server of the LAN, on the client PC: `tests/provisioning/web.py`.
struct Web {
    server: Child,
    url: String,
}

impl Web {
    /// For this machine's test, which may run beside others. The LAN is there with the machine.
    fn new(machine: &Machine) -> Self {
        let port = format!("80{}", machine.address().rsplit('.').next().expect("a number"));
        let script = format!("{REPO}/tests/provisioning/web.py");
        let folder = releases();
        let mut server =
            sandbox_command(&["client", "python3", "-B", &script, &folder.to_string_lossy(), "192.168.11.1", &port])
                .stdout(Stdio::piped())
                .spawn()
                .expect("scripts/sandbox can be run");
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), port, "the web server does not listen");
        Self { server, url: format!("http://192.168.11.1:{port}") }
    }

    /// Where the releases are, with or without a trouble: the names that web.py knows.
    fn releases(&self, trouble: &str) -> String {
        format!("{}/{trouble}", self.url)
    }

    /// The line of the README.
    fn line(&self, trouble: &str) -> String {
        format!("curl -fsSL {}/install | sh", self.releases(trouble))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // `timeout`, which is the parent, passes it on.
        let _ = std::process::Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}

/// A machine that does not have the program yet, and its web server.
fn bare(name: &str, era: Era) -> Option<(Machine, Web)> {
    let machine = Machine::up(name, era)?;
    machine.root("rm /usr/local/bin/iris-mk8s").ok();
    let web = Web::new(&machine);
    Some((machine, web))
}

/// IRIS answers at the first address of the machine's range, asked from the client PC.
fn answers(machine: &Machine) {
    let url = format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0));
    machine.wait_until("IRIS answers", 300, |m| {
        let metrics = m.client_curl(&["--fail", &url]);
        metrics.code == 0 && metrics.stdout.contains("iris_cpu_usage")
    });
}
