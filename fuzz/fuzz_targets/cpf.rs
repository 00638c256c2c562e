//! Any bytes are answered: a CPF into which the password gets, or what is wrong with it, each with a line that there is. Never a panic.

#![no_main]

#[path = "../../src/config"]
#[allow(dead_code, unused_imports)]
mod config {
    pub mod cpf;
}

use libfuzzer_sys::fuzz_target;
use config::cpf::{Cpf, decode, essence, normalise};

const HASH: &str = "hash,salt,10000,SHA512";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = decode(bytes) else { return };
    let text = normalise(&text);
    assert_eq!(normalise(&text), text);
    let cpf = Cpf::read(&text);
    let mistakes = cpf.mistakes();
    for mistake in mistakes.iter().chain(&cpf.outside()).chain(&cpf.notes()) {
        assert!(mistake.line.is_none_or(|line| (1..=text.lines().count()).contains(&line)), "{mistake}");
    }
    assert!(cpf.memory(Some(4096)).total() >= cpf.memory(None).total());
    if !mistakes.is_empty() {
        return;
    }
    // What is taken gets the password, and says the same with it.
    let merged = cpf.with_password(HASH, &["SuperUser"]);
    let with = Cpf::read(&merged);
    assert_eq!(with.setting("Startup", "PasswordHash"), Some(HASH), "{merged}");
    assert_eq!((with.databases(), with.namespaces()), (cpf.databases(), cpf.namespaces()));
    assert_eq!(with.memory(None), cpf.memory(None));
    assert!(with.decides("SuperUser"));
    // The essence is a fixed point: it has no comments.
    let plain = essence(&text);
    assert_eq!(essence(&plain), plain);
    assert_eq!(Cpf::read(&plain).databases(), cpf.databases());
});
