//! What comes to the host between a bootstrap and its reset: somebody's containers, devices, rules, files, mounts and settings, all of them
//! real, beside ours and among them. Nothing of theirs is harmed, what stays is named, and all of ours goes.

use crate::support::{Ended, Era, Machine, in_both_eras};

in_both_eras! { nothing_of_others_is_harmed pods_without_a_microk8s }

/// A process in a control group as a kubelet in a container of Docker's has it (k3d, kind, minikube).
const IN_A_CONTAINER: &str = "
    for root in /sys/fs/cgroup /sys/fs/cgroup/memory /sys/fs/cgroup/unified; do
        [ -e $root/cgroup.procs ] || continue
        mkdir -p $root/docker/abc/kubepods/besteffort/podx && groups=\"$groups $root/docker/abc/kubepods/besteffort/podx\"
    done
    setsid sleep 86413 </dev/null >/dev/null 2>&1 &
    for group in $groups; do echo $! >$group/cgroup.procs && put=yes; done
    [ \"$put\" ] && grep -q /docker/abc/kubepods /proc/$!/cgroup";

/// What Docker makes: a bridge, and a pair whose other end is in a container's namespace.
const DEVICES: &str = "
    ip link add docker0 type bridge && ip address add 172.17.0.1/16 dev docker0 && ip link set docker0 up
    ip netns add container && ip link add veth7654321 type veth peer name eth0 netns container
    ip link set veth7654321 master docker0 up
    ip -n container address add 172.17.0.2/16 dev eth0 && ip -n container link set eth0 up && ping -c 1 -W 5 172.17.0.2";

const RULES: &str = "
    iptables -N MINE && iptables -A MINE -j ACCEPT && iptables -A FORWARD -i cni0 -j ACCEPT
    iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE";

/// In folders that came with MicroK8s; 1.34 has a link into the snap where others have a folder.
const FILES: &[&str] = &[
    "/etc/cni/mine.d/foreign.conf",
    "/opt/cni/mine/bridge",
    "/var/lib/cni/networks/mine/10.9.0.2",
    // Not in the folder of pods: there kubelet itself takes what is none of a pod's for what a pod has left.
    "/var/log/containers/notes.txt",
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/mine~driver/driver",
];

/// A socket that somebody listens at, and something mounted below such a folder.
const RUNNING: &str = "
    mkdir -p /run/containerd /var/log/containers/of-mine
    setsid python3 -c 'import socket,time; s=socket.socket(socket.AF_UNIX); s.bind(\"/run/containerd/mine.sock\"); s.listen(); time.sleep(86414)' \
        </dev/null >/dev/null 2>&1 &
    mount -t tmpfs tmpfs /var/log/containers/of-mine && echo theirs >/var/log/containers/of-mine/data
    for _ in $(seq 100); do [ ! -S /run/containerd/mine.sock ] || exit 0; sleep 0.1; done; exit 1";

const HOLD: &str = "2030-01-02T03:04:05Z";

fn they_arrive(machine: &Machine) {
    machine.root(DEVICES).ok();
    machine.root(RULES).ok();
    for file in FILES {
        machine.root(&format!("mkdir -p $(dirname {file}) && echo theirs >{file}")).ok();
    }
    machine.root(RUNNING).ok();
    machine.root(&format!("snap set system refresh.hold={HOLD}")).ok();
}

/// All of theirs is there and works.
#[track_caller]
fn all_of_theirs_is_there(machine: &Machine) {
    in_the_container_lives(machine);
    machine.root("ip link show veth7654321 && ping -c 1 -W 5 172.17.0.2").ok();
    for rule in [
        "FORWARD -i cni0 -j ACCEPT",
        "MINE -j ACCEPT",
        "POSTROUTING -t nat -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    ] {
        machine.root(&format!("iptables -C {rule}")).ok();
    }
    for file in FILES {
        assert_eq!(machine.root(&format!("cat {file}")).ok(), "theirs\n", "{file}");
    }
    machine.root("ss -lx | grep -q /run/containerd/mine.sock && [ -S /run/containerd/mine.sock ]").ok();
    assert_eq!(machine.root("cat /var/log/containers/of-mine/data").ok(), "theirs\n");
    assert_eq!(
        machine.root("cat /proc/sys/net/ipv4/ip_forward").ok(),
        "1\n",
        "packets of their container are forwarded"
    );
    assert_eq!(machine.root("snap get system refresh.hold").ok().trim(), HOLD);
}

#[track_caller]
fn in_the_container_lives(machine: &Machine) {
    machine.root("pgrep -f '[s]leep 86413'").ok();
}

/// They go again, so that what is left can be compared with the machine of before.
fn they_leave(machine: &Machine, hold: &str) {
    machine
        .root("pkill -f '[s]leep 86413'; pkill -f '[8]6414'; umount /var/log/containers/of-mine; ip netns delete container")
        .ok();
    machine
        .root(
            "ip link delete docker0; rm -r /etc/cni /opt/cni /var/lib/cni /var/log/containers /usr/libexec/kubernetes",
        )
        .ok();
    machine.root("iptables -D FORWARD -i cni0 -j ACCEPT; iptables -F MINE; iptables -X MINE").ok();
    machine.root("iptables -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE").ok();
    machine
        .root(
            "rm -r /run/containerd /run/docker.sock; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0; umount /run/netns",
        )
        .ok();
    machine.root(&format!("snap set system refresh.hold={hold}")).ok();
}

/// Why the run left something, as one text.
fn said(run: &Ended) -> String {
    let left = run.events.iter().filter(|e| e.text("event") == "step-left");
    left.map(|e| format!("{}: {}\n", e.text("step"), e.text("why"))).collect()
}

/// A record that cannot be read is told before anything is done.
fn an_emptied_record_is_told(machine: &Machine) {
    let file = "/var/lib/iris-mk8s/before.json";
    machine.root(&format!("cp {file} /root/before.json")).ok();
    for spoil in [format!(": >{file}"), format!("truncate -s 0 {file}; truncate -s 900 {file}")] {
        machine.root(&spoil).ok();
        for command in ["teardown --reset --dry-run", "teardown --reset --yes"] {
            machine.product(command).exits(40).says(&[file, "cannot be read"]);
        }
    }
    machine.root(&format!("mv /root/before.json {file}; chmod 600 {file}; snap list microk8s")).ok();
}

fn nothing_of_others_is_harmed(era: Era) {
    let Some(machine) = Machine::up("between", era) else { return };
    let before = machine.snapshot("before");
    let hold = machine.root("snap get system refresh.hold").ok();
    machine.root(IN_A_CONTAINER).ok();
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let planned = machine.product(&format!("plan --lb {}", machine.range())).exits(0);
    assert!(!planned.stdout.contains("kill -KILL"), "{planned}");
    machine.product(&bootstrap).exits(0);
    in_the_container_lives(&machine);
    they_arrive(&machine);
    an_emptied_record_is_told(&machine);

    let other = machine.root("pgrep -f '[s]leep 86413'").ok();
    let planned = machine.product("teardown --reset --dry-run").exits(0);
    for words in ["kill -KILL", "ip netns delete cni-", "-restore --noflush --wait", "stays: /opt/cni/mine:"] {
        assert!(planned.stdout.contains(words), "the dry run does not say `{words}`: {planned}");
    }
    let killed = planned.stdout.lines().filter(|l| l.contains("kill -KILL"));
    for line in killed {
        assert!(
            !line.split(' ').any(|word| word == other.trim()),
            "it would kill a process of somebody else's: {line}"
        );
    }

    // That packets of their bridge must be forwarded is likely, and not proven: it counts.
    let run = machine.start("teardown --reset --yes").finish();
    run.exits(41);
    all_of_theirs_is_there(&machine);
    let said = said(&run);
    for named in [
        "/opt/cni/mine",
        "/etc/cni/mine.d",
        "notes.txt",
        "/run/containerd/mine.sock",
        "/var/log/containers/of-mine",
        "-i cni0",
        HOLD,
        "docker0",
    ] {
        assert!(said.contains(named), "{named} is not named: {said}");
    }
    // With Docker there for everybody to see it is: the next reset comes to its end.
    machine.root("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/docker.sock\")'").ok();
    let run = machine.start("teardown --reset --yes").finish();
    run.exits(0);
    all_of_theirs_is_there(&machine);
    they_leave(&machine, hold.trim());
    machine.is_restored_to(&before);
}

/// Up to 1.24 pods outlive their MicroK8s: who removed it by hand still has them. The plan says that they are killed; and beside them nobody is.
fn pods_without_a_microk8s(era: Era) {
    if era != Era::Article {
        return;
    }
    let Some(machine) = Machine::up("orphans", era) else { return };
    machine.root(IN_A_CONTAINER).ok();
    machine.install_by_hand(era.track());
    machine
        .root("microk8s status --wait-ready && microk8s kubectl -n kube-system rollout status daemonset calico-node")
        .ok();
    // Where they outlive it, systemd does not count the shims as containerd's; here it has to be told so.
    machine
        .root("for pid in $(pgrep -f '[c]ontainerd-shim'); do for tree in systemd unified; do echo $pid >/sys/fs/cgroup/$tree/cgroup.procs; done; done")
        .ok();
    machine.root("snap remove --purge microk8s").ok();
    let shims = machine.root("pgrep -f '[c]ontainerd-shim'").ok();
    let planned = machine.product(&format!("plan --lb {}", machine.range())).exits(0);
    let kill = planned.stdout.lines().find(|l| l.contains("kill -KILL")).unwrap_or_default().to_owned();
    for pid in shims.lines() {
        assert!(kill.split(' ').any(|word| word == pid), "{pid} is not in the plan: {planned}");
    }
    machine.product(&format!("bootstrap --until snap --lb {}", machine.range())).exits(0);
    assert_eq!(
        machine.root("ls /proc/[0-9]*/cgroup | xargs grep -l /kubepods/ 2>/dev/null | wc -l").ok(),
        "1\n",
        "only theirs is left"
    );
    in_the_container_lives(&machine);
}
