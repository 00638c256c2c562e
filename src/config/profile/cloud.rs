//! The user of a host that nobody is logged in to. What provisions a machine at its first boot runs as root, without sudo: it does not
//! say for whom it does so. cloud-init has made a user by then, and wrote down which one.

use std::{fs, path::Path};

use nix::unistd::User;

/// cloud-init's rules for the users it made who may become root, in the order of its configuration.
const USERS: &str = "/etc/sudoers.d/90-cloud-init-users";

/// The first user whom cloud-init made and who can log in.
pub(super) fn first_user() -> Option<String> {
    let rules = fs::read_to_string(USERS).ok()?;
    let shell = |name: &str| User::from_name(name).ok().flatten().map(|user| user.shell);
    users(&rules).find(|name| shell(name).is_some_and(|shell| lets_in(&shell))).map(str::to_owned)
}

/// The users whom the rules are for.
fn users(rules: &str) -> impl Iterator<Item = &str> {
    rules.lines().filter_map(|line| line.strip_prefix("# User rules for ")).map(str::trim)
}

fn lets_in(shell: &Path) -> bool {
    // An empty field stands for /bin/sh.
    !shell.file_name().is_some_and(|name| name == "nologin" || name == "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_what_cloud_init_writes() {
        let rules = "# Created by cloud-init v. 22.4.2 on Mon, 30 Nov 2026 10:00:00 +0000\n\n# User rules for ubuntu\n\
                     ubuntu ALL=(ALL) NOPASSWD:ALL\n\n# User rules for second\nsecond ALL=(ALL) ALL\n";
        assert_eq!(users(rules).collect::<Vec<_>>(), ["ubuntu", "second"]);
        assert_eq!(users("ubuntu ALL=(ALL) ALL\n").count(), 0);
    }

    #[test]
    fn who_has_no_shell_cannot_log_in() {
        for (shell, can) in [
            ("/bin/bash", true),
            ("/usr/bin/zsh", true),
            ("", true),
            ("/usr/sbin/nologin", false),
            ("/bin/false", false),
        ] {
            assert_eq!(lets_in(Path::new(shell)), can, "{shell}");
        }
    }
}
