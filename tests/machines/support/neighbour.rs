//! Other computers on the LAN of the machines.

use super::machine::run;

/// Another host of the LAN, as long as the test lasts.
pub(crate) struct Neighbour(String);

impl Neighbour {
    /// A silent one answers ARP and nothing else.
    pub(crate) fn add(name: &str, address: &str, silent: bool) -> Self {
        run(&["host", "del", name]);
        let silent: &[&str] = if silent { &["--arp-only"] } else { &[] };
        run(&[&["host", "add", name, address][..], silent].concat()).ok();
        Self(name.to_owned())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        run(&["host", "del", &self.0]);
    }
}
