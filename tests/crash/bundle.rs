//! A host without a network: everything comes from a bundle, wherever the run dies, and nothing is asked of anybody else.

use iris_mk8s::error::ExitCode;

use crate::{
    Counts,
    matrix::{Density, examine},
    model::{initial::Initial, store::Policy, tool::Tool, world::Era},
};

fn offline(era: Era) -> Initial {
    Initial { bundle: true, ..Initial::fresh(era) }
}

#[test]
fn nothing_is_lost_wherever_a_run_without_a_network_dies() {
    for era in [Era::Today, Era::Old] {
        let full = Initial { room: Some(9), ..offline(era) };
        let members = Initial { member: true, new_snapd: true, ..offline(era) };
        for (salt, initial) in [offline(era), full, members].iter().enumerate() {
            let counts: Counts = examine(initial, Policy::Proposed, Density { first: 3, second: 60 }, salt);
            assert!(counts.differences.is_empty(), "{era:?}: {:#?}", counts.differences);
            assert!(counts.moments > 20, "{era:?}: only {} moments", counts.moments);
        }
    }
}

/// A snap from a file follows no channel until it is told to.
#[test]
fn the_snap_of_a_bundle_follows_its_channel_and_a_rerun_needs_no_bundle() {
    for era in [Era::Today, Era::Old] {
        let tool = Tool { bundle: true, ..Tool::new(Policy::Proposed) };
        let up = tool.bootstrap(offline(era).world());
        assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
        assert_eq!(up.world.violations, [""; 0]);
        assert_eq!(up.world.snapd.snaps["microk8s"].channel, era.channel());
        let again = Tool { bundle: false, ..tool }.bootstrap(up.world);
        assert_eq!((again.code, again.acts), (ExitCode::Done, 0), "{:?}", again.error);
        assert_eq!(again.world.violations, [""; 0]);
    }
}
