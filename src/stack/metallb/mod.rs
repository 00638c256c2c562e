//! MetalLB: the addon, its pool of addresses, and whether the LAN takes them.

pub(crate) mod addon;
pub(crate) mod back;
pub(crate) mod findings;
pub(crate) mod lan_guards;
pub(crate) mod pool;
pub(crate) mod range_check;
pub(crate) mod state;
