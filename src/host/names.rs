//! One question to one name server, as a resolver of a pod would ask it.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE, rdata::RData};

use crate::error::{Error, Result};

/// A server that needs longer keeps everybody waiting. It is asked twice, since a packet may get lost.
const WITHIN: Duration = Duration::from_secs(1);
const TRIES: u16 = 2;

/// The number of IPv4 addresses that the server has for a name; none at all is an answer, too.
pub fn ask(server: Ipv4Addr, port: u16, name: &str) -> Result<usize> {
    let mut why = String::new();
    for id in 1..=TRIES {
        match once(server, port, name, id) {
            Ok(found) => return Ok(found),
            Err(e) => why = e.to_string(),
        }
    }
    Err(Error::transient(format!("{server} does not answer as a name server")).because(why))
}

fn once(server: Ipv4Addr, port: u16, name: &str, id: u16) -> io::Result<usize> {
    let name = Name::new(name).map_err(io::Error::other)?;
    let mut question = Packet::new_query(id);
    question.set_flags(PacketFlag::RECURSION_DESIRED);
    question.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(WITHIN))?;
    socket.connect((server, port))?;
    socket.send(&question.build_bytes_vec().map_err(io::Error::other)?)?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer)?;
    let answer = Packet::parse(&buffer[..length]).map_err(io::Error::other)?;
    if answer.id() != id {
        return Err(io::Error::other("an answer to another question"));
    }
    Ok(answer.answers.iter().filter(|record| matches!(record.rdata, RData::A(_))).count())
}

#[cfg(test)]
mod tests {
    use simple_dns::{ResourceRecord, rdata::A};

    use super::*;

    /// A server that has addresses for every name but those below `none.`, and is silent where the name begins with `silent`.
    fn server() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = Packet::parse(&buffer[..length]).expect("a question");
                assert!(question.has_flags(PacketFlag::RECURSION_DESIRED));
                let asked = question.questions[0].qname.clone();
                let name = asked.to_string();
                let mut answer = Packet::new_reply(question.id());
                if !name.ends_with("none") {
                    answer.answers.push(ResourceRecord::new(asked, CLASS::IN, 1, RData::A(A { address: 1 })));
                }
                if !name.starts_with("silent") {
                    let _ = socket.send_to(&answer.build_bytes_vec().expect("an answer"), from);
                }
            }
        });
        port
    }

    #[test]
    fn an_answer_is_told_from_none_and_from_silence() {
        let port = server();
        let asked = |name: &str| ask(Ipv4Addr::LOCALHOST, port, name);
        assert_eq!(asked("a.example").expect("an answer"), 1);
        assert_eq!(asked("a.none").expect("an answer"), 0);
        assert!(asked("silent.example").expect_err("silence").transient);
        let closed = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        assert!(ask(Ipv4Addr::LOCALHOST, closed, "a.example").is_err());
    }
}
