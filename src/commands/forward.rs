//! `forward`: the portals of the instances and Longhorn's page on ports of this host, as long as the command runs. Only this host itself
//! reaches them unless another address is asked for, and Longhorn's page asks nobody who they are.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{need_bootstrap, need_root, print_json};
use crate::{
    cli::{Format, Forward, Global},
    config::spec::Spec,
    error::{Error, ExitCode, Result},
    host::{Host, Real, Watch},
    kube::{self, state},
    report::{prompt, results},
    stack::{
        iris::{names::WEB, state as iris},
        longhorn::state as longhorn,
        microk8s::state as microk8s,
    },
};

/// Where Longhorn's page is looked for first.
const UI_PORT: u16 = 8080;

/// A port that is taken is no trouble: the next free one of so many is.
const TRIES: u16 = 100;

/// Something that listens in the cluster.
struct Target {
    what: String,
    namespace: String,
    /// As kubectl names it: `pod/data-0`, `svc/longhorn-frontend`.
    resource: String,
    port: u16,
    path: &'static str,
    /// The first port to try here.
    wish: u16,
}

/// A way to it: ends with this value.
struct PortForward {
    child: Child,
}

impl Drop for PortForward {
    fn drop(&mut self) {
        // snap's wrapper starts kubectl as a child of its own: both are in one group.
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// A row of the table.
#[derive(serde::Serialize)]
struct Row {
    what: String,
    url: String,
}

pub(super) fn forward(global: &Global, options: &Forward) -> Result<ExitCode> {
    need_root()?;
    let (_, spec, _) = need_bootstrap()?;
    let host = Real::new("forward", |_| {})?;
    if microk8s::is_stopped(&host) {
        return Err(Error::failed("MicroK8s is stopped").hint("`iris-mk8s start`"));
    }
    let targets = targets(&host, &spec)?;
    if targets.is_empty() {
        return Err(Error::failed("there is nothing to forward: no pod of IRIS is ready, and there is no Longhorn")
            .hint("`iris-mk8s status` tells why"));
    }
    let address = options.address;
    if !address.is_loopback() {
        let page = if targets.iter().any(|t| t.namespace == longhorn::NAMESPACE) {
            "; Longhorn's page has no password: anybody who can reach it can delete every volume"
        } else {
            ""
        };
        prompt(&format!("warning: {address} can be reached by others, and what is forwarded is not encrypted{page}\n"));
    }
    let mut ways = Vec::new();
    let mut rows = Vec::new();
    let mut taken = Vec::new();
    for target in &targets {
        let port = free_port(address, target.wish, &taken)?;
        taken.push(port);
        ways.push(open(target, address, port)?);
        let url = format!("http://{}{}", SocketAddr::new(address, port), target.path);
        rows.push(Row { what: target.what.clone(), url });
    }
    match global.output {
        Format::Json => _ = print_json(&rows)?,
        Format::Text => {
            let table: String = rows.iter().map(|row| format!("{:<20} {}\n", row.what, row.url)).collect();
            results(&table)?;
            prompt("as long as this runs; Ctrl-C ends it\n");
        }
    }
    let mut watch = host.watch(&[Watch::Pause(Duration::from_millis(500))]);
    while !host.stopping() {
        for (way, row) in ways.iter_mut().zip(&rows) {
            if let Ok(Some(_)) = way.child.try_wait() {
                return Err(Error::failed(format!("the way to {} has ended", row.what))
                    .because("its pod is gone, or MicroK8s stops")
                    .hint("run the same command again"));
            }
        }
        watch.next(Duration::from_millis(500));
    }
    Ok(ExitCode::Done)
}

/// What there is to forward: each ready pod of IRIS, and Longhorn's page.
fn targets(host: &Real, spec: &Spec) -> Result<Vec<Target>> {
    let iris = &spec.iris;
    let mut pods = iris::instances(host, iris)?;
    pods.retain(|pod| state::is(pod, "Ready") && !state::going(pod));
    pods.sort_by_key(|pod| state::name(pod).to_owned());
    let web = u16::try_from(WEB).unwrap_or_default();
    let of_pod = |pod: &serde_json::Value| Target {
        what: format!("portal of {}", state::name(pod)),
        namespace: iris.namespace.clone(),
        resource: format!("pod/{}", state::name(pod)),
        port: web,
        path: "/csp/sys/UtilHome.csp",
        wish: web,
    };
    let mut targets: Vec<Target> = pods.iter().map(of_pod).collect();
    let (service, port) = longhorn::UI;
    if host.get(&kube::SERVICE, Some(longhorn::NAMESPACE), service)?.is_some() {
        targets.push(Target {
            what: "Longhorn".to_owned(),
            namespace: longhorn::NAMESPACE.to_owned(),
            resource: format!("svc/{service}"),
            port,
            path: "/",
            wish: UI_PORT,
        });
    }
    Ok(targets)
}

/// The first free port from this one on.
fn free_port(address: IpAddr, wish: u16, taken: &[u16]) -> Result<u16> {
    let ports = (0..TRIES).filter_map(|n| wish.checked_add(n)).filter(|port| !taken.contains(port));
    let mut last = None;
    for port in ports {
        match TcpListener::bind((address, port)) {
            Ok(_) => return Ok(port),
            Err(e) => last = Some(e),
        }
    }
    let why = last.map(|e| e.to_string()).unwrap_or_default();
    Err(Error::usage(format!("no free port at or above {wish} on {address}"))
        .because(why)
        .hint("--address must be an address of this host"))
}

/// Opens a way, and waits until it is open.
fn open(target: &Target, address: IpAddr, port: u16) -> Result<PortForward> {
    let cannot =
        |why: &dyn std::fmt::Display| Error::failed(format!("{} cannot be forwarded", target.what)).because(why);
    let child = Command::new("/snap/bin/microk8s")
        .args(["kubectl", "port-forward", "--namespace", &target.namespace, "--address", &address.to_string()])
        .args([&target.resource, &format!("{port}:{}", target.port)])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| cannot(&e))?;
    let mut way = PortForward { child };
    let (Some(stdout), Some(stderr)) = (way.child.stdout.take(), way.child.stderr.take()) else {
        return Err(Error::new(ExitCode::Bug, "a child without its pipes"));
    };
    let mut lines = BufReader::new(stdout).lines();
    if lines.by_ref().map_while(std::result::Result::ok).any(|line| line.starts_with("Forwarding from")) {
        // What it says later must not fill its pipes: it would stand still.
        std::thread::spawn(move || lines.for_each(drop));
        std::thread::spawn(move || BufReader::new(stderr).lines().for_each(drop));
        return Ok(way);
    }
    let said: Vec<String> = BufReader::new(stderr).lines().map_while(std::result::Result::ok).collect();
    Err(cannot(&said.join("\n")))
}
