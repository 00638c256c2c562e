//! What earlier releases left on a host: their journals, and the objects as they applied them. A release is recorded once, by itself:
//!
//!     IRIS_MK8S_RECORD=tests/sequences/releases/NAME cargo test --test sequences records -- --ignored
//!
//! The same commands are run by the release of today, and then what the earlier one would have left takes the place of what this one wrote.

use std::{collections::BTreeMap, fs, path::Path};

use iris_mk8s::{
    config::place::Place,
    error::ExitCode,
    kube::{self as kinds, state},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    model::{
        cluster::key_of,
        world::{Era, World},
    },
    op::{End, Op, Reach, Start, Wish},
    play::Play,
};

/// What was done, as the recording calls it.
pub struct Done {
    pub name: &'static str,
    pub era: Era,
    pub start: Start,
    pub ops: fn() -> Vec<Op>,
    /// What the first release left of it.
    pub first: &'static str,
}

macro_rules! done {
    ($name:literal, $era:ident, $start:ident, $ops:expr) => {
        Done {
            name: $name,
            era: Era::$era,
            start: Start::$start,
            ops: || $ops,
            first: include_str!(concat!("releases/first/", $name, ".json")),
        }
    };
}

fn up(wish: Wish) -> Op {
    Op::Bootstrap(wish, End::Whole)
}

/// What is recorded.
pub const ALL: &[Done] = &[
    done!("plain", Today, Fresh, vec![up(Wish::PLAIN)]),
    done!("plain-1.20", Old, Fresh, vec![up(Wish::PLAIN)]),
    done!("new-snapd", Today, NewSnapd, vec![up(Wish::PLAIN)]),
    done!(
        "namespace",
        Today,
        Fresh,
        vec![up(Wish {
            replicas: 3,
            namespace: "a",
            mirror: Some("http://mirror.lan:5000"),
            user: "anna",
            ..Wish::PLAIN
        })]
    ),
    done!("until-iris", Today, Fresh, vec![up(Wish { until: Some("iris"), ..Wish::PLAIN })]),
    done!("other-wish", Today, Fresh, vec![up(Wish::PLAIN), up(Wish { replicas: 1, registry: false, ..Wish::PLAIN })]),
    done!("stopped", Today, Fresh, vec![up(Wish::PLAIN), Op::Stop(End::Whole)]),
    done!("data-kept", Today, Fresh, vec![up(Wish::PLAIN), Op::Teardown(Reach::App, End::Whole)]),
    done!("theirs", Today, Theirs, vec![up(Wish::PLAIN)]),
    done!("theirs-1.20", Old, TheirsWithPool, vec![up(Wish { range: crate::op::Range::Theirs, ..Wish::PLAIN })]),
];

#[derive(Serialize, Deserialize)]
struct Recording {
    journal: String,
    before: Option<String>,
    /// Objects that we applied.
    objects: Vec<Value>,
}

fn before() -> std::path::PathBuf {
    Place::default().dir.join("before.json")
}

fn ours(world: &World) -> Vec<Value> {
    let all = world.cluster.iter().flat_map(|c| c.all());
    all.map(|(_, object)| object).filter(|o| kinds::is_ours(o) || is_pool(o)).cloned().collect()
}

fn is_pool(object: &Value) -> bool {
    object["metadata"]["namespace"] == "metallb-system"
        && matches!(state::name(object), "default-addresspool" | "config")
}

const HASH: &str = "PasswordHash=";

/// A CPF with another hash, or with none.
fn with_hash(object: &mut Value, hash: &str) {
    if object["kind"] != "Secret" {
        return;
    }
    let data = &mut object["data"]["merge.cpf"];
    let Ok(bytes) = serde_json::from_value::<k8s_openapi::ByteString>(data.clone()) else { return };
    let text = String::from_utf8_lossy(&bytes.0).into_owned();
    let line = |l: &str| if l.starts_with(HASH) { format!("{HASH}{hash}\n") } else { format!("{l}\n") };
    let text: String = text.lines().map(line).collect();
    *data = json!(k8s_openapi::ByteString(text.into_bytes()));
}

/// Those of an era.
pub fn of(era: Era) -> Vec<&'static str> {
    ALL.iter().filter(|done| done.era == era).map(|done| done.name).collect()
}

/// Lets the release of today do it, and puts there what the first one left.
pub fn replay(name: &str) -> Play {
    let done = ALL.iter().find(|done| done.name == name).unwrap_or_else(|| panic!("there is no recording {name}"));
    let mut play = Play::new(done.era, done.start);
    (done.ops)().iter().for_each(|op| _ = play.step(op));
    let recording: Recording = serde_json::from_str(done.first).expect("a recording");
    let world = &mut play.world;
    let hash = world.files.text(Place::default().password_hash());
    world.files.write_as(Place::default().journal().to_str().expect("UTF-8"), recording.journal, 0o600, "root");
    if let Some(text) = recording.before {
        world.files.write_as(before().to_str().expect("UTF-8"), text, 0o600, "root");
    }
    if let Some(cluster) = &mut world.cluster {
        for mut object in recording.objects {
            with_hash(&mut object, &hash);
            let (_, key) = key_of(&object);
            if let Some(now) = cluster.get(&key) {
                // Numbers that the server makes up belong to the host.
                for path in ["/metadata/uid", "/spec/volumeName", "/spec/clusterIP", "/status"] {
                    if let (Some(now), Some(there)) = (now.pointer(path).cloned(), object.pointer_mut(path)) {
                        *there = now;
                    }
                }
            }
            cluster.put(object);
        }
    }
    play.begin();
    play
}

#[test]
#[ignore = "it writes down what this release leaves"]
fn records() {
    let Ok(to) = std::env::var("IRIS_MK8S_RECORD") else { return };
    fs::create_dir_all(&to).expect("a directory");
    for done in ALL {
        let mut play = Play::new(done.era, done.start);
        (done.ops)().iter().for_each(|op| _ = play.step(op));
        let files = &play.world.files;
        let mut objects = ours(&play.world);
        objects.iter_mut().for_each(|object| with_hash(object, "none"));
        let recording = Recording {
            journal: files.text(Place::default().journal()),
            before: files.has(before()).then(|| files.text(before())),
            objects,
        };
        let text = serde_json::to_string(&recording).expect("JSON");
        fs::write(Path::new(&to).join(format!("{}.json", done.name)), text).expect("written");
        println!("{}: {:?}", done.name, play.story);
    }
}
