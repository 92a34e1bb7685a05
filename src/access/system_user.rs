//! The user of the operating system who runs this program.

const USERS: &str = "/etc/passwd";

/// The name of the user, or `uid N` where the system has none for the number. Environment variables are not asked: anyone can
/// set them.
#[must_use]
pub fn name() -> String {
    let id = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    name_in(&users, id).unwrap_or_else(|| format!("uid {id}"))
}

// `name:password:uid:…`
fn name_in(users: &str, id: u32) -> Option<String> {
    let mut lines = users.lines();
    lines.find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let found = fields.nth(1)?.parse() == Ok(id);
        found.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_of_its_number() {
        let users =
            "# odd\nroot:x:0:0:root:/root:/bin/sh\n:x:7:\nops:x:1000:1000::/home/ops:/bin/sh\n";
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 1000).as_deref(), Some("ops"));
        assert_eq!(name_in(users, 7), None);
        assert!(!name().is_empty());
    }
}
