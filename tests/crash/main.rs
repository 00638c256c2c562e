//! Nothing is lost: a run may die at any moment, on any host, and the same command goes on; what is taken back is exactly what was done.

#[path = "../model/mod.rs"]
mod model;

use iris_mk8s::{error::ExitCode, step::Scope};
use model::{
    compare::{difference, facts},
    initial::Initial,
    store::Policy,
    tool::Tool,
};

#[test]
fn a_fresh_host_and_back() {
    let initial = Initial::fresh().world();
    let tool = Tool::new(Policy::Proposed).collecting();
    let up = tool.bootstrap(initial.clone());
    println!("{} moments, {} acts, {:?} {:?}", up.moments.len(), up.acts, up.world.now, up.error.map(|e| e.to_string()));
    for m in &up.moments {
        println!("{:?} {}", m.world.now, m.at);
    }
    let mut down = tool.teardown(up.world, Scope::Host);
    println!("{} moments, {} acts, {:?} {:?}", down.moments.len(), down.acts, down.world.now, down.error.map(|e| e.to_string()));
    down.world.settle();
    println!("{:#?}", difference(&facts(&initial), &facts(&down.world)));
    assert_eq!(down.code, ExitCode::Done);
}
