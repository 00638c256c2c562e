//! The article's second half, all of it by our commands: an image of one's own, pushed into the built-in registry, answers from both pods; pushed anew,
//! it is rolled out, and the data stays.

use std::collections::BTreeSet;

use crate::support::{Era, Machine, in_both_eras, kept, run_sandbox};

in_both_eras! { an_image_of_ones_own }

const TAG: &str = "localhost:32000/simple:latest";

/// The application as `docker save` writes it where it was built, in the machine.
fn saved(machine: &Machine, built: &str) -> String {
    let file = kept(machine.name()).join("simple.tar");
    let save = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/images/save");
    let built = format!("IRIS_STANDIN_IMAGE_BUILT={built}");
    // With the five units of the article's days.
    let env = [
        "IRIS_STANDIN_VERSION=2026.1.0.234.1com",
        "IRIS_STANDIN_LICENSE_EXPIRES=2099-12-31",
        "IRIS_STANDIN_LICENSE_UNITS=5",
        &built,
    ];
    let mut args = vec!["client", "python3", "-B", save, "--registry", "http://192.168.11.2:5000"];
    args.extend(env.iter().flat_map(|entry| ["--env", entry]));
    let shown = file.display().to_string();
    args.extend(["--as", "simple:latest", "dpmeister/simple:latest", &shown]);
    run_sandbox(&args).ok();
    machine.put(&shown, "/home/ubuntu/simple.tar");
    "/home/ubuntu/simple.tar".to_owned()
}

/// Asks once, and ends the session over the same connection: another one may lead to the other pod. The logout brings no password, or a new session would
/// begin with it.
const ASK: &str = r#"
import base64, http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 52773, timeout=20)
basic = base64.b64encode(sys.argv[2].encode()).decode()
connection.request("GET", "/csp/myapp/get", headers={"Authorization": "Basic " + basic})
answer = connection.getresponse()
print(answer.read().decode())
cookie = answer.headers["Set-Cookie"].split(";")[0]
connection.request("GET", "/csp/myapp/get?CacheLogout=end", headers={"Cookie": cookie})
connection.getresponse().read()
sys.exit(answer.status != 200)
"#;

/// Asks the service on the client PC, until both pods have answered: the bodies, each of them once per pod. Every session is ended.
fn answers(machine: &Machine) -> Vec<serde_json::Value> {
    let password = machine.root("cat /var/lib/iris-mk8s/password").ok();
    let account = format!("appuser:{}", password.trim());
    let (mut pods, mut bodies) = (BTreeSet::new(), Vec::new());
    for _ in 0..60 {
        let body = run_sandbox(&["client", "python3", "-c", ASK, &machine.nth_address(0), &account]).ok();
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["UserName"], &body["Status"]), (&"appuser".into(), &"OK".into()), "{body}");
        if pods.insert(body["HostName"].as_str().expect("a pod").to_owned()) {
            bodies.push(body);
        }
        if pods.len() == 2 {
            break;
        }
    }
    assert_eq!(pods.into_iter().collect::<Vec<_>>(), ["data-0", "data-1"], "both pods answer in turn");
    bodies
}

fn in_iris(machine: &Machine, pod: &str, line: &str) -> String {
    machine
        .root(&format!(
            "printf '%s\\nhalt\\n' '{line}' | microk8s kubectl exec -i {pod} -c iris -- iris session IRIS -U MYAPP"
        ))
        .ok()
}

fn image_of_the_set(machine: &Machine) -> String {
    machine.kubectl("get statefulset data -o jsonpath={.spec.template.spec.containers[0].image}").ok()
}

fn an_image_of_ones_own(era: Era) {
    let Some(machine) = Machine::up("image", era) else { return };
    let before = machine.snapshot("before");
    machine.product("image list").exits(10).says(&["MicroK8s is not installed"]);
    machine.product(&format!("bootstrap --lb {}", machine.range())).ok();
    machine.product("image list").exits(0).says(&["holds no image"]);

    let channel = era.of("", " --channel 1.20/stable");
    let simple = format!("bootstrap --profile simple --image {TAG}{channel} --lb {}", machine.range());
    if era == Era::Article {
        // Its volumes have accounts with the published password, and keep it.
        machine.product("teardown --data --yes").exits(0);
    }
    let uid = || machine.kubectl("get pods data-0 data-1 --ignore-not-found -o jsonpath={.items[*].metadata.uid}").ok();
    let running = uid();
    machine
        .product(&simple)
        .exits(22)
        .says(&["holds no image simple:latest", "sudo iris-mk8s image push FILE --as simple:latest"]);
    assert_eq!(uid(), running, "what runs is not touched");

    let tar = saved(&machine, "05/17/2021 10:06:27");
    machine.product("image push /home/ubuntu/nothing.tar").exits(2).says(&["there is no file"]);
    machine.product("image push no-such-image").exits(2).says(&["neither a file nor a local image", "docker"]);
    let pushed = machine.product(&format!("image push {tar}")).exits(0).stdout;
    let (name, digest) = pushed.trim().split_once('\n').expect("two lines");
    assert_eq!(name, TAG, "{pushed}");
    machine.product("image list").exits(0).says(&["simple", "latest", digest, "MiB"]);
    let again = machine.start(&format!("image push {tar}")).finish();
    assert_eq!(again.exits(0)["kept"], 2, "what is there is not sent again");

    // A local Docker, as far as it is asked.
    let docker = "#!/bin/sh\n[ \"$1 $2\" = \"image inspect\" ] && exit 0\n[ \"$1 $2\" = \"save simple\" ] && exec cat /home/ubuntu/simple.tar\nexit 1\n";
    machine.root(&format!("printf '%s' '{docker}' >/usr/bin/docker && chmod 755 /usr/bin/docker")).ok();
    machine.product("image push simple --as team/other:1").exits(0).says(&["localhost:32000/team/other:1", digest]);
    assert_eq!(machine.root("ls -A /var/tmp | grep iris-mk8s").stdout, "", "the saved image is left behind");
    machine.product("image remove team/other:1 --yes").exits(0);
    machine.root("rm /usr/bin/docker").ok();

    // The article deletes what ran before, with its data.
    machine.product("teardown --data --yes").exits(0);
    machine.product(&simple).exits(0);
    assert_eq!(image_of_the_set(&machine), format!("{TAG}@{digest}"));
    assert!(answers(&machine).iter().all(|body| body["ImageBuilt"] == "05/17/2021 10:06:27"));
    in_iris(&machine, "data-0", "set ^mark=\"precious\"");
    machine.product("status").exits(0);

    // Pushed anew: noticed at the next bootstrap, and not before.
    let tar = saved(&machine, "05/18/2021 09:00:00");
    let pushed = machine.product(&format!("image push {tar}")).exits(0).stdout;
    let second = pushed.trim().split_once('\n').expect("two lines").1.to_owned();
    assert_ne!(second, digest);
    assert_eq!(image_of_the_set(&machine), format!("{TAG}@{digest}"));
    machine.product("status").exits(30);
    machine.product(&simple).exits(0);
    assert_eq!(image_of_the_set(&machine), format!("{TAG}@{second}"));
    assert!(answers(&machine).iter().all(|body| body["ImageBuilt"] == "05/18/2021 09:00:00"));
    let mark = in_iris(&machine, "data-0", "write \"[\",^mark,\"]\",!");
    assert!(mark.contains("[precious]"), "the data is gone: {mark}");
    let outcome = machine.start(&simple).finish();
    let outcome = outcome.exits(0);
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &0.into()), "{outcome}");

    // Neither our own look nor these questions left a session behind.
    let consumed = machine.client_curl(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))]).ok();
    assert!(consumed.contains("iris_license_consumed 1\n"), "a session is left: {consumed}");

    machine.product("image remove simple:latest").exits(2).says(&["--yes", &second, "pod default/data-0"]);
    machine.product("image remove simple:latest --yes").exits(0).says(&["garbage-collect"]);
    machine.product("image list").exits(0).says(&["holds no image"]);
    machine.product("image remove simple:latest --yes").exits(2).says(&["holds no image simple:latest"]);

    machine.root(&format!("rm {tar}")).ok();
    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}
