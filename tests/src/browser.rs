//! Whether a test can sign in with a real browser here.

use std::process::{Command, Stdio};

/// Why not, in words for a test that skips; `None`: it can.
pub fn no_browser() -> Option<String> {
    for program in ["chromium", "chromedriver"] {
        if !runs(Command::new(program).arg("--version")) {
            return Some(format!(
                "{program} does not run here (Debian: apt-get install chromium chromium-driver)"
            ));
        }
    }
    // As the controller does it: apart from others, or where there are none.
    let spaces =
        ["--user", "--map-current-user", "--keep-caps", "--net", "--pid", "--mount-proc", "--fork", "true"];
    if runs(Command::new("unshare").args(spaces)) || only_root() {
        return None;
    }
    Some("`unshare` is not allowed here, and others may log in: a browser cannot be kept apart".to_owned())
}

fn runs(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// As in most containers.
fn only_root() -> bool {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut people = passwd.lines().filter(|line| line.ends_with("sh"));
    people.next().is_some_and(|line| line.starts_with("root:")) && people.next().is_none()
}
