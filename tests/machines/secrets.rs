//! The password is in its file, and nowhere else: no command line, environment, log, event, journal, object or bundle has it.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { the_password_is_nowhere_but_in_its_file a_password_that_cannot_take_effect_is_told }

const PASSWORD: &str = "Plum-7-Harbour-Zenith";

/// Writes down every command line and environment of the machine, as often as it can, until its file is gone.
const SAMPLER: &str = r"import glob, os, time
seen = set()
with open('/root/samples', 'wb', buffering=0) as out:
    while os.path.exists('/root/sampling'):
        for path in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):
            try:
                text = open(path, 'rb').read()
            except OSError:
                continue
            if text and text not in seen:
                seen.add(text)
                out.write(text.replace(b'\0', b' ') + b'\n')
        time.sleep(0.05)
";

/// Everything that could hold it, in one folder.
const GATHER: &str = r#"set -e
mkdir -p /root/found
cd /root/found
mv /root/samples .
cp -r /var/log/iris-mk8s logs
cp /var/lib/iris-mk8s/journal.jsonl .
journalctl --no-pager >journalctl.log
for kind in events configmaps secrets statefulsets pods controllerrevisions; do
    microk8s kubectl get $kind -A -o json >$kind.json
done
python3 -c '
import base64, json
for secret in json.load(open("secrets.json"))["items"]:
    for value in (secret.get("data") or {}).values():
        print(base64.b64decode(value).decode(errors="replace"))' >secrets.txt
for pod in data-0 data-1; do microk8s kubectl logs $pod >$pod.log; done
iris-mk8s doctor --bundle /root/found/bundle.tar >doctor.txt 2>&1 || true
mkdir bundle
tar -C bundle -xf bundle.tar
iris-mk8s status >status.txt
iris-mk8s journal show >journal.txt
"#;

fn the_password_is_nowhere_but_in_its_file(era: Era) {
    let Some(machine) = Machine::up("secrets", era) else { return };
    // This line itself has it in its arguments.
    machine.root(&format!("install -m 600 /dev/stdin /root/given <<<'{PASSWORD}'")).ok();
    machine.root(&format!("cat >/root/sampler.py <<'END'\n{SAMPLER}END\ntouch /root/sampling")).ok();
    machine.root("systemd-run --quiet --unit=sampler python3 /root/sampler.py").ok();
    machine.wait_until("samples are taken", 60, |m| m.root("test -s /root/samples").code == 0);

    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let dry = machine.product(&format!("plan --lb {} --password-file /root/given", machine.range())).exits(0);
    let run = machine.start(&format!("{bootstrap} --password-file /root/given")).finish();
    run.exits(0);
    machine.root("rm /root/sampling; while systemctl --quiet is-active sampler; do sleep 0.1; done").ok();

    let told = format!("{:?}{}{}{}", run.events, run.stderr, dry.stdout, dry.stderr);
    assert!(!told.contains(PASSWORD), "the run told the password");
    machine.root(GATHER).ok();
    let found = machine.root(&format!("grep -rlF '{PASSWORD}' /root/found; echo searched")).ok();
    assert_eq!(found, "searched\n", "the password is in these files");

    // The search would have found it, and what it searched is what it should be.
    for (text, file) in [
        ("iris-mk8s --output json bootstrap --lb", "samples"),
        ("--password-file /root/given", "samples"),
        ("PasswordHash=", "secrets.txt"),
        ("Enabling logons", "data-0.log"),
        ("iris.password", "journal.jsonl"),
        ("iris-merge-cpf", "secrets.json"),
    ] {
        machine.root(&format!("grep -qF -- '{text}' /root/found/{file}")).ok();
    }
    machine.root("test $(ls /root/found/bundle | wc -l) -gt 0 && test $(wc -l </root/found/samples) -gt 100").ok();
    assert_eq!(machine.root("cat /var/lib/iris-mk8s/password").ok(), format!("{PASSWORD}\n"));
    machine.root("cp /var/lib/iris-mk8s/password /root/found/planted").ok();
    assert_eq!(machine.root(&format!("grep -rlF '{PASSWORD}' /root/found")).ok(), "/root/found/planted\n");

    // And it is the one that works.
    let portal = format!("http://{}:52773/api/atelier/", machine.nth_address(0));
    let status =
        |account: &str| machine.client_curl(&["-u", account, "-o", "/dev/null", "-w", "%{http_code}", &portal]);
    assert_eq!(status(&format!("SuperUser:{PASSWORD}")).ok(), "200");
    assert_eq!(status("SuperUser:SYS").ok(), "401");
}

fn a_password_that_cannot_take_effect_is_told(era: Era) {
    let Some(machine) = Machine::up("password", era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine.product(&bootstrap).ok();
    let before = machine.root("cat /var/lib/iris-mk8s/password").ok();
    machine.root(&format!("echo '{PASSWORD}' >/root/given")).ok();

    // Volumes of ours keep theirs: another one is refused before anything is changed.
    machine
        .product(&format!("{bootstrap} --password-file /root/given"))
        .exits(23)
        .says(&["the volumes that are there keep the password that they have", "teardown --data"]);
    assert_eq!(machine.root("cat /var/lib/iris-mk8s/password").ok(), before);

    // Volumes whose password nobody wrote down: the run goes on, and says so.
    machine.product("teardown").exits(0);
    machine.root("rm /var/lib/iris-mk8s/password /var/lib/iris-mk8s/password.hash").ok();
    let run = machine.start(&format!("{bootstrap} --password-file /root/given")).finish();
    run.exits(0);
    let noted =
        run.events.iter().any(|e| e.text("message").contains("were there before and keep the password that they have"));
    assert!(noted, "nobody was told: {:?}", run.events);
}
