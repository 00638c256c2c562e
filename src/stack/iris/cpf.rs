//! The CPF merge that IRIS gets, and the accounts that it frees of changing their password.

use crate::{config::cpf::Cpf, stack::iris::names::USERS};

/// The text: what the spec wants, with the password's hash.
pub(crate) fn merged(cpf: &str, hash: &str) -> String {
    Cpf::read(cpf).with_password(hash, &USERS)
}
