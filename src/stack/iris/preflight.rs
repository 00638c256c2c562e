//! The CPF, as far as a person may know better than we do: data outside of the volumes.

use crate::{
    config::cpf::Cpf,
    error::{Result, finding::Finding},
    stack::facts::Facts,
};

pub(crate) fn directories(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let cpf = Cpf::read(&facts.spec.iris.cpf);
    let mut findings: Vec<Finding> = cpf
        .outside()
        .iter()
        .map(|outside| Finding::refused(outside.to_string(), "write the line as shown, into the profile"))
        .collect();
    findings.extend(
        cpf.notes()
            .iter()
            .map(|note| Finding::warned(note.to_string(), "change it in the profile if it was not meant")),
    );
    if findings.is_empty() {
        findings.push(Finding::fine("all data that the CPF names lies on the volumes"));
    }
    Ok(findings)
}
