//! The CPF merge that IRIS gets: what the spec wants, the password's hash, and accounts that can log in with it.

/// Accounts of IRIS that are told of: all of them get the password.
pub const USERS: [&str; 2] = ["SuperUser", "_SYSTEM"];

/// The text. Images are built so that every account has to change its password at the first login, which refuses everything but the
/// portal's form: the accounts that we tell of are freed of it, unless the CPF itself says what shall be. Our actions come last, so
/// that messages of others count the lines as the profile does.
pub(super) fn merged(cpf: &str, hash: &str) -> String {
    let line = format!("PasswordHash={hash}\n");
    let mut text = match cpf.find("[Startup]\n") {
        Some(at) => {
            let after = at + "[Startup]\n".len();
            format!("{}{line}{}", &cpf[..after], &cpf[after..])
        }
        None => format!("[Startup]\n{line}\n{cpf}"),
    };
    let free: Vec<&str> = USERS.into_iter().filter(|user| !decides(cpf, user)).collect();
    if !free.is_empty() {
        text.push_str("[Actions]\n");
    }
    for user in free {
        text.push_str(&format!("ModifyUser:Name={user},ChangePassword=0,PasswordNeverExpires=1\n"));
    }
    text
}

/// Whether the CPF says itself if this user has to change the password.
fn decides(cpf: &str, user: &str) -> bool {
    let about = |line: &&str| line.to_ascii_lowercase().starts_with("modifyuser:");
    cpf.lines().map(str::trim).filter(about).any(|line| {
        let mut properties = line["ModifyUser:".len()..].split(',').filter_map(|p| p.split_once('='));
        let named = properties.clone().any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("Name") && value.trim().trim_matches('"').eq_ignore_ascii_case(user)
        });
        named && properties.any(|(name, _)| name.trim().eq_ignore_ascii_case("ChangePassword"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREED: &str = "[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,PasswordNeverExpires=1\n\
                         ModifyUser:Name=_SYSTEM,ChangePassword=0,PasswordNeverExpires=1\n";

    #[test]
    fn the_hash_goes_into_the_section_startup() {
        let cpf = "[Startup]\nWebServer=1\n\n[config]\nroutines=32\n";
        assert_eq!(
            merged(cpf, "h,s"),
            format!("[Startup]\nPasswordHash=h,s\nWebServer=1\n\n[config]\nroutines=32\n{FREED}")
        );
        assert_eq!(merged("[config]\n", "h,s"), format!("[Startup]\nPasswordHash=h,s\n\n[config]\n{FREED}"));
    }

    #[test]
    fn who_wants_a_forced_change_keeps_it() {
        let cpf =
            "[Startup]\n[Actions]\nmodifyuser:ChangePassword=1,Name=\"_system\"\nModifyUser:Name=SuperUser,Enabled=1\n";
        let merged = merged(cpf, "h,s");
        assert!(merged.ends_with("[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,PasswordNeverExpires=1\n"));
        assert!(!merged.contains("Name=_SYSTEM"), "{merged}");
    }
}
