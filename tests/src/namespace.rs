//! A test in namespaces of its own, where it may mount and shape a network without being root outside.
//!
//! The test runs its own program again, only itself, under `unshare`. Where the machine does not allow that, the test is
//! skipped and says why.

use std::path::Path;
use std::process::Command;

const INSIDE: &str = "WA_TEST_NAMESPACE";

/// Kinds of namespaces, beside one for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Mounts made there are seen nowhere else, and end with it.
    Mount,
    /// A network with nothing but a loopback.
    Network,
}

/// Whether this is the process inside, which does the work. Outside it runs the test of this name inside and waits for
/// it, or says why it cannot.
///
/// # Panics
/// When the test fails inside.
pub fn inside(test: &str, kind: Namespace) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let flag = match kind {
        Namespace::Mount => "--mount",
        Namespace::Network => "--net",
    };
    let unshare = |command: &mut Command| {
        let status = command.status();
        status.is_ok_and(|status| status.success())
    };
    let base = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", flag]);
        command
    };
    if !unshare(base().arg("true")) {
        println!("skipped {test}: `unshare --map-root-user {flag}` is not allowed here");
        return false;
    }
    let this = std::env::current_exe().expect("a test knows its own path");
    let mut command = base();
    command.arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(unshare(&mut command), "{test} failed in its namespace");
    false
}

/// Mounts a file system of so many bytes, in memory, for the process inside.
///
/// # Errors
/// When `mount` refuses.
pub fn mount_small(at: &Path, bytes: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(at)?;
    let options = format!("size={bytes},mode=0700");
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).output()?;
    anyhow::ensure!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
