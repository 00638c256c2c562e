//! The CPF that IRIS gets: what was written, the password's hash, and accounts that can log in with it.

use super::{Cpf, Item, Line, is};

impl Cpf<'_> {
    /// The text with the hash. Images are built so that every account has to change its password at the first login, which refuses
    /// everything but the portal's form: these accounts are freed of it, unless the CPF itself says what shall be.
    ///
    /// The hash stands directly below a line that is nothing but `[Startup]`, else in a section of its own before everything else, so
    /// that it is never behind a comment or within one. Our actions come last, so that IRIS's messages count the lines as the profile
    /// does.
    pub fn with_password(&self, hash: &str, users: &[&str]) -> String {
        let line = format!("PasswordHash={hash}\n");
        let heading = |line: &&Line<'_>| matches!(&line.item, Item::Section(_)) && line.raw == "[Startup]";
        let mut text = match self.lines.iter().find(heading) {
            Some(Line { number, .. }) => {
                let at: usize = self.text.split_inclusive('\n').take(*number).map(str::len).sum();
                format!("{}{line}{}", &self.text[..at], &self.text[at..])
            }
            None => format!("[Startup]\n{line}\n{}", self.text),
        };
        let free: Vec<&str> = users.iter().copied().filter(|user| !self.decides(user)).collect();
        if !free.is_empty() {
            text.push_str("[Actions]\n");
        }
        for user in free {
            text.push_str(&format!("ModifyUser:Name={user},ChangePassword=0,PasswordNeverExpires=1\n"));
        }
        text
    }

    /// Whether the CPF keeps this user from logging in with the password at once: it must be changed first, or the account is off.
    pub fn locks(&self, user: &str) -> bool {
        let of_user = |line: &&Line<'_>| {
            line.verb().is_some_and(|verb| is(verb, "ModifyUser"))
                && line.property("Name").is_some_and(|name| is(name, user))
        };
        let last =
            |property: &str| self.lines.iter().filter(of_user).filter_map(|line| line.property(property)).next_back();
        last("ChangePassword").is_some_and(|value| value != "0") || last("Enabled").is_some_and(|value| value == "0")
    }

    /// Whether the CPF says itself if this user has to change the password.
    pub fn decides(&self, user: &str) -> bool {
        self.lines.iter().any(|line| {
            line.verb().is_some_and(|verb| is(verb, "ModifyUser"))
                && line.property("Name").is_some_and(|name| is(name, user))
                && line.property("ChangePassword").is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: [&str; 2] = ["SuperUser", "_SYSTEM"];
    const FREED: &str = "[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,PasswordNeverExpires=1\n\
                         ModifyUser:Name=_SYSTEM,ChangePassword=0,PasswordNeverExpires=1\n";

    fn merged(cpf: &str) -> String {
        Cpf::read(cpf).with_password("h,s", &USERS)
    }

    #[test]
    fn the_hash_goes_into_the_section_startup() {
        let cpf = "[Startup]\nWebServer=1\n\n[config]\nroutines=32\n";
        assert_eq!(merged(cpf), format!("[Startup]\nPasswordHash=h,s\nWebServer=1\n\n[config]\nroutines=32\n{FREED}"));
        assert_eq!(merged("[config]\n"), format!("[Startup]\nPasswordHash=h,s\n\n[config]\n{FREED}"));
    }

    #[test]
    fn the_hash_is_never_behind_a_comment_or_within_one() {
        for cpf in [
            "; the password is set, see [Startup]\n[config]\nroutines=32\n",
            "/* as in\n[Startup]\n*/\n[config]\nroutines=32\n",
            "[Startup] ; of the orders service\nSystemMode=TEST\n",
            "[Startup] /* of the orders\nservice */\nSystemMode=TEST\n",
        ] {
            assert_eq!(merged(cpf), format!("[Startup]\nPasswordHash=h,s\n\n{cpf}{FREED}"));
        }
        let cpf = "; [Startup]\n/* as in\n[Startup]\n*/\n[config]\n[Startup]\nSystemMode=TEST\n";
        assert_eq!(merged(cpf), format!("{}{FREED}", cpf.replace("\nSystemMode", "\nPasswordHash=h,s\nSystemMode")));
    }

    #[test]
    fn who_wants_a_forced_change_keeps_it() {
        let cpf = "[Startup]\n[Actions]\nmodifyuser : ChangePassword=1,Name=\"_system\" ; at once\nModifyUser:Name=SuperUser,Enabled=1\n\
                   ; ModifyUser:Name=SuperUser,ChangePassword=1\n";
        let merged = merged(cpf);
        assert!(merged.ends_with("[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,PasswordNeverExpires=1\n"));
        assert!(!merged.contains("Name=_SYSTEM"), "{merged}");
        assert!(Cpf::read(cpf).locks("_SYSTEM") && !Cpf::read(cpf).locks("SuperUser"));
        let off = "[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,Enabled=0\n";
        assert!(Cpf::read(off).locks("superuser") && Cpf::read(off).decides("SuperUser"));
    }
}
