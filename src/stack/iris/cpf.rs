//! The CPF merge that IRIS gets, and the accounts that it frees of changing their password.

use crate::config::cpf::Cpf;

/// Accounts of IRIS that are told of: all of them get the password.
pub const USERS: [&str; 2] = ["SuperUser", "_SYSTEM"];

/// The text: what the spec wants, with the password's hash.
pub(crate) fn merged(cpf: &str, hash: &str) -> String {
    Cpf::read(cpf).with_password(hash, &USERS)
}
