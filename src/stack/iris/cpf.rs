//! The CPF merge that IRIS gets, and the accounts that it frees of changing their password.

use crate::{
    config::{cpf::Cpf, place::Place, spec::Iris},
    stack::iris::names::USERS,
};

/// The text: what the spec wants, with the password's hash.
pub(crate) fn merged(iris: &Iris, hash: &str) -> String {
    let mut text = Cpf::read(&iris.cpf).with_password(hash, &USERS);
    let accounts = accounts(iris);
    if !accounts.is_empty() {
        text.push_str("[Actions]\n");
    }
    for user in accounts {
        // An account without roles is passed by when the password of the others is set. The hash has commas.
        text.push_str(&format!(
            "ModifyUser:Name={user},PasswordHash=\"{hash}\",ChangePassword=0,PasswordNeverExpires=1\n"
        ));
    }
    text
}

/// Accounts of the application that are to have the announced password: those of endpoints that name its file.
fn accounts(iris: &Iris) -> Vec<&str> {
    let announced = Place::default().password();
    let has_it = iris.endpoints.iter().filter(|endpoint| endpoint.password_file.as_ref() == Some(&announced));
    let mut users: Vec<&str> =
        has_it.filter_map(|endpoint| endpoint.user.as_deref()).filter(|user| !USERS.contains(user)).collect();
    users.sort_unstable();
    users.dedup();
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_gets_the_announced_password_where_its_file_is_named() {
        let mut iris = crate::config::spec::example().iris;
        let before = merged(&iris, "h,s,10000,SHA512");
        assert!(!before.contains("appuser"), "{before}");
        let announced = Place::default().password();
        let endpoint = |user: &str, file| crate::config::spec::Endpoint {
            path: "/x".to_owned(),
            user: Some(user.to_owned()),
            password_file: Some(file),
            password_variable: None,
            status: 200,
            json: None,
            matches: None,
            balanced: false,
            pod: "HostName".to_owned(),
        };
        let elsewhere = endpoint("other", "/etc/secret".into());
        iris.endpoints = vec![
            endpoint("appuser", announced.clone()),
            endpoint("appuser", announced.clone()),
            endpoint("SuperUser", announced),
            elsewhere,
        ];
        let line = "[Actions]\nModifyUser:Name=appuser,PasswordHash=\"h,s,10000,SHA512\",ChangePassword=0,PasswordNeverExpires=1\n";
        assert_eq!(merged(&iris, "h,s,10000,SHA512"), before + line);
    }
}
