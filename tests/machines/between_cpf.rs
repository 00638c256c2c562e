//! What people really have: a CPF with comments, and hosts with something in the way, each as it is on a real machine.

use crate::support::{Era, Machine};

/// The hash of the password that every image comes with, as the article published it.
const SYS: &str = "FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh";

/// A comment names the section that the password's hash goes into.
#[test]
fn a_comment_that_names_a_section_leaves_the_door_shut() {
    let Some(machine) = Machine::up("cpf-door", Era::Current) else { return };
    let case = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cpf/comment-names-a-section.cpf");
    machine.put(case, "/root/merge.cpf");
    machine.root("printf '[iris]\\nreplicas = 1\\ncpf_file = \"merge.cpf\"\\n' >/root/orders.toml").ok();
    machine.root("printf '[config]\\nglobals=0,0,64,0,0,0 ; small\\n' >>/root/merge.cpf").ok();
    machine.product("profile check /root/merge.cpf").exits(0).says(&["is a good CPF", "databases:  ORDERS"]);
    let bootstrap = format!("bootstrap --lb {} --profile /root/orders.toml", machine.range());
    machine.product(&bootstrap).exits(0);

    let url = format!("http://{}:52773/api/atelier/", machine.nth_address(0));
    let password = machine.root("cat /var/lib/iris-mk8s/password").ok().trim().to_owned();
    let status = |account: &str| {
        machine
            .client_curl(&["-u", account, "-o", "/dev/null", "-w", "%{http_code}", &format!("{url}?IRISLogout=end")])
            .ok()
    };
    assert_eq!(status("SuperUser:SYS"), "401", "the well-known password opens");
    assert_eq!(status(&format!("SuperUser:{password}")), "200", "the announced password does not open");

    // A run that looks at the door keeps no licence unit: the next ones have as many as this one.
    let free = || {
        let page = machine.client_curl(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))]).ok();
        page.lines().find_map(|l| l.strip_prefix("iris_license_available ").map(str::to_owned)).expect("the metric")
    };
    let before = free();
    for _ in 0..3 {
        machine.product(&bootstrap).exits(0);
    }
    assert_eq!(free(), before, "logins kept licence units");

    // Somebody opens the door: who asks is told, and no run passes it by.
    machine.product("doctor").exits(0);
    let open = format!(
        "printf '[Actions]\\nModifyUser:Name=SuperUser,PasswordHash=\"{SYS}\"\\n' >/tmp/open.cpf && iris merge IRIS /tmp/open.cpf"
    );
    machine.kubectl(&format!("exec data-0 -c iris -- sh -c '{}'", open.replace('\'', r"'\''"))).ok();
    assert_eq!(status("SuperUser:SYS"), "200");
    machine.product("doctor").exits(30).says(&["iris-door", "SuperUser takes the password `SYS`"]);
    machine.product(&bootstrap).exits(22).says(&[
        "ready.door",
        "which everybody knows",
        "give SuperUser, _SYSTEM and Admin another password",
    ]);
}
