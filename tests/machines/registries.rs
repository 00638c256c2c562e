//! A mirror and a proxy for images: they are really used, and afterwards MicroK8s' files are what they were.

use std::{
    fs,
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Era, Machine, in_both_eras, kept, sandbox_command};

in_both_eras! { images_come_through_the_proxy }

/// A proxy on the client PC: it knows one host, and writes down what it is asked for.
const PROXY: &str = r"import http.client, http.server, sys
class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host, _, path = self.path.removeprefix('http://').partition('/')
        print(self.command, host, '/' + path, file=log, flush=True)
        if host != 'mirror.example:5000':
            return self.send_error(502)
        up = http.client.HTTPConnection('192.168.11.2', 5000)
        up.request(self.command, '/' + path, headers={k: v for k, v in self.headers.items() if k in ('Accept', 'Range')})
        answer = up.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ('connection', 'date', 'server', 'transfer-encoding'):
                self.send_header(name, value)
        self.end_headers()
        while data := answer.read(1 << 16):
            self.wfile.write(data)
    do_HEAD = do_GET
    def log_message(self, *_):
        pass
log = open(sys.argv[2], 'w')
http.server.ThreadingHTTPServer(('192.168.11.1', int(sys.argv[1])), Proxy).serve_forever()
";

/// The proxy, as long as the test lasts.
struct Proxy(Child);

impl Proxy {
    fn start(port: u16, log: &str) -> Self {
        let mut command = sandbox_command(&["client", "python3", "-c", PROXY, &port.to_string(), log]);
        Self(command.stdout(Stdio::null()).spawn().expect("scripts/sandbox can be run"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

fn images_come_through_the_proxy(era: Era) {
    let Some(machine) = Machine::up("registries", era) else { return };
    machine.install_by_hand(era.track());
    // Both machines of this test may run at the same time.
    let port = era.of(3128, 3129);
    let log = kept(machine.name()).join("proxy.log");
    let _proxy = Proxy::start(port, &log.to_string_lossy());
    machine.wait_until("the proxy answers", 60, |m| {
        m.client_curl(&["-o", "/dev/null", &format!("http://192.168.11.1:{port}/")]).code == 0
    });
    // 1.20 knows no folder of mirrors: there it is the proxy alone.
    let mirrors = era.of("mirrors = [\"docker.io=http://mirror.example:5000\"]\n", "");
    let profile = format!("[registries]\n{mirrors}proxy = \"http://192.168.11.1:{port}\"\nno_proxy = [\".lan\"]\n");
    machine.root(&format!("cat >/root/behind.toml <<'END'\n{profile}END")).ok();
    let image = era.of("", " --image intersystemsdc/iris-community:2026.1-zpm");
    let wanted = format!("--lb {} --profile /root/behind.toml --channel {}{image}", machine.range(), era.track());
    let before = machine.snapshot("before");

    let run = machine.start(&format!("bootstrap {wanted}")).finish();
    run.exits(0);
    assert_eq!(run.all("step-done", "registries.proxy").len(), 1, "{:?}", run.events);
    let environment = machine.root("tr '\\0' '\\n' </proc/$(pgrep -xo containerd)/environ").ok();
    assert!(environment.contains(&format!("HTTPS_PROXY=http://192.168.11.1:{port}\n")), "{environment}");
    assert!(
        environment
            .lines()
            .any(|l| l.starts_with("NO_PROXY=") && l.contains("192.168.11.0/24") && l.ends_with(",.lan"))
    );
    let asked = fs::read_to_string(&log).expect("the proxy's log");
    if era == Era::Current {
        assert!(
            asked.contains("HEAD mirror.example:5000 /v2/intersystems/iris-community/manifests/latest-em"),
            "{asked}"
        );
    }
    // What is in the host's own network is asked for directly.
    assert!(!asked.contains("192.168.11.2"), "{asked}");
    machine.product(&format!("plan --check {wanted}")).exits(0);

    machine.product("teardown --reset --yes").exits(0);
    // The containers were started anew.
    machine.kubectl("rollout status deployment/coredns -n kube-system --timeout=180s").ok();
    machine.is_as_at(&before);
}
