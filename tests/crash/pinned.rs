//! The modelled host is pinned to a real one: the same commands in both, and what each answers afterwards. `tests/model/record` wrote
//! down a machine with a real snapd and Kubernetes. What the model says must be said there too, and equally; it need not say everything.

use std::collections::BTreeSet;

use iris_mk8s::{
    host::Host,
    kube::{self as kinds, Kind, state},
};
use serde_json::{Value, json};

use crate::model::{
    commands,
    files::Node,
    host::Model,
    initial::ask,
    network, snapd,
    world::{Era, World},
};

const RECORDED: [(Era, &str); 2] = [
    (Era::Today, include_str!("../model/recorded/current.jsonl")),
    (Era::Old, include_str!("../model/recorded/1.20.jsonl")),
];

/// What differs from machine to machine, or from one time to the next.
const VOLATILE: [&str; 9] =
    ["install-date", "id", "revision", "version", "hold", "refresh.hold", "summary", "progress", "tasks"];

/// Where the model is known to be simpler: what is asked, in which phase (empty: in any), and why that does no harm.
const SIMPLER: &[(&str, &str, &str)] = &[
    (
        "kernel/panic",
        "bare",
        "machines share the kernel of their computer, where Kubernetes' values may be set already",
    ),
    ("kernel/panic_on_oops", "bare", "the same"),
    ("vm/overcommit_memory", "bare", "the same"),
    ("pods", "started", "for some seconds after a start the API tells of pods what it knew before the stop"),
    (
        "dpkg-query --show --showformat=${db:Status-Abbrev} open-iscsi",
        "",
        "dpkg has heard of it, as some Ubuntu has: `un `; the model's has not, and answers 1",
    ),
];

const KINDS: [&Kind; 11] = [
    &kinds::NODE,
    &kinds::NAMESPACE,
    &kinds::DAEMON_SET,
    &kinds::DEPLOYMENT,
    &kinds::STATEFUL_SET,
    &kinds::POD,
    &kinds::SERVICE,
    &kinds::PERSISTENT_VOLUME_CLAIM,
    &kinds::STORAGE_CLASS,
    &kinds::IP_ADDRESS_POOL,
    &kinds::L2_ADVERTISEMENT,
];

fn words(line: &Value) -> Vec<&str> {
    line["what"].as_array().expect("a command").iter().filter_map(Value::as_str).collect()
}

/// A person's command; its exit code.
fn does(world: &mut World, argv: &[&str]) -> Option<i32> {
    let snap = |world: &mut World, body: Value| ask(world, "POST", "/v2/snaps/microk8s", body);
    let mut code = Some(0);
    match argv {
        ["snap", "install", _, _, channel] => {
            let channel = channel.trim_start_matches("--channel=");
            snap(world, json!({"action": "install", "channel": channel, "classic": true}));
        }
        ["snap", "disable", _] => snap(world, json!({"action": "disable"})),
        ["snap", "enable", _] => snap(world, json!({"action": "enable"})),
        ["snap", "remove", "--purge", _] => snap(world, json!({"action": "remove", "purge": true})),
        ["snap", "alias", program, alias] => {
            let app = program.trim_start_matches("microk8s.");
            ask(
                world,
                "POST",
                "/v2/aliases",
                json!({"action": "alias", "snap": "microk8s", "app": app, "alias": alias}),
            );
        }
        // It waits until all is there, and so do we.
        ["microk8s", "status", "--wait-ready"] => {}
        _ => {
            let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
            let group = world.start(&argv, None);
            while world.processes[&group].code.is_none() && world.step(std::time::Duration::MAX) {}
            code = world.processes.remove(&group).and_then(|p| p.code);
        }
    }
    world.settle();
    let refused = world.snapd.ended.last_key_value().is_some_and(|(_, ended)| ended.is_err());
    if argv[0] == "snap" && refused { Some(1) } else { code }
}

/// What the model answers, in the words of the recording; none: it says nothing of that.
fn answer(model: &Model, line: &Value) -> Option<Value> {
    let what = &line["what"];
    let mut world = model.world();
    Some(match line["ask"].as_str().expect("an ask") {
        "command" => {
            let argv = words(line);
            if argv[0] == "microk8s" && !world.files.has("/snap/bin/microk8s") {
                return Some(json!({"code": null}));
            }
            let ended = commands::read(&mut world, &argv);
            // Numbers of users and groups are of the machine, and of a unit the exit code says all.
            let stdout = if matches!(argv[0], "getent" | "systemctl") { Value::Null } else { json!(ended.stdout) };
            json!({"code": ended.code, "stdout": stdout})
        }
        "snapd" => match snapd::get(&world, what.as_str().expect("a path")) {
            Ok(Some(result)) => json!({"status": 200, "result": result}),
            Ok(None) => json!({"status": 404}),
            Err(e) => {
                let cause = e.cause.unwrap_or_default();
                let status: u64 = cause
                    .rsplit_once("HTTP ")
                    .and_then(|(_, s)| s.trim_end_matches(')').parse().ok())
                    .expect("a status");
                json!({"status": status})
            }
        },
        "path" => json!({"kind": match world.files.get(what.as_str().expect("a path")) {
            Some(Node::Link(_)) => json!("link"),
            Some(Node::Dir) => json!("directory"),
            Some(Node::File(..)) => json!("file"),
            None => Value::Null,
        }}),
        "setting" => {
            let path = format!("/proc/sys/{}", what.as_str().expect("a name"));
            json!({"value": world.files.text(path).trim()})
        }
        "tables" => {
            let rules = &world.rules[usize::from(what == "ip6tables-save")];
            let mut table = "";
            let mut tables = BTreeSet::new();
            for rule in rules {
                table = rule.strip_prefix('*').unwrap_or(table);
                if rule.starts_with(":KUBE-") {
                    tables.insert(table);
                }
            }
            json!({"tables": tables})
        }
        "links" => json!({"there": world.links.iter().any(|link| network::is_pod_link(link))}),
        "objects" => {
            let kind = KINDS.into_iter().find(|k| k.plural == what).expect("a kind");
            drop(world);
            let mut items: Vec<Value> = match model.list(kind, None, "") {
                Ok(items) if items.is_empty() && !model.world().api().is_some_and(|c| c.knows(kind)) => {
                    return Some(json!({"items": null}));
                }
                Ok(items) => items.iter().map(brief).collect(),
                Err(_) => return Some(json!({"items": null})),
            };
            items.sort_by_key(Value::to_string);
            json!({"items": items})
        }
        other => panic!("the recording asks {other}"),
    })
}

fn brief(object: &Value) -> Value {
    let meta = &object["metadata"];
    let owner = &meta["ownerReferences"][0];
    let name = match owner["name"].as_str() {
        Some(name) if owner["kind"] != "Node" => name,
        _ => state::name(object),
    };
    let name = if object["kind"] == "Node" { "node" } else { name };
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready")).map(|c| c["status"].clone());
    json!({"namespace": meta["namespace"].as_str().unwrap_or_default(), "name": name, "ready": ready})
}

/// What the model says and the recording does not, each with its place.
fn unsaid(place: &str, model: &Value, recorded: &Value, wrong: &mut Vec<String>) {
    match (model, recorded) {
        (Value::Null, _) if !place.ends_with("kind") && !place.ends_with("code") && !place.ends_with("items") => {}
        (Value::Object(fields), Value::Object(there)) => {
            for (name, value) in fields.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str())) {
                unsaid(&format!("{place} {name}"), value, there.get(name).unwrap_or(&Value::Null), wrong);
            }
        }
        (Value::Array(items), Value::Array(there)) => {
            let same = |a: &Value, b: &Value| {
                let mut wrong = Vec::new();
                unsaid("", a, b, &mut wrong);
                wrong.is_empty()
            };
            for item in items.iter().filter(|item| !there.iter().any(|t| same(item, t))) {
                wrong.push(format!("{place}: only the model has {item}"));
            }
            for item in there.iter().filter(|item| !items.iter().any(|i| same(i, item))) {
                wrong.push(format!("{place}: the model lacks {item}"));
            }
        }
        _ if model == recorded => {}
        _ => wrong.push(format!("{place}: {model} in the model, {recorded} recorded")),
    }
}

#[test]
fn the_model_says_what_a_machine_says() {
    let mut wrong = Vec::new();
    let (mut asked, mut used) = (0, BTreeSet::new());
    for (era, recording) in RECORDED {
        let model = Model::new(World::new(era), "recorded", false);
        // The machine's store is asked for nothing by itself.
        let hold = recording.lines().find(|l| l.contains("\"result\": {\"refresh.hold\""));
        model.world().snapd.hold = hold.map(|_| "2027-01-16T00:00:00Z".to_owned());
        let mut phase = String::new();
        for line in recording.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let what = line["what"].as_str().map_or_else(|| words(&line).join(" "), str::to_owned);
            let said = match line["ask"].as_str() {
                Some("phase") => {
                    phase = what;
                    continue;
                }
                Some("run") => {
                    phase = format!("after {what}");
                    Some(json!({"code": does(&mut model.world(), &words(&line))}))
                }
                _ => answer(&model, &line),
            };
            let Some(said) = said else { continue };
            asked += 1;
            let mut now = Vec::new();
            unsaid(&format!("{era:?}, {phase}: {what}:"), &said, &line, &mut now);
            match SIMPLER.iter().position(|(w, p, _)| *w == what && phase.contains(p)) {
                Some(known) if !now.is_empty() => _ = used.insert(known),
                _ => wrong.extend(now),
            }
        }
    }
    println!("{asked} answers compared, {} differences known", used.len());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    let unused: Vec<_> = SIMPLER.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, s)| s).collect();
    assert!(unused.is_empty(), "no longer simpler there: {unused:?}");
}
