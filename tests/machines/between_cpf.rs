//! What people really have: a CPF with comments, and hosts with something in the way, each as it is on a real machine.

use std::{io::Write as _, path::Path, process::Command};

use crate::support::{Era, Event, Machine, sandbox_command};

/// The hash of the password that every image comes with, as the article published it.
const SYS: &str = "FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh";

/// A host as it is refused, each for its own reason and all at once, and nothing is changed. What a hint says is done, and helps.
#[test]
fn a_hardened_host_is_refused_and_the_hints_help() {
    let Some(machine) = Machine::up("cpf-hard", Era::Current) else { return };
    put_nft(&machine);
    machine.root("mount --bind /var/snap /var/snap && mount -o remount,bind,noexec /var/snap").ok();
    machine.root("mount -t tmpfs -o noexec tmpfs /tmp").ok();
    for chain in ["input", "forward"] {
        let policy = format!("add chain inet filter {chain} {{ type filter hook {chain} priority 0; policy drop; }}");
        machine.root(&format!("nft add table inet filter; nft '{policy}'; nft add rule inet filter {chain} ct state established accept")).ok();
    }
    // Whoever cuts all else off cuts the sandbox off, too.
    machine.root("nft add rule inet filter input ip saddr 192.168.11.0/24 accept; nft add rule inet filter input iif lo accept").ok();
    machine.root("useradd --create-home --home-dir /srv/people/hanako hanako").ok();
    let long = "a-name-of-more-than-fifty-two-characters-as-clouds-give-it";
    machine.root(&format!("hostname {long}")).ok();
    let wanted = format!("{} --user hanako", crate::longhorn::arguments(&machine));
    let before = machine.snapshot("before");
    let start = std::time::Instant::now();
    let refused = machine.product(&format!("bootstrap {wanted}")).exits(10);
    let _ = writeln!(std::io::stderr(), "machines: refused after {:.1} s", start.elapsed().as_secs_f64());
    refused.says(&[
        "noexec: /var/snap is mounted noexec: the plugins of the pod network",
        "noexec: `mount -o remount,exec /var/snap`",
        "warning: noexec: /tmp is mounted noexec: scripts in /tmp of the packages that Longhorn needs may not be run",
        "firewall: nftables drops what it does not know in inet filter input (hook input): pods do not reach the API",
        "firewall: nftables drops what it does not know in inet filter forward (hook forward): pods reach nobody",
        "firewall: `nft insert rule inet filter forward ip saddr 10.1.0.0/16 accept; nft insert rule inet filter forward ip daddr 10.1.0.0/16 accept`",
        "host-name-length: the host's name `a-name-of-more",
        "warning: home: the home of hanako is /srv/people/hanako",
        "warning: name-servers: 192.168.11.1 does not answer as a name server",
        "nothing was changed",
    ]);
    machine.is_as_at(&before);

    // As the hints say.
    machine.root("mount -o remount,exec /var/snap; mount -o remount,exec /tmp; hostname vm1; grep -q vm1 /etc/hosts || echo 127.0.1.1 vm1 >>/etc/hosts").ok();
    machine.root("nft insert rule inet filter forward ip saddr 10.1.0.0/16 accept; nft insert rule inet filter forward ip daddr 10.1.0.0/16 accept").ok();
    machine.root("nft insert rule inet filter input ip saddr 10.1.0.0/16 accept").ok();
    let fit = machine.product(&format!("bootstrap {wanted} --until preflight --skip-check disk"));
    let fit = fit.exits(0);
    for gone in ["noexec", "firewall", "host-name-length"] {
        assert!(!fit.stderr.contains(&format!("{gone}:")), "{gone} is still told: {fit}");
    }
}

/// `nft` of this computer, with its libraries: the machine has the kernel's side only.
fn put_nft(machine: &Machine) {
    let nft = "/usr/sbin/nft";
    assert!(Path::new(nft).exists(), "this test needs Debian's package nftables here");
    let shown = Command::new("ldd").arg(nft).output().expect("ldd can be run");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for library in shown.lines().filter_map(|line| line.split_whitespace().nth(2)).filter(|path| path.starts_with('/'))
    {
        if machine.root(&format!("test -e {library}")).code != 0 {
            machine.put(library, library);
        }
    }
    machine.put(nft, nft);
    machine.root("ldconfig; nft --version").ok();
}

/// MicroK8s' hook lacks a command, so it is tried once more (its base is not refreshed: here it is one from a file); and another apt holds its lock, so it is waited
/// for, by its name. The run goes on by itself both times.
#[test]
fn what_fails_once_and_what_is_at_work_are_got_over() {
    let Some(machine) = Machine::up("cpf-apt", Era::Current) else { return };
    let hold = "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(3600)";
    machine.root(&format!("systemd-run --quiet --unit=other-apt python3 -c \"{hold}\"")).ok();
    machine.wait_until("the lock is held", 60, |m| m.root("grep -q POSIX /proc/locks").code == 0);
    let arguments = crate::longhorn::arguments(&machine);
    machine.root("mv /usr/bin/openssl /usr/bin/openssl.away").ok();
    let mut run = machine.start(&format!("bootstrap {arguments} --replicas 1 --until longhorn --skip-check disk"));
    let acts = |e: &Event, act: &str| e.is("step-acting", "snap.microk8s") && e.says(act);
    for time in ["first", "second"] {
        run.until(&format!("it is installed for the {time} time"), |e| acts(e, "snap install microk8s"));
    }
    machine.root("mv /usr/bin/openssl.away /usr/bin/openssl").ok();
    run.until("it is there", |e| e.is("step-done", "snap.microk8s"));
    let waits = run.until("it waits for the other apt", |e| {
        e.is("step-waiting", "longhorn.package-lists") && e.says("works with apt")
    });
    assert!(waits.text("why").starts_with("python3 (process "), "{waits:?}");
    machine.root("systemctl stop other-apt").ok();
    run.until("the packages are there", |e| e.is("step-done", "longhorn.packages"));
    machine.signal("INT");
    let ended = run.finish();
    assert!([0, 130].contains(&ended.code), "{ended:?}");
}

/// A name server on the LAN whose zone has every name, one of the cluster's own aside.
const WILDCARD: &str = r#"import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
while True:
    data, who = s.recvfrom(512)
    at, labels = 12, []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    question = data[12:at + 5]
    wild = ".".join(labels).lower().endswith("corp.example")
    is_a = question[-4:-2] == b"\x00\x01"
    head = data[:2] + struct.pack(">HHHHH", 0x8180 if wild else 0x8183, 1, int(wild and is_a), 0, 0)
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x09\x09\x09" if wild and is_a else b""
    s.sendto(head + question + answer, who)
"#;

/// A registry that speaks TLS with an authority of its own, and lets in who has a password: before the LAN's registry.
const REGISTRY: &str = r#"import base64, http.client, http.server, ssl, sys
wanted = "Basic " + base64.b64encode(b"robot:s3cret").decode()
class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        up = http.client.HTTPConnection("192.168.11.2", 5000)
        up.request(self.command, self.path, headers={k: v for k, v in self.headers.items() if k in ("Accept", "Range")})
        answer = up.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "date", "server", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_HEAD = do_GET
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 5443), Registry)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/reg.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// What several people have at a time: a CPF whose comment names a section, registries with a port, one with an authority and a login, a
/// search domain that has every name, and Docker, which comes while bootstrap waits.
#[test]
fn what_people_have_is_borne_and_told() {
    let Some(machine) = Machine::up("cpf-all", Era::Current) else { return };
    let address = machine.address();
    for (name, text) in [("wildcard.py", WILDCARD), ("registry.py", REGISTRY)] {
        machine.root(&format!("cat >/root/{name} <<'END'\n{text}END")).ok();
    }
    let subject =
        format!("-subj /CN={address} -addext subjectAltName=IP:{address} -addext basicConstraints=critical,CA:TRUE");
    machine.root(&format!("cd /root; openssl req -x509 -newkey rsa:2048 -nodes -days 2 {subject} -keyout key.pem -out reg.crt 2>/dev/null && cat key.pem reg.crt >reg.pem")).ok();
    machine.root("echo robot:s3cret >/root/reg.login; chmod 600 /root/reg.login").ok();
    for program in ["wildcard", "registry"] {
        machine.root(&format!("systemd-run --quiet --unit={program} python3 /root/{program}.py {address}")).ok();
    }
    machine
        .root(&format!(
            "rm -f /etc/resolv.conf; printf 'nameserver {address}\nsearch corp.example\n' >/etc/resolv.conf"
        ))
        .ok();
    machine.wait_until("the name server answers", 60, |m| m.root("getent ahostsv4 anything.corp.example").code == 0);

    machine.put(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cpf/comment-names-a-section.cpf"), "/root/merge.cpf");
    machine.root("printf '[config]\nglobals=0,0,64,0,0,0 ; small\n' >>/root/merge.cpf").ok();
    let mirrors = format!("\"reg.lan:5000=http://192.168.11.2:5000\", \"tls.lan:5443=https://{address}:5443\"");
    let profile = format!(
        "[registries]\nmirrors = [{mirrors}]\nca = [\"tls.lan:5443=reg.crt\"]\nlogin = [\"tls.lan:5443=reg.login\"]\n\
         [iris]\nreplicas = 1\nimage = \"reg.lan:5000/intersystems/iris-community:latest-em\"\ncpf_file = \"merge.cpf\"\n"
    );
    machine.root(&format!("cat >/root/people.toml <<'END'\n{profile}END")).ok();
    machine.product("profile check /root/merge.cpf").exits(0).says(&["is a good CPF", "databases:  ORDERS"]);

    let bootstrap = format!("bootstrap --lb {} --profile /root/people.toml --skip-check disk", machine.range());
    let mut run = machine.start(&bootstrap);
    // Docker comes while the image is pulled: its bridge, its network, and its policy.
    run.until("IRIS is on its way", |e| e.is("step-done", "iris.statefulset"));
    machine.root("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; iptables -P FORWARD DROP").ok();
    let ended = run.finish();
    ended.exits(0);
    let told = format!("{:?}", ended.events);
    assert!(told.contains("the search domain corp.example has an address for every name"), "before: {told}");
    assert!(told.contains("finds 10.9.9.9 for `iris-mk8s-no-such-host`"), "in a pod: {told}");
    assert!(!told.contains("s3cret") && !told.contains("cm9ib3Q6czNjcmV0"), "the login is told");

    the_registries_are_asked(&machine);
    the_door_is_shut(&machine, &bootstrap);
    routes_that_go_are_told(&machine);
}

/// The image came by the first registry, whose name nobody could look up; the second one asks for authority and password.
fn the_registries_are_asked(machine: &Machine) {
    let hosts = "/var/snap/microk8s/current/args/certs.d";
    machine.root(&format!("test -s {hosts}/reg.lan_5000_/hosts.toml")).ok();
    let image = machine.kubectl("get pod data-0 -o jsonpath={.status.containerStatuses[0].imageID}").ok();
    assert!(image.starts_with("reg.lan:5000/intersystems/iris-community@"), "{image}");
    assert_eq!(machine.root(&format!("stat -c %a:%U {hosts}/tls.lan_5443_/hosts.toml")).ok(), "600:root\n");
    let pull = |name: &str| machine.root(&format!("microk8s ctr images pull --hosts-dir {hosts} {name}"));
    let image = "tls.lan:5443/intersystems/iris-community:latest-em";
    pull(image).exits(0);
    // Without the password it is refused: the registry does ask.
    machine.root(&format!("sed -i /authorization/d {hosts}/tls.lan_5443_/hosts.toml")).ok();
    let refused = pull(image);
    assert!(refused.code != 0 && format!("{refused}").contains("401"), "{refused}");
}

fn the_door_is_shut(machine: &Machine, bootstrap: &str) {
    let url = format!("http://{}:52773/api/atelier/", machine.nth_address(0));
    let password = machine.root("cat /var/lib/iris-mk8s/password").ok().trim().to_owned();
    let status =
        |account: &str| machine.client_curl(&["-u", account, "-o", "/dev/null", "-w", "%{http_code}", &url]).ok();
    assert_eq!(status("SuperUser:SYS"), "401", "the well-known password opens");
    assert_eq!(status(&format!("SuperUser:{password}")), "200", "the announced password does not open");

    // A run that looks at the door keeps no licence unit.
    let free = || {
        let page = machine.client_curl(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))]).ok();
        page.lines().find_map(|l| l.strip_prefix("iris_license_available ").map(str::to_owned)).expect("the metric")
    };
    let before = free();
    for _ in 0..3 {
        machine.product(bootstrap).exits(0);
    }
    assert_eq!(free(), before, "logins kept licence units");

    // Somebody opens it: who asks is told, and no run passes it by.
    let doctor = machine.product("doctor").exits(0);
    assert!(!format!("{doctor}").contains("problem  iris-door"), "{doctor}");
    let open = format!("[Actions]\nModifyUser:Name=SuperUser,PasswordHash=\"{SYS}\"\n");
    machine.root(&format!("cat >/root/open.cpf <<'END'\n{open}END")).ok();
    machine.root("microk8s kubectl exec -i data-0 -c iris -- sh -c 'cat >/tmp/open.cpf && iris merge IRIS /tmp/open.cpf' </root/open.cpf").ok();
    assert_eq!(status("SuperUser:SYS"), "200");
    machine.product("doctor").exits(30).says(&["iris-door", "SuperUser takes the password `SYS`"]);
    machine.product(bootstrap).exits(22).says(&[
        "ready.door",
        "which everybody knows",
        "give SuperUser, _SYSTEM and Admin another password",
    ]);
    let back = format!(
        "[Actions]\nModifyUser:Name=SuperUser,PasswordHash=\"{}\"\n",
        machine.root("cat /var/lib/iris-mk8s/password.hash").ok().trim()
    );
    machine.root(&format!("cat >/root/open.cpf <<'END'\n{back}END")).ok();
    machine.root("microk8s kubectl exec -i data-0 -c iris -- sh -c 'cat >/tmp/open.cpf && iris merge IRIS /tmp/open.cpf' </root/open.cpf").ok();
    machine.product("doctor").exits(0);
}

/// What a VPN brings, and what a restart of the host's network takes away.
fn routes_that_go_are_told(machine: &Machine) {
    machine.root("ip link add tun9 type bridge; ip link set tun9 up; ip route add 10.1.128.0/17 dev tun9").ok();
    machine.product("doctor").exits(30).says(&["cluster-routes", "tun9 has a route to 10.1.128.0/17"]);
    machine.root("ip link del tun9").ok();
    let route = machine.root("ip -4 route show | grep -m1 -E '^10\\.1\\.'").ok().trim().to_owned();
    machine.root(&format!("ip route del {route}")).ok();
    machine.product("doctor").exits(30).says(&["pod-routes", "the host has no route to", "ManageForeignRoutes=no"]);
    machine.root(&format!("ip route add {route}")).ok();
    machine
        .product("doctor --from-lan")
        .exits(0)
        .says(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))]);
    let line = machine.product("doctor --from-lan").ok();
    let seen = sandbox_command(&["client", "sh", "-c", line.trim()]).output().expect("scripts/sandbox can be run");
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "200\n", "as another host sees it: {line}");
}
