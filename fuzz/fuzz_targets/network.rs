//! What other programs print (`ip`, resolv.conf, lease files) is read or refused, and judged. Never a panic, and what is proposed
//! is not refused.

#![no_main]

#[path = "../../src"]
#[allow(dead_code, unused_imports)]
mod product {
    #[path = "error/finding.rs"]
    pub mod finding;
    #[path = "config/lb_range/mod.rs"]
    pub mod lb_range;
    pub mod network;
}
mod config {
    pub use crate::product::lb_range;
}
mod error {
    pub use crate::product::finding;
}

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use product::network::{Network, Reserved, Severity, check, propose, window};

// Four texts with NUL between them: addresses, routes, name servers, DHCP.
fuzz_target!(|text: &str| {
    let mut texts = text.split('\0');
    let mut next = || texts.next().unwrap_or_default();
    let Ok(mut net) = Network::from_ip_json(next(), next()) else { return };
    net.add_resolv_conf(next());
    net.add_dhcp_file("leases", next());
    let reserved = Reserved::default();
    if let Some(window) = window(&net) {
        check(&window, &net, &reserved);
    }
    if let Some((range, _)) = propose(&net, &reserved, &BTreeSet::new(), 20) {
        let refused: Vec<_> = check(&range, &net, &reserved).into_iter().filter(|f| f.severity == Severity::Refused).collect();
        // A network of the cluster's own leaves no good range at all.
        assert!(refused.iter().all(|f| f.id == "lb.lan-in-cluster"), "{refused:?}");
    }
});
