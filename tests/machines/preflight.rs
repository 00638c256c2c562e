//! The range against a LAN with other hosts in it: each that holds an address is found and named, and nothing is changed.

use crate::support::{Era, Machine, Neighbour, in_both_eras};

in_both_eras! {
    who_has_an_address_of_the_range_is_named_and_nothing_is_changed
    a_host_that_is_not_fit_is_refused_with_all_reasons_at_once
}

fn who_has_an_address_of_the_range_is_named_and_nothing_is_changed(era: Era) {
    let Some(machine) = Machine::up("preflight", era) else { return };
    let (printer, silent, dhcp) = (machine.nth_address(3), machine.nth_address(7), machine.nth_address(9));
    let range = machine.range();
    let _hosts = [
        Neighbour::add(&format!("{}-printer", machine.name()), &printer, false),
        Neighbour::add(&format!("{}-silent", machine.name()), &silent, true),
        Neighbour::add(&format!("{}-dhcp", machine.name()), &dhcp, true),
    ];
    // As systemd-networkd writes down what a DHCP server gave.
    let lease =
        format!("printf 'ADDRESS={}\\nSERVER_ADDRESS={dhcp}\\n' > /run/systemd/netif/leases/2", machine.address());
    machine.root(&format!("mkdir -p /run/systemd/netif/leases; {lease}")).ok();
    let before = machine.snapshot("before");

    let refused = machine.product(&format!("bootstrap --lb {range}")).exits(2);
    let refused = refused.says(&[
        &format!("lb.in-use: {printer} is in use: "),
        &format!("lb.in-use: {silent} is in use: "),
        &format!("lb.in-use: {dhcp} is in use: "),
        "the DHCP server (by /run/systemd/netif/leases/2)",
        "the rest of the range is fit: --lb ",
        "nothing was changed",
    ]);
    let named = refused.stderr.matches("answers for it").count();
    assert_eq!(named, 3, "each with its MAC: {refused}");

    // The router and the machine itself, all at once.
    let wrong = machine.product("bootstrap --lb 192.168.11.1-120").exits(2);
    wrong.says(&[
        "192.168.11.1 is the gateway (host0)",
        &format!("{} is this machine's own address", machine.address()),
    ]);
    machine.product("bootstrap --lb 10.1.0.10-20").exits(2).says(&["in the network of the pods, 10.1.0.0/16"]);
    machine.product("bootstrap --lb 192.168.12.10-20").exits(2).says(&["in no network of this machine"]);

    // Whoever knows better may go on: a plan is enough to see it.
    let knows = machine.product(&format!("plan --lb {}-{} --skip-check lb.in-use", silent, machine.nth_address(8)));
    knows.exits(0).says(&[&format!("warning: lb.in-use: {silent} is in use"), "ignored: --skip-check"]);
    machine.is_as_at(&before);
}

#[test]
fn auto_finds_the_free_block_among_them() {
    let Some(machine) = Machine::up("auto", Era::Current) else { return };
    let _hosts =
        [Neighbour::add("au-top", "192.168.11.254", false), Neighbour::add("au-silent", "192.168.11.251", true)];
    let before = machine.snapshot("before");
    machine.product("bootstrap --lb auto --lb-size 2 --until preflight").exits(2).says(&[
        "there is no terminal to ask on",
        "--lb auto: 192.168.11.252-192.168.11.253",
        "192.168.11.254 (in use)",
    ]);
    machine.is_as_at(&before);
    machine
        .product("bootstrap --lb auto --lb-size 2 --until preflight --yes")
        .exits(0)
        .says(&["the range 192.168.11.252-192.168.11.253 suits the network"]);
    // With the silent host's address free, a larger block still is not.
    let larger = machine.product("plan --lb auto --lb-size 4");
    larger.exits(0).says(&["--lb auto: 192.168.11.252-192.168.11.253, those of the last bootstrap on this host"]);
}

fn a_host_that_is_not_fit_is_refused_with_all_reasons_at_once(era: Era) {
    let Some(machine) = Machine::up("unfit", era) else { return };
    machine.root("mkdir -p /etc/rancher/k3s; hostname Un-Fit").ok();
    // Somebody else's kubelet.
    machine.root("systemd-run --quiet --unit=other-kubelet python3 -m http.server 10250").ok();
    machine.wait_until("the port is taken", 60, |m| m.root("ss -Hltn | grep -q :10250").code == 0);
    let before = machine.snapshot("before");
    let refused = machine.product(&format!("bootstrap --lb {}", machine.range())).exits(10);
    refused.says(&[
        "ports: ports of the cluster are taken: 10250 (kubelet): python3, process ",
        "kubernetes: k3s is on this host (/etc/rancher/k3s)",
        "host-name: the host's name `Un-Fit` cannot be a node's name",
        "host-name: `hostnamectl set-hostname un-fit`",
        "nothing was changed",
    ]);
    machine.is_as_at(&before);
}
