//! Whether somebody listens: a TCP connection, bounded in time together with the look-up of the name.

use std::{
    net::{TcpStream, ToSocketAddrs},
    sync::mpsc,
    time::Duration,
};

use crate::error::{Error, Result};

/// Who takes longer to answer than this is no good place to fetch gigabytes from.
const WITHIN: Duration = Duration::from_millis(2500);

/// Connects, and hangs up.
pub fn reach(name: &str, port: u16) -> Result<()> {
    let (sender, answer) = mpsc::channel();
    let target = name.to_owned();
    // The resolver knows no deadline: its thread may outlive the question, and ends with the process.
    std::thread::spawn(move || sender.send(connect(&target, port)));
    let answer = answer.recv_timeout(WITHIN).unwrap_or_else(|_| Err("nobody answers".to_owned()));
    answer.map_err(|why| Error::transient(format!("{name}:{port} cannot be reached")).because(why))
}

fn connect(name: &str, port: u16) -> Result<(), String> {
    let addresses = (name, port).to_socket_addrs().map_err(|e| format!("the name {name} cannot be looked up ({e})"))?;
    let mut why = format!("the name {name} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(_) => return Ok(()),
            Err(e) => why = format!("{}: {e}", address.ip()),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_listener_from_a_closed_port_and_an_unknown_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(reach("127.0.0.1", port).is_ok());
        drop(listener);
        let cause = |name: &str| reach(name, port).unwrap_err().cause.unwrap_or_default();
        assert!(cause("127.0.0.1").contains("refused"), "{}", cause("127.0.0.1"));
        assert!(cause("no-such-host.invalid").contains("cannot be looked up"), "{}", cause("no-such-host.invalid"));
    }
}
