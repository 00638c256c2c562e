//! A range that changes: the pool is moved, and the service's address follows.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { another_range_moves_the_service }

fn another_range_moves_the_service(era: Era) {
    let Some(machine) = Machine::up("ranges", era) else { return };
    let page = |address: &str| {
        machine.client_curl(&["--max-time", "5", &format!("http://{address}:52773/api/monitor/metrics")])
    };
    let (first, moved) = (machine.nth_address(0), machine.nth_address(15));

    machine.product(&format!("bootstrap --lb {}", machine.range())).ok();
    page(&first).exits(0).says(&["iris_cpu_usage"]);

    let run = machine.start(&format!("bootstrap --lb {}", machine.last_five())).finish();
    let outcome = run.exits(0);
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &1.into()), "{outcome}");
    assert_eq!(run.all("step-done", "metallb.pool").len(), 1, "{:?}", run.events);

    page(&moved).exits(0).says(&["iris_cpu_usage"]);
    // 28 says that nobody answered in time, 7 that the address is nobody's.
    let gone = page(&first);
    assert!([7, 28].contains(&gone.code), "the first address still answers: {gone}");
    let pools = machine.kubectl(era.pools()).ok();
    let last = format!("{moved}-{}", machine.nth_address(19));
    assert!(pools.contains(&last) && !pools.contains(&first), "the first range is still in the cluster: {pools}");
    machine.product("status").exits(0).says(&[&format!("http://{moved}:52773/")]);
}
